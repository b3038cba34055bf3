"""Controllers with learn, OSC, keys, takes, undo, keep, and presets that change while the music plays."""

import mido
import pytest
from live_band import Stage, check_no_hanging, clock_ticks, phrase, preset

from bridge.live.kept_takes import KeptTake, Pieces, TakeWriter, to_pieces
from bridge.live.osc import translate
from bridge.live.terminal_view import message_for_key, render
from bridge.midi import messages
from bridge.settings.band_preset import parse_preset
from bridge.settings.parameters import PARAMETERS
from genaudio_core.errors import GenaudioError
from genaudio_core.score.notes import Note

START = 1.0


def answered(takes=3, **values):
    stage = Stage(preset(player__bars_heard=1, player__bars_answered=1, music__takes=takes, **values))
    stage.play(clock_ticks(START, 40) + phrase(START), START + 4.2)  # the answer of bar 2 is over
    return stage


def keep(stage, folder):
    """Keep the last answer, as the port process and its parent do; return what is said."""
    stage.session.command('keep')
    said = []
    writer = TakeWriter(folder, said.append)
    pieces = Pieces()
    for piece in to_pieces(stage.session.takes.gathered.popleft()):
        if (take := pieces.add(piece)) is not None:
            writer.write(take)
    writer.close()
    return said


def test_learn_binds_the_next_controller():
    stage = Stage()
    stage.session.apply({'learn': 'density'})
    stage.play([(0.1, messages.control(0, 64, 127)), (0.2, messages.control(0, 20, 127))], 0.3)
    assert stage.session.controllers.bound == {20: 'music.density'}  # a pedal does not count
    assert stage.session.setting('music.density') == 1.0
    stage.play([(0.4, messages.control(0, 20, 0))], 0.5)
    assert stage.session.setting('music.density') == 0.0


def test_learn_binds_no_part_of_a_longer_message():
    """Bank select comes with every sound that is chosen, and every knob that sends NRPN sends the same controllers."""
    stage = Stage()
    stage.session.apply({'learn': 'density'})
    parts = (0, 32, 99, 98, 6, 38, 101, 100, 96, 120, 123, 127)
    stage.play([(0.1 + i / 100, messages.control(0, number, 90)) for i, number in enumerate(parts)], 0.5)
    assert stage.session.controllers.bound == {} and stage.session.setting('music.density') == 0.5
    assert len(stage.said) == 2 and 'plain controller' in stage.said[1]
    stage.play([(0.6, messages.control(0, 1, 127)), (0.6, messages.control(0, 33, 5))], 0.7)  # one of 14 bits
    assert stage.session.controllers.bound == {1: 'music.density'}


def test_a_command_fires_once_when_its_controller_rises():
    stage = answered()
    stage.session.controllers.bound[21] = 'next_take'
    take = stage.session.takes.current
    stage.play([(5.3 + i / 100, messages.control(0, 21, v)) for i, v in enumerate((20, 70, 90, 127, 30, 10))], 5.5)
    assert take.take == 1


def test_next_take_is_heard_from_the_next_bar():
    stage = answered()
    before = len(stage.notes())
    stage.session.command('next_take')
    stage.play(clock_ticks(stage.clock.now(), 12, first=b''), stage.clock.now() + 4)
    heard = [n for *_, n in stage.notes()[before:]]
    assert heard == [note.note for note in stage.session.takes.current.notes(1)]
    assert stage.session.takes.describe() == '2/3'


def test_takes_differ():
    takes = answered().session.takes.current.takes
    assert len({tuple(note.note for note in notes) for notes in takes.values()}) == 3


def test_undo_ends_the_answer_and_takes_it_from_memory():
    stage = Stage(preset(player__bars_heard=1, player__bars_answered=4))
    forgotten = []
    stage.engine.musician.forget = lambda request, beat: forgotten.append((request, beat))
    stage.play(clock_ticks(START, 12) + phrase(START), START + 2.6)
    assert stage.sender.sounding.count() > 0
    forgotten.clear()
    stage.session.command('undo')
    assert stage.sender.sounding.count() == 0 and not stage.session.scheduler.planned()
    assert forgotten == [(forgotten[0][0], 4.0)]


