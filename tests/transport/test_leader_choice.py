"""Clocks and leaders through the whole session: what the band plays, and what the person is told."""

import math
import random

import pytest
from live_band import Stage, check_no_hanging, clock_ticks, phrase, preset

from bridge.live.rehearsal import Timed, simulate
from bridge.midi.jack_ports import JackPosition
from bridge.midi.messages import song_position
from bridge.transport.midi_clock import ClockFollower
from bridge.transport.transport import InternalLeader, JackLeader
from genaudio_core.errors import GenaudioError

START, CONTINUE, STOP, TICK = b'\xfa', b'\xfb', b'\xfc', b'\xf8'


def one_bar(**values):
    return preset('respond', player__bars_heard=1, player__bars_answered=1, **values)


def played(part: list[Timed], zero: float, until: float, **values) -> list[tuple[float, int]]:
    """(beats at 120 BPM after `zero` seconds, note) of what the band plays."""
    stage = Stage(one_bar(**values))
    stage.play(part, until)
    check_no_hanging([*stage.sender.sent, *ends(stage)])
    return [(round((time - zero) * 2, 2), note) for time, _, _, note in stage.notes() if time >= zero - 0.1]


def ends(stage: Stage) -> list[tuple[float, int, bytes]]:
    before = len(stage.sender.sent)
    stage.session.close()
    return stage.sender.sent[before:]


def play_all(stage: Stage, parts: dict[int, list[Timed]], until: float) -> None:
    """Play the part of each input."""
    events = [(*item, source) for source, part in parts.items() for item in part]
    for time, message, source in sorted(events, key=lambda event: event[0]):
        if time < until:
            simulate(stage.session, stage.clock, stage.sender, [], time)
            stage.session.receive(source, message, time)
    simulate(stage.session, stage.clock, stage.sender, [], until)


class TestClockThatAlwaysRuns:
    @pytest.mark.parametrize('idle', [0.2, 3, 37 / 24, 10])
    @pytest.mark.parametrize('early', [0.001, 0.015])
    @pytest.mark.parametrize('jitter', [0.0, 0.002])
    def test_after_start_the_band_plays_as_if_the_clock_had_been_silent(self, idle, early, jitter):
        zero = 10.0
        rng = random.Random(4)
        song = clock_ticks(zero, 32, first=b'', jitter=lambda i: rng.uniform(0, jitter))
        before = clock_ticks(zero - idle / 2, idle, first=b'')
        keys = [key for beat in (0, 8, 16) for key in phrase(zero + beat / 2)]
        start = [(zero - early, START)]
        want = played([*start, *song, *keys], zero, zero + 15)
        got = played([*before, *start, *song, *keys], zero, zero + 15)
        assert len(want) == 12
        assert [round(beat, 1) for beat, _ in got] == [round(beat, 1) for beat, _ in want]
        if not jitter:
            assert got == want

    def test_start_stop_start(self):
        part = [
            *clock_ticks(1, 6), (4.0, STOP), *clock_ticks(4.003, 5.5, first=b''), (6.74, START),
            *clock_ticks(6.753, 6, first=b''), (9.753, STOP), *clock_ticks(9.757, 3.2, first=b''), (11.35, START),
            *clock_ticks(11.36, 20, first=b''),
        ]  # fmt: skip
        notes = played([*part, *phrase(11.36)], 11.36, 18)
        assert [beat for beat, _ in notes] == [4, 5, 6, 7]

    @pytest.mark.parametrize('idle', [1, 37, 95, 240])
    @pytest.mark.parametrize('beats', [8, 9.5])
    def test_continue_goes_on_at_the_place_of_the_stop(self, idle, beats):
        stop = 1 + beats / 2
        go = stop + 0.01 + idle / 48
        part = [*clock_ticks(1, beats), (stop, STOP), *clock_ticks(stop + 0.01, idle / 24, first=b''), (go, CONTINUE)]
        part += clock_ticks(go + 0.005, 32, first=b'')
        stage = Stage(one_bar())
        bar = go + 0.005 + (12 - beats) / 2
        stage.play([*part, *phrase(bar)], bar + 5)
        assert [round((time - bar) * 2, 1) for time, *_ in stage.notes()] == [4, 5, 6, 7]

    def test_continue_goes_on_at_the_song_position_set_meanwhile(self):
        part = [*clock_ticks(1, 8), (5.0, STOP), *clock_ticks(5.01, 2, first=b''), (6.005, song_position(30))]
        part += [*clock_ticks(6.01, 1, first=b''), (6.505, CONTINUE), *clock_ticks(6.51, 30, first=b'')]
        bar = 6.51 + 0.25  # sixteenth 30 is half a beat before a bar line
        assert [beat for beat, _ in played([*part, *phrase(bar)], bar, bar + 5)] == [4, 5, 6, 7]


