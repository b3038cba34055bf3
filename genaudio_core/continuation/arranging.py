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
from genaudio_core.score.notes import Note, Score, Track


def arrange(
    decoder: Decoder,
    score: Score,
    instruments: Iterable[str],
    *,
    temperature: float = 0.5,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Generated:
    """Give every note of a score to one of `instruments`: automatic instrumentation.

    Each note goes to the instrument that makes it likeliest, given all that was assigned before: the model's
    probability of the instrument at this time, times that of the note's pitch on it, among those that can play it
    (a note in nobody's range goes to the nearest). Wind, brass and bowed instruments take one or two notes at a time.
    Drums stay drums if there are any among `instruments`, and are left out otherwise.

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
    arranger = _Arranger(decoder, names, score, temperature, seed)
    assigned: dict[str, list[Note]] = {name: [] for name in names}
    beats = _exact_beats(score)
    givers: dict[str, Counter[int]] = {name: Counter() for name in names}  # instrument -> notes from each track
    starts = np.flatnonzero(np.diff(table['step'], prepend=-1))
    for begin, end in zip(starts, [*starts[1:], len(table)], strict=True):
        group = table[begin:end]
        for name, row in zip(arranger.assign(group, is_drum[begin:end]), group, strict=True):
            beat, duration, giver = beats[int(row['step']), int(row['pitch']), int(row['program'])].pop(0)
            givers[name][giver] += 1
            assigned[name].append(Note(beat, duration, int(row['pitch']), int(row['velocity'])))
        progress(float(group['step'][0]) / RESOLUTION)
    tracks = [Track.of(name, sorted(notes)) for name, notes in assigned.items() if notes]
    result = _emptied(score, tracks, [givers[track.instrument].most_common(1)[0][0] for track in tracks])
    return Generated(result, 0.0, result.n_notes, silent=without_notes(names, tracks))


def _emptied(score: Score, tracks: list[Track], givers: list[int]) -> Score:
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


class _Arranger:
    """Assigns the notes of one onset after another, and tells the model what it chose."""

    def __init__(self, decoder: Decoder, names: tuple[str, ...], score: Score, temperature: float, seed: int):
        self.encoding, self.names, self.temperature = decoder.encoding, names, temperature
        self.rng = np.random.default_rng(seed)
        self.voices = {name: voices_of(name) for name in names}
        self.continuer = Continuer(decoder)
        first = min(note.beat for track in score.tracks for note in track.notes)
        meter = score.meter_at(first)
        self.origin = round(score.bar_start(first) * RESOLUTION)
        self.continuer.feed(header(names, self.encoding, meter=meter[1:]))
        self.busy: dict[str, list[int]] = {name: [] for name in names}  # ends of sounding notes, steps

    def assign(self, group: np.ndarray, is_drum: np.ndarray) -> list[str]:
        """Instrument of each note of one onset (sorted by pitch)."""
        step = int(group['step'][0])
        for ends in self.busy.values():
            ends[:] = [end for end in ends if end > step]
        row = self._row(step)
        instrument = self._log_probabilities('instrument', row)
        scores = np.array(
            [
                [self._score(name, int(pitch), instrument, row) for name in self.names if name != DRUMS]
                for pitch in group['pitch'][~is_drum]
            ]
        )
        pitched = [name for name in self.names if name != DRUMS]
        result: list[str] = [DRUMS] * len(group)
        # The outer voices choose first: they are what an ear follows.
        places = np.flatnonzero(~is_drum)
        for i in sorted(range(len(places)), key=lambda i: min(i, len(places) - 1 - i)):
            place = places[i]
            total = scores[i].copy()
            for j, name in enumerate(pitched):
                total[j] -= 4.0 * max(len(self.busy[name]) + 1 - self.voices[name], 0)
            noise = self.rng.gumbel(size=len(total)) * self.temperature
            result[place] = pitched[int(np.argmax(total + noise))]
            self.busy[result[place]].append(step + max(int(group['duration'][place]), 1))
        self._tell(group, result, step)
        return result

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

    def _tell(self, group: np.ndarray, names: list[str], step: int) -> None:
        self.origin += self.continuer.make_room(len(group) + 2, step - self.origin, keep=0.5)
        table = group.copy()
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
