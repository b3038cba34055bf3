"""The published sampling of MMT (Dong et al., ICASSP 2023), rule by rule: what the paper's samples were drawn with.

* Each field is drawn from the likeliest tenth of its classes (rounded up: of the type the likeliest alone, of beats 26,
  positions 2, pitches 13, durations 4, instruments 7), at a temperature that acts after that choice.
* Types and beats never go back. Positions inside a beat may, and so may instruments in the header, or come twice.
* Nothing else is forbidden: no longest rest, no range of an instrument, and notes of instruments that the header lacks.
* It ends with end-of-song, or after a number of events. A past longer than the context is cut from its front, header
  included, and read again for every event, as the published code does (which is slow).

Ours (`genaudio_core.continuation.sampling`) keeps the music playable and in time; it is what plays unless this is asked
for.
"""

import math
from collections.abc import Iterable

import numpy as np

from genaudio_core.continuation.continuer import Continuer
from genaudio_core.continuation.decoder import Decoder
from genaudio_core.continuation.generation import (
    Generated,
    Progress,
    check_beats,
    encodable,
    no_progress,
    without_notes,
)
from genaudio_core.continuation.sampling import sample
from genaudio_core.errors import GenaudioError
from genaudio_core.music.events import decode_table, encode, first_beat, header, note_table, table_to_tracks
from genaudio_core.music.layouts import END_OF_SONG, INSTRUMENT, MMT, NOTE, RESOLUTION, START_OF_SONG
from genaudio_core.score.joining import append_notes, let_go, struck_once
from genaudio_core.score.notes import Score, Tempo

EVENTS = 1024  # the published scripts draw up to so many


def check_published(decoder: Decoder) -> None:
    """Raise GenaudioError unless the model has the published layout, which alone the published rules are of."""
    if not decoder.encoding.is_published:
        raise GenaudioError(
            f"{decoder.model.path.name} has the layout '{decoder.encoding.name}'; published sampling is that of MMT, "
            "for models of the layout 'mmt' (genaudio-export import mmt). Leave `published_sampling` out."
        )


