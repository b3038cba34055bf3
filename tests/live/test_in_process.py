"""A band in one's own program: bytes in and out, on a simulated clock, and on the ports of the system."""

import ast
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import soundfile
from jack_server import available, server
from live_band import check_no_hanging

import bridge
import genaudio_core as ga
from bridge.cli import main
from bridge.commands.demo import BARS, LEAD_IN
from bridge.live.rehearsal import TEMPO, ode

PHRASE = [ga.Note(i, 0.9, 60 + i, 80) for i in range(8)]
PART = bridge.clock_part(0.5, 17, 120) + bridge.note_part(PHRASE, 0.5, 120)
RULES = {'music.model': 'rules'}


def code_of(doc: str | None, number: int) -> str:
    """The `number`-th block of code of a docstring."""
    blocks = textwrap.dedent(doc or '').split('::\n\n')[1:]
    lines = []
    for line in blocks[number].splitlines():
        if line and not line.startswith('    '):
            break
        lines.append(line[4:])
    return '\n'.join(lines)


def test_importing_the_package_loads_nothing_else():
    code = (
        'import sys; before = set(sys.modules); import bridge\n'
        'loaded = set(sys.modules) - before\n'
        'assert {name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names} '
        '<= {"bridge", "genaudio_core"}, loaded\n'
        'bridge.parse_preset\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_type_checkers_see_is_what_there_is():
    seen = {}
    for node in ast.walk(ast.parse(Path(bridge.__file__).read_text())):
        if isinstance(node, ast.If) and ast.unparse(node.test) == 'TYPE_CHECKING':
            for line in node.body:
                assert isinstance(line, ast.ImportFrom)
                seen[line.module] = tuple(alias.name for alias in line.names)
    assert seen == bridge._PUBLIC and sorted(bridge.__all__) == sorted(
        name for names in seen.values() for name in names
    )
    for name in bridge.__all__:
        assert getattr(bridge, name) is not None and name in dir(bridge)
    with pytest.raises(AttributeError, match="'bridge' has no attribute 'Bnad'"):
        _ = bridge.Bnad  # type: ignore[attr-defined]


def test_the_tour_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = code_of(bridge.__doc__, 0)
    assert 'InProcessBand' in code
    exec(code, {})
    (track,) = ga.read_midi('answer.mid').tracks
    assert track.notes and min(note.beat for note in track.notes) >= 7.9


def test_it_plays_the_same_each_time_and_leaves_no_note_hanging():
    heard = []
    for _ in range(2):
        with bridge.InProcessBand('duet', RULES | {'music.seed': 3}, notify=heard.append) as band:
            band.play(PART, 6.3)  # in the middle of the answer
        heard.append(band.sent)
    first, second = heard[1::2]
    assert first == second and first
    check_no_hanging(first)


def test_the_same_notes_as_the_command(tmp_path, capsys):
    out = tmp_path / 'demo.mid'
    assert main(['demo', '--fast', '--model', 'rules', '-o', str(out), '--seed', '2']) == 0
    preset = {'player': {'mode': 'respond', 'bars_heard': BARS, 'bars_answered': BARS},
              'music': {'seed': 2, 'temperature': 0.9, 'model': 'rules'},
              'parts': [{'instrument': 'piano'}]}  # fmt: skip
    beats = 4 * BARS * 4.0
    given = [note._replace(beat=note.beat + turn * 8 * BARS) for turn in range(2) for note in ode(turn)]
    part = bridge.clock_part(LEAD_IN, beats + 1, TEMPO) + bridge.note_part(given, LEAD_IN, TEMPO)
    with bridge.InProcessBand(preset) as band:
        band.play(part, LEAD_IN + beats * 60 / TEMPO + 0.2)
    demo = ga.read_midi(out)
    played = next(track for track in demo.tracks if track.name.startswith('band'))
    mine = band.score(TEMPO, LEAD_IN).tracks[0].notes
    assert [(n.note, n.velocity) for n in mine] == [(n.note, n.velocity) for n in played.notes] and mine
    assert [n.beat for n in mine] == pytest.approx([n.beat for n in played.notes], abs=0.01)


def test_the_demo_is_heard_where_a_soundfont_is_installed(tmp_path, monkeypatch, capsys, test_font):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('genaudio_core.sound.soundfont.any_font', lambda folders: test_font)
    assert main(['demo', '--fast', '--model', 'rules']) == 0
    sound, rate = soundfile.read('genaudio-demo.wav')
    assert len(sound) / rate == pytest.approx(4 * BARS * 4 * 60 / TEMPO + 2)
    bars = np.array_split(sound[: -2 * rate], 4)
    assert all(np.abs(one).max() > 0.01 for one in bars)  # you, the band, you, the band


def test_the_demo_says_what_is_missing_for_a_sound_and_writes_over_none(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('genaudio_core.sound.soundfont.FontRenderer.fault', lambda self: 'apt-get install it.')
    assert main(['demo', '--fast', '--model', 'rules']) == 0
    assert 'For a sound file as well: apt-get install it.' in capsys.readouterr().err
    (tmp_path / 'song.wav').write_bytes(b'mine')
    assert main(['demo', '--fast', '--model', 'rules', '-o', 'song.mid']) == 0
    assert (tmp_path / 'song.wav').read_bytes() == b'mine' and not (tmp_path / 'genaudio-demo.wav').exists()
    assert main(['demo', '--fast', '--model', 'rules', '--sound', 'x.wav']) != 0


def test_bytes_may_come_one_by_one_and_go_out_as_they_are_due():
    went = []
    with bridge.InProcessBand('duet', RULES, on_send=lambda *message: went.append(message), notify=[].append) as band:
        for note in (60, 62, 64, 65, 67, 69, 71, 72):  # the first key starts the beat
            band.receive(bridge.note_on(0, note, 90))
            band.run(0.45)
            band.receive(bridge.note_off(0, note))
            band.run(0.05)
        assert all(when >= 4 for when, _, _ in went)  # two bars are the player's
        band.run(2)
    assert went == band.sent and 4 <= went[0][0] <= 6


class OneNote:
    """A musician of one's own, as short as can be: answers each beat with the lowest note heard."""

    def __init__(self):
        self.lowest = 127

    def expect(self, instruments, bar): ...
    def hear(self, notes):
        self.lowest = min([self.lowest, *(note.note for note in notes)])

    def answer(self, request):
        beats = range(int(request.start), int(request.end))
        notes = tuple(bridge.PlannedNote(float(beat), 0.5, self.lowest, 64, 0) for beat in beats)
        yield bridge.PlannedMusic(request.id, 0, notes, request.end, done=True)

    def choose(self, request, take): ...
    def forget(self, request, beat): ...
    def settle(self): ...
    def rest(self):
        return False

    def stats(self):
        return {}

    def close(self): ...


@pytest.mark.parametrize('real_time', [False, True])
def test_a_musician_of_ones_own_answers(real_time):
    with bridge.InProcessBand('duet', musician=OneNote(), real_time=real_time, notify=[].append) as band:
        begin = band.now
        band.play(PART, 8.3)
    notes = band.score(120, begin + 0.5).tracks[0].notes
    assert len(notes) >= 7 and {note.note for note in notes} == {60}


def test_a_mode_of_ones_own_is_called():
    class Quiet(bridge.BaseMode):
        heard = 0

        def on_note(self, event: bridge.NoteOn, beat: float) -> None:
            self.heard += 1

    with bridge.InProcessBand('duet', RULES, mode=Quiet, notify=[].append) as band:
        band.play(PART, 9)
        assert isinstance(band.session.mode, Quiet) and band.session.mode.heard == 8
    assert not [message for _, _, message in band.sent if message[0] & 0xF0 == 0x90]


@pytest.mark.parametrize(
    ('preset', 'settings', 'said'),
    [
        ('duett', {}, "Did you mean 'duet'"), ('gone.toml', {}, 'No preset file'),
        ({'music': {'temprature': 1}}, {}, "Did you mean 'temperature'"),
        ('duet', {'temprature': 1}, "Did you mean"), ('duet', {'temperature': 'hot'}, 'temperature'),
    ],
)  # fmt: skip
def test_a_preset_that_is_wrong_is_one_line(preset, settings, said):
    for band in (bridge.InProcessBand, bridge.LiveBand):
        with pytest.raises(ga.GenaudioError, match=said):
            band(preset, settings)


def test_a_live_band_wants_a_folder_for_its_takes(tmp_path):
    with pytest.raises(ga.GenaudioError, match='does not exist'):
        bridge.LiveBand('duet', folder=tmp_path / 'gone')


@pytest.mark.jack
@pytest.mark.skipif(not available, reason='needs jackd')
def test_a_live_band_plays_on_ports_and_takes_settings(tmp_path):
    said: list[str] = []
    with server(256), bridge.LiveBand('duet', RULES, name='one', folder=tmp_path, notify=said.append) as band:
        assert band.run(60, until=lambda: 'values' in band.snapshot), said
        assert band.snapshot['values']['music.model'] == 'rules'
        band.set('temperature', 0.5)
        assert band.run(30, until=lambda: band.snapshot['values']['music.temperature'] == 0.5), said
        band.set('temprature', 0.5)
        assert band.run(30, until=lambda: any('temprature' in line for line in said))
        assert not band.run(0.2)
