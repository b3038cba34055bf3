import numpy as np
import pytest
from numpy.testing import assert_allclose
from stream_models import music, random_model

from genaudio_core.errors import GenaudioError
from genaudio_core.separation.streaming import (
    MaskNetwork,
    NetworkStream,
    StreamingSeparator,
    as_stereo,
    separate_offline,
)
from genaudio_core.sound import low_delay_stft


@pytest.fixture(scope='module')
def network():
    return MaskNetwork.load(random_model())


@pytest.fixture(scope='module')
def audio():
    return music(0.5)


def resampled(audio, times):
    """The same band-limited sound (..., n) at a higher rate."""
    n = audio.shape[-1]
    return (np.fft.irfft(np.fft.rfft(audio), times * n) * times).astype(np.float32)


def run(engine, audio, size):
    """(stems, dry) of the whole, in blocks of `size`."""
    stems, dry = [], []
    for i in range(0, audio.shape[-1], size):
        stems.append(engine.separate(audio[:, i : i + size]))
        dry.append(engine.dry)
    return np.concatenate(stems, -1), np.concatenate(dry, -1)


@pytest.mark.parametrize('block_size', [1, 64, 65, 256, 480, 8193])
def test_blocks_equal_offline(network, audio, block_size):
    x = audio[:, : 3000 if block_size == 1 else None]
    queries = network.words('drums', 'bass')
    engine = StreamingSeparator(network, queries)
    live, dry = run(engine, x, block_size)
    whole = separate_offline(network, x, queries)
    assert live.shape == whole.shape == (2, *x.shape)
    assert_allclose(live[..., engine.latency :], whole[..., : -engine.latency], atol=1e-6)
    assert not live[..., : engine.latency - engine.hop].any()
    assert_allclose(dry[:, engine.latency :], x[:, : -engine.latency], atol=0)


@pytest.mark.parametrize(('hop', 'milliseconds'), [(256, 12), (128, 6)])
def test_latency_is_within_the_promise_at_both_rates(hop, milliseconds):
    network = MaskNetwork.load(random_model(hop))
    for rate in (44100, 48000):
        engine = StreamingSeparator(network, network.words('drums'), rate)
        assert 1000 * engine.latency / rate <= milliseconds