def draw_events(
    decoder: Decoder, prompt: np.ndarray, rng: np.random.Generator, *, events: int = EVENTS, end: int | None = None,
    temperature: float = 1.0, progress: Progress = no_progress,
) -> np.ndarray:  # fmt: skip
    """The events that follow `prompt` (n, 6), drawn as published: (m, 6) int16, m at most `events`.

    Parameters
    ----------
    end : int, optional
        Step at which to stop: the first event of a beat at or after it is left out.
    progress
        Told the beats reached.

    Raises
    ------
    GenaudioError
        If the model is of another layout.
    """
    check_published(decoder)
    column, sizes = MMT.columns, MMT.sizes
    continuer = Continuer(decoder)
    past = [np.asarray(row, np.int64) for row in prompt]
    continuer.feed(np.array(past[-decoder.context :]))
    kind, beat = (int(prompt[:, i].max()) for i in (column['type'], column['beat']))

    def draw(name: str, row: np.ndarray, lowest: int) -> int:
        size = sizes[column[name]]
        logits = continuer.logits(name, row)[0]
        return sample(
            logits, rng, allowed=np.arange(size) >= max(lowest, 1), temperature=temperature, top_k=-(-size // 10)
        )

    for _ in range(events):
        row = np.zeros(len(MMT.fields), np.int64)
        kind = row[0] = draw('type', row, kind)
        if kind == INSTRUMENT:
            row[column['instrument']] = draw('instrument', row, 1)
        elif kind == NOTE:
            for name in MMT.order[1:]:
                row[column[name]] = draw(name, row, beat if name == 'beat' else 1)
            beat = int(row[column['beat']])
            if end is not None and (beat - 1) * RESOLUTION >= end:
                break
            progress(beat - 1.0)
        past.append(row)
        if kind == END_OF_SONG:
            break
        if continuer.room:
            continuer.feed(row)
        else:
            continuer.rewind(0)
            continuer.feed(np.array(past[-decoder.context :]))
    return np.array(past[len(prompt) :], np.int16).reshape(-1, len(MMT.fields))


def generate_as_published(
    decoder: Decoder, beats: float, *, instruments: Iterable[str] = (), temperature: float = 1.0, tempo: float = 100.0,
    seed: int = 0, progress: Progress = no_progress,
) -> Generated:  # fmt: skip
    """Music out of nothing, or 'instrument-informed': after a header of `instruments`, which others may join.

    Raises
    ------
    GenaudioError
        If `beats` is not positive, or the model is of another layout or has no class for an instrument.
    """
    check_published(decoder)
    check_beats(beats)
    asked = tuple(instruments)
    prompt = header(asked, MMT) if asked else np.array([[START_OF_SONG, 0, 0, 0, 0, 0]])
    end = math.ceil(beats * RESOLUTION)
    rng = np.random.default_rng(seed)
    table = decode_table(
        draw_events(decoder, prompt, rng, end=end, temperature=temperature, progress=progress), MMT
    )  # fmt: skip
    tracks = table_to_tracks(table[table['step'] < end])
    for track in tracks:
        track.notes = struck_once(note._replace(duration=min(note.duration, beats - note.beat)) for note in track.notes)
    score = Score(tracks, [Tempo(0.0, tempo)])
    return Generated(score, 0.0, score.n_notes, silent=without_notes(asked, tracks))


def continue_as_published(
    decoder: Decoder, score: Score, beats: float, *, start: float | None = None, temperature: float = 1.0,
    seed: int = 0, progress: Progress = no_progress,
) -> Generated:  # fmt: skip
    """Continue a score after all of it, as the published N-beat continuation does after its first N beats.

    The new part may begin in the very beat of the last note, for beats never go back but positions may.

    Parameters
    ----------
    beats : float
        Quarter notes to add, from the end of the score (or from `start`) on.
    start : float, optional
        Beat that `beats` are counted from; by default the first whole beat at which everything has ended.

    Raises
    ------
    GenaudioError
        If `beats` is not positive, the model is of another layout, or the score has no note that the layout holds, or
        is too long for it.
    """
    check_published(decoder)
    check_beats(beats)
    prompt = encode(score, MMT, end=False)
    rows = prompt[prompt[:, 0] == NOTE]
    if not len(rows):
        raise GenaudioError('The file contains no note of the published layout, which has neither drums nor effects.')
    known = encodable(MMT, score.instruments)
    dropped = tuple(name for name in score.instruments if name not in known)
    origin = first_beat(note_table(score, as_published=True)) / RESOLUTION
    start = float(max(math.ceil(score.end), 1)) if start is None else start
    if start - origin >= MMT.max_beat:
        raise GenaudioError(
            f'The piece is {start - origin:g} beats long; the published layout ends at {MMT.max_beat}. Give less of it.'
        )
    end = math.ceil((start + beats - origin) * RESOLUTION)
    made = draw_events(
        decoder, prompt, np.random.default_rng(seed), end=end, temperature=temperature,
        progress=lambda beat: progress(max(beat + origin - start, 0.0)),
    )  # fmt: skip
    # The rows drawn are those of one song with the prompt, so their beats are the prompt's.
    table = decode_table(made, MMT)
    table = table[table['step'] < end]
    velocity = [note.velocity for track in score.tracks for note in track.notes]
    table['velocity'] = round(sum(velocity) / len(velocity))
    result, new = score.copy(), table_to_tracks(table, offset=origin)
    notes = append_notes(result, new, start + beats, like=score)
    remarks = let_go(result, start)
    if start + beats - origin > MMT.max_beat:
        remarks = [*remarks, f'The published layout ends {MMT.max_beat} beats after the first note: no note is later.']
    begin = float(origin + rows[:, 1].max() - 1)
    return Generated(result, begin, notes, dropped, remarks=tuple(remarks))
