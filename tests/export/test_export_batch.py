import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from small_decoders import checkpoint, file

from export import batch
from export.batch import export_all
from export.cli import main
from export.commands.verify import _job
from export.job import Result, _check_recorded, compare_weights, verify, weights_of
from export.kinds import KINDS, SOURCES
from export.manifest import Fault, Job, read_manifest
from export.up_to_date import is_up_to_date, source_hash
from genaudio_core.errors import GenaudioError
from genaudio_core.files import presets_dir
from genaudio_core.inference.model_card import read_card, read_model, without_card, write_model

ROW = '[[model]]\nname = "{name}"\nkind = "decoder"\ncheckpoint = "{checkpoint}"\n'


def manifest(folder, text):
    path = folder / 'manifest.toml'
    path.write_text(text)
    return path


def jobs(folder, text):
    return read_manifest(manifest(folder, text))


def test_paths_are_relative_to_the_manifest(tmp_path):
    (job,), faults = jobs(tmp_path, ROW.format(name='a', checkpoint='../runs/a.safetensors') + 'licence = "CC0"\n')
    assert (job.checkpoint, job.output) == (tmp_path / '../runs/a.safetensors', tmp_path / 'a-fp32.onnx')
    assert job.licence == 'CC0' and not faults


def test_variants_make_files_of_their_own(tmp_path):
    made, _ = jobs(tmp_path, ROW.format(name='a', checkpoint='c') + 'variants = ["fp32", "int8"]\nheld_out = "h"\n')
    assert [job.output.name for job in made] == ['a-fp32.onnx', 'a-int8.onnx']
    made, _ = jobs(tmp_path, ROW.format(name='a', checkpoint='c') + 'variants = ["int8"]\nfile = "live.onnx"\n')
    assert made[0].output.name == 'live.onnx'


@pytest.mark.parametrize(
    ('line', 'why'),
    [
        ('varients = ["fp32"]', "unknown key 'model.varients'. Did you mean 'variants'"),
        ('variants = ["int9"]', "'int9' is not one of fp32, fp16, int8. Did you mean 'int8'"),
        ('variants = []', 'must be a list of names, at least 1'),
        ('variants = ["fp32", "int8"]\nfile = "x.onnx"', "'file' goes with one variant"),
        ('file = "x.pt"', 'must end in .onnx'),
        ('target = "tpu"', "target must be one of cpu, cuda, not 'tpu'"),
        ('max_loss = "much"', "max_loss must be a number, 0 or more, not 'much'"),
        ('licence = 3', 'licence must be text, not 3'),
    ],
)
def test_a_bad_row_is_told_and_the_others_go_on(tmp_path, line, why):
    text = ROW.format(name='bad', checkpoint='c') + line + '\n' + ROW.format(name='good', checkpoint='c')
    made, faults = jobs(tmp_path, text)
    assert [job.name for job in made] == ['good']
    assert [fault.label for fault in faults] == ['bad'] and why in faults[0].why


def test_rows_without_kind_or_with_an_unknown_one(tmp_path):
    _, faults = jobs(tmp_path, '[[model]]\nname = "x"\n[[model]]\nname="y"\nkind="decodr"\ncheckpoint="c"\n')
    assert 'kind is missing' in faults[0].why and "Did you mean 'decoder'" in faults[1].why


def test_two_rows_cannot_write_one_file(tmp_path):
    made, faults = jobs(tmp_path, 2 * ROW.format(name='a', checkpoint='c'))
    assert len(made) == 1 and 'already the file of' in faults[0].why


@pytest.mark.parametrize('text', ['', 'x = 1', '[[model', 'model = 3', '\x00'])
def test_a_manifest_that_is_none(tmp_path, text):
    with pytest.raises(GenaudioError) as error:
        jobs(tmp_path, text)
    assert '\n' not in str(error.value)
    with pytest.raises(GenaudioError, match='Cannot read'):
        read_manifest(tmp_path / 'none.toml')


