"""What holds no numbers is never exported, and no source of an export is forgotten."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from small_decoders import checkpoint

from export.cli import main
from export.job import _check_weights, export
from export.kinds import KINDS, SOURCES, ParityError, strays
from export.kinds.sources import NO_PART, ROOT
from export.manifest import Job
from export.up_to_date import SIDE_FILE, is_up_to_date
from genaudio_core.errors import GenaudioError
from genaudio_core.files import presets_dir
from genaudio_core.inference.model_card import read_card, without_card
from genaudio_core.training.loops import run_folder
from genaudio_core.training.loops.checkpoints import read_checkpoint, save_checkpoint
from genaudio_core.training.loops.loop import Trainee, train
from genaudio_core.training.loops.optimizers import Optimizers
from genaudio_core.training.loops.run_folder import Run
from genaudio_core.training.loops.time_limit import TimeLimit

BUNDLED = {'query-audio': 'query-audio', 'query-text': 'query-text', 'synth-prior': 'synth-prior'}


def poisoned(path: Path, name: str, change) -> None:
    """A bundled checkpoint whose first matrix is changed."""
    with safe_open(presets_dir() / 'models' / f'{name}.safetensors', 'np') as file:
        weights, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
    key = next(key for key, array in weights.items() if array.ndim > 1 and array.dtype.kind == 'f')
    weights[key] = weights[key].copy()
    change(weights[key])
    save_file(weights, path, metadata)


@pytest.mark.parametrize('value', [float('nan'), float('inf'), float('-inf')])
@pytest.mark.parametrize('kind', BUNDLED)
def test_weights_that_are_no_numbers_are_not_exported(tmp_path, capsys, kind, value):
    poisoned(tmp_path / 'bad.safetensors', BUNDLED[kind], lambda array: array.flat.__setitem__(3, value))
    arguments = ['one', str(tmp_path / 'bad.safetensors'), str(tmp_path / 'bad.onnx'), '--kind', kind]
    assert main(arguments) == 2
    assert 'NaN or infinite weights' in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ['bad.safetensors']


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_outputs_that_are_no_numbers_are_no_parity(tmp_path, monkeypatch, value):
    """The weights are numbers; what they make is not."""
    from types import SimpleNamespace

    from export.kinds import Options, find_kind, query

    kind = find_kind('query-audio')
    source = kind.load(presets_dir() / 'models' / 'query-audio.safetensors')
    session = SimpleNamespace(run=lambda _, feed: [np.full((len(feed['energy']), 128), value, np.float32)])
    monkeypatch.setattr(query, 'load_model', lambda *_, **__: SimpleNamespace(session=session))
    with pytest.raises(ParityError, match='stray'):
        kind.check(source, tmp_path / 'x.onnx', Options())


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_no_difference_is_found_only_between_numbers(bad):
    good = np.ones(3)
    assert strays(good, good) == 0 and strays(good, 2 * good, relative=True) == 0.5
    for pair in ((good * bad, good), (good, good * bad), (good * bad, good * bad), (good, np.ones(4))):
        assert strays(*pair) == np.inf and not max(0.0, strays(*pair)) <= 1
        assert strays(*pair, relative=True) == np.inf


def test_a_graph_with_a_weight_that_is_none_is_refused():
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.array([1, np.nan], np.float16), 'w')
    node = helper.make_node('Identity', ['w'], ['y'])
    graph = helper.make_graph([node], 'g', [], [helper.make_tensor_value_info('y', TensorProto.FLOAT16, [2])], [weight])
    with pytest.raises(ParityError, match="'w'"):
        _check_weights(helper.make_model(graph).SerializeToString())


def test_a_loss_that_is_none_is_never_the_best(tmp_path):
    model, best = torch.nn.Linear(2, 2), tmp_path / 'best.safetensors'
    found = iter([float('nan'), 1.0, float('nan')])

    def kept(steps: int) -> float | None:
        trainee = Trainee(
            model, {}, {}, lambda step, rank: torch.ones(1, 2), lambda x: (model(x).sum(), 1, {}),
            lambda network: {'valid': next(found)}, lambda step, share: 0.1, Optimizers(model), watch='valid',
        )  # fmt: skip
        train(trainee, tmp_path, TimeLimit(), steps=steps, every_steps=1)
        return read_checkpoint(best)[2]['step'] if best.exists() else None

    assert [kept(1), kept(2), kept(3)] == [None, 2, 2]


def test_a_checkpoint_that_holds_none_is_not_loaded(tmp_path):
    model = torch.nn.Linear(2, 2)
    with torch.no_grad():
        model.bias[1] = float('nan')
    save_checkpoint(tmp_path / 'x.safetensors', model, {})
    with pytest.raises(GenaudioError, match="'bias'"):
        read_checkpoint(tmp_path / 'x.safetensors')


# --- sources ---


LOADED = """
import importlib.machinery, sys, types
from unittest.mock import MagicMock

