"""Numbers on the command line: out of range, not finite or no number, each is one line that says what it should be."""

import argparse
import importlib

import pytest

from bridge.bench import BENCHES
from bridge.cli import COMMANDS, main
from bridge.settings.stem_knobs import OF_REST
from export.cli import COMMANDS as EXPORTING
from genaudio_core.command_line import place_of, taken
from genaudio_core.commands.cli import COMMANDS as TRAINING
from genaudio_core.commands.fit import TRAINERS
from genaudio_core.errors import GenaudioError

NONSENSE = ['nan', 'inf', '-1e999', '1e999', f'-{10**20}', str(10**20), 'x', '', ' ', '1,5', '0x10']
_MODULES = [
    *(place_of('bridge.commands', name) for name in COMMANDS if name != 'bench'), *BENCHES.values(),
    *(place_of('genaudio_core.commands', name) for name in TRAINING if name != 'fit'), *TRAINERS.values(),
    *(place_of('export.commands', name) for name in EXPORTING),
]  # fmt: skip


def options(module: str) -> list[argparse.Action]:
    parser = argparse.ArgumentParser()
    importlib.import_module(module).add_arguments(parser)
    return [action for action in parser._actions if action.option_strings]


@pytest.mark.parametrize('module', _MODULES)
def test_a_number_out_of_range_is_one_line_everywhere(module):
    for action in options(module):
        assert action.type not in (int, float), f'{action.option_strings[0]} takes any number: give it a range'
        if action.type is None or isinstance(action.type, type) or action.dest in ('device', 'out'):  # words, paths
            continue
        read = action.type
        assert callable(read)
        for text in NONSENSE:
            with pytest.raises(GenaudioError) as caught:
                read(text)
            assert '\n' not in str(caught.value) and action.option_strings[-1] in str(caught.value)


@pytest.mark.parametrize(
    'command',
    [
        ['bench', 'live', '--minutes', 'nan'], ['bench', 'live', '--seed', '-1'], ['bench', 'stems', '--margin', 'inf'],
        ['bench', 'continue', '--threads', '0'], ['bench', 'separate', '--queries', '0'],
        ['bench', 'chaos', '--seed', '-1'], ['separate', 'a.wav', '-q', 'x', '--sharpness', 'nan'],
        ['separate', 'a.wav', '-q', 'x', '--threads', '-1'], ['synth', 'rain', '-o', 'x.wav', '--seed', '-1'],
        ['synth', 'rain', '-o', 'x.wav', '--seconds', '-inf'], ['isolate', '-q', 'x', '--wet', '2'],
        ['isolate', '-q', 'x', '--rest', 'nan'], ['live', 'duet', '--osc', '99999'],
        ['live', 'duet', '--seconds', 'nan'],
        ['live', 'duet', '--seconds', '0'], ['compose', 'x.csv', '--threads', '0'], ['demo', '--seed', '-1'],
        ['pads', 'folder', '--osc', '0'], ['instrument', 'x.vst3', '--channel', '17'],
    ],
)  # fmt: skip
def test_nothing_starts_with_a_number_that_cannot_be(command, capsys):
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert out == '' and err.count('\n') == 1 and f'error: {command[-2]} must be' in err


@pytest.mark.parametrize('device', ['gpu', 'cuda:99', 'tpu', '', 'meta', 'cuda:-1', 'cpu0'])
def test_a_device_that_there_is_not_is_one_line(device, capsys):
    from genaudio_core.commands.cli import main

    assert main(['fit', 'stems', '--sounds', 'x', '--out', 'x', '--device', device]) == 2
    err = capsys.readouterr().err
    assert err.startswith('error: ') and err.count('\n') == 1 and ('--device' in err or 'This machine has no' in err)


def test_a_level_may_be_silence():
    level = taken('--rest', OF_REST['gain'])
    assert level('-inf') == float('-inf') and level('-12.5') == -12.5
    with pytest.raises(GenaudioError):
        level('inf')


@pytest.mark.parametrize(
    ('words', 'says'),
    [
        (['finetune', '--files', 'x.mid', '--out', 'x', '--minutes', 'nan'],
         '--minutes must be a number over 0, at most 527040, not '),
        (['finetune', '--files', 'x.mid', '--out', 'x', '--rate', 'nan'],
         "--rate must be a number over 0, at most 100, not 'nan'"),
        (['fit', 'mmt', '--data', 'x', '--out', 'x', '--seed', '1.5'], '--seed must be a whole number from 0'),
        (['fit', 'stems', '--sounds', 'x', '--out', 'x', '--minutes', 'inf'],
         "--minutes must be a number over 0, at most 527040, not 'inf'"),
        (['attention', 'x', '--data', 'x', '-o', 'x', '--pieces', '0'], '--pieces must be a whole number from 1'),
    ],
)  # fmt: skip
def test_no_training_starts_with_a_number_that_cannot_be(words, says, capsys):
    from genaudio_core.commands.cli import main as train

    assert train(words) == 2
    out, err = capsys.readouterr()
    assert out == '' and err.count('\n') == 1 and f'error: {says}' in err
