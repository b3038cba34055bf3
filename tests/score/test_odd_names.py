"""Names that are no text, pipes and devices in place of files: the work is done, or one line says why not."""

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import small_decoders

from bridge.cli import main
from genaudio_core import files
from genaudio_core.errors import GenaudioError
from genaudio_core.files import fitting_name
from genaudio_core.inference.model_card import read_model
from genaudio_core.music.piano_roll import draw_made
from genaudio_core.score.reading import midi_bytes, read_midi, write_midi
from genaudio_core.script.reading import read_script
from genaudio_core.sound.audio_files import read_audio, write_audio
from genaudio_core.standard_streams import write_anything

pytestmark = pytest.mark.skipif(sys.platform == 'win32', reason='names there are text, and pipes have no names')


def name_of_bytes(folder, name: bytes) -> str:
    path = os.fsdecode(os.path.join(os.fsencode(folder), name))
    try:
        open(path, 'wb').close()
    except OSError:
        pytest.skip('this file system takes UTF-8 only')
    return path


@pytest.mark.parametrize('encoding', ['utf-8:strict', 'ascii:strict', 'latin-1:strict'])
def test_names_that_are_not_utf_8_are_read_written_and_shown(tmp_path, phrase, encoding):
    given, made = (name_of_bytes(tmp_path, name) for name in (b'caf\xe9.mid', b'\xff$made_{\x01.mid'))
    write_midi(phrase, given)
    model = str(small_decoders.file('live'))
    command = [sys.executable, '-m', 'bridge.cli', 'continue', given, '-o', made, '--beats', '1', '--model', model,
               '--picture', str(tmp_path / 'roll.png')]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, timeout=300, env=os.environ | {'PYTHONIOENCODING': encoding})
    assert ended.returncode == 0, ended.stderr
    shown = os.fsencode(made).replace(
        b'\x01', rb'\x01'
    )  # byte for byte but for what moves a cursor; scripts take --json
    assert shown in ended.stdout
    assert read_midi(made).n_notes >= phrase.n_notes
    assert (tmp_path / 'roll.png').stat().st_size


def test_a_system_whose_names_are_ascii_gets_its_files(tmp_path, phrase):
    given = name_of_bytes(tmp_path, 'müß.mid'.encode())
    write_midi(phrase, given)
    names = {'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'}
    made = os.path.join(os.fsencode(tmp_path), 'öß.mid'.encode())
    command = [sys.executable, '-m', 'bridge.cli', 'continue', given, '-o', made, '--beats', '1', '--model',
               str(small_decoders.file('live')), '--picture', made[:-3] + b'png']  # fmt: skip
    ended = subprocess.run(command, capture_output=True, timeout=300, env=os.environ | names)
    assert ended.returncode == 0, ended.stderr
    assert sorted(os.listdir(os.fsencode(tmp_path))) == sorted(
        os.path.basename(name) for name in (os.fsencode(given), made, made[:-3] + b'png')
    )


def test_what_a_stream_cannot_say_is_said_somehow():
    for encoding, said in (('ascii', b'a\\u2014\xe9'), ('utf-8', 'a—'.encode() + b'\xe9')):
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding=encoding)
        write_anything(stream)
        stream.write('a—\udce9')
        stream.flush()
        assert raw.getvalue() == said


def test_names_are_cut_between_letters_in_any_encoding():
    name = fitting_name('ü' * 200 + '\udce9', '.wav')
    assert len(os.fsencode(name)) <= 255 and set(name.partition('~')[0]) == {'ü'}


@pytest.mark.parametrize('title', ['a$b_{', '\udce9\x00\x07', '$\\frac{$', '鼓'])
def test_any_title_can_be_drawn(tmp_path, phrase, title):
    draw_made(tmp_path / 'roll.png', phrase, title=title)
    assert (tmp_path / 'roll.png').stat().st_size


def test_a_pipe_is_read_to_its_end_even_if_its_writer_comes_late(tmp_path, phrase):
    pipe = tmp_path / 'pipe.mid'
    os.mkfifo(pipe)
    opened = threading.Event()

    def write():
        opened.wait(60)
        pipe.write_bytes(midi_bytes(phrase))

    writer = threading.Thread(target=write)
    writer.start()
    usual = files._without_waiting

    def noticed(path, flags):
        found = usual(path, flags)
        opened.set()
        return found

    files._without_waiting = noticed
    try:
        assert read_midi(pipe).n_notes == phrase.n_notes
    finally:
        files._without_waiting = usual
        opened.set()
        writer.join(60)


def test_a_pipe_that_nobody_writes_into_is_one_line(tmp_path, monkeypatch, capsys):
    os.mkfifo(tmp_path / 'pipe.mid')
    monkeypatch.setattr(files, 'WRITER_SECONDS', 0.1)
    assert main(['continue', str(tmp_path / 'pipe.mid'), '-o', str(tmp_path / 'out.mid')]) == 2
    err = capsys.readouterr().err
    assert err.count('\n') == 1 and 'Nobody writes' in err


