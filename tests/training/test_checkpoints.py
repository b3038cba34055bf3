"""A checkpoint of the wrong kind, wherever a network is rebuilt from one: what it is, and what is wanted."""

import pytest

pytest.importorskip('torch')

from export.kinds import find_kind
from export.manifest import Job, read_manifest
from genaudio_core.commands.cli import main
from genaudio_core.errors import GenaudioError
from genaudio_core.files import presets_dir
from genaudio_core.training.fit.baselines import load_tokens
from genaudio_core.training.fit.clipsep import load_small
from genaudio_core.training.loops.checkpoints import read_checkpoint, rebuild, write_checkpoint

BUNDLED = {job.name: job for job in read_manifest(presets_dir() / 'models' / 'manifest.toml')[0]}
NAMES = {
    'live': 'a music model', 'arranger': 'an arranger', 'query-text': 'the text encoder',
    'query-audio': 'the audio encoder', 'separator': 'an offline separator', 'stems-live': 'a live separator',
    'stems-back': 'a live separator', 'synth-denoiser': 'a denoiser', 'synth-prior': 'a prior',
    'synth-vocoder': 'a vocoder',
}  # fmt: skip


@pytest.mark.parametrize('job', BUNDLED.values(), ids=lambda job: job.name)
def test_a_checkpoint_of_another_kind_is_told_in_plain_words(job: Job):
    loaders = {find_kind(other.kind).load: NAMES[name] for name, other in BUNDLED.items() if other.kind != job.kind}
    loaders[load_tokens] = 'a REMI+ or MMM baseline'
    if job.name != 'separator':
        loaders[load_small] = NAMES['separator']
    for load, wanted in loaders.items():
        with pytest.raises(GenaudioError) as error:
            load(job.checkpoint)
        found = f'not a checkpoint of {wanted}, but of {NAMES[job.name]}. Give one of {wanted}.'
        assert str(error.value) == f'{job.checkpoint} is {found}'


def test_attention_says_what_a_file_is(tmp_path, capsys):
    scores = str(tmp_path / 'scores.safetensors')
    (tmp_path / 'scores.safetensors').write_bytes(b'')
    wrong = str(BUNDLED['arranger'].checkpoint)
    assert main(['attention', wrong, '--data', scores, '--out', str(tmp_path / 'out')]) == 2
    told = capsys.readouterr().err.strip()
    assert 'but of an arranger. Give one of a music model.' in told and '\n' not in told and '__init__' not in told


def test_one_of_its_own_kind_that_does_not_fit_is_damaged(tmp_path):
    weights, config, info = read_checkpoint(BUNDLED['synth-prior'].checkpoint)
    write_checkpoint(tmp_path / 'a.safetensors', weights, config | {'width': 8}, info)
    with pytest.raises(GenaudioError, match='is of a prior, but its weights do not fit'):
        find_kind('synth-prior').load(tmp_path / 'a.safetensors')
    write_checkpoint(tmp_path / 'b.safetensors', weights, {'any': 1}, info)
    with pytest.raises(GenaudioError, match='but of something unknown'):
        rebuild(tmp_path / 'b.safetensors', dict.pop, 'a prior')
