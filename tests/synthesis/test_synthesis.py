"""The Synthesizer, on tiny exported models: lengths, seeds, windows, guidance; and that exports equal torch."""

import itertools

import numpy as np
import pytest
import torch

import genaudio_core.synthesis.synthesizer as synthesis
from export.job import export, verify
from export.kinds import Options, ParityError, find_kind
from export.manifest import Job
from genaudio_core.errors import GenaudioError
from genaudio_core.inference.session import load_model
from genaudio_core.models.clipsonic import Denoiser, DenoiserConfig, PriorConfig, PriorNetwork
from genaudio_core.models.vocoder import VocoderConfig, VocoderNetwork
from genaudio_core.query.vector import Query
from genaudio_core.sound.mel import BANDS, HOP, log_mel, mel_magnitude
from genaudio_core.synthesis.mel_patches import PatchCodec
from genaudio_core.synthesis.synthesizer import HEARD, NOTHING, PEAK, WORDS, Synthesizer
from genaudio_core.training.loops.checkpoints import save_checkpoint

PARTS = ('synth-denoiser', 'synth-prior', 'synth-vocoder')


def stirred(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return model.half().float()  # as a released checkpoint is


@pytest.fixture(scope='module')
def models(tmp_path_factory):
    """Checkpoints and exported files of the three parts, untrained and small."""
    folder = tmp_path_factory.mktemp('models')
    rng = np.random.default_rng(0)
    mels = np.cumsum(rng.standard_normal((30, 16, BANDS)) * 0.3, axis=2) - 5
    codec = PatchCodec.fit(mels.astype(np.float32), 4, 24, -9.2)
    parts = {
        'synth-denoiser': Denoiser(
            DenoiserConfig(tokens=44, width=32, depth=2, heads=2, codec=codec.to_dict())),
        'synth-prior': PriorNetwork(PriorConfig(width=32)),
        'synth-vocoder': VocoderNetwork(VocoderConfig(width=16, hidden=32, depth=1)),
    }  # fmt: skip
    for name, model in parts.items():
        stirred(model)
        save_checkpoint(folder / f'{name}.safetensors', model, model.config.to_dict(), step=1)
        export(Job(name, name, folder / f'{name}.safetensors', folder / f'{name}.onnx'), 'x')
    return folder


@pytest.fixture(scope='module')
def synthesizer(models):
    return load(models)


def load(models):
    return Synthesizer.load(
        models / 'synth-denoiser.onnx', vocoder=models / 'synth-vocoder.onnx', prior=models / 'synth-prior.onnx',
        threads=1,
    )  # fmt: skip


def vector(seed=0):
    v = np.random.default_rng(seed).standard_normal(128).astype(np.float32)
    return v / np.linalg.norm(v)


def words(seed=0, **more):
    return Query('words', ((1.0, vector(seed)),), **more)


# --- exports ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('part', PARTS)
def test_exports_equal_torch_and_a_stranger_is_found_out(part, models):
    job = Job(name=part, kind=part, checkpoint=models / f'{part}.safetensors', output=models / f'{part}.onnx')
    assert verify(models / f'{part}.onnx', job).metrics['parity'] < 1e-4
    kind = find_kind(part)
    source = kind.load(models / f'{part}.safetensors')
    stirred(source[0], seed=1)
    with pytest.raises(ParityError, match='strays'):
        kind.check(source, models / f'{part}.onnx', Options())


@pytest.mark.parametrize('part', PARTS)
def test_released_weights_are_stored_in_half_the_bytes(part, models):
    parameters = sum(p.numel() for p in find_kind(part).load(models / f'{part}.safetensors')[0].parameters())
    size = (models / f'{part}.onnx').stat().st_size
    assert size < 2 * parameters + (240_000 if part == 'synth-vocoder' else 120_000)


def test_a_checkpoint_of_another_part_is_refused(models):
    with pytest.raises(GenaudioError, match='not a checkpoint of a vocoder'):
        find_kind('synth-vocoder').load(models / 'synth-prior.safetensors')


# --- lengths and seeds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize('seconds', [0.05, 0.5, 2.0, 2.3, 5.0])
def test_length_is_what_was_asked_for(synthesizer, seconds):
    audio = synthesizer.make(words(), seconds, steps=2)
    assert audio.shape == (1, round(seconds * 44100)) and audio.dtype == np.float32
    assert np.isfinite(audio).all() and 0.05 < np.abs(audio).max() <= PEAK + 1e-6


@pytest.mark.parametrize('pitch', [-12.0, -3.5, 7.0])
def test_pitch_does_not_change_the_length(synthesizer, pitch):
    audio = synthesizer.make(words(), 0.7, steps=2, pitch=pitch)
    assert audio.shape == (1, round(0.7 * 44100)) and np.abs(audio[0, -4410:]).max() > 1e-4


def test_transposing_moves_a_tone_by_its_interval():
    tone = np.sin(2 * np.pi * 440 * np.arange(88200) / 44100).astype(np.float32)
    for semitones in (-12, 5, 12):
        moved = synthesis._transposed(tone, 2 ** (semitones / 12))
        assert len(moved) == pytest.approx(88200 / 2 ** (semitones / 12), rel=0.01)
        spectrum = np.abs(np.fft.rfft(moved[4000:20384] * np.hanning(16384)))
        assert spectrum.argmax() * 44100 / 16384 == pytest.approx(440 * 2 ** (semitones / 12), rel=0.01)


def test_the_same_seed_makes_the_same_sound_in_another_session(synthesizer, models):
    first = synthesizer.make(words(), 0.5, takes=2, seed=7, steps=3)
    np.testing.assert_array_equal(first, load(models).make(words(), 0.5, takes=2, seed=7, steps=3))
    other = synthesizer.make(words(), 0.5, takes=2, seed=8, steps=3)
    assert np.abs(first - other).max() > 0.01
    assert np.abs(first[0] - first[1]).max() > 0.01


@pytest.mark.parametrize('way', ['words', 'prior'])
def test_a_take_does_not_depend_on_how_many_there_are(synthesizer, way):
    three = synthesizer.mels(words(), 60, takes=3, seed=2, steps=3, way=way)
    two = synthesizer.mels(words(), 60, takes=2, seed=2, steps=3, way=way)
    np.testing.assert_allclose(three[:2], two, atol=1e-3)


# --- painting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('rows', [1, 44, 45, 66, 67, 100, 431])
def test_windows_cover_every_row_and_overlap_by_half(synthesizer, rows):
    begins, weight = synthesizer._windows(rows)
    covered = np.zeros(max(rows, 44), int)
    for begin in begins:
        covered[begin : begin + 44] += 1
    assert begins[0] == 0 and covered.min() >= 1 and len(weight) == 44 and weight.min() > 0
    assert all(later - before <= 22 for before, later in itertools.pairwise(begins))


def test_only_the_first_window_begins(synthesizer, monkeypatch):
    starts = []
    real = synthesizer._session

    class Spy:
        def run(self, names, feed):
            starts.append(int(feed['start'][0]))
            return real.run(names, feed)

    monkeypatch.setattr(synthesizer, '_session', Spy())
    synthesizer.mels(words(), 400, steps=2, guidance=1.0)
    windows = len(starts) // 2
    assert windows > 2 and starts == ([1] + [0] * (windows - 1)) * 2


@pytest.mark.parametrize('seconds, windows', [(0.3, 1), (2.0, 1), (2.1, 2), (4.0, 3)])
def test_two_seconds_are_one_window(synthesizer, monkeypatch, seconds, windows):
    starts = []
    real = synthesizer._session

    class Spy:
        def run(self, names, feed):
            starts.append(int(feed['start'][0]))
            return real.run(names, feed)

    monkeypatch.setattr(synthesizer, '_session', Spy())
    synthesizer.make(words(), seconds, steps=2, guidance=1.0)
    assert len(starts) == 2 * windows


def asked(synthesizer, monkeypatch, query, **options):
    """Return the (vector, kind) pairs that the denoiser was asked for."""
    seen = {}
    real = synthesizer._session

    class Spy:
        def run(self, names, feed):
            seen.setdefault(int(feed['kind'][0]), feed['query'][0])
            return real.run(names, feed)

    with monkeypatch.context() as patch:
        patch.setattr(synthesizer, '_session', Spy())
        synthesizer.mels(query, 40, steps=2, **options)
    return seen


def test_what_the_denoiser_is_asked(synthesizer, monkeypatch):
    seen = asked(synthesizer, monkeypatch, words())
    assert set(seen) == {WORDS, NOTHING}
    np.testing.assert_allclose(seen[WORDS], vector(), atol=1e-6)
    assert set(asked(synthesizer, monkeypatch, words(), guidance=1.0)) == {WORDS}
    np.testing.assert_allclose(asked(synthesizer, monkeypatch, words(), way='zero-shot')[HEARD], vector(), atol=1e-6)
    through = asked(synthesizer, monkeypatch, words(), way='prior')[HEARD]
    assert np.linalg.norm(through) == pytest.approx(1, abs=1e-4) and abs(through @ vector()) < 0.99
    example = Query('clip', ((1.0, vector(3)),), n_words=0)
    np.testing.assert_allclose(asked(synthesizer, monkeypatch, example)[HEARD], vector(3), atol=1e-6)
    both = Query('both', ((1.0, vector()), (1.0, vector(3))), n_words=1)
    assert set(asked(synthesizer, monkeypatch, both)) == {HEARD, NOTHING}


def test_negative_words_take_the_place_of_the_empty_query(synthesizer, monkeypatch):
    unwanted = words(negative=((1.0, vector(5)),))
    seen = asked(synthesizer, monkeypatch, unwanted, way='words')
    assert set(seen) == {WORDS}
    plain, away = (synthesizer.mels(q, 40, steps=3) for q in (words(), unwanted))
    assert np.abs(plain - away).max() > 1e-3


def test_guidance_of_one_is_the_model_itself(synthesizer):
    one = synthesizer.mels(words(), 40, steps=3, guidance=1.0)
    nearly = synthesizer.mels(words(), 40, steps=3, guidance=1.0001)
    np.testing.assert_allclose(one, nearly, atol=1e-2)
    assert np.abs(synthesizer.mels(words(), 40, steps=3, guidance=4.0) - one).max() > 1e-3


# --- finishing -------------------------------------------------------------------------------------------------------


def test_the_attack_comes_first_and_the_ends_do_not_click():
    sound = np.zeros(20000, np.float32)
    sound[1200:] = np.sin(np.arange(18800) * 0.2) * np.exp(-np.arange(18800) / 4000)
    moved = synthesis._from_attack(sound)
    assert np.flatnonzero(np.abs(moved) > 0.1)[0] < 100
    late = np.zeros(44100, np.float32)
    late[20000:] = 1.0  # begins later than an attack may: left where it is
    assert len(synthesis._from_attack(late)) == 44100
    out = synthesis.finish(np.ones(30000, np.float32), 20000)
    assert out[0] == 0 and abs(out[-1]) < 1e-6 and np.abs(np.diff(out)).max() < 0.05


@pytest.mark.parametrize('gain', [1e-3, 1.0, 50.0])
def test_every_sound_has_the_same_level(gain):
    noise = np.random.default_rng(0).standard_normal(44100).astype(np.float32)
    out = synthesis.finish(noise * gain, 44100)
    assert np.sqrt(np.mean(out[10000:12205] ** 2)) == pytest.approx(synthesis.LOUDNESS, rel=0.15)
    click = np.zeros(44100, np.float32)
    click[1000:1003] = gain
    assert np.abs(synthesis.finish(click, 44100)).max() <= PEAK + 1e-6
    assert not synthesis.finish(np.zeros(100, np.float32), 200).any()


def test_a_vocoder_gives_a_tone_its_frequency_back(synthesizer):
    tone = np.sin(2 * np.pi * 600 * np.arange(40 * HOP) / 44100).astype(np.float32) * 0.2
    for vocoder in (synthesis.Vocoder(refine=16), synthesizer.vocoder):
        back = vocoder.sound(log_mel(mel_magnitude(tone)), len(tone))
        assert back.shape == tone.shape
        if vocoder is not synthesizer.vocoder:  # that one has learnt nothing
            spectrum = np.abs(np.fft.rfft(back[2000:18384] * np.hanning(16384)))
            assert spectrum.argmax() * 44100 / 16384 == pytest.approx(600, abs=30)


# --- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('options, message', [
    ({'seconds': 0}, '0 seconds'), ({'seconds': float('nan')}, 'nan seconds'), ({'seconds': 1e6}, 'seconds'),
    ({'takes': 0}, '0 takes'), ({'guidance': -1}, 'guidance'), ({'steps': 1}, 'steps'), ({'pitch': 99}, 'pitch'),
    ({'pitch': float('nan')}, 'pitch'), ({'seed': -1}, 'seed'), ({'way': 'magic'}, 'magic'),
])  # fmt: skip
def test_values_that_make_no_sense_are_told(synthesizer, options, message):
    with pytest.raises(GenaudioError, match=message):
        synthesizer.make(words(), **options)


