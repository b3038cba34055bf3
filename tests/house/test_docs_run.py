"""What the pages tell people to type does what they say: their commands are run, in order, on files of the same names.

Those of docs/training make the bundled models: days of work on data that is not here.
"""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from documents import PAGES, ROOT, commands

from bridge import cli
from export import cli as export_cli
from genaudio_core.commands import cli as train_cli
from genaudio_core.files import presets_dir
from genaudio_core.score.notes import Meter, Note, Score, Tempo, Track
from genaudio_core.score.reading import write_midi
from genaudio_core.sound.audio_files import write_audio

PROGRAMS = {'genaudio': cli, 'genaudio-train': train_cli, 'genaudio-export': export_cli}
# What is not run here, and why.
ELSEWHERE = {
    r'^genaudio (live|mcp|demo) ?': 'plays until it is stopped: tests/live, tests/assistant, tests/commands',
    '://|--ray': 'needs a server or a cluster: tests/jobs',
    '--encoder|--variants|clip.npz|runs/mine -o|mine.safetensors': 'needs an encoder that others made: tests/query',
    'import clipsep best_model.pth': 'needs a published checkpoint: tests/export',
    'data/|~/scores|my/': 'needs data: tests/models, tests/training',
}
# The same with less work.
LESS = {
    r'(finetune .*)--minutes \d+': r'\1--minutes 0.02 --keep', r'--takes \d+': '--takes 2',
    r'--workers \d+': '--workers 2', r'--beats (32|64)': '--beats 16',
}  # fmt: skip


def left_out(line: str) -> bool:
    return any(re.search(pattern, line) for pattern in ELSEWHERE)


TOLD = [page for page in PAGES if page.parent.name != 'training' and commands(page)]
RUN = [page for page in TOLD if not all(map(left_out, commands(page)))]


def tune(bars: int = 12) -> Score:
    melody = [Note(i / 2, 0.5, 60 + (0, 2, 4, 5, 7, 5, 4, 2)[i % 8], 70 + i % 16) for i in range(8 * bars)]
    chords = [Note(4 * bar, 4.0, note, 60) for bar in range(bars) for note in (48, 52, 55)]
    return Score([Track(0, notes=sorted(melody + chords))], [Tempo(0.0, 120.0)], [Meter(0.0, 4, 4)])


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with all that the pages take for granted."""
    monkeypatch.chdir(tmp_path)
    for name in ('tune', 'loop', 'phrase', 'chords', 'song', 'piano', 'phrases/a', 'phrases/b', 'melodies/a'):
        Path(name).parent.mkdir(exist_ok=True)
        write_midi(tune(), f'{name}.mid')
    for i in range(6):
        Path('my-songs').mkdir(exist_ok=True)
        write_midi(tune(4 + i), f'my-songs/{i if i else "first"}.mid')
    beat = np.random.default_rng(0).standard_normal((2, 44100)).astype(np.float32)
    beat *= np.exp(-(np.arange(44100) % 11025) / 2000).astype(np.float32) / 10
    for name in ('song.wav', 'song.flac', 'songs/one.wav', 'songs/more/two.flac'):
        Path(name).parent.mkdir(exist_ok=True, parents=True)
        write_audio(name, beat, 44100)
    Path('songs.txt').write_text('songs/one.wav\nsongs/more/two.flac\n')
    Path('words.txt').write_text('rain\nsnare drum\n')
    Path('scripts').mkdir()
    script = 'Audio Type,Layout,Content,Duration\nSound effect,Foreground,bell,0.5\n'
    for name in ('news.csv', 'scripts/one.csv', 'scripts/two.csv'):
        Path(name).write_text(script)
    Path('mine.toml').write_text((presets_dir() / 'duet.toml').read_text())
    return tmp_path


@pytest.mark.parametrize('page', RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_do_what_the_page_says(page, here):
    for line in commands(page):
        if left_out(line):
            continue
        for more, less in LESS.items():
            line = re.sub(more, less, line)
        program, *words = shlex.split(line, comments=True)
        assert PROGRAMS[program].main(words) == 0, line
        outputs = [words[i + 1] for i, word in enumerate(words) if word in ('-o', '--out', '--picture')]
        for name in outputs:
            path = Path(name)
            made = list(path.parent.glob(f'{path.stem}*'))  # takes are numbered
            assert made and all(one.is_dir() or one.stat().st_size for one in made), line


def test_each_reason_to_leave_a_command_out_is_needed():
    lines = [line for page in TOLD for line in commands(page)]
    assert [pattern for pattern in ELSEWHERE if not any(re.search(pattern, line) for line in lines)] == []
