"""The denoiser, its prior and the vocoder, and their trainers."""

import argparse
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_synthesis import write_pack

from genaudio_core.errors import GenaudioError
from genaudio_core.models.clipsonic import HEARD, NOTHING, WORDS, Denoiser, DenoiserConfig, make_denoiser
from genaudio_core.models.vocoder import VocoderConfig, VocoderNetwork
from genaudio_core.sound.mel import BANDS, HOP, bin_magnitudes, log_mel, mel_magnitude
from genaudio_core.training.fit import synth_denoiser, synth_prior, synth_vocoder
from genaudio_core.training.queries.space import QuerySpace
from genaudio_core.training.sounds.packed_clips import SoundWriter
from genaudio_core.training.sounds.packed_mels import FRAMES, Balanced, SynthesisData


def stirred(model):
    """Nothing left at zero, so that every input can be felt."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return model.eval()


def config(net='transformer'):
    size = BANDS if net == 'unet' else 12
    return DenoiserConfig(net=net, tokens=16, width=16, depth=4, heads=2, codec={'coefficients': list(range(size))})


def inputs(c, n=3, kind=HEARD):
    rng = np.random.default_rng(0)
    return {
        'x': torch.from_numpy(rng.standard_normal((n, c.tokens, c.size))).float(),
        't': torch.linspace(0.1, 0.9, n), 'query': torch.from_numpy(rng.standard_normal((n, 128)) / 11).float(),
        'kind': torch.full((n,), kind), 'start': torch.ones(n, dtype=torch.long),
    }  # fmt: skip


@pytest.mark.parametrize('net', ['transformer', 'unet'])
def test_a_denoiser_listens_to_everything_it_is_told(net):
    model = stirred(make_denoiser(config(net)))
    asked = inputs(model.config)
    with torch.inference_mode():
        v = model(**asked)
        assert v.shape == asked['x'].shape
        for name, other in (('t', asked['t'] * 0.5), ('query', -asked['query']), ('start', asked['start'] * 0),
                            ('kind', torch.full((3,), WORDS)), ('x', asked['x'] * 1.1)):  # fmt: skip
            assert (model(**(asked | {name: other})) - v).abs().max() > 1e-4, name


@pytest.mark.parametrize('net', ['transformer', 'unet'])
def test_a_denoiser_without_a_query_hears_none_and_a_batch_is_only_a_batch(net):
    model = stirred(make_denoiser(config(net)))
    asked = inputs(model.config, kind=NOTHING)
    with torch.inference_mode():
        v = model(**asked)
        assert torch.equal(model(**(asked | {'query': -asked['query']})), v)
        alone = model(**{name: value[1:2] for name, value in asked.items()})
    torch.testing.assert_close(alone, v[1:2], atol=1e-5, rtol=1e-4)


def test_an_untrained_denoiser_says_nothing_yet():
    model = Denoiser(config())
    assert model(**inputs(model.config)).abs().max() == 0


def test_an_unknown_net_is_refused():
    with pytest.raises(ValueError, match='gan'):
        make_denoiser(DenoiserConfig(net='gan'))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A pack, a query space and prepared sounds of next to nothing."""
    path = tmp_path_factory.mktemp('synthesis')
    names = write_pack(path / 'pack.safetensors')
    rng = np.random.default_rng(0)
    concepts = rng.standard_normal((len(names), 128)).astype(np.float32)
    concepts /= np.linalg.norm(concepts, axis=1, keepdims=True)
    QuerySpace(np.zeros(384, np.float32), np.zeros((384, 128), np.float32), concepts, names).save(path / 'space.npz')
    with SoundWriter(path / 'sounds') as writer:
        for split in ('train', 'valid'):
            for label in ('piano', 'drums'):
                audio = rng.standard_normal((1, 20 * HOP)).astype(np.float32) * 0.1
                writer.add(audio, 44100, label=label, kind='solo', split=split)
    return path


def arguments(module, text):
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return parser.parse_args(text.split())


def trainers(folder):
    pack = f'--data {folder}/pack.safetensors --space {folder}/space.npz --log-every 2 --warmup 2'
    return {
        'transformer': (synth_denoiser, f'{pack} --width 16 --depth 2 --keep 12 --batch 4'),
        'unet': (synth_denoiser, f'{pack} --net unet --width 8 --batch 2'),
        'prior': (synth_prior, f'{pack} --width 16 --batch 8'),
        'vocoder': (synth_vocoder, f'--sounds {folder}/sounds --frames 8 --width 16 --depth 1 --batch 2 --log-every 2'),
    }


