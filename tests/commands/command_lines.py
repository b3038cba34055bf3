"""Every command of the three programs, found in its own parser, and good values for what it reads."""

import argparse
import functools
import importlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tiny_data import make_data
from tiny_sounds import tiny_sounds
from tiny_synthesis import write_pack

from bridge import cli
from export import cli as export_cli
from genaudio_core.command_line import _Parser, place_of
from genaudio_core.commands import cli as train_cli
from genaudio_core.files import presets_dir
from genaudio_core.score.notes import Note, Score, Track
from genaudio_core.score.reading import write_midi
from genaudio_core.sound.audio_files import write_audio
from genaudio_core.training.queries.space import QuerySpace

PROGRAMS = {
    'genaudio': (cli, 'bridge.commands'), 'genaudio-train': (train_cli, 'genaudio_core.commands'),
    'genaudio-export': (export_cli, 'export.commands'),
}  # fmt: skip
MODELS = presets_dir() / 'models'
# What is written, by the name that argparse gives it. What is not here is read.
FILES = {'out', 'output', 'picture', 'report', 'figure', 'variants', 'sound'}
FOLDERS = {'save', 'rolls', 'keep', 'to'}
OUT_IS_A_FOLDER = {
    'separate', 'prepare-sounds', 'prepare-bands', 'write-bands', 'attention', 'finetune', 'compare-separation', 'fit',
}  # fmt: skip
# What names something that is read although its type is not a path.
UNTYPED = {'model', 'music_model', 'sound_model', 'preset', 'plugin', 'what', 'files', 'input', 'script', 'out'}
MORE = {  # what else a line needs, and what keeps short the work of a line that should not have been taken
    'separate': ['-q', 'violin'], 'synth': ['rain'], 'continue': ['--beats', '1'], 'generate': ['--beats', '1'],
    'accompany': ['--instruments', 'flute'], 'arrange': ['--instruments', 'violin,cello'],
    'infill': ['--bars', '2', '--candidates', '1'], 'one': ['--kind', 'decoder'], 'import': ['mmt'],
    'install': ['install'], 'plugin': ['install'], 'demo': ['--fast'], 'isolate': ['--seconds', '1', '-q', 'drums'],
    'live': ['--seconds', '1'], 'pads': ['--seconds', '1'], 'instrument': ['--seconds', '1'],
    'evaluate': ['--samples', '0', '--pieces', '1'], 'finetune': ['--minutes', '0.01'], 'calibrate': ['-n', '1'],
    'write-bands': ['-n', '1', '--workers', '1'], 'prepare': ['--workers', '1'], 'compare-separation': ['-n', '0'],
}  # fmt: skip


class Argument(NamedTuple):
    """A file or folder on the command line of one command."""

    dest: str
    option: str  # '' for one by its place
    is_written: bool
    is_folder: bool  # of what is written
    is_required: bool


Words = tuple[str, ...]  # a program, a command, a subcommand


@functools.cache
def commands() -> dict[Words, argparse.ArgumentParser]:
    """The parser of each command."""

    def leaves(parser: argparse.ArgumentParser, words: Words) -> Iterator[tuple[Words, argparse.ArgumentParser]]:
        inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        if not inner:
            yield words, parser
        for action in inner:
            for name, one in action.choices.items():
                yield from leaves(one, (*words, name))

    found = {}
    for program, (module, package) in PROGRAMS.items():
        for name in module.COMMANDS:
            parser = _Parser(prog=name)
            importlib.import_module(place_of(package, name)).add_arguments(parser)
            found |= leaves(parser, (program, name))
    return found


@functools.cache
def arguments(words: Words) -> list[Argument]:
    """What names files and folders on the command line of `words`."""
    found = []
    for action in commands()[words]._actions:
        name = action.dest
        if action.choices or action.nargs == 0 or not (action.type is Path or name in UNTYPED):
            continue
        is_folder = name in FOLDERS or (name == 'out' and not OUT_IS_A_FOLDER.isdisjoint(words))
        found.append(Argument(
            name, action.option_strings[0] if action.option_strings else '', name in FILES or name in FOLDERS,
            is_folder, action.required and action.nargs != '?',
        ))  # fmt: skip
    return found


