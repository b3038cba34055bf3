"""Automatic instrumentation: which instrument plays each note of a score (offline)."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from genaudio_core.continuation.continuer import Continuer
from genaudio_core.continuation.decoder import Decoder
from genaudio_core.continuation.generation import Generated, Progress, no_progress, without_notes
from genaudio_core.errors import GenaudioError
from genaudio_core.music.events import DRUM_PROGRAM, encode_table, header, note_table
from genaudio_core.music.layouts import NOTE, RESOLUTION
from genaudio_core.score.instruments import CODE_TO_PROGRAM, DRUMS, RANGE, instrument_code, voices_of
from genaudio_core.score.joining import struck_once
from genaudio_core.score.notes import Note, Score, Track

RESTED = 4.0  # nats at most for who has rested; a nat for two beats
TOGETHER = 2  # steps between notes that count as begun together: neither makes way for the other


def arrange(
    decoder: Decoder,
    score: Score,
    instruments: Iterable[str],
    *,
    temperature: float = 0.5,
    seed: int = 0,
    listen: bool = False,
    progress: Progress = no_progress,
) -> Generated:
    """Give every note of a score to one of `instruments`: automatic instrumentation.

    Each note goes to the instrument that makes it likeliest, given all that was assigned before: the model's
    probability of the instrument at this time, times that of the note's pitch on it, among those that can play it
    (a note in nobody's range goes to the nearest). Wind, brass and bowed instruments take one or two notes at a time.
    Drums stay drums if there are any among `instruments`, and are left out otherwise.

    With `listen` that is exact: a note in nobody's range comes in the nearest octave that somebody has, a note that is
    held makes way for a new one where there is no hand free, and of notes that begin together those without a hand are
    left out, inner ones first; how many is told. Otherwise every note stays as it is.

    The tracks of the score stay, without their notes; what shapes notes (pedal, bends, controllers) goes with them: to
    each instrument from the track that gave it most of its notes.

    Raises
    ------
    GenaudioError
        If there is nothing to arrange, or the model has no class for an instrument.
    """
    encoding = decoder.encoding
    names = tuple(dict.fromkeys(instruments))
    pitched = [name for name in names if name != DRUMS]
    table = note_table(score)
    is_drum = table['program'] == DRUM_PROGRAM
    if not pitched and not is_drum.any():
        raise GenaudioError('The file has no drums to arrange for drums. Name pitched instruments.')
    if DRUMS not in names or not encoding.has_drums:
        table, is_drum = table[~is_drum], is_drum[~is_drum]
    if not pitched:
        table, is_drum = table[is_drum], is_drum[is_drum]
    if not len(table):
        raise GenaudioError('There is no note to arrange. Give a MIDI file with notes in it.')
    order = np.lexsort((table['pitch'], table['step']))
    table, is_drum = table[order], is_drum[order]
    arranger = _Arranger(decoder, names, score, temperature, seed, exact=listen)
    assigned: dict[str, list[Note]] = {name: [] for name in names}
    beats = _exact_beats(score)
    givers: dict[str, Counter[int]] = {name: Counter() for name in names}  # instrument -> notes from each track
    starts = np.flatnonzero(np.diff(table['step'], prepend=-1))
    for begin, end in zip(starts, [*starts[1:], len(table)], strict=True):
        group = table[begin:end]
        for (name, pitch), row in zip(arranger.assign(group, is_drum[begin:end]), group, strict=True):
            beat, duration, giver = beats[int(row['step']), int(row['pitch']), int(row['program'])].pop(0)
            if name:
                givers[name][giver] += 1
                assigned[name].append(Note(beat, duration, pitch, int(row['velocity'])))
        progress(float(group['step'][0]) / RESOLUTION)
    if listen:
        assigned = {name: handed_on(notes, voices_of(name)) for name, notes in assigned.items()}
    tracks = [Track.of(name, sorted(notes)) for name, notes in assigned.items() if notes]
    result = emptied(score, tracks, [givers[track.instrument].most_common(1)[0][0] for track in tracks])
    silent = without_notes(names, tracks)
    return Generated(result, 0.0, result.n_notes, silent=silent, remarks=tuple(arranger.remarks()))


def handed_on(notes: list[Note], voices: int) -> list[Note]:
    """Notes of one instrument, of which those that are held longest end where there would be more than `voices`."""
    result: list[Note] = []
    held: list[int] = []  # indices of what sounds, the longest held first
    for note in struck_once(notes):
        held = [i for i in held if result[i].beat + result[i].duration > note.beat + 1e-6]
        while len(held) >= voices and result[held[0]].beat < note.beat - 1e-6:
            first = held.pop(0)
            result[first] = result[first]._replace(duration=note.beat - result[first].beat)
        held.append(len(result))
        result.append(note)
    return result


def emptied(score: Score, tracks: list[Track], givers: list[int]) -> Score:
    """A copy of `score` with `tracks` for its own notes; the track number `givers[i]` gave ``tracks[i]`` its notes."""
    result = score.copy()
    for track in result.tracks:
        track.notes.clear()
    for giver in set(givers):
        old = result.tracks[giver]
        for track in (track for track, number in zip(tracks, givers, strict=True) if number == giver):
            track.others = [(beat, message) for beat, message in old.others if not _is_of_instrument(message)]
        old.others = [(beat, message) for beat, message in old.others if _is_of_instrument(message)]
    # Without a file to keep whole, an empty track is of no use.
    result.tracks = [*(result.tracks if score.source else []), *tracks]
    return result


def _is_of_instrument(message: Any) -> bool:
    """Whether a message is about an instrument and not its notes: bank selects, and what goes to a whole device."""
    return message.type == 'sysex' or (message.type == 'control_change' and message.control in (0, 32))


def _exact_beats(score: Score) -> dict[tuple[int, int, int], list[tuple[float, float, int]]]:
    """The unrounded times of every note and its track's number, by its rounded key, so that arranging moves nothing."""
    found: dict[tuple[int, int, int], list[tuple[float, float, int]]] = {}
    for number, track in enumerate(score.tracks):
        program = DRUM_PROGRAM if track.is_drum else track.program
        for note in track.notes:
            key = (int(np.rint(note.beat * RESOLUTION)), note.note, program)
            found.setdefault(key, []).append((note.beat, note.duration, number))
    return found


def many_are(count: int) -> str:
    """How many notes there are, and the verb."""
    return '1 note is' if count == 1 else f'{count} notes are'


def nearest(pitch: int, names: list[str]) -> int:
    """The pitch, or the octave of it nearest to it that one of the instruments has; of none the nearest note."""
    ranges = [RANGE[name] for name in names]
    octaves = [pitch + 12 * i for i in range(-10, 11)]
    there = [note for note in octaves if any(low <= note <= high for low, high in ranges)]
    there = there or [edge for both in ranges for edge in both]
    return min(there, key=lambda note: (abs(note - pitch), note))


class _Arranger:
    """Assigns the notes of one onset after another, and tells the model what it chose."""

    def __init__(
        self, decoder: Decoder, names: tuple[str, ...], score: Score, temperature: float, seed: int, *, exact: bool
    ):
        self.encoding, self.names, self.temperature = decoder.encoding, names, temperature
        self.exact = exact
        self.moved = self.left_out = 0  # notes: to another octave; without a hand
        self.rng = np.random.default_rng(seed)
        self.voices = {name: voices_of(name) for name in names}
        self.continuer = Continuer(decoder)
        first = min(note.beat for track in score.tracks for note in track.notes)
        meter = score.meter_at(first)
        self.origin = round(score.bar_start(first) * RESOLUTION)
        self.continuer.feed(header(names, self.encoding, meter=meter[1:]))
        self.last = dict.fromkeys(names, self.origin)  # step of the last note of each
        self.busy: dict[str, list[tuple[int, int]]] = {name: [] for name in names}  # begins and ends of notes, steps

    def remarks(self) -> list[str]:
        """What became of notes that could not stay as they are, in sentences."""
        told = []
        if self.moved:
            told.append(f"{many_are(self.moved)} in nobody's range and played in another octave.")
        if self.left_out:
            told.append(f'{many_are(self.left_out)} left out: too many begin together for these instruments.')
        return told

    def assign(self, group: np.ndarray, is_drum: np.ndarray) -> list[tuple[str, int]]:
        """Instrument and pitch of each note of one onset (sorted by pitch); no name: it is left out."""
        step = int(group['step'][0])
        for notes in self.busy.values():
            notes[:] = [note for note in notes if note[1] > step]
        row = self._row(step)
        instrument = self._log_probabilities('instrument', row)
        pitched = [name for name in self.names if name != DRUMS]
        result: list[tuple[str, int]] = [(DRUMS, int(pitch)) for pitch in group['pitch']]
        places = np.flatnonzero(~is_drum)
        wanted = [int(pitch) for pitch in group['pitch'][~is_drum]]
        if self.exact:
            wanted = [nearest(pitch, pitched) for pitch in wanted]
            self.moved += int((np.array(wanted) != group['pitch'][~is_drum]).sum())
        scores = np.array([[self._score(name, pitch, instrument, row) for name in pitched] for pitch in wanted])
        # The outer voices choose first: they are what an ear follows.
        for i in sorted(range(len(places)), key=lambda i: min(i, len(places) - 1 - i)):
            place = places[i]
            total = scores[i].copy()
            for j, name in enumerate(pitched):
                total[j] -= 4.0 * max(len(self.busy[name]) + 1 - self.voices[name], 0)
                if self.exact:
                    # Who has rested for long comes in: an instrument that is named plays.
                    total[j] += min((step - self.last[name]) / (2 * RESOLUTION), RESTED)
                    total[j] = total[j] if self._has_a_hand(name, wanted[i], step) else -np.inf
            noise = self.rng.gumbel(size=len(total)) * self.temperature
            if np.isneginf(total).all():
                result[place] = '', wanted[i]
                self.left_out += 1
                continue
            name = pitched[int(np.argmax(total + noise))]
            result[place] = name, wanted[i]
            self.last[name] = step
            if self.exact and len(self.busy[name]) >= self.voices[name]:
                self.busy[name].remove(min(self.busy[name]))  # it makes way
            self.busy[name].append((step, step + max(int(group['duration'][place]), 1)))
        self._tell(group, result, step)
        return result

    def _has_a_hand(self, name: str, pitch: int, step: int) -> bool:
        """Whether an instrument has the note, and a hand that is free or holds what began before."""
        low, high = RANGE[name]
        new = sum(begin > step - TOGETHER for begin, _ in self.busy[name])
        return low <= pitch <= high and new < self.voices[name]

    def _row(self, step: int) -> np.ndarray:
        """The beginning of an event at `step`: type, beat and position."""
        row = np.zeros(len(self.encoding.fields), np.int64)
        row[0] = NOTE
        return self.continuer.placed(row, step - self.origin)

    def _log_probabilities(self, name: str, row: np.ndarray) -> np.ndarray:
        logits = self.continuer.logits(name, row)[0].astype(np.float64)
        return logits - np.logaddexp.reduce(logits)

    def _score(self, name: str, pitch: int, instrument: np.ndarray, row: np.ndarray) -> float:
        code = instrument_code(name)
        low, high = RANGE[name]
        # Outside its range an instrument is a last resort, the worse the farther away.
        outside = max(low - pitch, pitch - high, 0)
        row = row.copy()
        row[self.encoding.index('instrument')] = code
        return instrument[code] + self._log_probabilities('pitch', row)[pitch + 1] - 20.0 * bool(outside) - outside

    def _tell(self, group: np.ndarray, chosen: list[tuple[str, int]], step: int) -> None:
        played = np.array([bool(name) for name, _ in chosen])
        if not played.any():
            return
        group, names = group[played], [name for name, _ in chosen if name]
        self.origin += self.continuer.make_room(len(group) + 2, step - self.origin, keep=0.5)
        table = group.copy()
        table['pitch'] = [pitch for name, pitch in chosen if name]
        codes = np.array([instrument_code(name) for name in names])
        table['program'] = np.where(codes == instrument_code(DRUMS), DRUM_PROGRAM, np.array(CODE_TO_PROGRAM)[codes])
        events = encode_table(table, self.encoding, meters=[(step // RESOLUTION * RESOLUTION, 1)],
                              origin=step // RESOLUTION * RESOLUTION, end=False)  # fmt: skip
        events = events[events[:, 0] == NOTE]
        if len(events):
            events[0, 1:3] = self._row(step)[1:3]
            if not self.encoding.relative_beat:
                events[:, 1:3] = events[0, 1:3]
            self.continuer.feed(events)