@pytest.mark.parametrize('name', ['transformer', 'unet', 'prior', 'vocoder'])
def test_a_stopped_run_goes_on_exactly(name, folder, tmp_path):
    module, options = trainers(folder)[name]
    module.run(arguments(module, f'{options} --out {tmp_path}/whole --steps 4'))
    for steps in (2, 4):
        result = module.run(arguments(module, f'{options} --out {tmp_path}/parts --steps {steps}'))
    assert result['step'] == 4
    whole, parts = (load_file(tmp_path / run / 'last.safetensors') for run in ('whole', 'parts'))
    assert whole.keys() == parts.keys()
    for key in whole:
        assert torch.equal(whole[key], parts[key]), key
    assert (tmp_path / 'parts' / 'log.csv').read_text().count('\n') == 3
    with pytest.raises(GenaudioError, match='other settings'):
        module.run(arguments(module, f'{options} --out {tmp_path}/parts --seed 2'))


def test_minutes_stop_a_run_that_would_go_on_for_ever(folder, tmp_path):
    module, options = trainers(folder)['prior']
    result = module.run(arguments(module, f'{options} --out {tmp_path}/run --minutes 0.001'))
    assert 1 <= result['step'] < 1000 and (tmp_path / 'run' / 'best.safetensors').exists()
    with pytest.raises(GenaudioError, match='minutes'):
        module.run(arguments(module, f'{options} --out {tmp_path}/run --minutes -1'))


def test_a_denoiser_learns_what_its_queries_mean(folder, tmp_path):
    module, options = trainers(folder)['transformer']
    result = module.run(arguments(module, f'{options} --out {tmp_path}/run --steps 60 --log-every 60 --rate 0.005'))
    first = json.loads((tmp_path / 'run' / 'config.json').read_text())
    assert first['words'] == synth_denoiser.WORD_SHARE
    assert result['valid_words'] < 0.8  # of one, which saying nothing costs


def test_batches_say_what_they_are(folder):
    data = SynthesisData(folder / 'pack.safetensors')
    codec = synth_denoiser.make_codec(data, 'transformer', 4, 12)
    concepts = np.eye(len(data.names), 128, dtype=np.float32)
    batches = synth_denoiser.MelBatches(data, codec, concepts, config(), seed=1)
    rows = np.repeat(data.rows('train'), 8)
    batch = batches(rows, 5, drop=0.25, words=0.5)
    share = {kind: float((batch['kind'] == kind).float().mean()) for kind in (NOTHING, HEARD, WORDS)}
    assert share[NOTHING] == pytest.approx(0.25, abs=0.12) and share[HEARD] == pytest.approx(share[WORDS], abs=0.2)
    torch.testing.assert_close(batch['query'].norm(dim=1), torch.ones(len(rows)))
    words = batch['kind'] == WORDS
    named = batch['query'][words].argmax(dim=1)
    assert torch.equal(named, torch.from_numpy(data.label[rows].astype(np.int64))[words])
    again = batches(rows, 5, drop=0.25, words=0.5)
    assert all(torch.equal(batch[key], again[key]) for key in batch)
    assert not torch.equal(batch['x'], batches(rows, 6, drop=0.25, words=0.5)['x'])


def test_every_label_is_drawn_and_starts_come_first(folder):
    data = SynthesisData(folder / 'pack.safetensors')
    draw = Balanced(data, 'train', start_share=0.75)
    rows = draw.draw(600, np.random.default_rng(0))
    assert set(data.label[rows]) == set(data.label[data.rows('train')])
    assert set(rows) <= set(data.rows('train'))
    assert data.start[rows].mean() == pytest.approx(0.75, abs=0.08)


def test_an_untrained_vocoder_has_the_magnitudes_of_the_mel():
    model = VocoderNetwork(VocoderConfig(width=16, hidden=32, depth=1)).eval()
    audio = np.sin(np.arange(12000) * 0.1).astype(np.float32) * 0.3
    mel = log_mel(mel_magnitude(audio))
    with torch.inference_mode():
        real, imag = model(torch.from_numpy(mel)[None])
    magnitude = torch.sqrt(real**2 + imag**2)[0].T.numpy()
    expected = bin_magnitudes(np.maximum(mel, model.config.floor))[: len(magnitude)]
    inside = expected > 0
    np.testing.assert_allclose(magnitude[inside], expected[inside], rtol=2e-2)


def test_a_vocoder_gives_as_many_samples_as_it_was_trained_on():
    model = VocoderNetwork(VocoderConfig(width=16, hidden=32, depth=1))
    audio = torch.randn(2, 6 * HOP) * 0.1
    mel = torch.from_numpy(np.stack([log_mel(mel_magnitude(a.numpy())) for a in audio]))
    assert mel.shape[1] == 7
    made = synth_vocoder.sound_of(*model(mel), audio.shape[1])
    assert made.shape == audio.shape
    assert synth_vocoder.spectral_distance(audio, audio) == 0
    loss = synth_vocoder.vocoder_loss(model, audio, mel)
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_a_file_that_is_no_pack_is_told(tmp_path):
    (tmp_path / 'x.safetensors').write_bytes(b'nothing of the kind')
    with pytest.raises(GenaudioError, match='prepare-synthesis'):
        SynthesisData(tmp_path / 'x.safetensors')
    assert FRAMES % 4 == 0