def line(words: Words, given: dict[str, str]) -> list[str]:
    """The arguments of the program for the command `words`, with `given` for what names files."""
    options, places = [], []
    for argument in arguments(words):
        if argument.dest in given and argument.option:
            long = argument.option.startswith('--')
            options.append(f'{argument.option}{"=" if long else ""}{given[argument.dest]}')
        elif argument.dest in given:
            places.append(given[argument.dest])
    steps = [name for action in commands()[words]._actions for name in action.option_strings if name == '--steps']
    more = [*MORE.get(words[1], []), *(word for name in steps if words[1] != 'synth' for word in (name, '1'))]
    before = [word for word in more if not word.startswith('-')][:1] if words[1] in ('import', 'plugin') else []
    rest = more[len(before) :]
    return [*words[1:], *before, *options, *rest, *(['--'] if any(p.startswith('-') for p in places) else []), *places]


class Goods:
    """Good values for what commands read, made in `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder
        rng = np.random.default_rng(0)
        for name in ('midis', 'fiddle', 'own', 'own/violin', 'recordings', 'run'):
            (folder / name).mkdir()
        for name in ('good.mid', 'midis/a.mid'):
            write_midi(Score([Track(0, notes=[Note(i / 2, 0.5, 60 + i % 5) for i in range(64)])]), folder / name)
        for name in ('good.wav', 'fiddle/A4.wav', 'own/violin/a.wav'):
            write_audio(folder / name, (rng.standard_normal((1, 22050)) * 0.1).astype(np.float32), 44100)
        (folder / 'recordings' / 'manifest.csv').write_text('file,label,need,source,seconds\n')
        (folder / 'script.csv').write_text('Audio Type,Content\nSound effect,good.wav\n')
        (folder / 'manifest.toml').write_text('')
        for name in ('plugin.vst3', 'picture.png', 'font.sf2', 'weights.pt'):
            (folder / name).write_bytes(b'x')
        make_data(folder / 'scores.safetensors')
        tiny_sounds(folder / 'sounds')
        write_pack(folder / 'mels.safetensors')
        concepts = rng.standard_normal((4, 128)).astype(np.float32)
        QuerySpace(np.zeros(0), np.zeros((0, 0)), concepts, ['piano', 'drums', 'violin', 'flute']).save(
            folder / 'space.npz'
        )
        for name in ('live.safetensors', 'run/best.safetensors'):
            shutil.copy(MODELS / 'arranger.safetensors', folder / name)
        (folder / 'run' / 'config.json').write_text('{}')

    def of(self, words: Words, dest: str) -> str:
        """A good value for argument `dest` of the command `words`; KeyError where there is none yet."""
        special = {
            ('separate', 'files'): 'good.wav', ('finetune', 'files'): 'good.mid', ('verify', 'files'): 'live.onnx',
            ('clipsonic', 'data'): 'mels.safetensors', ('synth-prior', 'data'): 'mels.safetensors',
            ('evaluate-synthesis', 'data'): 'mels.safetensors', ('attention', 'model'): 'live.safetensors',
            ('pads', 'what'): 'own', ('bench', 'input'): 'good.wav', ('evaluate-arranger', 'model'): 'arranger',
            ('isolate', 'preset'): 'drum-practice', ('write-bands', 'grooves'): 'midis',
            ('separate', 'model'): 'separator.onnx', ('synth', 'model'): 'synth-denoiser.onnx',
        }  # fmt: skip
        general = {
            'input': 'good.mid', 'data': 'scores.safetensors', 'sounds': 'sounds', 'space': 'space.npz',
            'script': 'script.csv', 'recordings': 'recordings', 'own': 'own', 'manifest': 'manifest.toml',
            'checkpoint': 'live.safetensors', 'model': 'live', 'preset': 'duet', 'plugin': 'plugin.vst3',
            'example': 'good.wav', 'image': 'picture.png', 'folders': 'midis', 'scores': 'midis', 'run': 'run',
            'soundfont': 'font.sf2', 'encoder': 'weights.pt', 'start_from': 'live.safetensors',
            'vocoder': 'synth-vocoder.onnx', 'replay': 'scores.safetensors', 'fonts': 'font.sf2',
        }  # fmt: skip
        value = special.get((words[-1], dest)) or special.get((words[1], dest)) or general[dest]
        if (MODELS / value).exists():
            return str(MODELS / value)
        return str(self.folder / value) if (self.folder / value).exists() else value


def good_line(words: Words, goods: Goods, tmp_path: Path) -> dict[str, str]:
    """What the command needs, all of it good."""
    given = {}
    for argument in arguments(words):
        if argument.is_required:
            suffix = {'synth': 'wav', 'compose': 'wav', 'prepare-font': 'sf2'}.get(words[1], 'mid')
            made = str(tmp_path / ('made' if argument.is_folder else f'made.{suffix}'))
            given[argument.dest] = made if argument.is_written else goods.of(words, argument.dest)
    return given