class TestHiccups:
    @pytest.mark.parametrize('gap', [0.2, 0.3, 0.45])
    @pytest.mark.parametrize('after', ['lost', 'at once'])
    @pytest.mark.parametrize('at', [1.7, 3.9, 5.31])
    def test_a_short_one_is_not_heard(self, gap, after, at):
        song, keys = clock_ticks(1, 32), [*phrase(1), *phrase(5)]
        want = played([*song, *keys], 1, 12)
        late = [item for item in song if at <= item[0] < at + gap]
        broken = [item for item in song if item not in late]
        if after == 'at once':
            broken += [(at + gap, message) for _, message in late]
        assert len(want) == 8 and played([*broken, *keys], 1, 12) == want

    @pytest.mark.parametrize('gap', [0.8, 2.0])
    def test_a_long_one_ends_the_notes_and_the_bars_go_on_as_counted(self, gap):
        stage = Stage(one_bar())
        song = clock_ticks(1, 5.5)
        stage.play([*song, *phrase(1)], 3.75 + gap - 0.1)
        assert len(stage.notes()) == 3 and stage.sender.sounding.count() == 0
        go = 3.75 + gap
        bar = go + 1.25  # beat 8
        stage.play([*clock_ticks(go, 20, first=b''), *phrase(bar)], bar + 5)
        assert [round((time - bar) * 2, 1) for time, *_ in stage.notes()[3:]] == [4, 5, 6, 7]


class TestSongPosition:
    @pytest.mark.parametrize('unit', [4, 24])
    @pytest.mark.parametrize('every', [1, 4])
    def test_one_that_says_where_we_are_interrupts_nothing(self, unit, every):
        song = clock_ticks(1, 32)
        told = [(1 + beat / 2 - 0.001, song_position(beat * unit)) for beat in range(every, 32, every)]
        keys = [key for beat in range(0, 32, 8) for key in phrase(1 + beat / 2)]
        want = played([*song, *keys], 1, 17)
        assert len(want) == 16 and played([*song, *told, *keys], 1, 17) == want


class TestTwoClocks:
    def lines(self, stage: Stage) -> list[str]:
        return [line for line in stage.said if 'MIDI clock' in line]

    @pytest.mark.parametrize('behind', [0.0, 0.003, 0.0104])
    @pytest.mark.parametrize('tempo', [120, 97])
    @pytest.mark.parametrize('leader', ['auto', 'midi'])
    def test_the_first_leads_and_one_line_says_so(self, behind, tempo, leader):
        stage = Stage(one_bar(ports__inputs=('keys', 'drum machine'), transport__leader=leader))
        parts = {0: [*clock_ticks(1, 32), *phrase(1)], 1: clock_ticks(1 + behind, 32, tempo)}
        play_all(stage, parts, 6)
        assert stage.session.transport.tempo == pytest.approx(120, abs=0.1)
        assert [round((time - 1) * 2, 1) for time, *_ in stage.notes()] == [4, 5, 6, 7]
        told = [line for line in self.lines(stage) if line != 'Following MIDI clock.']
        assert len(told) == 1 and "'keys'" in told[0] and "'drum machine'" in told[0]

    def test_the_second_leads_when_the_first_has_fallen_silent(self):
        stage = Stage(one_bar())
        play_all(stage, {0: clock_ticks(1, 8), 1: clock_ticks(1.003, 60, 97)}, 6.9)
        assert not stage.session.transport.rolling and stage.sender.sounding.count() == 0
        play_all(stage, {1: clock_ticks(6.9, 20, 97, first=b'')}, 12)
        assert stage.session.transport.rolling
        assert stage.session.transport.tempo == pytest.approx(97, abs=0.1)
        assert self.lines(stage)[-1].startswith('Following MIDI clock at ')

    def test_a_machine_that_is_started_leads_before_one_that_only_ticks(self):
        stage = Stage(one_bar())
        keyboard = clock_ticks(1, 60, 100, first=b'')  # many keyboards send a clock all the time
        play_all(stage, {0: keyboard, 1: [*clock_ticks(4, 40), *phrase(4)]}, 9)
        assert stage.session.transport.tempo == pytest.approx(120, abs=0.1)
        assert [round((time - 4) * 2, 1) for time, *_ in stage.notes()] == [4, 5, 6, 7]

    def test_a_stopped_machine_is_not_replaced_by_one_that_only_ticks(self):
        stage = Stage(one_bar())
        keyboard = clock_ticks(0.5, 60, 100, first=b'')
        play_all(stage, {0: [*clock_ticks(1, 8), (5.0, STOP)], 1: keyboard}, 12)
        assert not stage.session.transport.rolling

    def test_both_inputs_alone_need_no_line(self):
        stage = Stage(one_bar())
        play_all(stage, {0: clock_ticks(1, 8), 1: phrase(1)}, 5)
        assert self.lines(stage) == ['Following MIDI clock.']


