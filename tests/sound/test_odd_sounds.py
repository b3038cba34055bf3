"""Sounds, queries, models and tables as other programs and people leave them: used, told, or refused in one line."""

import re
import struct
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from test_audio_containers import RATE, encoded, mp3, pcm, read, sound, wav

from bridge.cli import main
from genaudio_core.errors import GenaudioError
from genaudio_core.files import presets_dir
from genaudio_core.inference.model_card import read_model, without_card, write_model
from genaudio_core.query.encoder import QueryEncoder
from genaudio_core.query.parsing import parse
from genaudio_core.script.reading import read_script
from genaudio_core.separation.offline import Separator
from genaudio_core.sound.audio_files import AudioReader, read_audio


def chunk(name, body, pad=True):
    return name + struct.pack('<I', len(body)) + body + (b'\0' if pad and len(body) % 2 else b'')


@pytest.mark.parametrize('before', [
    chunk(b'LIST', b'INFOx', pad=False), chunk(b'abcd', b'123', pad=False) + chunk(b'LIST', b'INFOy', pad=False),
    chunk(b'abcd', b'123', pad=False) + chunk(b'bext', bytes(602)), chunk(b'bext', b'a' * 601) + chunk(b'JUNK', b'1'),
    b'junk' + struct.pack('<I', 0x7FFFFFF0), b'LIST' + struct.pack('<I', 0xFFFFFFFF) + b'INFO',
])  # fmt: skip
@pytest.mark.parametrize('size', [None, 0xFFFFFFFF])
def test_chunks_of_odd_or_wrong_lengths_before_the_sound_hide_none_of_it(tmp_path, before, size):
    audio, told, n = read(tmp_path, wav(pcm(), size, before=before))
    assert audio.shape[1] == n == RATE and not told
    assert np.abs(audio - sound()).max() < 1e-4


def test_sound_in_several_chunks_is_read_whole(tmp_path):
    half = len(pcm()) // 2
    data = wav(pcm()[:half], chunks=chunk(b'LIST', b'INFO') + chunk(b'data', pcm()[half:]))
    audio, told, n = read(tmp_path, data)
    assert audio.shape[1] == n == RATE and not told
    assert np.abs(audio - sound()).max() < 1e-4


