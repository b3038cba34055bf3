"""MIDI clock in, beats out: exact positions, steady tempo, and senders with habits of their own."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.midi.messages import CLOCK, CONTINUE, SONG_POSITION, START, STOP, Sync
from bridge.transport.midi_clock import ClockFollower


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


@pytest.mark.parametrize('change', [6.0, -6.0, 1.0])  # BPM a second
def test_a_tempo_that_glides_is_followed(change):
    follower = ClockFollower()
    follower.sync(Sync(0.0, START))
    time, first = 0.0, 60.0 if change > 0 else 180.0
    for i in range(900):
        follower.sync(Sync(time, CLOCK))
        if i > 48:
            ahead = time + 0.03  # where the scheduler looks
            beat = (first + change / 2 * ahead) * ahead / 60
            assert abs(beat - follower.line.beat_at(ahead)) * 60 / follower.line.tempo < 0.012  # seconds
        beat = (i + 1) / 24
        time = (math.sqrt(first**2 + 120 * change * beat) - first) / change
        if not 60 <= first + change * time <= 180:
            break


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


class TestClockThatAlwaysRuns:
    """Most hardware sends ticks while it is stopped."""

    @pytest.mark.parametrize('tempo', [5, 33, 120, 287.5, 600])
    def test_the_tick_after_start_is_beat_0_whatever_ran_before(self, tempo):
        follower, end, _ = started(tempo)
        follower.sync(Sync(end - 0.001, STOP))
        end, changes = run_ticks(follower, end, 37, tempo)
        assert not changes and not follower.rolling
        follower.sync(Sync(end - 0.001, START))
        first = end
        end, changes = run_ticks(follower, end, 50, tempo)
        assert [(c.kind, c.time, c.beat) for c in changes] == [('start', first, 0.0)]
        assert follower.line.beat_at(end) == pytest.approx(50 / 24)
        assert follower.line.tempo == pytest.approx(tempo)

    def test_start_before_any_stop_begins_at_beat_0(self):
        follower = ClockFollower()
        end, _ = run_ticks(follower, 1.0, 289)
        follower.sync(Sync(end - 0.015, START))
        assert not follower.rolling
        _, changes = run_ticks(follower, end, 1)
        assert [(c.kind, c.beat) for c in changes] == [('start', 0.0)]

    def test_continue_goes_on_at_the_place_of_the_stop(self):
        follower, end, _ = started(120)  # four beats
        follower.sync(Sync(end, STOP))
        end, _ = run_ticks(follower, end + 0.003, 37, 120)
        follower.sync(Sync(end, CONTINUE))
        _, changes = run_ticks(follower, end, 25, 120)
        assert [(c.kind, c.beat) for c in changes] == [('start', 4.0)]
        assert follower.position.tick == 96 + 25

    def test_continue_goes_on_at_a_song_position_set_while_the_clock_idled(self):
        follower, end, _ = started(120)
        follower.sync(Sync(end, STOP))
        end, _ = run_ticks(follower, end, 10, 120)
        follower.sync(Sync(end, SONG_POSITION, 22))
        end, _ = run_ticks(follower, end, 10, 120)
        follower.sync(Sync(end, CONTINUE))
        _, changes = run_ticks(follower, end, 2, 120)
        assert [(c.kind, c.beat) for c in changes] == [('start', 5.5)]

    def test_a_clock_that_ran_while_stopped_is_no_start_when_it_comes_back(self):
        follower, end, _ = started(120)
        follower.sync(Sync(end, STOP))
        end, _ = run_ticks(follower, end, 48, 120)
        _, changes = run_ticks(follower, end + 5, 48, 120)  # its cable was pulled, and put back
        assert not changes and not follower.rolling

    def test_the_tempo_found_while_stopped_is_there_with_the_first_tick(self):
        follower, end, _ = started(120)
        follower.sync(Sync(end, STOP))
        end, _ = run_ticks(follower, end, 100, 87)
        follower.sync(Sync(end - 0.001, START))
        run_ticks(follower, end, 1, 87)
        assert follower.line.tempo == pytest.approx(87, rel=1e-3)
        assert follower.line.beat_at(end) == pytest.approx(0, abs=1e-3)

    def test_start_while_it_rolls_begins_anew(self):
        follower, end, _ = started()
        assert [c.kind for c in follower.sync(Sync(end, START))] == ['stop']
        _, changes = run_ticks(follower, end, 2)
        assert [(c.kind, c.beat) for c in changes] == [('start', 0.0)]

    def test_continue_while_it_rolls_changes_nothing(self):
        follower, end, _ = started()
        assert follower.sync(Sync(end, CONTINUE)) == []
        _, changes = run_ticks(follower, end, 2)
        assert changes == [] and follower.position.tick == 98


sections = st.lists(
    st.tuples(st.sampled_from([START, CONTINUE, STOP, SONG_POSITION]), st.integers(0, 80), st.integers(0, 3000)),
    max_size=12,
)


@given(
    sections,
    st.sampled_from([24, 90, 120, 333]),
    st.floats(0, 0.3, allow_subnormal=False),
    st.randoms(use_true_random=False),
)
def test_the_position_counts_only_while_the_song_rolls(sections, tempo, jitter, rng):
    """Any sender that keeps to MIDI 1.0, held against a counter that does nothing else."""
    follower = ClockFollower(times_24=False)
    for kind in (START, CLOCK, STOP):
        follower.sync(Sync(0.0, kind))
    period = 60 / tempo / 24
    time, place, rolls = period, 1, False
    for kind, n_ticks, value in sections:
        if kind == SONG_POSITION and rolls:
            continue  # told apart by other tests
        follower.sync(Sync(time, kind, value))
        place = {START: 0, SONG_POSITION: value * 6}.get(kind, place)
        rolls = {START: True, CONTINUE: True, STOP: False}.get(kind, rolls)
        for _ in range(n_ticks):
            follower.sync(Sync(time + rng.uniform(0, jitter) * period, CLOCK))
            follower.check(time)
            place += rolls
            time += period
            assert follower.position.tick == place
            assert follower.rolling == rolls


far = st.floats(-1e3, 1e6, allow_subnormal=False)


@given(st.lists(st.tuples(
    st.sampled_from([CLOCK] * 8 + [START, CONTINUE, STOP, SONG_POSITION]),
    st.one_of(st.sampled_from([0.0, 0.0, 1e-9, 0.004, 0.02, 2.5, 60.0, -0.01, -5.0]), far),
    st.integers(0, 16383), st.integers(1, 30),
), max_size=40))  # fmt: skip
def test_no_stream_of_messages_is_too_strange(stream):
    """Ticks at one instant, hours apart, or from the past: no exception, and a line that can be used."""
    follower, time = ClockFollower(), 0.0
    for kind, step, value, times in stream:
        for _ in range(times):
            time += step
            follower.sync(Sync(time, kind, value))
        follower.check(time)
        line = follower.line
        assert 4 < line.tempo < 700 and math.isfinite(line.beat_at(time)) and math.isfinite(line.time)


class TestHiccups:
    """Ticks fail to come for a while: a short time is bridged, a longer one is a stop."""

    @pytest.mark.parametrize('tempo', [60, 120, 300, 600])
    @pytest.mark.parametrize('gap', [0.2, 0.45])
    @pytest.mark.parametrize('after', ['lost', 'at once', 'hurried'])
    def test_a_short_one_is_bridged_and_the_beat_is_right(self, tempo, gap, after):
        follower, _, changes = hiccup(tempo, gap, after)
        assert [c.kind for c in changes if c.kind != 'tempo'] == []
        assert_on_the_beat(follower, tempo)

    @pytest.mark.parametrize('tempo', [60, 120, 300])
    @pytest.mark.parametrize('gap', [1.3, 2.0])
    def test_a_long_one_stops_and_ticks_that_come_late_are_all_counted(self, tempo, gap):
        follower, _, changes = hiccup(tempo, gap, 'at once')
        assert [c.kind for c in changes if c.kind != 'tempo'] == ['stop', 'start']
        assert_on_the_beat(follower, tempo)

    @pytest.mark.parametrize('gap', [0.7, 2.0])
    def test_a_long_one_stops_and_goes_on_at_the_counted_beat(self, gap):
        _, number, changes = hiccup(120, gap, 'lost')
        told = [(c.kind, c.beat) for c in changes if c.kind != 'tempo']
        assert told == [('stop', number / 24), ('start', number / 24)]

    def test_a_lone_tick_after_a_pause_starts_nothing(self):
        follower, end, _ = started()
        follower.check(end + 1)
        assert follower.sync(Sync(end + 3, CLOCK)) == []
        assert not follower.rolling

    @pytest.mark.parametrize('tempo', [20, 120, 300])
    def test_a_slow_machine_that_makes_the_sender_wait_is_taken_at_its_word(self, tempo):
        """The song paused with the clock: the phase tells that no tick was lost."""
        follower, end, _ = started(tempo)
        period = 60 / tempo / 24
        gap = 0.3 + (0.5 - 0.3 / period % 1) * period  # a whole number of ticks and a half
        end, _ = run_ticks(follower, end + gap, 48, tempo)
        assert follower.position.tick == 96 + 48
        assert follower.line.beat_at(end) == pytest.approx(6.0, abs=0.01)

    @pytest.mark.parametrize('tempo', [60, 120, 300, 600])
    @pytest.mark.parametrize('block', [0.005, 0.0107, 0.0213, 0.0427])
    def test_ticks_that_come_bunched_keep_beat_and_tempo(self, tempo, block):
        follower = ClockFollower()
        follower.sync(Sync(0.9, START))
        for i in range(480):
            time = 1 + i * 60 / tempo / 24
            follower.sync(Sync(math.ceil(time / block) * block, CLOCK))
            follower.check(time)
            if i > 96:
                late = time - follower.line.time_at(i / 24)  # the line cannot know when the ticks left
                assert -1.4 * block - 0.002 < late < 0.4 * block + 0.002
        assert follower.position.tick == 480
        assert follower.line.tempo == pytest.approx(tempo, rel=0.04)


def hiccup(tempo, gap, after):
    """Sixty ticks, `gap` seconds of none, and more: those of the gap are lost, come at once or hurried."""
    follower = ClockFollower()
    follower.sync(Sync(1.0, START))
    period = 60 / tempo / 24
    begin = 1 + 59.4 * period
    times = [1 + i * period for i in range(round((begin - 1 + gap + 1.5) / period) + 48)]
    late = [time for time in times if begin <= time < begin + gap]
    if after == 'lost':
        times = [time for time in times if time not in late]
    else:
        pace = 0.0 if after == 'at once' else 0.0004
        times = [begin + gap + late.index(time) * pace if time in late else time for time in times]
    changes, now = [], 1.0
    for time in sorted(times):
        while now + 0.01 < time:
            now += 0.01
            changes += follower.check(now)
        changes += follower.sync(Sync(time, CLOCK))
        now = max(now, time)
    return follower, 60, [change for change in changes if change.time > 1.0]


def assert_on_the_beat(follower, tempo):
    beat = (follower.last - 1) * tempo / 60
    assert follower.position.tick == round(beat * 24) + 1
    assert follower.line.beat_at(follower.last) == pytest.approx(beat, abs=0.02)


class TestLostMessages:
    """The port knows that messages were lost, and the ticks that come tell how many of them were ticks."""

    @given(st.floats(40, 300), st.lists(st.tuples(st.integers(3, 60), st.integers(1, 3)), max_size=8))
    def test_lost_ticks_count(self, tempo, losses):
        follower = ClockFollower()
        follower.sync(Sync(1.0, START))
        period, number = 60 / tempo / 24, 0
        for heard, lost in losses:
            for _ in range(heard):
                follower.sync(Sync(1.0 + number * period, CLOCK))
                number += 1
            number += lost
            follower.lost()
        for _ in range(12):
            follower.sync(Sync(1.0 + number * period, CLOCK))
            number += 1
        assert follower.position.tick == number
        assert follower.line.beat_at(1.0 + number * period) == pytest.approx(number / 24, abs=1e-3)

    @pytest.mark.parametrize('frames', [256, 512, 2 * 512, 3 * 512, 5 * 256])
    def test_a_sender_that_was_itself_held_up_has_lost_none(self, frames):
        """It missed the same cycles, and goes on where it was: its tempo of 121 BPM is no multiple of a period."""
        follower, end, _ = started(121)
        end += frames / 48000
        follower.lost()
        run_ticks(follower, end, 96, 121)
        assert follower.position.tick == 192
        assert follower.line.beat_at(end + 96 * 60 / 121 / 24) == pytest.approx(8.0, abs=0.05)


class TestTempoRange:
    @pytest.mark.parametrize('tempo', [5, 600])
    def test_the_ends_of_the_range_are_followed(self, tempo):
        follower = ClockFollower()
        follower.sync(Sync(1.0, START))
        changes, now = [], 1.0
        for i in range(240):
            time = 1 + i * 60 / tempo / 24
            while now + 0.02 < time:
                now += 0.02
                changes += follower.check(now)
            changes += follower.sync(Sync(time, CLOCK))
            assert follower.line.beat_at(time) < (i + 1.1) / 24  # never past the next tick
        assert [c.kind for c in changes if c.kind != 'tempo'] == ['start'] and follower.outside is None
        assert follower.line.tempo == pytest.approx(tempo)

    @pytest.mark.parametrize('tempo', [0.5, 1, 3, 900, 4000])
    def test_what_is_outside_is_not_followed_and_said(self, tempo):
        follower = ClockFollower()
        follower.sync(Sync(1.0, START))
        now, rolled = 1.0, 0
        for i in range(max(12, round(tempo))):
            time = 1 + i * 60 / tempo / 24
            while now + 0.02 < time:
                now += 0.02
                follower.check(now)
                rolled += follower.rolling
            follower.sync(Sync(time, CLOCK))
        assert not follower.rolling and follower.outside == pytest.approx(tempo, rel=0.2)
        assert rolled * 0.02 < 2
        run_ticks(follower, now + 0.5, 300, 120)  # it comes to its senses
        assert follower.rolling and follower.outside is None
        assert follower.line.tempo == pytest.approx(120, rel=0.01)


class TestSongPosition:
    @pytest.mark.parametrize('early', [-2, -1, 0, 1, 5])
    def test_one_that_says_where_we_are_interrupts_nothing(self, early):
        follower = ClockFollower()
        follower.sync(Sync(1.0, START))
        changes = []
        for i in range(960):
            if i >= 24 and (i + early) % 24 == 0:
                changes += follower.sync(Sync(1 + i / 48, SONG_POSITION, (i + early) // 24 * 4))
            changes += follower.sync(Sync(1 + i / 48, CLOCK))
        assert [c.kind for c in changes] == ['start']
        assert follower.times_24 is False and follower.position.tick == 960

    def test_one_in_beats_times_24_that_says_where_we_are_interrupts_nothing(self):
        follower = ClockFollower()
        follower.sync(Sync(1.0, START))
        changes = []
        for i in range(960):
            if i and i % 48 == 0:
                changes += follower.sync(Sync(1 + i / 48, SONG_POSITION, i))
            changes += follower.sync(Sync(1 + i / 48, CLOCK))
        assert [c.kind for c in changes] == ['start']
        assert follower.times_24 is True and follower.position.tick == 960

    def test_a_loop_jumps_with_the_next_tick(self):
        follower, end, _ = started(times_24=False)
        assert [c.kind for c in follower.sync(Sync(end, SONG_POSITION, 4))] == ['stop']
        _, changes = run_ticks(follower, end, 2)
        assert [(c.kind, c.beat) for c in changes] == [('start', 1.0)]

    @pytest.mark.parametrize('truth', [False, True])
    @pytest.mark.parametrize('name', [None, True])
    def test_no_wrong_guess_is_believed_for_ever(self, truth, name):
        """A sender that jumps to where the other way of counting would put it, then tells its place now and then."""
        follower = ClockFollower()
        follower.position.hear_name(name)

        def say(beat):
            return follower.sync(Sync(time, SONG_POSITION, beat * 24 if truth else beat * 4))

        follower.sync(Sync(1.0, START))
        time, _ = run_ticks(follower, 1.0, 6 * 24 if truth else 5 * 24)
        follower.sync(Sync(time, STOP))
        say(1 if truth else 30)  # read the other way: beat 6, beat 5
        follower.sync(Sync(time, CONTINUE))
        time, _ = run_ticks(follower, time, 2 * 24)
        beat = 3 if truth else 32
        for _ in range(3):
            say(beat)
            time, _ = run_ticks(follower, time, 24)
            beat += 1
        assert follower.position.tick == beat * 24
        assert follower.times_24 is truth

    def test_what_the_person_set_stands(self):
        follower, end, _ = started(times_24=True)
        follower.sync(Sync(end, STOP))
        follower.sync(Sync(end, SONG_POSITION, 100))
        assert follower.position.tick == 100 and follower.times_24 is True

    def test_another_sender_is_judged_anew(self):
        follower, end, _ = started()
        follower.position.hear_name(True)
        follower.sync(Sync(end, STOP))
        follower.sync(Sync(end, SONG_POSITION, 97))  # whatever its name: 24 does not divide it
        assert follower.times_24 is False
        follower.position.hear_name(None)
        assert follower.times_24 is None
