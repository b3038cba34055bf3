"""Mute and solo of the band's parts."""

import pytest
from live_band import Stage, check_no_hanging, preset

from bridge.band.scheduler import PartSwitches
from bridge.midi.messages import note_off, note_on
from bridge.settings.voice import PartVoice
from genaudio_core.errors import GenaudioError

PARTS = [{'instrument': name} for name in ('bass', 'drums', 'pad')]


@pytest.fixture
def stage():
    one = Stage(preset('accompany', PARTS))
    chords = [(0.1 + 2 * bar, note) for bar in range(12) for note in (48, 60, 64, 67)]
    one.score = sorted(
        [(time, note_on(0, note, 80)) for time, note in chords]
        + [(time + 1.9, note_off(0, note)) for time, note in chords]
    )
    return one


def goes_on(stage, until):
    """The parts (numbers) of which a note has begun since."""
    before = stage.clock.now()
    stage.play([one for one in stage.score if before <= one[0] < until], until)
    channels = [voice.channel for voice in stage.session.voices]
    return {channels.index(channel) for time, _, channel, _ in stage.notes() if time > before + 0.05}


def sounding(stage):
    on = set()
    for _, _, message in stage.sender.sent:
        if message[0] & 0xE0 == 0x80:
            (on.add if message[0] & 0x10 and message[2] else on.discard)((message[0] & 15, message[1]))
    return {channel for channel, _ in on}


def test_a_muted_part_is_silent_at_once_and_comes_back_where_the_music_is(stage):
    session = stage.session
    assert goes_on(stage, 8.5) == {0, 1, 2}
    session.apply({'set': 'mute.bass', 'value': True})
    stage.play([], stage.clock.now() + 0.1)
    assert session.voices[0].channel not in sounding(stage)
    assert goes_on(stage, 12.5) == {1, 2}
    assert any(due.voice == session.voices[0] for due in session.scheduler.planned())  # it is composed all the same
    session.apply({'set': 'mute.bass', 'value': 0})  # as OSC says it
    assert goes_on(stage, 16.5) == {0, 1, 2}
    session.apply({'set': 'solo.drums', 'value': True})
    assert goes_on(stage, 19.5) == {1}
    session.close()
    check_no_hanging(stage.sender.sent)


@pytest.mark.parametrize('message', [
    {'set': 'mute.tuba', 'value': True}, {'set': 'mute.bass', 'value': 'loud'}, {'set': 'mute.bass', 'value': 2},
    {'set': 'solo.', 'value': True},
])  # fmt: skip
def test_a_wrong_switch_costs_a_line(stage, message):
    stage.session.apply(message)
    assert len(stage.said) == 1 and not any(stage.session.switches.values.values())


def test_parts_of_a_kind_have_names_of_their_own_and_other_parts_begin_heard():
    silent = []

    class Scheduler:
        def silence(self, voices):
            silent.append(set(voices))

    violins = [PartVoice('violin', 0, channel) for channel in (0, 1)]
    switches = PartSwitches(Scheduler())
    switches.use([*violins, PartVoice('electric guitar', 0, 2)])
    assert [name for name in switches.values if name.startswith('mute')] == [
        'mute.violin', 'mute.violin_2', 'mute.electric_guitar',
    ]  # fmt: skip
    assert switches.set('mute.violin_2', 'on') and silent[-1] == {violins[1]}
    assert not switches.set('music.density', 1)
    switches.use([PartVoice('piano')])
    assert silent[-1] == set() and switches.values == {'mute.piano': False, 'solo.piano': False}
    with pytest.raises(GenaudioError, match='not something that can be set'):
        switches.set('mute.violin', True)