class NoTraining:  # weights are hashed themselves: what trains them is no source
    def find_spec(self, name, path, target=None):
        if name.startswith('genaudio_core.training'):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__getattr__ = lambda name: MagicMock()
        return module
    def exec_module(self, module):
        pass

sys.meta_path.insert(0, NoTraining())
import MODULE
for name, module in list(sys.modules.items()):
    if name.split('.')[0] in ('export', 'genaudio_core') and 'genaudio_core.training' not in name:
        print(module.__file__)
"""


@pytest.mark.parametrize('kind', KINDS)
def test_what_an_export_imports_is_among_its_sources(kind):
    """By what python loads, not by how the list is made."""
    code = LOADED.replace('MODULE', KINDS[kind].partition(':')[0])
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {str(Path(line).relative_to(ROOT)) for line in done.stdout.splitlines()}
    said = {name for name in loaded if name.startswith(NO_PART)}  # what reads, writes and tells
    assert {name for name in loaded - said if not name.endswith('__init__.py')} <= set(SOURCES[kind])


def test_what_is_baked_into_a_graph_is_a_source_of_it():
    for kind in ('clipsep', 'stream_separator', 'query-audio'):
        assert 'genaudio_core/sound/spectrogram.py' in SOURCES[kind]
    assert 'genaudio_core/query/own_encoder.py' in SOURCES['clipsep']
    assert (
        'genaudio_core/sound/mel.py' in SOURCES['synth-vocoder']
        and 'genaudio_core/music/events.py' in SOURCES['decoder']
    )


def test_a_source_that_changes_nothing_leaves_the_file_as_it_is(tmp_path):
    (tmp_path / 'a.safetensors').write_bytes(checkpoint('live').read_bytes())
    job = Job('live', 'decoder', tmp_path / 'a.safetensors', tmp_path / 'live.onnx', licence='MIT')
    export(job, 'first')
    before = job.output.read_bytes()
    assert is_up_to_date(job, 'first') and not (tmp_path / SIDE_FILE).exists()
    export(job, 'second')
    assert job.output.read_bytes() == before
    assert is_up_to_date(job, 'second') and not is_up_to_date(job, 'third')
    # Another licence is another card: the same graph in a new file, which the note is not about.
    other = Job('live', 'decoder', tmp_path / 'a.safetensors', tmp_path / 'live.onnx', licence='CC0')
    export(other, 'third')
    assert read_card(job.output).licence == 'CC0' and without_card(job.output.read_bytes()) == without_card(before)
    assert is_up_to_date(other, 'third') and not is_up_to_date(job, 'second')


# --- saves ---


def weights_of(value):
    model = torch.nn.Linear(4, 4)
    with torch.no_grad():
        model.weight.fill_(value)
    return model


@pytest.mark.parametrize('file', ['save_file', 'torch.save', 'os.replace'])
def test_a_crash_between_the_files_of_a_save_leaves_the_weights_of_its_step(tmp_path, monkeypatch, file):
    model = weights_of(1.0)
    run = Run(tmp_path / 'run', {'a': 1})
    run.save({'step': 100, 'weights': model.state_dict()})
    with torch.no_grad():
        model.weight.fill_(2.0)
    where = {'save_file': run_folder, 'torch.save': torch, 'os.replace': __import__('os')}[file]
    with monkeypatch.context() as patch:

        def crash(*_, **__):
            raise KeyboardInterrupt

        patch.setattr(where, file.split('.')[-1], crash)
        with pytest.raises(KeyboardInterrupt):
            run.save({'step': 200, 'weights': model.state_dict()})
    state = Run(tmp_path / 'run', {'a': 1}).load()
    assert state['weights']['weight'][0, 0].item() == {100: 1.0, 200: 2.0}[state['step']]


def test_an_older_save_of_two_steps_is_refused(tmp_path):
    model = weights_of(1.0)
    run = Run(tmp_path / 'run', {'a': 1})
    run.save({'step': 100, 'weights': model.state_dict()})
    state = torch.load(tmp_path / 'run' / 'last.optimizer', weights_only=True)
    del state['weights']
    torch.save(state, tmp_path / 'run' / 'last.optimizer')
    assert Run(tmp_path / 'run', {'a': 1}).load()['step'] == 100
    torch.save(state | {'step': 200}, tmp_path / 'run' / 'last.optimizer')
    with pytest.raises(GenaudioError, match='cut off while saving'):
        Run(tmp_path / 'run', {'a': 1}).load()
