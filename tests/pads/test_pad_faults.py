"""What goes wrong round pads: files, folders, lines. One line each; the others play on."""

import contextlib
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from bridge.pads import clip_store
from bridge.pads.clip_store import Folder, PadBank, load_take
from bridge.pads.jack_pads import JackPads, PadsProcess
from bridge.pads.pad_player import PadPlayer
from bridge.settings.pads_table import Pad, check_note
from bridge.system.sound_process import SoundProcess
from genaudio_core.errors import GenaudioError
from genaudio_core.sound.audio_files import write_audio

RATE = 48000


def beep(path, value=0.5, n=4800, rate=RATE):
    write_audio(path, np.full((1, n), value, np.float32), rate)


def truncated(path):
    beep(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def promises_much(path):
    """A header of 2 GB, as a recorder writes it that cannot seek back, and a little sound."""
    beep(path)
    data = bytearray(path.read_bytes())
    at = data.index(b'data') + 4
    data[at : at + 4] = (2_000_000_000).to_bytes(4, 'little')
    path.write_bytes(data)


BAD = {
    'text': lambda path: path.write_text('no sound'),
    'empty': lambda path: path.write_bytes(b''),
    'folder': lambda path: path.mkdir(),
    'header': lambda path: path.write_bytes(b'RIFF\xff\xff\xff\xffWAVEfmt '),
    'no samples': lambda path: soundfile.write(path, np.zeros((0, 1)), RATE),
    'nan': lambda path: soundfile.write(path, np.full((4800, 1), np.nan, np.float32), RATE, subtype='FLOAT'),
    'inf': lambda path: soundfile.write(path, np.full((4800, 1), np.inf, np.float32), RATE, subtype='FLOAT'),
    'long': lambda path: soundfile.write(path, np.zeros((121 * 8000, 1)), 8000),
    'channels': lambda path: soundfile.write(path, np.zeros((4800, 9)), RATE),
    'pipe': os.mkfifo,
    'loop': lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize('kind', BAD)
def test_a_file_that_cannot_be_used_costs_one_line_and_the_other_pads_play(kind, tmp_path):
    """It appears while the others sound; then it is mended."""
    said, player = [], PadPlayer(RATE)
    beep(tmp_path / 'good.wav')
    folder = Folder(tmp_path, PadBank(player, said.append), 36, 4)
    folder.look(said.append, patient=False)
    player.render(np.zeros((2, 64), np.float32), [(0, bytes((0x90, 36, 127)))])
    BAD[kind](tmp_path / 'bad.wav')
    for _ in range(5):
        folder.look(said.append)
    lines = said[1:]
    assert len(lines) == (kind != 'loop') and all('bad.wav' in line and '\n' not in line for line in lines), lines
    out = np.zeros((2, 64), np.float32)
    player.render(out)
    assert out.any() and [pad.file.name for pad in player.pads if pad] == ['good.wav']
    target = tmp_path / 'bad.wav'
    target.rmdir() if kind == 'folder' else target.unlink()
    folder.look(said.append)
    beep(target)
    for _ in range(2):
        folder.look(said.append)
    assert said[-1] == 'pad 37: bad.wav'


@pytest.mark.parametrize('spoil', [truncated, promises_much])
def test_a_file_that_holds_less_than_it_says_plays_what_is_there(spoil, tmp_path):
    spoil(tmp_path / 'a.wav')
    said = []
    audio = load_take(tmp_path / 'a.wav', RATE, said.append)
    assert 0 < audio.shape[1] <= 4800 and np.isfinite(audio).all()
    assert all('\n' not in line for line in said)


@pytest.mark.parametrize('subtype', ['PCM_16', 'PCM_24', 'PCM_32', 'FLOAT', 'DOUBLE', 'PCM_U8', 'ULAW'])
def test_files_of_any_depth_are_read(subtype, tmp_path):
    soundfile.write(tmp_path / 'a.wav', np.full((4800, 1), 0.5), RATE, subtype=subtype)
    assert load_take(tmp_path / 'a.wav', RATE)[:, 1000] == pytest.approx(0.5, abs=0.02)


def test_whatever_a_reader_throws_is_one_line(tmp_path, monkeypatch):
    class Reader:
        def __init__(self, *args, **options):
            raise RuntimeError('20 bits\nare too many')

    monkeypatch.setattr(clip_store, 'AudioReader', Reader)
    with pytest.raises(GenaudioError, match=r'Cannot read .*: 20 bits are too many'):
        load_take(tmp_path / 'a.wav', RATE)
    for name in ('nul\0byte.wav', 'x' * 5000 + '.wav', '\udcff.wav'):
        with pytest.raises(GenaudioError):
            PadBank(PadPlayer(RATE)).put(36, tmp_path / name)


def test_a_header_that_lies_about_its_length_does_not_fill_the_memory(tmp_path, monkeypatch):
    """The reader says one second, and gives without end."""

    class Endless:
        n_samples, given = RATE, 0

        def __init__(self, *args, **options):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *args):
            pass

        def blocks(self):
            while True:
                Endless.given += 1
                yield np.zeros((1, RATE), np.float32)

    monkeypatch.setattr(clip_store, 'AudioReader', Endless)
    with pytest.raises(GenaudioError, match='too long for a pad'):
        load_take('a.wav', RATE)
    assert Endless.given <= clip_store.MAX_SECONDS + 1


def test_all_pads_together_hold_so_much_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(clip_store, 'MAX_MEMORY', 3 * 4800 * 8)
    beep(tmp_path / 'a.wav')
    player = PadPlayer(RATE)
    bank = PadBank(player)
    for note in (36, 37, 38):
        bank.put(note, tmp_path / 'a.wav')
    with pytest.raises(GenaudioError, match='all pads together hold'):
        bank.put(39, tmp_path / 'a.wav')
    bank.put(38, tmp_path / 'a.wav')  # in the place of another there is room
    assert player.pads[39] is None


def test_a_folder_that_goes_and_comes_back_is_told_once_each(tmp_path):
    said, player = [], PadPlayer(RATE)
    inside = tmp_path / 'takes'
    inside.mkdir()
    beep(inside / 'a.wav')
    folder = Folder(inside, PadBank(player), 36, 4)
    folder.look(said.append, patient=False)
    inside.rename(tmp_path / 'away')
    for _ in range(3):
        folder.look(said.append)
    assert len(said) == 2 and 'cannot be read' in said[1] and player.pads[36] is not None
    (tmp_path / 'away').rename(inside)
    for _ in range(3):
        folder.look(said.append)
    assert len(said) == 3 and said[2].endswith('is back.')


def test_who_watches_a_folder_loads_one_file_at_a_time(tmp_path):
    for i in range(5):
        beep(tmp_path / f'{i}.wav', n=100)
    said, folder = [], Folder(tmp_path, PadBank(PadPlayer(RATE)), 36, 8)
    looks = 0
    while folder.look(said.append, patient=False, most=1):
        looks += 1
        assert len(said) == looks
    assert len(said) == 5


def test_a_server_of_another_rate_and_a_file_that_is_gone_by_then(tmp_path):
    said = []
    old = PadPlayer(44100)
    bank = PadBank(old, said.append)
    for note, name in ((36, 'a.wav'), (37, 'b.wav')):
        beep(tmp_path / name, 0.5, 44100, 44100)
        bank.put(note, tmp_path / name)
    (tmp_path / 'b.wav').unlink()
    player = PadPlayer(48000)
    bank.play_with(player)
    assert len(said) == 1 and 'b.wav' in said[0] and 'keeps what it has' in said[0]
    for note in (36, 37):
        audio = player.pads[note].audio
        assert abs(audio.shape[1] - 48000) <= 2 and audio[0, 24000] == pytest.approx(0.5, abs=0.01)


@given(st.one_of(st.text(max_size=12), st.booleans(), st.floats(allow_subnormal=False), st.integers(), st.none()))
def test_a_note_is_a_note(value):
    with contextlib.suppress(GenaudioError):
        note = check_note(value)
        assert 0 <= note <= 127 and not isinstance(value, bool)


def silent_pads():
    one = object.__new__(JackPads)
    one.player = PadPlayer(RATE)
    one.bank = PadBank(one.player, lambda line: None)
    one.xruns = one.faults = 0
    return one


@given(
    st.one_of(
        st.text(max_size=40),
        st.builds(
            '{} {} {}'.format, st.sampled_from(['load', 'gain', 'choke']), st.text(max_size=5), st.text(max_size=9)
        ),
        st.builds('gain 36 {}'.format, st.floats(allow_subnormal=False)),
    )
)
def test_whatever_a_line_says_it_is_done_or_told(line):
    one = silent_pads()
    one.player.pads[36] = Pad(36, Path('x.wav'))
    with contextlib.suppress(GenaudioError):
        one.obey(line)
    pad = one.player.pads[36]
    assert pad is not None and -60 <= pad.gain_db <= 12 and 0 <= pad.choke <= 127


def test_pads_that_are_started_again_have_what_was_loaded_since(monkeypatch):
    launched = []
    monkeypatch.setattr(SoundProcess, '_launch', lambda self: launched.append(self._arguments))
    process = PadsProcess([Pad(36, Path('a.wav'), -6.0, choke=1)])
    process.process = SimpleNamespace(send=lambda kind, line: True)  # type: ignore
    process.load(36, 'b c.wav')
    process.load(40, 'd.wav')
    process.load('x', 'e.wav')
    assert process._arguments[0] == (Pad(36, Path('b c.wav'), -6.0, choke=1), Pad(40, Path('d.wav')))
