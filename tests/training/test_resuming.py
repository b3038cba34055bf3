"""STOP and CONTINUE: the answer plays on where it stopped. Ticks that were lost: the person hears what is counted.

At 120 BPM: beat b is at 1 + b/2 seconds until the stop.
"""

import pytest
from live_band import Stage, clock_ticks, phrase, preset

from bridge.midi.messages import song_position
from bridge.midi.wire_check import WireCheck

START, CONTINUE, STOP = b'\xfa', b'\xfb', b'\xfc'
WAIT = 3.0  # seconds of the pause


def stage_of(mode='respond', **values):
    values = {'player__bars_heard': 1, 'player__bars_answered': 2, 'ports__inputs': ['keys'], **values}
    return Stage(preset(mode, [{'instrument': 'piano'}], **values))


def answer_of(part, until=9.5, stage=None):
    """(seconds, note) of what the band plays to a bar of ours."""
    stage = stage or stage_of()
    stage.play([*part, *phrase(1)], until)
    check = WireCheck().feed_all(stage.sender.sent)
    assert not check.struck_twice
    return [(round(time, 3), note) for time, _, _, note in stage.notes()], stage


def paused(at, again=CONTINUE, ticks_run_on=False, position=None):
    """Clock from 1 s, stopped `at` a beat, and going on `WAIT` seconds later."""
    stop = 1 + at / 2
    part = [*clock_ticks(1, at), (stop - 0.005, STOP)]
    if ticks_run_on:
        part += clock_ticks(stop, 2 * WAIT - 0.1, first=b'')
    if position is not None:
        part.append((stop + WAIT - 0.02, song_position(position)))
    return [*part, (stop + WAIT - 0.01, again), *clock_ticks(stop + WAIT, 24 - at, first=b'')]


@pytest.mark.parametrize('ticks_run_on', [False, True])
@pytest.mark.parametrize('at', [4.5, 5.0, 6.25, 8.0, 9.5])
def test_an_answer_goes_on_where_it_stopped(at, ticks_run_on):
    want, _ = answer_of(clock_ticks(1, 24))
    got, stage = answer_of(paused(at, ticks_run_on=ticks_run_on), 9.5 + WAIT)
    stop = 1 + at / 2
    # What has begun before the stop ended there; all else comes as late as the pause was long.
    assert got == [(time, note) if time < stop - 0.004 else (round(time + WAIT, 3), note) for time, note in want]
    assert len({time for time, _ in got if time > stop}) > 0
    assert stage.sender.sounding.count() == 0


def test_nothing_sounds_while_it_waits():
    stage = stage_of()
    stage.play([*paused(6.25), *phrase(1)], 1 + 6.25 / 2 + 0.1)
    assert stage.sender.sounding.count() == 0 and stage.session.answers
    before = len(stage.sender.sent)
    stage.play([], 1 + 6.25 / 2 + WAIT - 0.1)
    assert not [m for _, _, m in stage.sender.sent[before:] if m[0] & 0xF0 == 0x90]


@pytest.mark.parametrize('way', ['start', 'position'])
def test_a_start_elsewhere_begins_anew(way):
    part = paused(6.25, START) if way == 'start' else paused(6.25, position=0)
    got, stage = answer_of(part, 9.5 + WAIT)
    assert all(time < 1 + 6.25 / 2 for time, _ in got)
    assert not stage.session.answers and stage.session.mode.state == 'waiting'


def test_a_sender_that_goes_on_at_its_next_beat_is_followed():
    got, _ = answer_of(paused(6.25, position=28), 9.5 + WAIT)  # at beat 7
    want, _ = answer_of(clock_ticks(1, 24))
    later = [(round(time + WAIT - 0.375, 3), note) for time, note in want if time >= 1 + 7 / 2]
    assert [item for item in got if item[0] > 5] == later and later


@pytest.mark.parametrize('command', ['panic', 'hush', 'undo'])
def test_what_was_taken_back_meanwhile_does_not_come(command):
    stage = stage_of()
    part = [*paused(6.25), *phrase(1)]
    stage.play([item for item in part if item[0] < 5], 5)
    stage.session.command(command)
    stage.play([item for item in part if item[0] >= 5], 12)
    assert all(time < 5 for time, *_ in stage.notes())


def test_another_take_chosen_meanwhile_is_what_goes_on():
    stage = stage_of(music__takes=2)
    part = [*paused(6.25), *phrase(1)]
    stage.play([item for item in part if item[0] < 5], 5)
    (answer,) = stage.session.answers
    stage.session.command('next_take')
    assert answer.take == 1
    stage.play([item for item in part if item[0] >= 5], 12.4)
    wanted = {note.note for note in answer.takes[1] if note.beat >= 7}
    assert {note for time, _, _, note in stage.notes() if time > 7} <= wanted | {60, 64, 67, 72}
    assert [note for time, _, _, note in stage.notes() if time > 7]


class TestLostTicks:
    """More than half a second of ticks did not come: nobody can know where the sender is."""

    @staticmethod
    def after_a_gap(*more, gap=0.8):
        stage = stage_of('free')
        part = [*clock_ticks(1, 6), *clock_ticks(4 + gap, 12, first=b''), *more]
        stage.play(part, 4 + gap + 4)
        return stage, [line for line in stage.said if 'as counted' in line]

    @pytest.mark.parametrize('gap', [0.7, 2.0, 30.0])
    def test_a_line_says_what_is_counted_and_what_to_do(self, gap):
        _, lines = self.after_a_gap(gap=gap)
        assert len(lines) == 1 and f'{gap:.1f} s' in lines[0] and 'bar 2, beat 3' in lines[0]
        assert 'stop and start' in lines[0] and 'song position' in lines[0]

    def test_a_continue_does_not_say_where_either(self):
        _, lines = self.after_a_gap((4.75, CONTINUE))
        assert len(lines) == 1

    @pytest.mark.parametrize('said', [[(4.75, START)], [(4.7, song_position(32)), (4.75, CONTINUE)]])
    def test_whoever_says_where_it_is_needs_no_line(self, said):
        assert self.after_a_gap(*said)[1] == []

    def test_ticks_that_came_late_and_all_at_once_need_no_line(self):
        stage = stage_of('free')
        late = [(4.8, tick) for _, tick in clock_ticks(4, 1.6, first=b'')]
        stage.play([*clock_ticks(1, 6), *late, *clock_ticks(4.8, 12, first=b'')], 8)
        assert not [line for line in stage.said if 'as counted' in line]

    def test_a_song_position_while_it_rolls_puts_it_right(self):
        stage, lines = self.after_a_gap((6.8 - 0.001, song_position(44)))  # beat 11: nine tenths of a beat were lost
        assert lines
        assert stage.session.transport.leader.line.beat_at(6.8) == pytest.approx(11, abs=0.02)


def test_a_stop_by_the_sender_tells_of_no_lost_ticks():
    _, stage = answer_of(paused(6.25), 12)
    assert not [line for line in stage.said if 'as counted' in line]