def test_queries_of_another_encoder_are_told(synthesizer):
    with pytest.raises(GenaudioError, match='512 numbers'):
        synthesizer.make(Query('clip', ((1.0, np.ones(512, np.float32)),)))


def test_files_of_the_wrong_kind_are_told(models, tmp_path):
    with pytest.raises(GenaudioError, match="'synth-denoiser' is needed"):
        Synthesizer.load(models / 'synth-prior.onnx')
    with pytest.raises(GenaudioError, match='no model file'):
        Synthesizer.load(tmp_path / 'none.onnx')


def test_without_a_vocoder_griffin_lim_stands_in_and_says_so(models, tmp_path, monkeypatch):
    (tmp_path / 'models').mkdir()
    monkeypatch.setattr(synthesis, 'presets_dir', lambda: tmp_path)
    told = []
    alone = Synthesizer.load(models / 'synth-denoiser.onnx', on_notice=told.append)
    assert len(told) == 1 and 'Griffin-Lim' in told[0] and alone.prior is None
    assert np.abs(alone.make(words(), 0.2, steps=2)).max() > 0.05
    with pytest.raises(GenaudioError, match='no prior'):
        alone.make(words(), 0.2, way='prior')


def test_a_vocoder_for_other_spectrograms_is_told(models):
    model = load_model(models / 'synth-vocoder.onnx')
    model.card.details['hop_length'] = 256
    with pytest.raises(GenaudioError, match='other spectrograms'):
        synthesis.Vocoder(model)
