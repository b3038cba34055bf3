"""The groove that drums keep to: where kick, snare and cymbals belong in a bar, by meter, style and the tune's pace.

Whoever drums, live or in a file, by a model or by rules, is told a groove that is made here. Beats are quarter notes
from the line.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from genaudio_core.music.grooves import DOTTED, KIT, Feel, Meter, backbeats, pulses, strong_places
from genaudio_core.music.layouts import RESOLUTION

KEYS: dict[str, tuple[int, ...]] = {
    'kick': (36,), 'snare': (38, 40, 37), 'clap': (39, 38), 'hat': (42, 44), 'open': (46, 42), 'ride': (51, 53),
    'pedal': (44,),
}  # fmt: skip
"""General MIDI keys that do for a stroke; the first is the plain one."""
QUICK = 132.0  # BPM from which on nobody plays sixteenths on a hi-hat
DRAWN = ((), (2.5,), (1.5,), (3.5,), (1.0, 3.0), (1.5, 2.5))  # beats of 4/4 at which kicks may be drawn
RIDES = 0.2  # how often a ride is drawn instead of a hi-hat


@dataclass(frozen=True, slots=True)
class Stroke:
    """A stroke that belongs to the groove."""

    beat: float
    kind: str  # of `KEYS`
    velocity: int = 90

    def keys(self, allowed: Iterable[int] = ()) -> tuple[int, ...]:
        """Keys that do for it, the plainest first; of an instrument with few keys, the nearest it has; or none."""
        own = tuple(allowed)
        if not own:
            return KEYS[self.kind]
        fitting = tuple(key for key in KEYS[self.kind] if key in own)
        if fitting or self.kind == 'kick':
            return fitting
        others = [key for key in own if key not in KEYS['kick']]
        if self.kind not in ('snare', 'clap'):  # a cajon has no cymbals: its light taps keep time
            others.sort(key=lambda key: key == KEYS['snare'][0])
        return tuple(others[:1])

    def alike(self) -> frozenset[int]:
        """All keys of a kit that stand for it."""
        plain = KEYS[self.kind][0]
        return next((keys for keys in KIT if plain in keys), frozenset({plain}))


@dataclass(frozen=True, slots=True)
class Pace:
    """How the player plays: what a drummer would take over."""

    onsets: float = 1.0  # onsets to the beat
    feel: Feel = field(default_factory=Feel)
    accents: tuple[float, ...] = ()  # beats of the bar at which bass notes come again and again


@dataclass(frozen=True, slots=True)
class Groove:
    """Strokes of every bar, in order. `binds`: they are played in any case, not only by those who know no better."""

    strokes: tuple[Stroke, ...] = ()
    binds: bool = True
    style: str = 'auto'

    def struck(self, keys: Iterable[int] | None = None) -> tuple[tuple[int, frozenset[int]], ...]:
        """As who leads a band is told: (step from the bar line, keys of which one is struck), in order.

        Parameters
        ----------
        keys
            All that the drums have, empty for a whole kit: the nearest of them, see `Stroke.keys`. None: every key of
            the kit that stands for the stroke.
        """
        own = None if keys is None else tuple(keys)
        found = [
            (round(stroke.beat * RESOLUTION), stroke.alike() if own is None else frozenset(stroke.keys(own)))
            for stroke in self.strokes
        ]
        return tuple(sorted(((at, of) for at, of in found if of), key=lambda one: (one[0], min(one[1]))))

    @property
    def backbeats(self) -> tuple[float, ...]:
        """Where the snare belongs."""
        return tuple(stroke.beat for stroke in self.strokes if stroke.kind in ('snare', 'clap'))


def groove(
    style: str, meter: Meter, pace: Pace | None = None, *, density: float = 0.5, tempo: float = 120.0,
    rng: np.random.Generator | None = None,
) -> Groove:  # fmt: skip
    """The groove of a style in a meter.

    Parameters
    ----------
    style : 'auto', 'backbeat', 'half-time', 'four-on-the-floor' or 'swing'; 'off' is 'auto' that does not bind
    density : 0 sparse to 1 busy, 0.5 as it comes
    tempo : quarter notes a minute
    rng : draws which kicks there are between the beats, and whether a ride keeps time; None: neither
    """
    pace = pace or Pace()
    beats, bar = [place / RESOLUTION for place in pulses(meter)], meter[0] * 4 / meter[1]
    snares = [place / RESOLUTION for place in backbeats(meter)]
    if style == 'four-on-the-floor':
        kicks = list(beats)
    else:
        if style == 'half-time' and len(beats) >= 4 and len(beats) % 2 == 0:
            snares = [beats[len(beats) // 2]]
        heads = {0.0, *beats[2::2], *(place / RESOLUTION for place in strong_places(meter))}
        kicks = sorted(heads - {*snares})
    strokes = [Stroke(beat, 'kick', 94 if beat else 104) for beat in kicks]
    drum = {'four-on-the-floor': 'clap', 'swing': 'pedal'}.get(style, 'snare')
    strokes += [Stroke(beat, drum, 66 if style == 'swing' or len(beats) == 3 else 98) for beat in snares]
    if style != 'swing':
        taken = [*kicks, *snares]
        for accent in pace.accents:
            if accent < bar and all(abs(accent - beat) >= 0.3 for beat in taken):
                strokes.append(Stroke(accent, 'kick', 84))
                taken.append(accent)
    ride = style == 'swing'
    if rng is not None and style in ('auto', 'backbeat', 'off'):
        if meter == (4, 4) and not pace.feel.swung:
            drawn = [beat for beat in DRAWN[rng.integers(len(DRAWN))] if beat not in kicks]
            strokes += [Stroke(beat, 'kick', 84) for beat in drawn]
        ride = pace.feel.swung or rng.random() < RIDES
    strokes += _cymbals(style, beats, bar, pace, density, tempo, ride)
    strokes.sort(key=lambda stroke: (stroke.beat, KEYS[stroke.kind][0]))
    return Groove(tuple(strokes), style != 'off', style)


def _cymbals(
    style: str, beats: list[float], bar: float, pace: Pace, density: float, tempo: float, ride: bool
) -> list[Stroke]:  # fmt: skip
    compound = beats[1:2] == [DOTTED / RESOLUTION]
    if style == 'four-on-the-floor':
        return [Stroke(beat + 0.5, 'open', 84) for beat in beats if beat + 0.5 < bar]
    if style == 'swing' or (ride and pace.feel.swung and not compound):
        skips = [beat + 2 / 3 for beat in beats[1::2] if beat + 2 / 3 < bar]
        return [Stroke(beat, 'ride', 84) for beat in beats] + [Stroke(beat, 'ride', 64) for beat in skips]
    if density < 0.25 or (pace.onsets < 0.4 and density < 0.5):
        places = list(beats)
    elif pace.feel.swung and not compound:
        places = sorted({*beats, *(beat + 2 / 3 for beat in beats)})
    else:
        fine = (density > 0.8 or (pace.feel.fine and density >= 0.5)) and tempo < QUICK and not compound
        step = 0.25 if fine else 0.5
        places = [number * step for number in range(round(bar / step))]
    return [
        Stroke(place, 'ride' if ride else 'hat', 80 if place in beats else 58) for place in places if place < bar - 1e-6
    ]