class TestTempoRange:
    @pytest.mark.parametrize('tempo', [5, 40, 600])
    def test_the_band_plays_at_any_tempo_in_range(self, tempo):
        beat = 60 / tempo
        stage = Stage(one_bar(), 0.001)
        stage.play([*clock_ticks(1, 10, tempo), *phrase(1, tempo)], 1 + 9.5 * beat)
        heard = [4, 5, 6, 7] if tempo < 600 else [4, 5, 6]  # the last key is too near to the line
        assert [round((time - 1) / beat, 1) for time, *_ in stage.notes()] == heard

    @pytest.mark.parametrize('tempo', [1, 1200])
    @pytest.mark.parametrize('first', [START, b''])
    def test_a_clock_outside_is_told_once_and_not_followed(self, tempo, first):
        stage = Stage(preset('free'))
        ticks = clock_ticks(1, tempo / 4, tempo, first=first)
        stage.play(ticks, 16)
        assert not stage.session.transport.rolling and stage.sender.sounding.count() == 0
        assert len([line for line in stage.said if 'can be followed' in line]) == 1

    @pytest.mark.parametrize('value', [4.9, 601, -120, 0])
    def test_a_setting_outside_is_refused_with_a_line(self, value):
        stage = Stage()
        stage.session.apply({'set': 'transport.tempo', 'value': value})
        assert stage.said[-1].startswith('transport.tempo must be a number from 5 to 600 BPM')
        with pytest.raises(GenaudioError, match='from 5 to 600 BPM'):
            preset(transport__tempo=value)

    def test_a_bouncing_tap_is_one_tap(self):
        leader = InternalLeader(120)
        for i in range(4):
            leader.tap(i * 0.5)
            leader.tap(i * 0.5 + 0.03)
        assert leader.line.tempo == pytest.approx(120)


class TestLines:
    def test_keys_while_no_midi_clock_comes(self):
        stage = Stage(one_bar(transport__leader='midi'))
        stage.play([*phrase(1), *phrase(4)], 8)
        assert [line for line in stage.said if line.startswith('You are playing, but MIDI clock does not roll')]
        assert len(stage.said) == 1

    def test_keys_while_jack_transport_stands(self):
        stage = Stage(preset(), leader=JackLeader(lambda: JackPosition(False)))
        stage.play([*phrase(1), *phrase(4)], 8)
        assert len(stage.said) == 1 and 'JACK transport does not roll' in stage.said[0]
        assert "transport.leader to 'auto'" in stage.said[0]

    def test_keys_while_a_leader_stands_that_has_rolled_need_no_line(self):
        stage = Stage(one_bar())
        stage.play([*clock_ticks(1, 4), (3.0, STOP), *phrase(4)], 8)
        assert stage.said == ['Following MIDI clock.']

    def test_ardours_tempo_turned_while_it_rolls(self):
        stage = Stage(one_bar())
        stage.session.leaders.hint_senders({'ardour:MIDI Clock out'})
        stage.play([*clock_ticks(1, 16, 100), *clock_ticks(1 + 9.6, 16, 140, first=b'')], 16)
        told = [line for line in stage.said if "leader = 'jack'" in line]
        assert len(told) == 1 and 'tempo' in told[0]

    def test_no_line_of_ardour_while_its_tempo_stays(self):
        stage = Stage(one_bar())
        stage.session.leaders.hint_senders({'ardour:MIDI Clock out'})
        rng = random.Random(1)
        stage.play(clock_ticks(1, 60, 87, jitter=lambda i: rng.uniform(0, 0.004)), 40)
        assert stage.said == ['Following MIDI clock.']


