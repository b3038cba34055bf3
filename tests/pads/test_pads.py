"""The sample player, by samples; then the folder, the table, and the JACK client with a recorder behind it."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jack_server import HEARS_ALL, RATE, Desk, Recorder, available, record_until, server

from bridge.live.osc import translate
from bridge.pads.clip_store import Folder, PadBank, load_take
from bridge.pads.pad_player import MAX_VOICES, PadPlayer
from bridge.settings.band_preset import parse_preset
from bridge.settings.pads_table import Pad, parse_pads
from genaudio_core.errors import GenaudioError
from genaudio_core.sound.audio_files import write_audio

FADE = round(0.005 * RATE)


def on(note=36, velocity=127, channel=0):
    return bytes((0x90 | channel, note, velocity))


def off(note=36):
    return bytes((0x80, note, 0))


def player_of(*pads, **kwargs):
    player = PadPlayer(RATE, **kwargs)
    for pad in pads:
        player.pads[pad.note] = pad
    return player


def take(note=36, n=1000, value=0.5, **more):
    return Pad(note, None, audio=np.full((2, n), value, np.float32), **more)


def render(player, n, events=(), block=64):
    """Events by absolute frame, rendered in blocks."""
    out = np.zeros((2, n), np.float32)
    for start in range(0, n, block):
        part = out[:, start : start + block]
        player.render(part, [(f - start, m) for f, m in events if start <= f < start + part.shape[1]])
    return out


@pytest.mark.parametrize('block', [1, 64, 255, 9000])
def test_a_note_plays_its_take_on_its_frame(block):
    pad = Pad(36, None, audio=np.random.default_rng(0).standard_normal((2, 777)).astype(np.float32))
    out = render(player_of(pad), 2000, [(301, on())], block)
    assert not out[:, :301].any() and not out[:, 301 + 777 :].any()
    assert np.array_equal(out[:, 301 : 301 + 777], pad.audio)


@given(
    st.lists(st.tuples(st.integers(0, 4999), st.sampled_from([36, 37, 38]), st.integers(0, 127)), max_size=60),
    st.integers(1, 700),
)
def test_blocks_do_not_matter(strikes, block):
    """Any strikes, cut into any blocks: the same sound."""
    pads = [take(36, 3000, 0.2), take(37, 200, 0.3, choke=1), take(38, 4000, 0.1, choke=1, hold=True)]
    events = [(frame, bytes((0x90, note, velocity))) for frame, note, velocity in sorted(strikes)]
    whole = render(player_of(*pads), 5000, events, 5000)
    np.testing.assert_allclose(render(player_of(*pads), 5000, events, block), whole, atol=1e-6)


@given(st.lists(st.tuples(st.integers(0, 20000), st.integers(36, 41), st.integers(0, 127), st.booleans()), max_size=99))
def test_nothing_ever_clicks_or_hangs(strikes):
    """Takes that rise and fall slowly: whatever is struck, choked and let go, no sample jumps."""
    n = 8000
    shape = np.sin(np.pi * (np.arange(n) + 0.5) / n).astype(np.float32)[None].repeat(2, 0)
    pads = [Pad(36 + i, None, choke=i % 3, hold=i > 3, audio=shape) for i in range(6)]
    events = sorted((f, on(note, v) if down else off(note)) for f, note, v, down in strikes)
    player = player_of(*pads)
    out = render(player, 40000, events, 256)
    per_voice = 1 / FADE + np.pi / n
    assert np.abs(np.diff(out)).max(initial=0) <= 2 * MAX_VOICES * per_voice
    assert np.abs(np.diff(out)).max(initial=0) <= 0.02 + per_voice * np.abs(out).max(initial=0) * 4
    assert player.sounding == 0 and not out[:, -10000:].any()


def test_struck_again_the_old_voice_fades_and_the_new_one_begins():
    out = render(player_of(take(n=4000)), 5000, [(0, on()), (1000, on())])
    assert np.all(out[:, :1000] == 0.5) and out[0, 1000] == 1.0  # the fade begins where the new take does
    assert np.all(np.diff(out[0, 1000 : 1000 + FADE]) < 0) and np.all(out[:, 1000 + FADE : 5000] == 0.5)


def test_choke_group_and_hold():
    player = player_of(take(42, 9000, choke=1), take(46, 9000, 0.25, choke=1), take(50, 9000, hold=True))
    out = render(player, 3000, [(0, on(46)), (1000, on(42))])
    assert np.all(out[:, 1000 + FADE :] == 0.5)
    player.silence()
    out = render(player, 3000, [(1000, on(50)), (2000, off(50))])
    assert not out[:, FADE:1000].any() and np.all(out[:, 1000:2000] == 0.5) and not out[:, 2000 + FADE :].any()
    out = render(player, 3000, [(0, on(42)), (100, off(42)), (2000, bytes((0xB0, 120, 0)))])
    assert np.all(out[:, :2000] == 0.5) and not out[:, 2000 + FADE :].any()


@pytest.mark.parametrize('end', [off(50), on(50, 0), bytes((0xB0, 120, 0)), bytes((0xB0, 123, 0))])
def test_a_held_pad_ends_however_its_end_is_told(end):
    out = render(player_of(take(50, 9000, hold=True)), 3000, [(1000, on(50)), (2000, end)])
    assert np.all(out[:, 1000:2000] == 0.5) and not out[:, 2000 + FADE :].any()


def test_the_end_of_another_key_ends_no_held_pad():
    player = player_of(take(50, 9000, hold=True), take(51, 9000, 0.25, hold=True))
    out = render(player, 3000, [(0, on(50)), (0, on(51)), (1000, off(51)), (2000, off(36))])
    assert np.all(out[:, 1000 + FADE :] == 0.5)


def test_velocity_gain_and_channel():
    player = player_of(take(value=1.0, gain_db=-6.0206), channel=9)
    assert render(player, 10, [(0, on(velocity=64, channel=9))])[0, 0] == pytest.approx((64 / 127) ** 2 / 2, rel=1e-4)
    assert not render(player_of(take(), channel=9), 10, [(0, on(channel=3))]).any()
    assert not render(player_of(take()), 10, [(0, on(37)), (0, b'\x90'), (0, b'\xf8'), (0, b'\xc0\x01')]).any()


def test_more_strikes_than_voices():
    """The oldest give way, fading, and the newest are heard."""
    player = player_of(*(take(note, 90000, 0.01) for note in range(64)))
    out = render(player, 64 * 300, [(300 * i, on(i)) for i in range(64)])
    assert np.abs(np.diff(out)).max() <= 0.0101 and player.sounding <= 2 * MAX_VOICES
    assert out[0, -1] == pytest.approx(0.01 * MAX_VOICES, rel=1e-3)


def test_a_new_take_while_the_old_one_sounds(tmp_path):
    player = player_of(take(n=5000))
    write_audio(tmp_path / 'new.wav', np.full((1, 4000), 0.25, np.float32), RATE)
    first = render(player, 1000, [(0, on())])
    player.pads[36] = replace(player.pads[36], gain_db=-6.0, choke=3, hold=True)
    PadBank(player).put(36, tmp_path / 'new.wav')
    second = render(player, 1000)
    assert np.all(first == 0.5) and np.all(second == 0.5)  # it plays on, sample by sample
    third = render(player, 2000, [(0, on())])
    assert third[:, FADE:2000] == pytest.approx(0.25 * 10 ** (-6 / 20))  # and what the pad was set to stays
    assert (player.pads[36].choke, player.pads[36].hold) == (3, True)


def test_takes_are_resampled_and_begin_and_end_without_a_step(tmp_path):
    write_audio(tmp_path / 'a.wav', np.ones((1, 44100), np.float32), 44100)
    audio = load_take(tmp_path / 'a.wav', 48000)
    assert audio.shape[0] == 2 and abs(audio.shape[1] - 48000) <= 1 and audio[0, 0] == 0 and audio[0, -1] == 0
    assert np.abs(np.diff(audio)).max() < 0.06
    write_audio(tmp_path / 'long.wav', np.ones((1, 8000 * 121), np.float32), 8000)
    with pytest.raises(GenaudioError, match='too long for a pad'):
        load_take(tmp_path / 'long.wav', 48000)
    write_audio(tmp_path / 'one.wav', np.ones((1, 1), np.float32), 48000)
    assert load_take(tmp_path / 'one.wav', 48000).shape == (2, 1)


def beep(path, value=0.5, n=4800):
    write_audio(path, np.full((1, n), value, np.float32), RATE)


def names(player):
    return {pad.note: pad.file.name for pad in player.pads if pad}


def test_what_appears_in_the_folder_goes_to_the_next_pad(tmp_path):
    said = []
    player = PadPlayer(RATE)
    beep(tmp_path / 'a.wav')
    (tmp_path / '.b-half-written.wav').write_bytes(b'RIFF')
    (tmp_path / 'broken.wav').write_text('no sound')
    folder = Folder(tmp_path, PadBank(player), 36, 3)
    folder.look(said.append, patient=False)
    assert names(player) == {36: 'a.wav'} and any('broken.wav' in line for line in said)
    beep(tmp_path / 'c.wav')
    folder.look(said.append)
    assert names(player) == {36: 'a.wav'}  # it may still be growing
    folder.look(said.append)
    assert names(player) == {36: 'a.wav', 37: 'c.wav'} and said[-1] == 'pad 37: c.wav'
    beep(tmp_path / 'a.wav', 0.25)  # made again: the same pad
    folder.look(said.append)
    folder.look(said.append)
    assert names(player) == {36: 'a.wav', 37: 'c.wav'} and player.pads[36].audio[0, 2000] == 0.25
    for name in ('d', 'e'):  # more than pads: from the first again
        beep(tmp_path / f'{name}.wav')
        folder.look(said.append)
        folder.look(said.append)
    assert names(player) == {36: 'e.wav', 37: 'c.wav', 38: 'd.wav'}
    count = len(said)
    folder.look(said.append)
    assert len(said) == count  # nothing is told twice


@pytest.mark.parametrize(
    ('table', 'told'),
    [
        ({'36': {}}, 'pads.36.file is missing'),
        ({'x': 'a.wav'}, 'is not a MIDI note'), ({'128': 'a.wav'}, 'is not a MIDI note'),
        ({'36': {'file': 'a', 'chok': 1}}, "Did you mean 'choke'"),
        ({'36': {'file': 'a', 'gain_db': 99}}, 'from -60 to 12 dB'),
        ({'36': {'file': 'a', 'choke': True}}, 'a whole number from 0 to 127'),
        ({'36': {'file': 'a', 'hold': 1}}, 'true or false'),
        (3, 'write'),
    ],
)  # fmt: skip
def test_broken_tables(table, told, tmp_path):
    with pytest.raises(GenaudioError, match=told):
        parse_pads(table, tmp_path)


def test_presets_have_pads_and_osc_loads_them(tmp_path):
    preset = parse_preset({'pads': {'36': 'k.wav', '42': {'file': 'h.wav', 'choke': 2}}}, path=tmp_path / 'p.toml')
    kick, hat = preset.pads
    assert (kick.note, kick.file, kick.choke) == (36, tmp_path / 'k.wav', 0)
    assert (hat.note, hat.file, hat.choke) == (42, tmp_path / 'h.wav', 2)
    assert preset.with_values({'temperature': 0.5}).pads == preset.pads
    assert translate('/genaudio/pad', [36, 'a b.wav']) == {'pad': 36, 'file': 'a b.wav'}
    with pytest.raises(GenaudioError):
        translate('/genaudio/pad', ['a.wav'])


# --- JACK ---


@pytest.mark.jack
@pytest.mark.skipif(not available, reason='needs jackd')
def test_pads_in_jack_and_a_take_loaded_while_another_plays(tmp_path):
    """The real command: notes on their frames; 20 s of stereo loaded over a sounding pad, and no sample missing."""
    beep(tmp_path / 'a.wav', 0.5, 60 * RATE)
    rng = np.random.default_rng(0)
    write_audio(tmp_path / 'new.wav', rng.uniform(-0.2, 0.2, (2, 20 * 44100)).astype(np.float32), 44100)
    arguments = ['pads', f'36={tmp_path / "a.wav"}', '--json', '--connect', 'desk:out']
    said = []
    with server(512), Desk('desk') as desk, contextlib.ExitStack() as stack:
        process = subprocess.Popen(
            [sys.executable, '-m', 'bridge.cli', *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        stack.enter_context(process)
        stack.callback(process.kill)
        reader = threading.Thread(target=lambda: said.extend(process.stderr), daemon=True)
        reader.start()
        wait_for(lambda: any('JACK client' in line for line in said), process)
        recorder = Recorder()
        stack.callback(recorder.client.close)
        recorder.client.connect('genaudio-pads:out_1', 'recorder:in')
        start = desk.frame() + RATE // 2
        desk.send('out', [(start + 123, on(36, 127))])
        record_until(recorder, start + RATE)
        process.stdin.write(f'load 36 {tmp_path / "new.wav"}\nload 37 {tmp_path / "gone.wav"}\nfoo\n')
        process.stdin.flush()
        wait_for(lambda: sum('foo' in line or 'new.wav' in line for line in said) == 2, process)
        loaded = desk.frame()
        loaded = min(loaded, start + 55 * RATE)  # however slow the machine, the old take still sounds then
        record_until(recorder, loaded)
        heard = recorder.between(start, loaded)
        again = desk.frame() + RATE // 4
        desk.send('out', [(again, on(36, 127))])
        record_until(recorder, again + 8192)
        new = recorder.between(again + 1024, again + 8192)
        out, _ = process.communicate('quit\n', timeout=20)
    told = json.loads(out)
    sounding = heard[~np.isnan(heard)]
    assert len(sounding) > RATE / 2
    first = int(np.flatnonzero(heard > 0)[0])
    # A client between player and recorder is at most a period late; the same for every note.
    assert (first - 124) % 512 == 0 and first <= 124 + 1024
    steady = heard[first + FADE :]
    steady = steady[~np.isnan(steady)]
    assert np.all((steady == 0.5) | (steady == 0))  # no click while the file was read
    # And no drop-out; where JACK itself says that a busy machine let it down, few.
    assert np.mean(steady == 0.5) > (0.8 if told['xruns'] else 0.9999999)
    assert told['faults'] == 0 and told['played'] == 2 and told['pads']['36'] == 'new.wav'
    assert np.nanstd(new) > 0.05
    assert any('There is no file' in line for line in said)


@pytest.mark.jack
@pytest.mark.skipif(not available, reason='needs jackd')
def test_a_live_preset_has_pads_and_osc_changes_them(tmp_path):
    """Beside the band: a strike is heard, a take comes by OSC, is heard, and the live session ends as always."""
    udp = pytest.importorskip('pythonosc.udp_client')
    beep(tmp_path / 'a.wav', 0.5)
    beep(tmp_path / 'b.wav', 0.25)
    (tmp_path / 'p.toml').write_text('[music]\nmodel = "rules"\n[ports]\nbackend = "jack"\n[pads]\n36 = "a.wav"\n')
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    command = [sys.executable, '-m', 'bridge.cli', 'live', str(tmp_path / 'p.toml'), '--no-view', '--osc', str(port)]
    said = []
    with server(512), Desk('desk') as desk, contextlib.ExitStack() as stack:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        stack.enter_context(process)
        stack.callback(process.kill)
        threading.Thread(target=lambda: said.extend(process.stdout), daemon=True).start()
        wait_for(lambda: any('Pads: JACK client' in line for line in said), process, 60)
        recorder = Recorder()
        stack.callback(recorder.client.close)
        recorder.client.connect('genaudio-pads:out_1', 'recorder:in')
        desk.connect('desk:out', 'genaudio-pads:in')
        for value in (0.5, 0.25):
            at = desk.frame() + RATE // 4
            desk.send('out', [(at, on(36))])
            record_until(recorder, at + 4800)
            assert np.nanmax(recorder.between(at, at + 4800)) == pytest.approx(value)
            client = udp.SimpleUDPClient('127.0.0.1', port)
            client.send_message('/genaudio/pad', [36, str(tmp_path / 'b.wav')])
            client._sock.close()
            wait_for(lambda: any('pad 36: b.wav' in line for line in said), process)
        process.terminate()
        assert process.wait(timeout=20) == 0, said


@pytest.mark.jack
@pytest.mark.skipif(not available, reason='needs jackd')
def test_a_bad_file_costs_a_line_and_however_it_is_ended_what_sounds_fades_out(tmp_path):
    """The real command on a folder: a broken file appears over a sounding pad; then it is ended by a signal."""
    with server(256), Desk('desk') as desk, contextlib.ExitStack() as stack:
        recorder = Recorder()
        stack.callback(recorder.client.close)
        for wanted in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            takes, said = tmp_path / wanted.name, []
            takes.mkdir()
            beep(takes / 'a.wav', 0.5, 60 * RATE)
            process = subprocess.Popen(
                [*HEARS_ALL, sys.executable, '-m', 'bridge.cli', 'pads', str(takes), '--connect', 'desk:out',
                 '--connect', 'recorder:in', '--json'],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            stack.callback(process.kill)
            reader = threading.Thread(target=lambda p=process, s=said: s.extend(p.stderr), daemon=True)
            reader.start()
            wait_for(lambda s=said: any('JACK client' in line for line in s), process)
            for _ in range(10):  # JACK drops what it carries to a client that misses a cycle
                start = desk.frame() + RATE // 4
                desk.send('out', [(start, on(36))])
                record_until(recorder, start + RATE // 4)
                if np.nanmax(recorder.between(start, start + RATE // 4), initial=0):
                    break
            (takes / 'bad.wav').write_bytes(b'RIFF\x00\x01\x00\x00WAVE no sound')
            wait_for(lambda s=said: any('bad.wav' in line for line in s), process)
            struck = desk.frame()
            record_until(recorder, struck + 4096)
            process.send_signal(wanted)
            out = process.stdout.read()
            assert process.wait(timeout=30) == 0, said
            reader.join(10)
            ended = desk.frame()
            record_until(recorder, ended + 4096)
            assert json.loads(out)['pads'] == {'36': 'a.wav'} and json.loads(out)['faults'] == 0
            assert sum('bad.wav' in line for line in said) == 1 and not any('Traceback' in line for line in said)
            heard = recorder.between(struck, ended + 4096)
            heard = heard[~np.isnan(heard)]
            assert heard[0] == 0.5 and not heard[-2048:].any()
            if not recorder.xruns:
                assert np.abs(np.diff(heard)).max() < 0.01  # it fades, and does not break off
            process.stdout.close()
            process.stderr.close()


def wait_for(condition, process, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, 'ended'
        assert time.monotonic() < end
        time.sleep(0.02)