def test_a_device_without_an_end_is_not_read_to_its_end():
    with pytest.raises(GenaudioError, match='is not a MIDI file'):
        read_midi('/dev/zero')


def test_a_file_that_is_too_long_to_be_midi_is_told_without_reading_all(tmp_path):
    path = tmp_path / 'long.mid'
    path.write_bytes(b'MThd')
    os.truncate(path, 1 << 40)  # a hole: it takes no room
    with pytest.raises(GenaudioError, match=r'too long for a MIDI file \(over 256 MiB\)'):
        read_midi(path)


def test_a_pipe_on_stdin_is_a_file(tmp_path, phrase):
    command = [sys.executable, '-m', 'bridge.cli', 'continue', '/dev/stdin', '-o', str(tmp_path / 'out.mid'),
               '--beats', '1', '--model', str(small_decoders.file('live'))]  # fmt: skip
    ended = subprocess.run(command, input=midi_bytes(phrase), capture_output=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert read_midi(tmp_path / 'out.mid').n_notes >= phrase.n_notes


@pytest.mark.parametrize('suffix', ['.wav', '.flac', '.aiff', '.mp3', '.ogg'])
def test_sounds_whose_names_are_not_utf_8_are_written_and_read(tmp_path, suffix):
    folder = tmp_path / os.path.basename(name_of_bytes(tmp_path, b'caf\xe9'))
    folder.unlink()
    folder.mkdir()
    sound = np.sin(np.arange(44100) * 0.1).astype(np.float32)[None] * 0.5
    path = folder / ('\udcff' + suffix)
    write_audio(path, sound, 44100)
    assert os.listdir(os.fsencode(folder)) == [b'\xff' + suffix.encode()]
    assert np.abs(read_audio(path)[0] - sound[0]).max() < 0.1


@pytest.mark.parametrize('suffix', ['.onnx', '.csv', '.wav'])
def test_a_pipe_in_place_of_a_model_a_script_or_a_sound_is_one_line(tmp_path, suffix):
    read = {'.onnx': read_model, '.csv': read_script, '.wav': read_audio}[suffix]
    os.mkfifo(tmp_path / f'pipe{suffix}')
    with pytest.raises(GenaudioError, match='is a pipe or a device'):
        read(tmp_path / f'pipe{suffix}')


def test_a_device_is_no_model():
    with pytest.raises(GenaudioError, match='is a pipe or a device'):
        read_model('/dev/zero')


def test_a_script_that_is_far_too_large_is_not_read_to_its_end(tmp_path):
    (tmp_path / 'a.csv').write_bytes(b'')
    os.truncate(tmp_path / 'a.csv', 1 << 40)
    with pytest.raises(GenaudioError, match=r'too large for an audio script \(1048576 MiB\)'):
        read_script(tmp_path / 'a.csv')


def ended_in_shell(text: str) -> subprocess.CompletedProcess:
    command = f'{sys.executable} -m bridge.cli'
    root = str(Path(files.__file__).parents[1])  # the folder that it is run from may be gone
    env = os.environ | {'PYTHONPATH': root}
    return subprocess.run(['sh', '-c', text.replace('GENAUDIO', command)], capture_output=True, timeout=300, env=env)


@pytest.mark.parametrize('closed', ['<&-', '>&-', '2>&-', '<&- >&- 2>&-'])
def test_closed_standard_streams_cost_no_file(tmp_path, phrase, closed):
    write_midi(phrase, tmp_path / 'in.mid')
    model = small_decoders.file('live')
    ended = ended_in_shell(
        f'GENAUDIO continue {tmp_path}/in.mid -o {tmp_path}/out.mid --beats 1 --model {model} {closed}'
    )
    assert ended.returncode == 0, ended.stderr
    assert read_midi(tmp_path / 'out.mid').n_notes >= phrase.n_notes


def test_a_file_for_a_closed_stdout_is_one_line(tmp_path, phrase):
    write_midi(phrase, tmp_path / 'in.mid')
    ended = ended_in_shell(f'GENAUDIO continue {tmp_path}/in.mid -o - >&-')
    assert ended.returncode == 2 and ended.stderr.count(b'\n') == 1 and b'closed' in ended.stderr


def test_a_working_folder_that_is_gone_is_told(tmp_path):
    sound = tmp_path / 'a.wav'
    write_audio(sound, np.full((1, 4410), 0.1, np.float32), 44100)
    (tmp_path / 'gone').mkdir()
    ended = ended_in_shell(f'cd {tmp_path}/gone && rmdir {tmp_path}/gone && GENAUDIO separate {sound} -q violin')
    assert ended.returncode == 2 and b'current folder is gone' in ended.stderr, ended.stderr