def test_every_kind_names_files_that_exist():
    from export.up_to_date import _ALWAYS, _ROOT

    assert set(SOURCES) == set(KINDS)
    for name in (*_ALWAYS, *(source for sources in SOURCES.values() for source in sources)):
        assert (_ROOT / name).is_file(), name


def test_what_makes_a_file_out_of_date(tmp_path):
    job = Job('live', 'decoder', checkpoint('live'), tmp_path / 'live.onnx')
    wanted = source_hash(job)
    assert not is_up_to_date(job, wanted)  # no file yet
    model = read_model(file('live'))
    write_model(job.output, model.data, type(model.card)(**{**model.card.__dict__, 'source_hash': wanted}))
    assert is_up_to_date(job, wanted)
    for changed in (
        Job('live', 'decoder', checkpoint('mmt'), job.output),
        Job('live', 'decoder', checkpoint('live'), job.output, variant='fp16'),
        Job('live', 'decoder', checkpoint('live'), job.output, licence='other'),
    ):
        assert not is_up_to_date(job, source_hash(changed))
    job.output.write_bytes(job.output.read_bytes()[:-9])
    assert not is_up_to_date(job, wanted)  # damaged


def test_batch_skips_fails_and_goes_on(tmp_path, capsys):
    (tmp_path / 'a.safetensors').write_bytes(checkpoint('live').read_bytes())
    (tmp_path / 'broken.safetensors').write_bytes(b'no checkpoint')
    text = ROW.format(name='a', checkpoint='a.safetensors') + ROW.format(name='gone', checkpoint='gone.safetensors')
    path = manifest(tmp_path, text + ROW.format(name='broken', checkpoint='broken.safetensors') + 'x = 1\n')
    made, faults = read_manifest(path)
    assert isinstance(faults[0], Fault)
    made.append(Job('broken', 'decoder', tmp_path / 'broken.safetensors', tmp_path / 'broken-fp32.onnx'))
    model = read_model(file('live'))
    done = type(model.card)(**{**model.card.__dict__, 'source_hash': source_hash(made[0])})
    write_model(made[0].output, model.data, done)
    results = export_all(made, faults)  # one process, for the broken one
    assert [r.state for r in results] == ['up to date', 'failed', 'failed', 'failed']
    assert 'gone.safetensors does not exist' in results[1].why and 'not a safetensors checkpoint' in results[2].why
    assert not (tmp_path / 'broken-fp32.onnx').exists()
    assert main(['all', str(path), '--only', 'a', '--json']) == 0
    assert json.loads(capsys.readouterr().out)['results'][0]['state'] == 'up to date'
    assert main(['all', str(path), '--only', 'gone', '--json']) == 1
    assert main(['all', str(path), '--only', 'b', '--json']) == 2


def test_a_checkpoint_that_was_written_anew_meanwhile_is_not_taken_for_the_one_before(tmp_path):
    (tmp_path / 'a.safetensors').write_bytes(checkpoint('live').read_bytes())
    (job,), _ = jobs(tmp_path, ROW.format(name='a', checkpoint='a.safetensors'))
    wanted = source_hash(job)
    job.checkpoint.write_bytes(checkpoint('mmt').read_bytes())
    result = batch._work((job, wanted))
    assert result.state == 'failed' and 'has changed meanwhile' in result.why and not job.output.exists()


def killed_at_b(task):
    job, _ = task
    if job.name == 'b':
        os.kill(os.getpid(), signal.SIGKILL)  # as the system does where memory ends
    return Result(job.label, str(job.output), 'exported')


def test_a_worker_that_is_killed_costs_its_own_model_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(batch, '_work', killed_at_b)
    (tmp_path / 'a.safetensors').write_bytes(checkpoint('live').read_bytes())
    path = manifest(tmp_path, ''.join(ROW.format(name=name, checkpoint='a.safetensors') for name in 'abcd'))
    assert main(['all', str(path), '--workers', '2', '--json']) == 1
    shown = capsys.readouterr()
    states = [result['state'] for result in json.loads(shown.out)['results']]
    assert states == ['exported', 'failed', 'exported', 'exported']
    assert sum('its process ended' in line for line in shown.err.splitlines()) == 1 and 'Traceback' not in shown.err


