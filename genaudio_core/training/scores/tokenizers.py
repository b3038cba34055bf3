"""REMI+ and MMM as words of MidiTok: what the baselines of the MMT paper read and write.

Notable choices

* As the paper's: 12 steps to the quarter, programs, no velocity, no tempo, no chords. Drums stay in, as the live
  layout keeps them; the published baselines drop them.
* REMI+ writes bar, position, program, pitch, duration in one stream; MMM writes track after track with time shifts,
  note-on and note-off (MidiTok's 'MIDILike' tracks), as the original does.
* The vocabularies are MidiTok's (401 and 482 words), not those of the paper's own scripts (1,264 and 372): theirs
  number the beats of a song, MidiTok's REMI counts bars by their tokens.
"""

from typing import Any

import numpy as np

from genaudio_core.errors import GenaudioError, did_you_mean
from genaudio_core.music.events import DRUM_PROGRAM, NOTE_TYPE
from genaudio_core.music.layouts import RESOLUTION

NAMES = ('remi', 'mmm')
_SPECIAL = ('PAD', 'BOS', 'EOS')
# Exact up to a whole note, thirds of a beat up to three, beats up to eight: MMT's longest duration is 32 beats.
_BEAT_STEPS = {(0, 4): RESOLUTION, (4, 12): 3, (12, 32): 1}


class Tokenizer:
    """Note tables to words and back.

    Raises
    ------
    GenaudioError
        If there is no tokenizer of this name.
    """

    def __init__(self, name: str):
        if name not in NAMES:
            raise GenaudioError(f"Unknown tokenizer '{name}'.{did_you_mean(name, NAMES)} Known: {', '.join(NAMES)}.")
        import miditok

        config: dict[str, Any] = {
            'pitch_range': (0, 127), 'beat_res': _BEAT_STEPS, 'special_tokens': list(_SPECIAL),
            'use_velocities': False, 'use_programs': True, 'programs': list(range(-1, 128)),
            'use_note_duration_programs': list(range(-1, 128)), 'use_pitchdrum_tokens': False,
            'use_chords': False, 'use_rests': False, 'use_tempos': False, 'use_time_signatures': False,
        }  # fmt: skip
        if name == 'remi':
            made = miditok.TokenizerConfig(**config, one_token_stream_for_programs=True)
            self._tokenizer: Any = miditok.REMI(made)
        else:
            self._tokenizer = miditok.MMM(miditok.TokenizerConfig(**config, base_tokenizer='MIDILike'))
        self.name = name
        self.begin, self.end = (self._tokenizer[f'{word}_None'] for word in ('BOS', 'EOS'))

    def __len__(self) -> int:
        return len(self._tokenizer)

    def word(self, token: int) -> str:
        """A token as MidiTok spells it, such as ``Pitch_60``."""
        return self._tokenizer[token]

    def encode(self, table: np.ndarray, *, end: bool) -> np.ndarray:
        """Tokens (n,) int64 of a note table whose step 0 is a bar line; `end` closes with end-of-song."""
        sequence = self._tokenizer.encode(_to_symusic(table)).ids
        return np.array([self.begin, *sequence, *([self.end] if end else [])], np.int64)

    def window(self, table: np.ndarray, length: int, *, ends: bool) -> np.ndarray:
        """Tokens (n,) of the beginning of a note table (n,), for sequences of `length` tokens.

        MMM writes track after track, so it gets as many notes as fit with all their tracks, and always an end;
        REMI+ is simply cut.
        """
        if self.name == 'mmm':
            return self.encode(table[: max(length // 3, 1)], end=True)
        return self.encode(table[:length], end=ends and len(table) <= length)

    def decode(self, tokens: list[int]) -> np.ndarray:
        """Note table (n,) of tokens, sorted by step; what makes no sense to the tokenizer is left out."""
        special = {self._tokenizer[f'{word}_None'] for word in _SPECIAL}
        score = self._tokenizer.decode([token for token in tokens if token not in special])
        scale = RESOLUTION / score.ticks_per_quarter
        tables = []
        for track in score.tracks:
            table = np.zeros(len(track.notes), NOTE_TYPE)
            columns = track.notes.numpy()
            table['step'] = np.rint(columns['time'] * scale)
            table['duration'] = np.rint(columns['duration'] * scale)
            table['pitch'] = columns['pitch']
            table['velocity'] = 64
            table['program'] = DRUM_PROGRAM if track.is_drum else track.program
            tables.append(table)
        notes = np.concatenate(tables) if tables else np.empty(0, NOTE_TYPE)
        return notes[np.lexsort((notes['pitch'], notes['step']))]


def _to_symusic(table: np.ndarray) -> Any:
    import symusic

    score: Any = symusic.Score(RESOLUTION)
    for program in np.unique(table['program']):
        rows = table[table['program'] == program]
        track: Any = symusic.Track(program=int(program) % 128, is_drum=bool(program == DRUM_PROGRAM))
        track.notes = symusic.Note.from_numpy(
            rows['step'].astype(np.int32), np.maximum(rows['duration'], 1).astype(np.int32),
            rows['pitch'].astype(np.int8), np.full(len(rows), 64, np.int8),
        )  # fmt: skip
        score.tracks.append(track)
    return score


def note_starts(tokenizer: Tokenizer) -> np.ndarray:
    """Boolean (vocabulary,): words that begin a note, so that nats can be told per note."""
    return np.array([tokenizer.word(i).startswith(('Pitch_', 'NoteOn_')) for i in range(len(tokenizer))])
