"""Recorded drum performances (the Groove MIDI Dataset) as grooves to write on."""

import random
from collections.abc import Iterable
from pathlib import Path

from genaudio_core.command_line import notice
from genaudio_core.errors import GenaudioError
from genaudio_core.score.instruments import DRUM_ALIASES
from genaudio_core.score.notes import Note
from genaudio_core.training.scores.packed_scores import split_by_work
from genaudio_core.training.scores.score_files import find_scores, read_score, work_of

BAR = 4.0  # quarter notes: only 4/4 is taken


class Performances:
    """Whole bars of drummers, by style: of the performances that models train on, never of held-out ones."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._bars: dict[str, list[list[list[Note]]]] = {}
        files = [file for file in find_scores(list(folders)) if '_beat_4-4' in file.name]
        works = [work_of(file.source, file.name) for file in files]
        if not files:
            raise GenaudioError('This folder has no drum performances; give the folder of the Groove MIDI Dataset.')
        for file, split in zip(files, split_by_work(works), strict=True):
            if split:
                continue
            words = Path(file.name).stem.split('_')  # drummer, session, number, style ...
            try:
                tracks = read_score(file).tracks
            except GenaudioError as error:
                notice(f'{file.source}/{file.name} is passed over: {error}')
                continue
            style = words[3].split('-')[0] if len(words) > 3 else ''
            notes = sorted(note for track in tracks if track.is_drum for note in track.notes)
            bars: list[list[Note]] = []
            for note in notes:
                # A stroke a hair before the line belongs to the bar that it opens.
                number = int((note.beat + 0.08) // BAR)
                while len(bars) <= number:
                    bars.append([])
                drum = DRUM_ALIASES.get(note.note, note.note)
                bars[number].append(Note(note.beat - number * BAR, 0.25, drum, note.velocity))
            if len(bars) >= 4:
                self._bars.setdefault(style, []).append(bars)

    def __len__(self) -> int:
        return sum(len(performances) for performances in self._bars.values())

    def has(self, styles: Iterable[str]) -> bool:
        """Whether there is any performance of these styles."""
        return any(style in self._bars for style in styles)

    def draw(self, styles: Iterable[str], n_bars: int, rng: random.Random) -> list[list[Note]]:
        """Return `n_bars` bars in a row of one performance of these styles; a short one comes round again."""
        choice = [bars for style in styles for bars in self._bars.get(style, [])]
        bars = rng.choice(choice)
        first = 4 * rng.randrange(max(1, (len(bars) - n_bars) // 4 + 1))
        span = bars[first : first + n_bars]
        return [span[i % len(span)] for i in range(n_bars)]