@pytest.mark.parametrize(('times', 'hop'), [(2, None), (4, None), (2, 256)])
def test_higher_rates_give_the_same_stems(network, audio, times, hop):
    """Music at 88.2 or 176.4 kHz, and the same at 44.1: the network hears the same, nothing above it gets lost."""
    queries, rate = network.words('drums', 'bass'), times * 44100
    high = resampled(audio, times)
    engine = StreamingSeparator(network, queries, rate, hop)
    assert engine.latency == times * (512 if hop is None else 256)
    live, dry = run(engine, high, 777)
    whole = separate_offline(network, high, queries, hop, rate)
    assert_allclose(live[..., engine.latency :], whole[..., : -engine.latency], atol=1e-6)
    assert_allclose(dry[:, engine.latency :], high[:, : -engine.latency], atol=0)
    n_fft, own = network.frame(rate)  # random weights hardly mind the level, others do
    heard = network.hears(low_delay_stft.analyse(high, n_fft, own))
    known = low_delay_stft.analyse(audio, network.n_fft, network.hop)
    assert np.abs(heard - known)[:, 20:-20].mean() < 0.02 * np.abs(known).mean()
    low = separate_offline(network, audio, queries, None if hop is None else hop // times)
    inner = slice(times * 2000, -times * 2000)  # of band-limited sound, whose ends ring
    expected = resampled(low, times)[..., inner]
    assert np.sqrt(np.mean((whole[..., inner] - expected) ** 2)) < 0.02 * np.sqrt(np.mean(expected**2))


def test_what_lies_above_the_networks_range_is_masked_as_its_highest_bin(network):
    queries, rng = network.words('drums'), np.random.default_rng(1)
    t = np.arange(48000) / 96000
    high = 0.1 * np.sin(2 * np.pi * 30000 * t).astype(np.float32) + 0.01 * rng.standard_normal((2, 48000)).astype(
        np.float32
    )
    stem = separate_offline(network, high, queries, sample_rate=96000)[0]
    spectra = np.fft.rfft(np.stack([high[0], stem[0]])[:, 10000:40000] * np.hanning(30000))
    at, stream = round(30000 / 96000 * 30000), network.stream(1)
    heard = network.hears(low_delay_stft.analyse(high, 4096, 512).astype(np.complex64))
    gains = [stream.step(heard[:, t], queries)[0, -1] for t in range(heard.shape[1])]
    kept = (spectra[1, at] / spectra[0, at]).real
    assert kept == pytest.approx(np.mean(gains[20:78]), rel=0.05)


@pytest.mark.parametrize('rate', [22050, 64000, 192001])
def test_other_rates_are_refused_with_those_that_work(network, rate):
    with pytest.raises(GenaudioError, match=f'44100, 48000, 88200, 96000, 176400 or 192000 Hz, not at {rate} Hz'):
        StreamingSeparator(network, network.words('drums'), rate)


def test_hop_128_streams_too(audio):
    network = MaskNetwork.load(random_model(128))
    engine = StreamingSeparator(network, network.words('drums'))
    live, _ = run(engine, audio, 333)
    whole = separate_offline(network, audio, network.words('drums'))
    assert_allclose(live[..., engine.latency :], whole[..., : -engine.latency], atol=1e-6)


def test_process_is_the_first_stem_and_reset_forgets(network, audio):
    engine = StreamingSeparator(network, network.words('piano', 'bass'))
    first = engine.process(audio)
    engine.process(audio * 0.3)
    engine.reset()
    assert_allclose(engine.process(audio), first, atol=1e-7)


def test_a_new_query_glides_and_arrives(network, audio):
    """Right after the change the sound is near the old one's, in the end it is the new one's."""
    x = np.tile(audio, 6)
    old, new = network.words('drums'), network.words('bass')
    changed, stays, other = (StreamingSeparator(network, q) for q in (old, old, new))
    half = x.shape[1] // 2 // 256 * 256
    start = [engine.separate(x[:, :half]) for engine in (changed, stays, other)]
    assert_allclose(start[0], start[1])
    changed.set_queries(new)
    end = [engine.separate(x[:, half:]) for engine in (changed, stays, other)]
    apart = np.abs(end[1] - end[2]).max()
    assert apart > 1e-3, 'the two queries must differ, or this tests nothing'
    assert np.abs(end[0] - end[2])[..., -2000:].max() < 0.05 * apart


@pytest.mark.parametrize('seconds', [5, pytest.param(60, marks=pytest.mark.slow)])
def test_switching_every_50_ms_for_a_minute_leaves_no_jump_that_the_input_lacks(network, seconds):
    rate = 44100
    t = np.arange(seconds * rate) / rate
    x = np.tile(0.5 * np.sin(2 * np.pi * 220 * t) * (0.5 + 0.5 * np.sin(2 * np.pi * 3 * t)), (2, 1)).astype(np.float32)
    engine = StreamingSeparator(network, network.words('drums'), rate)
    words = [network.words(word) for word in ('drums', 'bass', 'piano')]
    last, worst = np.zeros((1, 2, 1), np.float32), 0.0
    for i, at in enumerate(range(0, x.shape[1], 2205)):
        out = engine.separate(x[:, at : at + 2205])
        worst = max(worst, float(np.abs(np.diff(out, prepend=last)).max()))
        last = out[..., -1:]
        engine.set_queries(words[i % 3])
    assert 1e-4 < worst <= np.abs(np.diff(x)).max()


def test_a_new_model_fades_in_without_a_jump(network):
    other = MaskNetwork.load(random_model(seed=5))
    t = np.arange(44100) / 44100
    x = np.tile(0.5 * np.sin(2 * np.pi * 220 * t), (2, 1)).astype(np.float32)
    engine = StreamingSeparator(network, network.words('drums'))
    fresh = StreamingSeparator(other, network.words('drums'))
    before = engine.separate(x[:, :20000])
    fresh.separate(x[:, :20000])
    engine.load(other)
    after, expected = engine.separate(x[:, 20000:]), fresh.separate(x[:, 20000:])
    assert np.abs(np.diff(np.concatenate([before, after], -1))[..., 5000:]).max() < np.abs(np.diff(x)).max() * 1.1
    # The recurrent states of a model that has just begun and of one that has run are not the same, but soon alike.
    assert np.abs(after - expected)[..., -1000:].max() < 0.02


def test_silence_in_silence_out_and_no_denormals_stay(network):
    engine = StreamingSeparator(network, network.words('drums'))
    engine.separate(music(0.2))
    for _ in range(40):
        engine.separate(np.full((2, 4096), 1e-40, np.float32))
    assert np.abs(engine.separate(np.zeros((2, 4096), np.float32))).max() < 1e-30
    for part in engine.bank.slot.stream.state.values():
        assert not ((part != 0) & (np.abs(part) < np.finfo(np.float32).tiny)).any()


def test_mono_is_heard_on_both_sides_and_nan_is_silence(network, audio):
    engine = StreamingSeparator(network, network.words('drums'))
    mono = engine.process(audio[0])
    engine.reset()
    assert_allclose(engine.process(np.stack([audio[0], audio[0]])), mono)
    bad = audio.copy()
    bad[0, 100], bad[1, 200] = np.nan, np.inf
    engine.reset()
    assert np.isfinite(engine.process(bad)).all()
    assert as_stereo(bad)[0, 100] == 0


def test_what_does_not_fit_is_told(network):
    with pytest.raises(GenaudioError, match="no word 'drumz'"):
        network.words('drumz')
    with pytest.raises(GenaudioError, match='176400 or 192000 Hz, not at 32000 Hz'):
        StreamingSeparator(network, network.words('drums'), 32000)
    with pytest.raises(GenaudioError, match=r'must have the shape \(1 to 8, 128\)'):
        StreamingSeparator(network, np.zeros((1, 64)))
    with pytest.raises(GenaudioError, match='NaN or infinite'):
        StreamingSeparator(network, np.full((1, 128), np.nan))
    engine = StreamingSeparator(network, network.words('drums'))
    with pytest.raises(GenaudioError, match='mono or stereo, not 3'):
        engine.process(np.zeros((3, 10), np.float32))
    with pytest.raises(GenaudioError, match='1 queries are running'):
        engine.set_queries(network.words('drums', 'bass'))
    with pytest.raises(GenaudioError, match='a different hop'):
        engine.load(MaskNetwork.load(random_model(128)))


def test_a_slot_that_glides_ends_exactly_at_its_target(network):
    slot = NetworkStream(network, network.words('drums'), 44100)
    slot.set_queries(network.words('bass'))
    for _ in range(20):
        slot.process(np.zeros((2, 1025), np.complex64), np.zeros((2, 1025), np.complex64))
    assert_allclose(slot._now[:, :-1], network.words('bass'))


@pytest.mark.parametrize('block_size', [64, 333, 4096])
def test_half_the_hop_is_half_the_delay_and_equals_offline(network, audio, block_size):
    """The same weights at hop 128: the network hears what it was trained on, every second hop."""
    queries = network.words('drums', 'bass')
    engine = StreamingSeparator(network, queries, hop=128)
    assert engine.latency == 256 and 1000 * engine.latency / 44100 <= 6
    live, dry = run(engine, audio, block_size)
    whole = separate_offline(network, audio, queries, 128)
    assert_allclose(live[..., engine.latency :], whole[..., : -engine.latency], atol=1e-6)
    assert_allclose(dry[:, engine.latency :], audio[:, : -engine.latency], atol=0)
    # Near what the network does at its own hop: the difference is far below the sound itself.
    own = separate_offline(network, audio, queries)
    assert np.sqrt(np.mean((whole - own) ** 2)) < 0.3 * np.sqrt(np.mean(own**2))


def test_half_the_hop_changes_query_and_model_without_a_jump(network):
    t = np.arange(44100) / 44100
    x = np.tile(0.5 * np.sin(2 * np.pi * 220 * t), (2, 1)).astype(np.float32)
    engine = StreamingSeparator(network, network.words('drums'), hop=128)
    parts = [engine.separate(x[:, :10000])]
    engine.load(MaskNetwork.load(random_model(seed=5)))
    parts.append(engine.separate(x[:, 10000:30000]))
    engine.set_queries(network.words('bass'))
    parts.append(engine.separate(x[:, 30000:]))
    assert np.abs(np.diff(np.concatenate(parts, -1))[..., 5000:]).max() < np.abs(np.diff(x)).max() * 1.1
    with pytest.raises(GenaudioError, match='256 samples or divide that, not 100'):
        StreamingSeparator(network, network.words('drums'), hop=100)
