"""What is read of a sound file is what its bytes hold, whatever its header says."""

import functools
import struct
from pathlib import Path

import numpy as np
import pedalboard.io
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genaudio_core.errors import GenaudioError
from genaudio_core.sound.audio_containers import Link, Shown, links_of
from genaudio_core.sound.audio_files import AudioReader, read_audio

RATE = 44100


@functools.cache
def sound(n=RATE, channels=2):
    """Noise that fades in and out of a tone, (channels, n)."""
    rng, t = np.random.default_rng(0), np.arange(n) / RATE
    noise = rng.standard_normal((channels, n)) * np.where(t % 0.5 < 0.1, 0.2, 0)
    return (0.2 * np.sin(2 * np.pi * 440 * t) + noise).astype(np.float32)


def wav(data, size=None, bits=16, channels=2, chunks=b'', before=b''):
    """A PCM file whose header says that its data has `size` bytes."""
    block = channels * -(-bits // 8)
    head = struct.pack('<HHIIHH', 1, channels, RATE, RATE * block, block, bits)
    n = len(data) if size is None else size
    body = b'WAVEfmt ' + struct.pack('<I', 16) + head + before + b'data' + struct.pack('<I', n) + data + chunks
    return b'RIFF' + struct.pack('<I', min(n + 36 + len(before), 0xFFFFFFFF)) + body


def pcm(audio=None):
    return ((sound() if audio is None else audio).T * 32767).astype('<i2').tobytes()


@functools.cache
def mp3(n=RATE):
    """A VBR file of LAME's, with its header."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'x.mp3'
        with pedalboard.io.AudioFile(str(path), 'w', RATE, 2, quality='V4') as file:
            file.write(sound(n))
        return path.read_bytes()


def first_frame(data):
    rates = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    return 144000 * rates[data[2] >> 4] // (44100, 48000, 32000)[data[2] >> 2 & 3] + (data[2] >> 1 & 1)


def encoded(tmp_path, name, subtype=None):
    soundfile.write(tmp_path / name, sound().T, RATE, subtype=subtype)
    return (tmp_path / name).read_bytes()


def read(tmp_path, data, name='x.bin'):
    """(audio, what was told, length known before)."""
    (tmp_path / name).write_bytes(data)
    told = []
    with AudioReader(tmp_path / name, on_notice=told.append) as reader:
        return np.concatenate(list(reader.blocks(10007)), axis=1), told, reader.n_samples


@pytest.mark.parametrize('size', [0, 0xFFFFFFFF, 0xFFFFFFF0, 0x7FFFFFFF, 0x7FFFF000, 2_000_000_000])
@pytest.mark.parametrize('before', [b'', b'LIST' + struct.pack('<I', 6) + b'INFO\0\0'])
def test_a_wav_whose_length_was_never_filled_in_is_read_to_its_end(tmp_path, size, before):
    audio, told, n = read(tmp_path, wav(pcm(), size, before=before))
    assert n == audio.shape[1] == RATE
    assert not told
    assert np.abs(audio - sound()).max() < 1e-4


@pytest.mark.parametrize('odd', [0, 1, 3])
def test_a_wav_that_is_shorter_than_it_says_is_told(tmp_path, odd):
    whole = wav(pcm())
    audio, told, n = read(tmp_path, whole[: len(whole) // 2 + odd])
    assert n == audio.shape[1] == (len(whole) // 2 + odd - 44) // 4
    assert len(told) == 1 and 'shorter than its header says' in told[0] and '1.00 s' in told[0]


def test_an_odd_number_of_bytes_and_what_follows_the_sound_are_no_sound(tmp_path):
    audio, told, _ = read(tmp_path, wav(pcm()[:-1], chunks=b'\0LIST' + struct.pack('<I', 4) + b'INFO'))
    assert audio.shape[1] == RATE - 1 and not told
    with pytest.raises(GenaudioError, match='0 seconds'):
        read(tmp_path, wav(b'', 0, chunks=b'LIST' + struct.pack('<I', 4) + b'INFO'))


@pytest.mark.parametrize('bits', [12, 20, 24])
def test_odd_bit_depths_are_read(tmp_path, bits):
    n_bytes = -(-bits // 8)
    wide = (np.ascontiguousarray(sound().T * 2**31)).astype('<i4') & -(1 << (32 - bits))
    data = wide.view('u1').reshape(-1, 4)[:, 4 - n_bytes :].tobytes()
    audio, told, _ = read(tmp_path, wav(data, bits=bits))
    assert audio.shape == (2, RATE) and not told
    assert np.abs(audio - sound()).max() < 2.0 ** (1 - bits) + 1e-6


@pytest.mark.parametrize(
    ('name', 'subtype'),
    [('x.w64', 'PCM_16'), ('x.rf64', 'PCM_24'), ('x.aiff', 'PCM_16'), ('x.flac', 'PCM_16'), ('x.ogg', 'VORBIS'),
     ('x.caf', 'PCM_16'), ('x.au', 'FLOAT'), ('x.wav', 'DOUBLE')],
)  # fmt: skip
def test_every_container_is_read_whole_and_what_is_cut_off_it_is_told(tmp_path, name, subtype):
    soundfile.write(tmp_path / name, sound(6 * RATE).T, RATE, subtype=subtype)
    data = (tmp_path / name).read_bytes()
    audio, told, n = read(tmp_path, data)
    assert audio.shape[1] == n == 6 * RATE and not told
    assert np.abs(audio - sound(6 * RATE)).mean() < 0.05
    short, told, _ = read(tmp_path, data[: len(data) * 2 // 3])
    assert 0 < short.shape[1] < 6 * RATE
    assert len(told) == 1 and 'missing' in told[0]
    assert np.abs(short - audio[:, : short.shape[1]]).max() < 1e-5


def test_an_aiff_whose_recorder_died_is_read_to_its_end(tmp_path):
    data = bytearray(encoded(tmp_path, 'x.aiff', 'PCM_16'))
    at = data.index(b'COMM')
    data[at + 10 : at + 14] = bytes(4)
    at = data.index(b'SSND')
    data[at + 4 : at + 8] = bytes(4)
    audio, told, _ = read(tmp_path, bytes(data))
    assert audio.shape[1] == RATE and not told


def test_a_flac_from_a_pipe_has_its_length(tmp_path):
    data = bytearray(encoded(tmp_path, 'x.flac', 'PCM_16'))
    value = int.from_bytes(data[18:26], 'big') & ~((1 << 36) - 1)
    data[18:26] = value.to_bytes(8, 'big')
    audio, told, n = read(tmp_path, bytes(data))
    assert audio.shape[1] == n == RATE and not told
    assert np.abs(audio - sound()).max() < 1e-4


def test_an_mp3_begins_and_ends_where_its_sound_did(tmp_path):
    audio, told, n = read(tmp_path, mp3())
    assert audio.shape[1] == n == RATE and not told
    lag = np.fft.irfft(np.fft.rfft(audio[0], 2 * RATE) * np.fft.rfft(sound()[0], 2 * RATE).conj()).argmax()
    assert lag == 0


@pytest.mark.parametrize('rate', [None, 22050])
def test_a_vbr_mp3_without_a_header_is_read_to_its_end(tmp_path, rate):
    # Quiet at first, as a fade-in is: a length estimated from the first frames is far too short or too long.
    data = mp3(5 * RATE)
    (tmp_path / 'x.mp3').write_bytes(data[first_frame(data) :])
    told = []
    audio = read_audio(tmp_path / 'x.mp3', rate, on_notice=told.append)
    assert audio.shape[1] >= 5 * (rate or RATE) and not told
    if rate is None:
        whole = sound(5 * RATE)[0]
        size = 1 << 19
        lag = np.fft.irfft(np.fft.rfft(audio[0], size) * np.fft.rfft(whole, size).conj()).argmax()
        assert np.abs(audio[0, lag : lag + len(whole)] - whole).mean() < 0.05


def test_a_cut_mp3_is_told(tmp_path, capfd):
    whole = read(tmp_path, mp3())[0]
    audio, told, _ = read(tmp_path, mp3()[: len(mp3()) // 2])
    assert audio.shape[1] < 0.6 * RATE
    assert np.abs(audio[:, :-2000] - whole[:, : audio.shape[1] - 2000]).max() < 1e-4
    assert len(told) == 1 and 'missing' in told[0]
    assert capfd.readouterr().err == ''  # the decoder says nothing of its own


def test_a_cut_mp3_without_a_header_is_told(tmp_path):
    data = mp3(3 * RATE)[first_frame(mp3()) :]
    audio, told, _ = read(tmp_path, data[: len(data) // 2 + 7])
    assert RATE < audio.shape[1] < 2 * RATE
    assert len(told) == 1 and 'the rest is missing' in told[0]


@pytest.mark.parametrize('pictures', [1, 2])
def test_what_is_not_sound_in_an_mp3_is_left_out(tmp_path, pictures):
    whole = read(tmp_path, mp3())[0]
    body = b'APIC' + b'\xff\xfb\x90\x00' * 5000
    size = bytes(len(body) >> shift & 127 for shift in (21, 14, 7, 0))
    data = (b'ID3\x03\x00\x00' + size + body) * pictures + mp3() + b'TAG' + b'x' * 125
    audio, told, _ = read(tmp_path, data)
    assert np.array_equal(audio, whole) and not told
    assert np.array_equal(read(tmp_path, bytes(3000) + mp3())[0], whole)


@pytest.mark.parametrize('kind', ['mp3', 'ogg', 'flac'])
def test_files_joined_by_cat_are_read_one_after_the_other(tmp_path, kind):
    data = mp3() if kind == 'mp3' else encoded(tmp_path, f'x.{kind}')
    one = read(tmp_path, data)[0]
    audio, told, n = read(tmp_path, data * 3)
    assert np.array_equal(audio, np.tile(one, 3)) and not told and n == 3 * RATE


def test_mp3s_joined_with_and_without_headers_lose_nothing(tmp_path):
    bare = mp3()[first_frame(mp3()) :]
    audio, told, _ = read(tmp_path, mp3() + bare)
    assert audio.shape[1] >= 2 * RATE and not told
    assert read(tmp_path, bare + mp3())[0].shape[1] >= 2 * RATE


def test_a_stream_of_another_rate_behind_the_first_is_told(tmp_path):
    soundfile.write(tmp_path / 'y.flac', sound()[0], 48000)
    audio, told, _ = read(tmp_path, encoded(tmp_path, 'x.flac') + (tmp_path / 'y.flac').read_bytes())
    assert audio.shape[1] == RATE
    assert len(told) == 1 and '48000 Hz, 1 channels' in told[0]


@pytest.mark.parametrize('kind', ['wav', 'flac', 'ogg', 'mp3', 'aiff', 'w64'])
@given(data=st.data())
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_gives_sound_and_a_line_or_one_line(tmp_path, kind, data):
    whole = mp3() if kind == 'mp3' else wav(pcm()) if kind == 'wav' else encoded(tmp_path, f'x.{kind}')
    broken = bytearray(whole[: data.draw(st.integers(1, len(whole)))])
    for at in data.draw(st.lists(st.integers(0, len(broken) - 1), max_size=6)):
        broken[at] = data.draw(st.integers(0, 255))
    try:
        audio, told, _ = read(tmp_path, bytes(broken))
    except GenaudioError as error:
        assert '\n' not in str(error)
    else:
        assert np.isfinite(audio).all() and len(told) <= 1


@given(
    data=st.binary(min_size=1, max_size=200),
    head=st.binary(max_size=30),
    cut=st.tuples(st.integers(0, 200), st.integers(0, 200)),
    reads=st.lists(st.tuples(st.integers(0, 250) | st.integers(0, 30), st.integers(0, 60))),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_shown_is_the_head_and_the_part(tmp_path, data, head, cut, reads):
    (tmp_path / 'x').write_bytes(data)
    start, stop = sorted(min(at, len(data)) for at in cut)
    shown = head + data[start:stop]
    with Shown(tmp_path / 'x', Link(start, stop, head)) as file:
        assert file.seek(0, 2) == len(shown)
        file.seek(0)
        assert file.read(len(shown)) == shown  # over the seam
        for at, size in reads:
            file.seek(at)
            assert file.read(size) == shown[at : at + size]


def test_a_file_of_something_else_is_one_stream(tmp_path):
    (tmp_path / 'x').write_bytes(b'no sound at all' * 10)
    assert links_of(tmp_path / 'x') == [Link(0, 150)]