class TestOtherLeaders:
    @pytest.mark.parametrize('message', [START, CONTINUE, STOP, TICK, song_position(12)])
    def test_our_own_tempo_stays_where_no_clock_follows(self, message):
        stage = Stage(one_bar())
        stage.play([(1.0, message), *phrase(2.0)], 7)
        assert [round((time - 2) * 2, 1) for time, *_ in stage.notes()] == [4, 5, 6, 7]

    def test_jack_transport_is_chosen_when_it_rolls(self):
        where = [JackPosition(False)]
        stage = Stage(one_bar())
        stage.session.leaders.alternatives.append(JackLeader(lambda: where[0]))
        stage.play([], 1)
        where[0] = JackPosition(True, 1.0, 0.0, 90.0, 0.0)
        second = 60 / 90
        stage.play(phrase(1 + 1 * second * 4, 90), 1 + 13 * second)
        assert 'Following JACK transport.' in stage.said
        assert [round((time - 1) / second, 1) for time, *_ in stage.notes()] == [8, 9, 10, 11]
        where[0] = JackPosition(False)
        stage.play([], 15)
        assert not stage.session.transport.rolling

    def test_a_midi_clock_is_preferred_to_jack_transport(self):
        stage = Stage(one_bar())
        stage.session.leaders.alternatives.append(JackLeader(lambda: JackPosition(True, 0.0, 0.0, 90.0, 0.0)))
        stage.play(clock_ticks(1, 8), 4)
        assert isinstance(stage.session.transport.leader, ClockFollower)

    def test_our_own_tempo_without_jacks_timebase_master_may_be_turned_while_it_rolls(self):
        stage = Stage(preset(), leader=JackLeader(lambda: JackPosition(True, stage.clock.now(), stage.clock.now())))
        stage.play([], 3)
        before = stage.session.transport.beat_at(3)
        stage.session.set('transport.tempo', 60)
        stage.play([], 4)
        assert stage.session.transport.tempo == 60
        assert stage.session.transport.beat_at(4) == pytest.approx(before + 1, abs=0.05)

    @pytest.mark.parametrize('tempo', [1.0, 1000.0, 1e9])
    def test_a_timebase_master_outside_the_range_is_told_and_not_followed(self, tempo):
        stage = Stage(preset(), leader=JackLeader(lambda: JackPosition(True, stage.clock.now(), 1.0, tempo, 0.0)))
        stage.play(phrase(1), 4)
        assert not stage.session.transport.rolling
        assert len([line for line in stage.said if 'can be followed' in line]) == 1

    def test_a_leader_is_closed_when_it_is_let_go(self):
        class Link(InternalLeader):
            closed = 0

            def close(self) -> None:
                self.closed += 1

        leader = Link()
        stage = Stage(preset(), leader=leader)
        stage.play([], 1)
        assert not leader.closed
        stage.session.close()
        stage.session.close()
        assert leader.closed == 1


@pytest.mark.parametrize('mode', ['respond', 'take_over', 'accompany', 'free'])
def test_times_that_go_back_or_stand_still_break_nothing(mode):
    for seed in range(8):
        rng = random.Random(seed)
        stage = Stage(preset(mode))
        time = 1.0
        for _ in range(600):
            time += rng.choice((0.0, 0.0, 0.004, 0.02, 0.02, 0.02, 2.5, -0.01, -3.0))
            message = rng.choice((TICK,) * 12 + (START, CONTINUE, STOP, song_position(rng.randrange(99))))
            stage.session.receive(rng.randrange(2), message, time)
            stage.session.receive(0, bytes((rng.choice((0x80, 0x90)), rng.randrange(60, 64), 90)), time)
            simulate(stage.session, stage.clock, stage.sender, [], stage.clock.now() + rng.choice((0, 0.01, 0.05)))
            assert math.isfinite(stage.session.transport.beat_at(stage.clock.now()))
        stage.session.close()
        assert stage.sender.sounding.count() == 0


def test_no_mixture_of_clocks_hangs_a_note_or_breaks_the_session():
    for seed in range(12):
        rng = random.Random(seed)
        stage = Stage(preset(rng.choice(('free', 'respond', 'accompany'))))
        parts: dict[int, list[Timed]] = {}
        for source in range(3):
            time, part = rng.uniform(0, 2), []
            while time < 30:
                tempo = rng.choice((1, 5, 90, 120, 600, 3000))
                count = rng.randrange(200)
                part += [(time + i * 2.5 / tempo + rng.uniform(0, 0.004), TICK) for i in range(count)]
                part.append((time, rng.choice((START, START, CONTINUE, STOP, song_position(rng.randrange(999))))))
                time += count * 2.5 / tempo + rng.choice((0, 0, 0.3, 1, 3))
            parts[source] = [*part, *(key for at in (3, 11, 19) for key in phrase(at + source))]
        play_all(stage, parts, 30)
        assert math.isfinite(stage.session.transport.beat_at(30))
        play_all(stage, {source: [(30.5, STOP)] for source in parts}, 31)
        assert stage.sender.sounding.count() == 0
        check_no_hanging(stage.sender.sent)


def test_a_session_that_ends_lets_go_of_whoever_led_it():
    class Held(InternalLeader):
        closed = 0

        def close(self):
            self.closed += 1

    leader, other = Held(120.0), Held(120.0)
    stage = Stage(one_bar(), leader=leader)
    stage.session.leaders.alternatives.append(other)
    stage.session.close()
    assert (leader.closed, other.closed) == (1, 1)