def test_a_batch_with_nothing_to_do_loads_no_torch(tmp_path):
    (tmp_path / 'a.safetensors').write_bytes(checkpoint('live').read_bytes())
    path = manifest(tmp_path, ROW.format(name='a', checkpoint='a.safetensors'))
    (job,), _ = read_manifest(path)
    model = read_model(file('live'))
    write_model(job.output, model.data, type(model.card)(**{**model.card.__dict__, 'source_hash': source_hash(job)}))
    code = (
        'import sys; from export.cli import main; '
        f'code = main(["all", {str(path)!r}, "--json"]); '
        'sys.exit(code or "torch" in sys.modules or "onnxruntime" in sys.modules)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)['exported'] == 0


def scaled(path, target, tensor: int, factor: float = 1.01) -> str:
    """A copy of a model with one of its tensors of numbers scaled, and a hash that fits; returns the tensor's name."""
    card, proto = read_card(path), onnx.load_model_from_string(read_model(path, read_card(path).kind).data)
    weights = [w for w in proto.graph.initializer if numpy_helper.to_array(w).dtype.kind == 'f'
               and numpy_helper.to_array(w).any()]  # fmt: skip
    chosen = weights[tensor % len(weights)]
    array = numpy_helper.to_array(chosen)
    chosen.CopyFrom(numpy_helper.from_array((array * factor).astype(array.dtype), chosen.name))
    write_model(target, without_card(proto.SerializeToString()), card)
    return chosen.name


BUNDLED = sorted(path.name for path in (presets_dir() / 'models').glob('*.onnx'))


@pytest.mark.parametrize('name', BUNDLED)
def test_any_one_tensor_scaled_is_noticed_in_every_bundled_model(name):
    """Also those of 8 bits, and the steps of their blocks; what a graph counts with is no weight."""
    good = weights_of((presets_dir() / 'models' / name).read_bytes())
    assert compare_weights(good, good) == 0
    kinds = set()
    for tensor, array in good.items():
        if array.dtype.kind == 'b' or (array.dtype.kind in 'iu' and array.dtype.itemsize > 1) or not array.any():
            continue
        changed = array * 1.01 if array.dtype.kind == 'f' else np.rint(array * 1.01).clip(*limits(array.dtype))
        kinds.add(array.dtype.kind)
        with pytest.raises(GenaudioError, match=re.escape(tensor)):
            compare_weights({tensor: changed.astype(array.dtype)}, {tensor: array})
    assert kinds == ({'f', 'u'} if name == 'live.onnx' else {'f', 'i'} if name == 'query-text.onnx' else {'f'})


def limits(dtype: np.dtype) -> tuple[int, int]:
    return np.iinfo(dtype).min, np.iinfo(dtype).max


def test_a_parity_far_above_the_recorded_one_is_noticed():
    _check_recorded({'parity': 1e-5}, {'parity': 5e-7}, 'fp32')
    with pytest.raises(GenaudioError, match='when it was made'):
        _check_recorded({'parity': 9.3e-4}, {'parity': 5.4e-7}, 'fp32')
    _check_recorded({'parity': 9.3e-4}, {'parity': 7e-4}, 'fp32')
    _check_recorded({'parity': 0.5}, {}, 'fp32')


@pytest.mark.parametrize('name', BUNDLED)
def test_every_bundled_model_has_a_checkpoint_to_be_compared_with(name, tmp_path):
    """In its place, and a copy without a manifest beside it, changed or not: what scales a tensor leaves the card."""
    bundled = presets_dir() / 'models' / name
    scaled(bundled, tmp_path / 'other.onnx', 0)
    for path, rows in (
        (bundled, None),
        (bundled, bundled.parent / 'manifest.toml'),
        (tmp_path / 'other.onnx', None),
    ):
        job = _job(path, rows)
        assert job is not None and job.output.name == name and job.checkpoint.is_file()


def test_a_copy_of_a_bundled_model_is_compared_wherever_it_lies(tmp_path, capsys):
    bundled = presets_dir() / 'models' / 'stems-live.onnx'
    (tmp_path / 'copy.onnx').write_bytes(bundled.read_bytes())
    scaled(bundled, tmp_path / 'bad.onnx', 3, 1.001)
    assert main(['verify', str(tmp_path / 'copy.onnx'), str(tmp_path / 'bad.onnx'), '--json']) == 1
    good, bad = json.loads(capsys.readouterr().out)['results']
    assert good['state'] == 'verified' and bad['state'] == 'failed'


LONG = ('live', 'separator')  # seconds to be built and run


@pytest.mark.parametrize(
    'job',
    [
        pytest.param(job, id=job.name, marks=[pytest.mark.slow] if job.name in LONG else [])
        for job in read_manifest(presets_dir() / 'models' / 'manifest.toml')[0]
    ],
)
def test_verify_notices_one_scaled_tensor_of_each_bundled_model(job, tmp_path, capsys):
    """The command whole: its hash fits, and its checkpoint is the right one."""
    path = tmp_path / job.output.name
    scaled(job.output, path, 1)
    assert main(['verify', str(path), '--json']) == 1
    (result,) = json.loads(capsys.readouterr().out)['results']
    assert result['state'] == 'failed' and re.search("differs from the checkpoint's|stray", result['why'])


def test_verify_with_and_without_checkpoint(tmp_path, capsys):
    job = Job('live', 'decoder', checkpoint('live'), file('live'))
    assert verify(file('live'), job).metrics['parity'] < 1e-5
    alone = verify(file('live'), None)
    assert isinstance(alone, Result) and alone.metrics['self_consistency'] < 1e-5
    with pytest.raises(GenaudioError, match='strays'):  # a checkpoint that the file was not made from
        verify(file('live'), Job('live', 'decoder', other_checkpoint(tmp_path), file('live')))
    (tmp_path / 'cut.onnx').write_bytes(file('live').read_bytes()[:5000])
    assert main(['verify', str(file('live')), str(tmp_path / 'cut.onnx'), '--json']) == 1
    states = {r['file']: r for r in json.loads(capsys.readouterr().out)['results']}
    assert states[str(file('live'))]['state'] == 'not compared'
    assert 'cut short' in states[str(tmp_path / 'cut.onnx')]['why']


def other_checkpoint(folder):
    import torch
    from small_decoders import CONFIGS

    from genaudio_core.models.mmt import MMT
    from genaudio_core.training.loops.checkpoints import save_checkpoint

    torch.manual_seed(99)
    path = folder / 'other.safetensors'
    save_checkpoint(path, MMT(CONFIGS['live']), CONFIGS['live'].to_dict())
    return path


def test_one_writes_where_told(tmp_path, capsys):
    output = tmp_path / 'mine.onnx'
    assert main(['one', str(checkpoint('live')), str(output), '--kind', 'decoder', '--json']) == 0
    result = json.loads(capsys.readouterr().out)
    assert result['state'] == 'exported' and result['metrics']['parity'] < 1e-4
    assert read_card(output).name == 'mine'
    assert main(['one', str(tmp_path / 'none.safetensors'), str(output), '--kind', 'decoder']) == 2
    assert main(['one', str(checkpoint('live')), str(output), '--kind', 'decodr']) == 2
    assert output.exists()  # a failed export leaves the older file in place


def test_the_card_tells_of_training_and_of_what_was_measured():
    card = read_card(file('live'))
    assert card.details['training'] == {'step': 7}
    assert card.metrics['nll_per_note'] == 3.9 and card.metrics['parity'] < 1e-3
