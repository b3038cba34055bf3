"""A score for other instruments, by a learned model (offline): what `genaudio arrange` does."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from genaudio_core.arranging.assigning import NOBODY, Costs, assign
from genaudio_core.arranging.part_model import PartModel
from genaudio_core.arranging.players import emptied, handed_on, many_are, nearest
from genaudio_core.continuation.generation import Generated, Progress, no_progress
from genaudio_core.errors import GenaudioError
from genaudio_core.music.part_features import mixture_order
from genaudio_core.score.instruments import DRUMS, voices_of
from genaudio_core.score.notes import Note, Score, Track

GRID = 12  # steps to the beat on which notes count as begun together
# Who is named plays: a beat of rest is worth something, and two notes at once are for when nobody else is free.
PLAYED = Costs(chord=4.0, rest=0.3)


def instrument(
    model: PartModel,
    score: Score,
    names: Sequence[str],
    *,
    temperature: float = 0.0,
    seed: int = 0,
    free: bool = False,
    costs: Costs | None = None,
    progress: Progress = no_progress,
) -> Generated:
    """Spread the notes of a score over parts: automatic instrumentation.

    Each note goes where the model wants it, as far as a player can: the whole piece is weighed at once, so that lines
    are smooth and cross little (`assigning.assign`). No note is outside a range, or one more than a player has hands: a
    note in nobody's range comes in the nearest octave that somebody has, a held note makes way for a new one, and of
    notes that begin together those without a hand are left out; how many is told. With `free` every note stays as it
    is, and goes where the model wants it most. Drums stay drums if they are named, and are left out otherwise.

    The tracks of the score stay, without their notes; what shapes notes (pedal, bends, controllers) goes to each part
    from the track that gave it most of its notes.

    Parameters
    ----------
    names : sequence of str
        Instrument classes, one for each part: two violins are two parts, of which the first is the higher one.
    temperature : float
        0: always the best; above it the model's opinion of each note is blurred.

    Raises
    ------
    GenaudioError
        If there is nothing to arrange, or the model cannot tell these parts.
    """
    parts = [name for name in names if name != DRUMS]
    rows = [(note, number) for number, track in enumerate(score.tracks) if not track.is_drum for note in track.notes]
    drums = [(note, number) for number, track in enumerate(score.tracks) if track.is_drum for note in track.notes]
    drums = drums if DRUMS in names else []
    if not parts and not drums:
        raise GenaudioError('The file has no drums to arrange for drums. Name pitched instruments.')
    rows = rows if parts else []
    if not rows and not drums:
        raise GenaudioError('There is no note to arrange. Give a MIDI file with notes in it.')
    assigned: list[list[Note]] = [[] for _ in parts]
    givers: list[Counter[int]] = [Counter() for _ in parts]
    remarks: list[str] = []
    if rows:
        wanted = np.array([note.note if free else nearest(note.note, parts) for note, _ in rows])
        onset = np.rint([note.beat * GRID for note, _ in rows]) / GRID
        length = np.maximum(np.rint([note.duration * 2 * GRID for note, _ in rows]), 1) / (2 * GRID)
        order = mixture_order(onset, wanted, length)
        onset, end, wanted = onset[order], (onset + length)[order], wanted[order]
        scores = model.scores(onset, wanted, end, parts).astype(np.float64)
        if temperature:
            scores = scores + temperature * np.random.default_rng(seed).gumbel(size=scores.shape)
        weights = Costs().without() if free else costs or PLAYED
        chosen = assign(scores, onset, wanted, end, parts, costs=weights, exact=not free)
        for i, part in enumerate(chosen.tolist()):
            note, number = rows[order[i]]
            if part != NOBODY:
                assigned[part].append(note._replace(note=int(wanted[i])))
                givers[part][number] += 1
            progress(note.beat)
        moved = sum(int(pitch) != rows[i][0].note for i, pitch in zip(order, wanted, strict=True))
        left_out = int((chosen == NOBODY).sum())
        if moved:
            remarks.append(f"{many_are(moved)} in nobody's range and played in another octave.")
        if left_out:
            remarks.append(f'{many_are(left_out)} left out: too many begin together for these instruments.')
    if not free:
        assigned = [handed_on(notes, voices_of(name)) for notes, name in zip(assigned, parts, strict=True)]
    tracks, number_of = [], []
    for i, (name, notes) in enumerate(zip(parts, assigned, strict=True)):
        if notes:
            track = Track.of(name, sorted(notes))
            if parts.count(name) > 1:
                track.name = f'{name} {parts[: i + 1].count(name)}'
            tracks.append(track)
            number_of.append(givers[i].most_common(1)[0][0])
    if drums:
        tracks.append(Track.of(DRUMS, sorted(note for note, _ in drums)))
        number_of.append(Counter(number for _, number in drums).most_common(1)[0][0])
    result = emptied(score, tracks, number_of)
    silent = tuple(name for name, notes in zip(parts, assigned, strict=True) if not notes)
    if DRUMS in names and not drums:
        silent = *silent, DRUMS
    return Generated(result, 0.0, result.n_notes, silent=silent, remarks=tuple(remarks))
