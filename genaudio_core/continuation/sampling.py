"""From logits to the next event: temperature, top-k, top-p, and musical masks, field by field.

Masks are exact: because every field has a head of its own, forbidding a pitch, an instrument or a time removes just
that, and what is left keeps its proportions. Times are steps (12 to the quarter note).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict, Unpack

import numpy as np

from genaudio_core.continuation.continuer import Continuer
from genaudio_core.continuation.cues import notes_of
from genaudio_core.errors import GenaudioError
from genaudio_core.music.events import DRUM_DURATION, duration_code
from genaudio_core.music.keys import chord_pitch_classes, pitch_classes
from genaudio_core.music.layouts import END_OF_SONG, NOTE, PART, RESOLUTION
from genaudio_core.score.instruments import DRUMS_CODE, RANGE, find_instruments, instrument_code, instrument_name

DRUM_DURATION_CODE = int(duration_code(np.array(DRUM_DURATION)))


NOTE_FIELDS = ('type', 'beat', 'position', 'instrument', 'part', 'pitch', 'duration', 'velocity')

_RANGES: dict[str, tuple[float, float]] = {
    'temperature': (0.001, 100), 'top_k': (0, 2**31 - 1), 'lowest': (0, 127), 'highest': (0, 127),
    'density': (-10, 10), 'max_chord': (1, 128), 'max_rest': (0, 1e6), 'velocity_scale': (0, 128),
}  # fmt: skip
LEAN = 4.0  # how far apart sparse and dense are for the sampler


def lean(density: float) -> float:
    """Return `Controls.density` for a density as people say it: 0 sparse, 0.5 as it comes, 1 dense.

    Raises
    ------
    GenaudioError
        If it is none of those.
    """
    if not 0 <= density <= 1:
        raise GenaudioError(f'density must be 0 (sparse) to 1 (dense), not {density:g}.')
    return LEAN * (density - 0.5)


class Wishes(TypedDict, total=False):
    """Wishes of a musician, whoever plays: `Controls.of` takes it."""

    key: str | None
    chord: str | None
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    density: float
    lowest: int
    highest: int
    max_chord: int
    max_rest: float
    velocity_scale: float


class Asked(Wishes, total=False):
    """The same, and who plays."""

    instruments: str | Iterable[str] | None


@dataclass(frozen=True)
class Controls:
    """Wishes for the next events. The defaults keep the output playable."""

    temperature: float = 1.0  # 0.001 to 100; below 1 safer, above 1 wilder
    top_p: float = 0.98  # keep the likeliest classes that hold this much probability; 1 keeps all
    top_k: int = 0  # keep this many classes; 0 keeps all
    min_p: float = 0.0  # leave out classes less likely than this share of the likeliest
    published_top_k: bool = False  # MMT's own rule instead: a tenth of each field's classes
    instruments: tuple[str, ...] | None = None  # classes that may play; None allows all
    keep_range: bool = True  # each instrument only where it can play
    lowest: int = 0  # note 0..127
    highest: int = 127
    pitch_classes: frozenset[int] | None = None  # of pitched instruments; None allows all
    density: float = 0.0  # -2 sparse .. 2 dense: `lean`
    max_chord: int = 6  # notes one instrument may begin together
    max_rest: float = 4.0  # beats; the next note comes no later than this after the last
    allow_end: bool = False  # whether the song may end
    velocity_scale: float = 1.0
    # For single fields, instead of the above: {'pitch': {'temperature': 0.8, 'min_p': 0.05}}.
    per_field: dict[str, dict[str, float]] = field(default_factory=dict)

    def __post_init__(self):
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:  # so NaN is refused too
                raise GenaudioError(f'{name} must be {low:g} to {high:g}, not {value:g}.')
        if not 0 < self.top_p <= 1:
            raise GenaudioError(f'top_p must be more than 0 and at most 1, not {self.top_p:g}.')
        if not 0 <= self.min_p < 1:
            raise GenaudioError(f'min_p must be 0 (off) or more, and under 1, not {self.min_p:g}.')
        for name, settings in self.per_field.items():
            unknown = set(settings) - {'temperature', 'top_p', 'top_k', 'min_p'}
            if name not in NOTE_FIELDS or unknown:
                raise GenaudioError(
                    f"No sampling setting '{name}' {sorted(unknown)}. Fields: {', '.join(NOTE_FIELDS)}."
                )
        if self.lowest > self.highest:
            raise GenaudioError(f'`lowest` {self.lowest} is above `highest` {self.highest}: no note lies between.')

    @classmethod
    def of(cls, **asked: Unpack[Asked]) -> 'Controls':
        """Make controls from what a musician would say.

        Parameters
        ----------
        key, chord : str, optional
            Only notes of this key, such as 'D minor', and of this chord, such as 'Am7'.
        instruments : str or iterable of str, optional
            Who plays, as people write it: ``'violin, cello'``.
        density : float
            0 sparse, 0.5 as it comes, 1 dense.
        asked
            The other names are fields of `Controls`.

        Raises
        ------
        GenaudioError
            If a name is unknown, a number out of range, or nothing is left to play.
        """
        settings: dict[str, Any] = dict(asked)
        key, chord = settings.pop('key', None), settings.pop('chord', None)
        instruments = settings.pop('instruments', None)
        allowed = pitch_classes(key) if key else None
        if chord:
            of_chord = chord_pitch_classes(chord)
            allowed = of_chord if allowed is None else of_chord & allowed
            if not allowed:
                raise GenaudioError(f"The chord '{chord}' has no note in the key '{key}'.")
        found = tuple(find_instruments(instruments)) if instruments else None
        if 'density' in settings:
            settings['density'] = lean(settings['density'])
        return cls(pitch_classes=allowed, instruments=found, **settings)

    def with_(self, **changes) -> 'Controls':
        """The same but for some fields."""
        return replace(self, **changes)


def sample(
    logits: np.ndarray,
    rng: np.random.Generator,
    *,
    allowed: np.ndarray | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
) -> int:
    """Draw a class from logits (classes,). One uniform number is taken from `rng`, whatever the outcome.

    Raises
    ------
    ValueError
        If nothing is allowed.
    """
    uniform = rng.random()
    classes = None if allowed is None else allowed.nonzero()[0]
    if classes is not None:
        if not len(classes):
            raise ValueError('every class is forbidden')
        logits = logits[classes]
    # Likeliest first: every filter is then a number of classes to keep, and one cumulative sum serves all.
    order = (-logits).argsort(kind='stable')
    falling = logits[order].astype(np.float64)
    cumulative = np.exp((falling - falling[0]) / temperature)
    n = len(cumulative)
    if min_p:
        n = int((cumulative >= min_p).sum())  # the likeliest is 1 here
    if top_k:
        n = min(n, top_k)
    cumulative = cumulative[:n].cumsum()
    if top_p < 1:  # the class that crosses the border stays, so one always does
        n = min(int(cumulative.searchsorted(top_p * cumulative[-1])) + 1, n)
    drawn = min(int(cumulative[:n].searchsorted(uniform * cumulative[n - 1], side='right')), n - 1)
    return int(order[drawn]) if classes is None else int(classes[order[drawn]])


class EventSampler:
    """Chooses events for a `Continuer`, one take at a time or several in a batch.

    Parameters
    ----------
    continuer : Continuer
        Holds at least a header (start-of-song ... start-of-notes). What is chosen is fed to it by `advance`.
    controls : Controls
        May be replaced at any time.
    rngs : one generator for each take
        Draws depend on nothing else: the same seed plays the same music.
    parts : (instrument code, part) pairs, optional
        Who plays, for models whose notes tell their part. Otherwise those of the past do, and one of an instrument
        that has not played yet.
    """

    def __init__(
        self, continuer: Continuer, controls: Controls, rngs: list[np.random.Generator], *,
        parts: Iterable[tuple[int, int]] | None = None,
    ):  # fmt: skip
        if len(rngs) != continuer.takes:
            raise ValueError(f'{continuer.takes} takes need as many random generators, not {len(rngs)}')
        self.continuer, self.rngs = continuer, rngs
        self.encoding = continuer.encoding
        self._named_parts = None if parts is None else list(parts)
        self._parts = self._known_parts()
        self._resting: frozenset[tuple[int, int]] = frozenset()
        self.controls = controls

    def _known_parts(self) -> np.ndarray | None:
        """Parts (instruments, parts + 1) that may play, bool; None where notes do not tell their part.

        They are those of the past, and one for an instrument that has not played yet.
        """
        if not self.encoding.has_descriptions:
            return None
        column, sizes, events = self.encoding.columns, self.encoding.sizes, self.continuer.events[0]
        if self._named_parts is not None:
            named = np.zeros((sizes[column['instrument']], sizes[column['part']]), bool)
            named[tuple(np.array(self._named_parts).T)] = True
            return named
        if not (events[events[:, 0] == NOTE, column['part']] > 0).any():
            return None
        parts = np.zeros((sizes[column['instrument']], sizes[column['part']]), bool)
        rows = events[np.isin(events[:, 0], (NOTE, PART))]
        parts[rows[:, column['instrument']], rows[:, column['part']]] = True
        parts[:, 0] = False
        parts[~parts.any(axis=1), 1] = True
        return parts

    def meet_parts(self) -> None:
        """Look again which parts there are, after events that were not chosen here have been fed."""
        self._parts = self._known_parts()
        self.controls = self._controls

    @property
    def resting(self) -> frozenset[tuple[int, int]]:
        """Parts (instrument code, part) that are silent for now."""
        return self._resting

    @resting.setter
    def resting(self, resting: Iterable[tuple[int, int]]) -> None:
        self._resting = frozenset(resting)
        self.controls = self._controls

    @property
    def may_play(self) -> bool:
        """Whether anything is left to play that does not rest."""
        return bool(self._instruments.any())

    @property
    def controls(self) -> Controls:
        """The choices allowed; a change counts from the next event on."""
        return self._controls

    @controls.setter
    def controls(self, controls: Controls) -> None:
        self._controls = controls
        columns = self.encoding.columns
        sizes = self.encoding.sizes
        # Which pitches each instrument code may play.
        self._pitches = np.zeros((sizes[columns['instrument']], sizes[columns['pitch']]), bool)
        names = None if controls.instruments is None else {instrument_code(name) for name in controls.instruments}
        notes = np.arange(128)
        pitched = (notes >= controls.lowest) & (notes <= controls.highest)
        if controls.pitch_classes is not None:
            pitched &= notes_of(controls.pitch_classes)
        codes = range(1, sizes[columns['instrument']])
        for code in codes if names is None else names.intersection(codes):
            low, high = RANGE[instrument_name(code)] if controls.keep_range else (0, 127)
            self._pitches[code, low + 1 : high + 2] = True if code == DRUMS_CODE else pitched[low : high + 1]
        self._instruments = np.asarray(self._pitches.any(axis=1))
        self._playing = None if self._parts is None else self._parts.copy()
        if not self._instruments.any():
            raise GenaudioError('With these instruments, key and range no note is left to play. Widen one of them.')
        for instrument, part in self._resting:
            if self._playing is not None:
                self._playing[instrument, part] = False
            elif part == 1:  # without parts an instrument rests with its first
                self._instruments[instrument] = False
        if self._playing is not None:
            self._instruments &= self._playing.any(axis=1)

    def _draw(self, take: int, name: str, logits: np.ndarray, allowed: np.ndarray) -> int:
        controls = self._controls
        settings: dict[str, Any] = {
            'temperature': controls.temperature, 'min_p': controls.min_p,
            'top_p': controls.top_p, 'top_k': controls.top_k,
        }  # fmt: skip
        if controls.published_top_k:
            settings |= {'top_k': -(-len(logits) // 10), 'top_p': 1.0}
        settings |= controls.per_field.get(name, {})
        return sample(logits, self.rngs[take], allowed=allowed, **settings)

    def next_events(
        self, *, earliest: int = 0, latest: int | None = None, active: np.ndarray | None = None
    ) -> np.ndarray:
        """Choose the next event of every take; nothing is fed.

        Parameters
        ----------
        earliest : int
            Onset, in steps, before which nothing may begin.
        latest : int, optional
            Onset from which on nothing may begin. A take whose next event would lie there gets a row of zeros;
            asking again with ``earliest=latest`` draws it from the very same distribution.
        active : (takes,) bool, optional
            Takes that are wanted; the others get zeros.

        Returns
        -------
        (takes, fields) int64
            Type NOTE, or END_OF_SONG if the controls allow an end.
        """
        continuer, encoding = self.continuer, self.encoding
        takes, column = continuer.takes, encoding.columns
        chosen = np.zeros((takes, len(encoding.fields)), np.int64)
        active = np.ones(takes, bool) if active is None else active.copy()
        places = [self._place(take, earliest) for take in range(takes)]
        for name in encoding.order:
            if not active.any():
                break
            if name not in NOTE_FIELDS or (name == 'part' and self._playing is None):
                continue  # notes have none
            if name == 'type' and not self._controls.allow_end:
                chosen[active, 0] = NOTE
                continue
            logits = continuer.logits(name, chosen)
            for take in np.flatnonzero(active):
                row = chosen[take]
                if row[0] == END_OF_SONG:
                    continue
                allowed = self._allowed(name, row, places[take], len(logits[take]))
                biased = self._bias(name, logits[take], row, places[take])
                row[column[name]] = self._draw(int(take), name, biased, allowed)
                if name == 'position' and latest is not None and continuer.when(row)[0][take] >= latest:
                    row[:] = 0
                    active[take] = False
        drums = chosen[:, column['instrument']] == DRUMS_CODE
        chosen[drums, column['duration']] = DRUM_DURATION_CODE
        self._scale_velocity(chosen)
        return chosen

    def _scale_velocity(self, chosen: np.ndarray) -> None:
        if self.encoding.has_velocity and self._controls.velocity_scale != 1:
            column = self.encoding.index('velocity')
            velocity = np.rint(chosen[:, column] * self._controls.velocity_scale)
            chosen[:, column] = np.where(chosen[:, 0] == NOTE, np.clip(velocity, 1, self.encoding.sizes[column] - 1), 0)

    def advance(self, chosen: np.ndarray) -> None:
        """Feed chosen events (takes, fields), one for each take."""
        self.continuer.feed(chosen[:, None])

    # --- masks ---

    def _place(self, take: int, earliest: int) -> 'Place':
        """Where the music is: the time nothing may go back behind, and what already began there."""
        continuer, column = self.continuer, self.encoding.columns
        events, steps = continuer.events[take], continuer.steps[take]
        now = int(steps[-1]) if len(steps) else 0
        last = events[-1]
        place = Place(now=now, beat=now // RESOLUTION, earliest=max(now, earliest))
        if last[0] == NOTE and place.earliest == now:
            here = events[max(len(events) - 128, 0) :]
            here = here[(steps[-len(here) :] == now) & (here[:, 0] == NOTE)]
            place.instrument, place.pitch = int(last[column['instrument']]), int(last[column['pitch']])
            same = here[:, column['instrument']] == place.instrument
            if self._playing is not None:
                place.part = int(last[column['part']])
                same &= here[:, column['part']] == place.part
            place.chord = int(same.sum())
            place.may_stay = bool(self._instruments_from(place).any())
        return place

    def _instruments_from(self, place: 'Place') -> np.ndarray:
        """Instruments that may begin another note at the very time of the last one."""
        allowed = self._instruments.copy()
        if not place.instrument:
            return allowed
        if self.encoding.relative_beat:  # the live order: instrument, then pitch, both rising
            allowed[: place.instrument] = False
            if not self._may_add(place) and not self._parts_from(place).any():
                allowed[place.instrument] = False
        return allowed

    def _may_add(self, place: 'Place') -> bool:
        """Whether the part that began the last note may begin a higher one with it."""
        if place.chord >= self._controls.max_chord:
            return False
        return bool(self._pitches[place.instrument, place.pitch + 1 :].any())

    def _parts_from(self, place: 'Place') -> np.ndarray:
        """Later parts of the same instrument, that may begin a note at the very time of the last one."""
        if self._playing is None:
            return np.zeros(1, bool)
        allowed = self._playing[place.instrument].copy()
        allowed[: place.part + 1] = False
        return allowed

    def _allowed(self, name: str, row: np.ndarray, place: 'Place', size: int) -> np.ndarray:
        encoding, column = self.encoding, self.encoding.columns
        allowed = np.ones(size, bool)
        allowed[0] = False  # undefined
        if name == 'type':
            allowed[:] = False
            allowed[[NOTE, END_OF_SONG]] = True
            return allowed
        first = place.earliest if place.earliest > place.now or place.may_stay else place.now + 1
        base = place.beat if encoding.relative_beat else 0
        if name == 'beat':
            lowest = min(first // RESOLUTION - base + 1, size - 1)
            allowed[:lowest] = False
            # Asked late (a player's hand-over, a new bar), the rest counts from the asking's own beat at least.
            last = max(place.now + round(self._controls.max_rest * RESOLUTION), first) // RESOLUTION - base + 1
            allowed[max(last, lowest) + 1 :] = False
        elif name == 'position':
            beat = int(row[column['beat']]) - 1 + base
            if beat == first // RESOLUTION:
                allowed[: first % RESOLUTION + 1] = False
        elif name in ('instrument', 'part', 'pitch'):
            stays = place.instrument and self._onset(row, base) == place.now
            if name == 'instrument':
                allowed = self._instruments_from(place) if stays else self._instruments.copy()
            elif name == 'part':
                assert self._playing is not None
                instrument = int(row[column['instrument']])
                allowed = self._playing[instrument].copy()
                if stays and instrument == place.instrument:
                    allowed = self._parts_from(place)
                    allowed[place.part] = self._playing[instrument, place.part] and self._may_add(place)
            elif encoding.order.index('instrument') < encoding.order.index('pitch'):
                instrument = int(row[column['instrument']])
                allowed = self._pitches[instrument].copy()
                again = instrument == place.instrument
                if self._playing is not None:
                    again &= int(row[column['part']]) == place.part
                if stays and encoding.relative_beat and again:
                    allowed[: place.pitch + 1] = False
            else:  # published order: the pitch comes first, some instrument must be able to play it
                allowed = np.asarray(self._pitches.any(axis=0))
        if name == 'instrument' and encoding.order.index('pitch') < encoding.order.index('instrument'):
            allowed &= self._pitches[:, int(row[column['pitch']])]
        return allowed

    def _onset(self, row: np.ndarray, base: int) -> int:
        column = self.encoding.columns
        return (int(row[column['beat']]) - 1 + base) * RESOLUTION + int(row[column['position']]) - 1

    def _bias(self, name: str, logits: np.ndarray, row: np.ndarray, place: 'Place') -> np.ndarray:
        """Density: the odds of every step that passes before the next onset are multiplied alike."""
        density = self._controls.density
        if density == 0 or name not in ('beat', 'position'):
            return logits
        classes = np.arange(len(logits))
        if name == 'beat':
            base = 1 if self.encoding.relative_beat else place.beat + 1
            return logits - density * (classes - base)
        return logits - density * classes / RESOLUTION


@dataclass
class Place:
    """Where the music of a take is; times are the continuer's."""

    now: int  # onset of the last event
    beat: int
    earliest: int
    instrument: int = 0  # of the last note, if it is at `earliest`
    part: int = 0
    pitch: int = 0
    chord: int = 0
    may_stay: bool = True
