import numpy as np
import pytest
from numpy.testing import assert_allclose

from genaudio_core.errors import GenaudioError
from genaudio_core.sound.audio_files import AudioReader, AudioWriter, read_audio, to_mono, write_audio


def noise(channels, n, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (channels, n)).astype(np.float32)


@pytest.mark.parametrize('suffix', ['.wav', '.flac', '.aiff'])
@pytest.mark.parametrize('channels', [1, 2, 6])
def test_there_and_back(tmp_path, suffix, channels):
    x = noise(channels, 1001)
    write_audio(tmp_path / f'x{suffix}', x, 48000)
    with AudioReader(tmp_path / f'x{suffix}') as reader:
        assert (reader.sample_rate, reader.channels, reader.n_samples) == (48000, channels, 1001)
    assert_allclose(read_audio(tmp_path / f'x{suffix}'), x, atol=0 if suffix == '.wav' else 1.3e-7)


def test_float_wav_keeps_what_is_beyond_full_scale(tmp_path):
    x = noise(2, 100) * 8
    write_audio(tmp_path / 'loud.wav', x, 44100)
    assert np.array_equal(read_audio(tmp_path / 'loud.wav'), x)


def test_resampled_on_the_way_in(tmp_path):
    t = np.arange(48000) / 48000
    write_audio(tmp_path / 'sine.wav', 0.5 * np.sin(2 * np.pi * 440 * t), 48000)
    y = read_audio(tmp_path / 'sine.wav', 16000)[0]
    assert abs(len(y) - 16000) <= 2
    assert np.abs(np.fft.rfft(y[:16000], 16000)).argmax() == 440


def test_blocks_are_the_whole(tmp_path):
    x = noise(2, 10007)
    write_audio(tmp_path / 'x.wav', x, 44100)
    with AudioReader(tmp_path / 'x.wav') as reader:
        assert np.array_equal(np.concatenate(list(reader.blocks(1000)), axis=1), x)


def fails(message, action):
    with pytest.raises(GenaudioError, match=message) as caught:
        action()
    assert '\n' not in str(caught.value)


def test_bad_input_in_one_line(tmp_path):
    fails('no file', lambda: read_audio(tmp_path / 'missing.wav'))
    fails('is a folder', lambda: read_audio(tmp_path))
    (tmp_path / 'empty.wav').touch()
    fails('is empty', lambda: read_audio(tmp_path / 'empty.wav'))
    (tmp_path / 'text.wav').write_text('no audio at all, only words')
    fails('Cannot read', lambda: read_audio(tmp_path / 'text.wav'))
    with AudioWriter(tmp_path / 'zero.wav', 44100, 1):
        pass
    fails('0 seconds', lambda: read_audio(tmp_path / 'zero.wav'))
    bad = noise(1, 500)
    bad[0, 300] = np.nan
    write_audio(tmp_path / 'nan.wav', bad, 44100)
    fails('NaN', lambda: read_audio(tmp_path / 'nan.wav'))
    write_audio(tmp_path / 'wide.wav', noise(32, 50), 44100)
    fails('32 channels', lambda: read_audio(tmp_path / 'wide.wav'))


def test_formats_that_cannot_hold_it(tmp_path):
    fails('use one of', lambda: AudioWriter(tmp_path / 'x.xyz', 44100, 2))
    fails('mp3 cannot hold 96000', lambda: AudioWriter(tmp_path / 'x.mp3', 96000, 2))
    fails('mp3 cannot hold 6 channels', lambda: AudioWriter(tmp_path / 'x.mp3', 44100, 6))


def test_nothing_half_written_is_left(tmp_path):
    with pytest.raises((ValueError, RuntimeError)):
        write_audio(tmp_path / 'x.wav', np.zeros((2, 3, 4)), 44100)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('suffix', ['.wav', '.flac', '.aiff'])
def test_samples_that_do_not_arrive_are_told(tmp_path, suffix):
    import pedalboard.io

    writer = AudioWriter(tmp_path / f'x{suffix}', 44100, 1)
    writer.write(noise(1, 2000))
    writer._file.close()
    # As if the disk took no more.
    writer._file = pedalboard.io.AudioFile(str(tmp_path / f'x{suffix}'), 'w', 44100, 1)
    writer._file.write(noise(1, 1000))
    fails('1000 of 2000 samples arrived', lambda: writer.__exit__(None, None, None))


def test_a_pipe_is_no_file(tmp_path):
    import os

    os.mkfifo(tmp_path / 'pipe.wav')
    fails('is a pipe', lambda: read_audio(tmp_path / 'pipe.wav'))


def test_what_is_out_of_phase_is_not_silent_in_mono():
    x = noise(1, 500)[0]
    assert np.array_equal(to_mono(np.stack([x, x])), x)
    assert np.array_equal(to_mono(x[None]), x) and np.array_equal(to_mono(x), x)
    assert np.array_equal(to_mono(np.stack([0.5 * x, -x, 0.5 * x])), -x)
    assert_allclose(to_mono(noise(2, 5000)), noise(2, 5000).mean(axis=0), atol=1e-7)


@pytest.mark.parametrize('channels', [1, 2, 3])
@pytest.mark.parametrize('n', [1, 2, 3, 4])
@pytest.mark.parametrize('suffix', ['.wav', '.flac', '.aiff'])
def test_a_sound_of_a_few_samples_is_written(tmp_path, channels, n, suffix):
    audio = np.linspace(-0.5, 0.5, channels * n, dtype=np.float32).reshape(channels, n)
    write_audio(tmp_path / f'x{suffix}', audio, 44100)
    assert np.abs(read_audio(tmp_path / f'x{suffix}') - audio).max() < 1e-6