def test_keep_writes_phrase_and_take(tmp_path):
    stage = answered()
    said = keep(stage, tmp_path)
    (path,) = tmp_path.glob('*.mid')
    assert said == [f'Kept as {path}']
    tracks = {track.name: track for track in mido.MidiFile(path).tracks}
    you = [m.note for m in tracks['you: piano'] if m.type == 'note_on' and m.velocity]
    assert you == [60, 64, 67, 72]
    band = [m.note for m in tracks['band: piano'] if m.type == 'note_on' and m.velocity]
    assert band == [note.note for note in stage.session.takes.current.notes(0)]


def test_keep_where_nothing_can_be_written_is_told_and_the_music_goes_on(tmp_path):
    assert 'Cannot write' in keep(answered(), tmp_path / 'missing')[-1]


def test_the_session_writes_no_file_itself(tmp_path, monkeypatch):
    stage = answered()
    with monkeypatch.context() as without_files:
        for opener in ('builtins.open', 'io.open', 'os.open', 'pathlib.Path.open'):
            without_files.setattr(opener, lambda *args, **options: pytest.fail('a file is opened'))
        stage.session.command('keep')
    assert len(stage.session.takes.gathered) == 1


def test_a_long_take_goes_to_the_parent_in_pieces_that_a_pipe_takes_at_once():
    notes = [('piano', Note(i / 4, 0.2, 60, 80)) for i in range(2000)]
    take = KeptTake('a.mid', notes, notes, 0.0, 120.0, (3, 4))
    pieces, arrived = to_pieces(take), Pieces()
    assert len(pieces) > 10 and all(len(content) <= 4000 for _, content in pieces)
    arrived.add(pieces[0])
    arrived.clear()  # the process died half-way: what its successor sends is whole
    assert [arrived.add(piece) for piece in pieces] == [None] * (len(pieces) - 1) + [take]


@pytest.mark.parametrize('name', [name for name, parameter in PARAMETERS.items() if not parameter.live])
def test_what_needs_a_restart_is_refused_while_the_music_plays(name):
    stage = Stage()
    before = stage.session.setting(name)
    other = {'ports.backend': 'rtmidi', 'transport.leader': 'midi', 'transport.song_position': 'standard'}
    other |= {'transport.beats_per_bar': 3, 'transport.beat_unit': 8}
    value = other.get(name, 'violin')
    stage.session.apply({'set': name, 'value': value})
    assert 'restart' in stage.said[-1]
    stage.session.apply({'learn': name})
    assert 'restart' in stage.said[-1] and len(stage.said) == 2
    if value != 'violin' or name == 'player.instrument':
        reloaded = stage.session.preset.with_values({name: value, 'music.density': 0.9})
        stage.session.apply({'preset': reloaded})
        assert 'Restart' in stage.said[-1] and name in stage.said[-1] and len(stage.said) == 3
        assert stage.session.setting('music.density') == 0.9  # the rest is taken
    assert stage.session.setting(name) == before


def test_a_reload_cannot_name_an_output_that_is_not_open():
    stage = Stage(preset('free'))
    wide = parse_preset(
        {'ports': {'outputs': ['a', 'b']}, 'player': {'mode': 'free'}, 'music': {'density': 0.9},
         'parts': [{'instrument': 'piano', 'output': 2}]},
    )  # fmt: skip
    stage.play(clock_ticks(0.5, 12), 3.0)
    stage.session.apply({'preset': wide})
    assert 'output 2 is not open' in stage.said[-1] and stage.session.setting('music.density') == 0.9
    stage.play(clock_ticks(stage.clock.now(), 12, first=b''), 9.0)
    assert {output for _, output, *_ in stage.notes()} == {0} and max(stage.notes())[0] > 6