def test_a_caf_that_is_cut_off_is_read_as_far_as_it_goes(tmp_path):
    data = encoded(tmp_path, 'x.caf', 'PCM_16')
    for tenth in range(3, 10):
        audio, told, n = read(tmp_path, data[: len(data) * tenth // 10])
        assert 0 < audio.shape[1] == n < RATE
        assert len(told) == 1 and 'missing' in told[0]


@pytest.mark.parametrize('kind', ['IMA_ADPCM', 'MS_ADPCM'])
def test_what_fills_up_the_last_block_is_no_sound(tmp_path, kind):
    data = bytearray(encoded(tmp_path, 'x.wav', kind))
    at = data.index(b'fact') + 8
    struct.pack_into('<I', data, at, RATE - 321)  # as sox writes it; libsndfile counts whole blocks
    audio, told, n = read(tmp_path, bytes(data))
    assert audio.shape[1] == n and n % 100 != 0 and not told
    assert n == RATE - 321


@pytest.mark.parametrize('kind', ['ogg', 'opus'])
def test_a_hole_in_an_ogg_file_is_told(tmp_path, kind):
    name, subtype = ('x.ogg', 'VORBIS') if kind == 'ogg' else ('x.opus', 'OPUS')
    rate = RATE if kind == 'ogg' else 48000
    soundfile.write(tmp_path / name, np.tile(sound(), (1, 8)).T, rate, format='OGG', subtype=subtype)
    data = bytearray((tmp_path / name).read_bytes())
    assert not read(tmp_path, bytes(data))[1]
    data[len(data) // 2 : len(data) // 2 + 100] = bytes(100)
    audio, told, _ = read(tmp_path, bytes(data))
    assert audio.shape[1] < 8 * RATE - 1000
    assert len(told) == 1 and 'missing' in told[0]


def test_behind_a_hole_an_mp3_goes_on_and_the_hole_is_told(tmp_path, capfd):
    data = mp3(4 * RATE)
    whole = read(tmp_path, data)[0].shape[1]
    third = len(data) // 3
    audio, told, n = read(tmp_path, data[:third] + bytes(5000) + data[third + 5000 :])
    assert 0.6 * whole < audio.shape[1] < whole and n == audio.shape[1]
    assert len(told) == 1 and 'a part of it is missing' in told[0]
    assert capfd.readouterr().err == ''


M4A = b'\0\0\0\x20ftypM4A '
FOREIGN = {
    'x.m4a': (M4A, 'MPEG-4'), 'm4a.wav': (M4A, 'MPEG-4'), 'x.mp3': (b'\xff\xf1P', 'AAC'),
    'x.wma': (b'\x30\x26\xb2\x75\x8e\x66\xcf\x11', 'wma'), 'x.webm': (b'\x1a\x45\xdf\xa3', 'webm'),
    'x.wv': (b'wvpk', 'WavPack'), 'x.wav': (wav(pcm())[:20] + b'\x34\x12' + wav(pcm())[22:200], 'wav'),
}  # fmt: skip


@pytest.mark.parametrize('name', FOREIGN)
def test_a_kind_that_is_not_read_is_named_with_what_to_do_and_nothing_else_is_printed(tmp_path, capfd, name):
    data, kind = FOREIGN[name]
    (tmp_path / name).write_bytes(data + bytes(3000))
    with pytest.raises(GenaudioError) as error:
        read_audio(tmp_path / name)
    assert kind in str(error.value) and 'ffmpeg -i' in str(error.value)
    assert '\n' not in str(error.value)
    assert capfd.readouterr().err == ''


@pytest.mark.parametrize('data', [b'MThd\0\0\0\6\0\0\0\1\0`', b'RIFF\x40\0\0\0RMIDdata'])
def test_midi_is_told_how_it_becomes_sound(tmp_path, data):
    (tmp_path / 'tune.wav').write_bytes(data + bytes(100))
    with pytest.raises(GenaudioError, match=r'it is MIDI .* genaudio compose .* Music, tune\.wav\.') as error:
        read_audio(tmp_path / 'tune.wav')
    assert 'ffmpeg' not in str(error.value)


def test_what_begins_like_mpeg_and_is_none_is_one_line_and_nothing_else_is_printed(tmp_path, capfd):
    (tmp_path / 'x.wav').write_bytes(np.random.default_rng(1).bytes(3000))
    assert (tmp_path / 'x.wav').read_bytes()[:2] == b'\xff\xe4'
    with pytest.raises(GenaudioError, match='no audio that is understood'):
        read_audio(tmp_path / 'x.wav')
    assert capfd.readouterr().err == ''


def test_words_in_front_of_a_wav_hide_nothing(tmp_path):
    data = wav(pcm())
    words = b'LIST' + struct.pack('<I', 10) + b'INFOISFT\0\0'
    audio, told, n = read(tmp_path, data[:12] + words + data[12:])
    assert np.abs(audio - sound()).max() < 1e-4 and n == RATE and not told


APE = b'APETAGEX' + struct.pack('<IIII', 2000, 64, 1, 1 << 31)
TAGS = {'id3v1': b'TAG' + bytes(125), 'ape': APE + bytes(8) + bytes(32) + APE + bytes(8)}


@pytest.mark.parametrize(
    'tags', [b''.join(TAGS[name] for name in names.split()) for names in ('id3v1', 'ape', 'ape id3v1')]
)
def test_tags_behind_a_flac_are_no_damage(tmp_path, tags):
    audio, told, n = read(tmp_path, encoded(tmp_path, 'x.flac') + tags)
    assert audio.shape[1] == n == RATE and not told


@pytest.mark.parametrize('name', ['x.mp3', 'x.wav', 'x.mp2'])
@pytest.mark.parametrize('data', [b'<!DOCTYPE html><html>404</html>', bytes(9000), b'hello ' * 999])
def test_what_is_no_sound_is_one_line_by_any_name(tmp_path, capfd, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(GenaudioError, match='no audio that is understood'):
        read_audio(tmp_path / name)
    assert capfd.readouterr().err == ''


@pytest.mark.parametrize('rate', [1, 99, 2_000_000, 0x7FFFFFFF])
def test_a_rate_that_no_sound_has_is_a_damaged_header(tmp_path, rate):
    data = bytearray(wav(pcm()))
    struct.pack_into('<I', data, 24, rate)
    (tmp_path / 'x.wav').write_bytes(data)
    with pytest.raises(GenaudioError, match='sample rate'):
        AudioReader(tmp_path / 'x.wav')


@pytest.mark.parametrize('value', [1e20, -1e30, 3e38])
def test_samples_that_are_too_loud_for_any_arithmetic_are_damage(tmp_path, value):
    audio = sound().T.copy()
    soundfile.write(tmp_path / 'x.wav', audio * 2.0**31, RATE, subtype='FLOAT')  # as some programs count
    assert read_audio(tmp_path / 'x.wav').shape == (2, RATE)
    audio[1000, 1] = value
    soundfile.write(tmp_path / 'x.wav', audio, RATE, subtype='FLOAT')
    with pytest.raises(GenaudioError, match='louder than any sound'):
        read_audio(tmp_path / 'x.wav')


@pytest.mark.parametrize('numbers', ['0.5', '.5', '0,5', '2.5 *', 'violin + 0.5', '0.5 + violin', 'violin, not 0.5'])
def test_a_weight_without_a_sound_is_told(numbers):
    with pytest.raises(GenaudioError, match='stands alone'):
        parse(numbers)


@pytest.mark.parametrize('text', ['0 drums', '00 drums', '0.0 drums', 'violin + 0 drums', '0 * drums'])
def test_a_weight_of_nothing_is_told(text):
    with pytest.raises(GenaudioError, match='more than 0'):
        parse(text)


@pytest.mark.parametrize('text', [',', '+', ' ; & '])
def test_marks_alone_are_no_query(text):
    with pytest.raises(GenaudioError, match='no word'):
        QueryEncoder(object(), object()).query(text)  # type: ignore[arg-type]


@pytest.mark.parametrize('command', [
    ['separate', 'x.wav', '-q', 'violin'], ['synth', 'rain', '-o', 'x.wav'], ['compose', 'x.csv', '--check'],
])  # fmt: skip
@pytest.mark.parametrize('threads', ['0', '-3', 'nan', '1e9', '2.5'])
def test_a_number_of_threads_that_cannot_be_is_told(command, threads, capsys):
    assert main([*command, '--threads', threads]) == 2
    assert '--threads must be a whole number from 1' in capsys.readouterr().err


@pytest.mark.parametrize('change', [{'n_fft': None}, {'frames': 'x'}, {'bands': []}, {'query_dim': float('nan')}])
def test_a_card_that_lacks_something_is_one_line(tmp_path, change):
    source = presets_dir() / 'models' / 'separator.onnx'
    if not source.exists():
        pytest.skip('presets/models/separator.onnx is not there')
    found = read_model(source, 'clipsep')
    details = {**found.card.details, **change}
    details = {name: value for name, value in details.items() if value is not None}
    write_model(tmp_path / 'x.onnx', without_card(bytes(found.data)), replace(found.card, details=details))
    with pytest.raises(GenaudioError, match=r'x\.onnx: its model card'):
        Separator.load(tmp_path / 'x.onnx')


HEADER = 'Audio Type,Content,Duration\n'


@pytest.mark.parametrize(('table', 'told'), [
    (HEADER + 'sound effect,"rain,1\nsound effect,dog,1\n', 'line 2: a quotation mark'),
    (HEADER + 'sound effect,dog,1\nsound effect,"rain" and wind,1\n', 'line 3: a quotation mark'),
    (HEADER + 'sound effect,rain,"1,000"\n', 'may mean two numbers; write 1.000 or 1000'),
])  # fmt: skip
def test_a_table_that_can_be_read_in_two_ways_is_told_with_its_line(tmp_path, table, told):
    (tmp_path / 'x.csv').write_text(table)
    with pytest.raises(GenaudioError, match=re.escape(told)):
        read_script(tmp_path / 'x.csv')


@pytest.mark.parametrize('mark', ['sep=;\r\n', '"sep=;"\n', 'SEP=;\n'])
def test_a_table_may_begin_with_its_separator(tmp_path, mark):
    (tmp_path / 'x.csv').write_text(mark + HEADER.replace(',', ';') + 'sound effect;rain;1,5\n', newline='')
    (row,) = read_script(tmp_path / 'x.csv').rows
    assert row.content == 'rain' and row.seconds == 1.5


def test_a_name_that_json_has_twice_is_told(tmp_path):
    (tmp_path / 'x.json').write_text('[{"audio_type": "sound_effect", "desc": "rain", "len": 1, "len": 2}]')
    with pytest.raises(GenaudioError, match="'len' is given twice"):
        read_script(tmp_path / 'x.json')
