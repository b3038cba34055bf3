"""A note-off that is lost on the way in: the key is let go, late, unless there is a sign that it is still held."""

import pytest
from live_band import Stage, check_no_hanging, preset

from bridge.midi.doubtful_keys import LATELY, LONGEST, SHORTEST, DoubtfulKeys
from bridge.midi.input_queue import LOST
from bridge.midi.messages import Control, NoteOff, control, note_off, note_on
from bridge.midi.wire_check import WireCheck

PRESSURE, CHANNEL_PRESSURE = bytes((0xA0, 60, 40)), bytes((0xD0, 40))


def stage_of(**values) -> Stage:
    return Stage(preset(**{'mode': 'arrange', 'transport__leader': 'midi', **values}))  # nothing leads: no band


@pytest.mark.parametrize('values', [{'player__thru': True, 'mode': 'respond'}, {'mode': 'arrange'}])
def test_a_note_off_that_was_lost_leaves_no_key_sounding(values):
    stage = stage_of(**values)
    stage.play([(0.1, note_on(0, 60, 90)), (0.4, LOST), (0.5, note_on(0, 64, 90)), (0.6, note_off(0, 64))], 1.0)
    assert stage.sender.sounding.count() == 1
    stage.play([], 0.4 + SHORTEST + 0.1)
    assert stage.sender.sounding.count() == 0 and stage.session.listener.n_held == 0
    check_no_hanging(stage.sender.sent)
    assert [line for line in stage.said if 'lost messages' in line]


def test_what_is_heard_ends_where_its_end_was_lost():
    stage = stage_of(mode='respond', transport__leader='auto')
    heard = []
    stage.session.mode.on_heard = heard.extend
    stage.play([(0.1, note_on(0, 60, 90)), (0.6, LOST)], 0.6 + SHORTEST + 0.1)
    assert len(heard) == 1 and heard[0].duration == pytest.approx(1.0, abs=0.05)  # 0.5 s at 120 BPM


def test_a_pedal_whose_lifting_was_lost_is_lifted():
    stage = stage_of(mode='respond', player__thru=True)
    stage.play([(0.1, control(0, 64, 127)), (0.2, note_on(0, 60, 90)), (0.3, note_off(0, 60)), (0.4, LOST)], 1.0)
    assert WireCheck().feed_all(stage.sender.sent).pedals
    stage.play([], 0.4 + SHORTEST + 0.1)
    wire = WireCheck().feed_all(stage.sender.sent)
    assert not wire.pedals and not wire.sounding


def gone_after(keys: DoubtfulKeys, lost: float) -> float | None:
    """Seconds after which the first key counts as let go."""
    tenths = range(int(10 * (LONGEST + 1)))
    return next((tenth / 10 for tenth in tenths if keys.gone(lost + tenth / 10)), None)


def test_a_chord_that_is_held_on_is_waited_for_as_long_as_this_player_holds_chords():
    keys = DoubtfulKeys()
    keys.hear(0, note_on(0, 48, 90), 0.0)
    keys.hear(0, note_off(0, 48), 9.0)
    keys.hear(0, note_on(0, 60, 90), 10.0)
    keys.lost(0, 11.0)
    assert gone_after(keys, 11.0) == 18.0


def test_a_key_that_was_down_for_long_already_is_waited_for_longer():
    keys = DoubtfulKeys()
    keys.hear(0, note_on(0, 60, 90), 0.0)
    keys.lost(0, 7.0)
    keys.lost(0, 9.0)  # in doubt since the first time
    assert gone_after(keys, 7.0) == 14.0


def test_no_key_is_in_doubt_for_ever():
    keys = DoubtfulKeys()
    keys.hear(0, note_on(0, 60, 90), 0.0)
    keys.lost(0, 1000.0)
    assert gone_after(keys, 1000.0) == LONGEST


def test_how_long_chords_were_held_long_ago_does_not_count():
    keys = DoubtfulKeys()
    keys.hear(0, note_on(0, 48, 90), 0.0)
    keys.hear(0, note_off(0, 48), 9.0)
    for number in range(LATELY):
        keys.hear(0, note_on(0, 48, 90), 10.0 + number)
        keys.hear(0, note_off(0, 48), 10.5 + number)
    keys.hear(0, note_on(0, 60, 90), 50.0)
    keys.lost(0, 50.1)
    assert gone_after(keys, 50.1) == SHORTEST


@pytest.mark.parametrize(
    'sign',
    [[PRESSURE], [CHANNEL_PRESSURE], [note_on(0, 60, 80)], [note_off(0, 60)], [control(0, 123, 0)]],
    ids=['pressure', 'channel-pressure', 'struck-again', 'note-off', 'all-notes-off'],
)
def test_a_sign_of_the_key_ends_the_doubt(sign):
    keys = DoubtfulKeys()
    keys.hear(0, note_on(0, 60, 90), 0.0)
    keys.lost(0, 1.0)
    for message in sign:
        keys.hear(0, message, 2.0)
    assert gone_after(keys, 1.0) is None


@pytest.mark.parametrize(
    'no_sign',
    [[bytes((0xA0, 61, 40))], [bytes((0xA0, 60, 0))], [bytes((0xD0, 0))], [bytes((0xD1, 40))], [note_off(1, 60)],
     [note_on(0, 64, 90), CHANNEL_PRESSURE], [control(0, 1, 64)], [bytes((0xF0, 60, 0xF7))]],
)  # fmt: skip
def test_what_tells_nothing_of_the_key_leaves_the_doubt(no_sign):
    keys = DoubtfulKeys()
    keys.hear(0, note_on(0, 60, 90), 0.0)
    keys.lost(0, 1.0)
    for message in no_sign:
        keys.hear(0, message, 2.0)
    assert gone_after(keys, 1.0) == SHORTEST


def test_keys_of_other_inputs_and_later_keys_are_not_in_doubt():
    keys = DoubtfulKeys()
    keys.hear(0, note_on(0, 60, 90), 0.0)
    keys.hear(0, control(0, 64, 127), 0.0)
    keys.hear(1, note_on(0, 62, 90), 0.0)
    keys.lost(0, 1.0)
    keys.hear(0, note_on(0, 64, 90), 1.5)
    assert keys.gone(100.0) == [(0, NoteOff(1.0, 60, 0)), (0, Control(1.0, 64, 0, 0))]
    assert keys.gone(200.0) == []


def test_an_input_that_is_gone_leaves_no_doubts():
    stage = stage_of()
    stage.play([(0.1, note_on(0, 60, 90)), (0.4, LOST)], 0.5)
    stage.session.port_lost(0)
    stage.play([(0.6, note_on(0, 60, 90))], 60.0)
    assert stage.sender.sounding.count() == 1  # of the port that is back: held, and surely so