def test_a_controller_cannot_learn_a_setting_without_a_range():
    stage = Stage()
    stage.session.apply({'learn': 'music.key'})
    assert 'no range' in stage.said[-1]
    stage.play([(0.1, messages.control(0, 20, 90))], 0.2)
    assert len(stage.said) == 1


def test_commands_without_an_answer_are_told():
    stage = Stage()
    for command in ('next_take', 'undo', 'keep', 'play'):
        stage.session.command(command)
        assert stage.said


def test_bad_orders_are_told_and_change_nothing():
    stage = Stage()
    stage.session.apply({'set': 'temprature', 'value': 1})
    assert "Did you mean 'temperature'" in stage.said[-1]
    stage.session.apply({'set': 'temperature', 'value': 99})
    assert 'from 0.1 to 2, not 99' in stage.said[-1]
    stage.session.apply({'command': 'explode'})
    assert stage.session.setting('music.temperature') == 1.0


def test_a_preset_changes_while_the_music_plays():
    stage = Stage(preset('free'))
    stage.play(clock_ticks(0.5, 24), 5.0)
    stage.session.apply({'preset': preset('free', music__density=0.9)})
    planned = len(stage.session.scheduler.planned())
    assert planned > 0  # nothing that was planned is lost
    stage.session.apply({'preset': preset('accompany', [{'instrument': 'bass'}])})
    assert stage.session.voices[0].instrument == 'bass'
    stage.session.close()
    check_no_hanging(stage.sender.sent)


@pytest.mark.parametrize(
    ('address', 'values', 'meaning'),
    [
        ('/genaudio/set/temperature', [0.8], {'set': 'temperature', 'value': 0.8}),
        ('/genaudio/set/takes', [3.0], {'set': 'takes', 'value': 3}),
        ('/genaudio/command/panic', [], {'command': 'panic'}),
        ('/genaudio/command/panic', [0.0], {}),
        ('/genaudio/learn', ['density'], {'learn': 'density'}),
        ('/genaudio/again', ['bass'], {'again': 'bass'}),
        ('/genaudio/again', ['all', 12], {'again': 'all', 'bar': 12}),
    ],
)
def test_osc(address, values, meaning):
    assert translate(address, values) == meaning


@pytest.mark.parametrize('address', ['/other', '/genaudio/set/a/b', '/genaudio/', '/genaudio/learn', '/genaudio/again'])
def test_osc_nonsense(address):
    with pytest.raises(GenaudioError, match='is not a message of genaudio'):
        translate(address, [])


def test_osc_over_the_wire():
    pythonosc = pytest.importorskip('pythonosc.udp_client')
    from bridge.live.osc import OscServer
    from bridge.system.waiting import wait_until

    got, said = [], []
    server = OscServer(0, lambda **message: got.append(message), said.append)
    client = pythonosc.SimpleUDPClient('127.0.0.1', server.port)
    client.send_message('/genaudio/set/density', 0.25)
    client.send_message('/nonsense', 1)
    assert wait_until(lambda: bool(got and said))
    assert got == [{'set': 'density', 'value': 0.25}]
    client._sock.close()
    server.close()


def test_keys():
    values = {'music.temperature': 1.98}
    assert message_for_key('p', values) == {'command': 'panic'}
    assert message_for_key('+', values) == {'set': 'music.temperature', 'value': 2}
    assert message_for_key('3', values) == {'set': 'player.mode', 'value': 'accompany'}
    assert message_for_key('z', values) == {}


def test_the_view_shows_every_state_of_a_session():
    from rich.console import Console

    stage = answered()
    console = Console(width=140, record=True, file=open('/dev/null', 'w'))  # noqa: SIM115
    console.print(render(stage.session.snapshot(), ['a line']))
    text = console.export_text()
    console.file.close()
    for word in ('rolling', 'respond', 'missed', 'hand-over', 'a line', 'MIDI clock'):
        assert word in text
    console = Console(width=80, file=open('/dev/null', 'w'))  # noqa: SIM115
    console.print(render({}, []))
    console.file.close()
