"""MIDI clock in, beats out: exact positions, steady tempo, and senders with habits of their own."""

import random

import pytest

from bridge.clock_follower import ClockFollower
from bridge.messages import CLOCK, CONTINUE, SONG_POSITION, START, STOP, Sync


def run_ticks(follower, start, number, tempo=120.0, jitter=lambda: 0.0):
    period = 60 / tempo / 24
    changes = []
    for i in range(number):
        changes += follower.sync(Sync(start + i * period + jitter(), CLOCK))
    return start + number * period, changes


def started(tempo=120.0, **options):
    follower = ClockFollower(**options)
    follower.sync(Sync(1.0, START))
    end, changes = run_ticks(follower, 1.0, 96, tempo)
    return follower, end, changes


@pytest.mark.parametrize('tempo', [40, 97.3, 120, 160, 300])
def test_beats_are_exact_on_a_steady_clock(tempo):
    follower, end, changes = started(tempo)
    assert [(c.kind, c.beat) for c in changes if c.kind == 'start'] == [('start', 0.0)]
    assert follower.line.beat_at(end) == pytest.approx(4.0, abs=1e-6)
    assert follower.line.tempo == pytest.approx(tempo, rel=1e-6)


@pytest.mark.parametrize('seed', range(5))
def test_two_milliseconds_of_jitter_hardly_move_the_beat(seed):
    rng = random.Random(seed)
    follower = ClockFollower()
    follower.sync(Sync(0.0, START))
    period, worst = 60 / 160 / 24, 0.0
    for i in range(2000):
        follower.sync(Sync(i * period + rng.uniform(-0.002, 0.002), CLOCK))
        if i > 96:
            ahead = i * period + 0.05  # where the scheduler looks
            worst = max(worst, abs(follower.line.beat_at(ahead) - ahead * 160 / 60) * 60 / 160)
    assert worst < 0.0025  # seconds: no worse than the ticks themselves; a naive follower has 0.004


def test_a_tempo_step_is_followed_within_a_third_of_a_beat():
    follower, end, _ = started(120)
    end, changes = run_ticks(follower, end, 8, 150)
    assert follower.line.tempo == pytest.approx(150, rel=1e-3)
    assert follower.line.beat_at(end) == pytest.approx(4 + 8 / 24, abs=0.01)
    assert any(change.kind == 'tempo' for change in changes)


def test_one_late_tick_moves_nothing():
    follower, end, _ = started(120)
    before = follower.line.beat_at(end + 1)
    follower.sync(Sync(end + 0.012, CLOCK))  # the sender's hiccup
    run_ticks(follower, end + 60 / 120 / 24, 10, 120)
    assert follower.line.beat_at(end + 1) == pytest.approx(before, abs=1e-3)


def test_song_position_and_continue():
    follower, end, _ = started()
    follower.sync(Sync(end, STOP))
    follower.sync(Sync(end + 1, SONG_POSITION, 22))  # sixteenths: beat 5.5
    follower.sync(Sync(end + 1, CONTINUE))
    _, changes = run_ticks(follower, end + 1, 3)
    assert [(c.kind, c.beat) for c in changes] == [('start', 5.5)]


def test_stop_is_told_once_with_the_beat():
    follower, end, _ = started()
    changes = follower.sync(Sync(end, STOP)) + follower.sync(Sync(end, STOP))
    assert [(c.kind, c.beat) for c in changes] == [('stop', 4.0)]
    assert not follower.rolling


def test_a_stalled_clock_stops_the_music_and_goes_on_where_it_was():
    follower, end, _ = started()
    assert follower.check(end + 0.2) == []
    assert [c.kind for c in follower.check(end + 1.0)] == ['stop']
    assert follower.check(end + 2.0) == []
    _, changes = run_ticks(follower, end + 3, 2)
    assert [(c.kind, c.beat) for c in changes] == [('start', 4.0)]


def test_a_clock_that_runs_on_while_stopped_is_no_start():
    follower, end, _ = started()
    follower.sync(Sync(end, STOP))
    _, changes = run_ticks(follower, end, 96, 130)
    assert not follower.rolling and not changes
    assert follower.line.tempo == pytest.approx(130, rel=0.01)


class TestArdour:
    """What Ardour 7.3 does."""

    def test_lost_start_message(self):
        follower = ClockFollower()
        _, changes = run_ticks(follower, 5.0, 3)
        assert [(c.kind, c.beat) for c in changes] == [('start', 0.0)]

    def test_lost_start_message_after_a_pause(self):
        follower, end, _ = started()
        follower.sync(Sync(end, STOP))
        _, changes = run_ticks(follower, end + 2.0, 3)
        assert [(c.kind, c.beat) for c in changes] == [('start', 0.0)]

    def test_song_position_in_beats_times_24_is_judged_by_the_ticks(self):
        follower, end, _ = started()  # four beats counted
        follower.sync(Sync(end, STOP))
        follower.sync(Sync(end + 1, SONG_POSITION, 5 * 24))
        follower.sync(Sync(end + 1, CONTINUE))
        _, changes = run_ticks(follower, end + 1, 1)
        assert changes[0].beat == 5.0
        # From then on the sender is known: a loop back to beat 16.
        follower.sync(Sync(end + 2, STOP))
        follower.sync(Sync(end + 2, SONG_POSITION, 16 * 24))
        follower.sync(Sync(end + 2, CONTINUE))
        _, changes = run_ticks(follower, end + 2, 1)
        assert changes[0].beat == 16.0

    def test_a_position_that_24_does_not_divide_is_a_standard_one(self):
        follower, end, _ = started()
        follower.sync(Sync(end, SONG_POSITION, 32))
        assert follower.times_24 is False
        follower.sync(Sync(end, SONG_POSITION, 96))
        _, changes = run_ticks(follower, end, 1)
        assert changes[-1].beat == 24.0
