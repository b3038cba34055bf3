"""What keyboards, machines and players do on stage: nothing hangs, nothing is struck twice, nobody is misheard.

At 120 BPM: beat b is at 1 + b/2 seconds.
"""

import pytest
from live_band import Stage, clock_ticks, phrase, preset

from bridge.live.rehearsal import simulate
from bridge.midi import messages
from bridge.midi.active_sensing import SILENCE
from bridge.midi.messages import control, note_off, note_on, song_position
from bridge.midi.wire_check import WireCheck
from bridge.musicians.musician import HeardNote, PlannedMusic, PlannedNote, Request
from bridge.musicians.rule_musician import FallbackMusician

PIANO = [{'instrument': 'piano'}]
DUO = [{'instrument': 'piano'}, {'instrument': 'bass', 'output': 2}]


def stage_of(mode='respond', parts=PIANO, delay=0.004, **values):
    values = {
        'ports__inputs': ['keys', 'pads'], 'ports__outputs': ['a', 'b'], 'player__bars_heard': 1,
        'player__bars_answered': 1, **values,
    }  # fmt: skip
    return Stage(preset(mode, parts, **values), delay)


def play(stage, score, until):
    """Feed (seconds, input, message) in order of time, and let the clock run to `until`; what is later is left out."""
    for time, source, message in sorted((item for item in score if item[0] <= until), key=lambda item: item[0]):
        simulate(stage.session, stage.clock, stage.sender, [], time)
        stage.session.receive(source, message, time)
    simulate(stage.session, stage.clock, stage.sender, [], until)


def of(source, timed):
    return [(time, source, message) for time, message in timed]


def wire(stage):
    return WireCheck().feed_all(stage.sender.sent)


def ons_and_offs(stage):
    return [(round(time, 4), m[0] & 0xF0, m[1]) for time, _, m in stage.sender.sent if m[0] & 0xF0 in (0x80, 0x90)]


def lengths(stage):
    """(seconds of the note-on, output, note, seconds it sounds) of all that ended."""
    began, found = {}, []
    for time, output, message in stage.sender.sent:
        key = (output, message[0] & 15, message[1])
        if message[0] & 0xF0 == 0x90:
            began[key] = time
        elif message[0] & 0xF0 == 0x80 and key in began:
            found.append((began[key], output, message[1], time - began.pop(key)))
    return found


class TestKeyboardThatForgets:
    """It is reset, or switched off behind an interface whose port stays."""

    HELD = ((1.0, 0, note_on(0, 60, 90)), (1.0, 0, control(0, 64, 127)), (1.0, 1, note_on(0, 72, 90)))

    @pytest.mark.parametrize('mode', ['respond', 'arrange'])
    @pytest.mark.parametrize('thru', [True, False])
    @pytest.mark.parametrize('lost', ['reset', 'silent'])
    def test_what_it_holds_is_let_go_and_others_keep_theirs(self, lost, thru, mode):
        stage = stage_of(mode, player__thru=thru)
        last = [(1.5, 0, b'\xff')] if lost == 'reset' else [(1.1, 0, b'\xfe'), (1.4, 0, b'\xfe')]
        play(stage, [*self.HELD, *last], 2.5)  # before the band answers
        assert {note for _, _, note in wire(stage).down} == ({72} if thru or mode == 'arrange' else set())
        assert not wire(stage).pedals
        assert stage.session.listener.n_held == 1
        assert len([line for line in stage.said if 'sensing' in line]) == (lost == 'silent')

    def test_one_that_senses_holds_its_keys_for_as_long_as_it_says_so(self):
        stage = stage_of(player__thru=True)
        play(stage, [*self.HELD, *((1 + i * 0.3, 0, b'\xfe') for i in range(30))], 9.9)
        assert stage.sender.sounding.count() == 2

    def test_one_that_never_senses_may_be_silent(self):
        stage = stage_of(player__thru=True)
        play(stage, self.HELD, 60.0)
        assert stage.sender.sounding.count() == 2

    def test_one_that_comes_back_plays(self):
        stage = stage_of(player__thru=True)
        later = 1.2 + 2 * SILENCE
        play(stage, [(1.0, 0, b'\xfe'), (later, 0, b'\xfe'), (later, 0, note_on(0, 60, 90))], later + 0.2)
        assert stage.sender.sounding.count() == 1


@pytest.mark.parametrize('number', [120, 123, 124, 125, 126, 127])
@pytest.mark.parametrize('mode', ['respond', 'arrange'])
def test_omni_mono_and_poly_end_the_notes_of_their_channel_like_all_notes_off(mode, number):
    stage = stage_of(mode, player__thru=True)
    play(stage, [(1.0, 0, note_on(0, 60, 90)), (1.0, 0, note_on(1, 64, 90)), (1.5, 0, control(0, number, 0))], 2.0)
    assert {note for _, _, note in wire(stage).down} == {64}
    assert stage.session.listener.n_held == 1


class TestHalfPedal:
    def sent(self, *moves):
        """Values of the pedal at the wire when (input, value) move it, one after the other."""
        stage = stage_of(player__thru=True)
        play(stage, [(1 + i / 10, source, control(0, 64, value)) for i, (source, value) in enumerate(moves)], 3.0)
        return stage, [m[2] for _, _, m in stage.sender.sent if m[:2] == b'\xb0\x40']

    def test_it_comes_all_the_way_up(self):
        down_and_up = [30, 70, 127, 100, 60, 40, 10, 0]
        assert self.sent(*((0, value) for value in down_and_up))[1] == down_and_up

    def test_the_deepest_of_two_counts(self):
        assert self.sent((0, 100), (1, 50), (0, 30), (1, 0), (0, 0))[1] == [100, 50, 30, 0]

    @pytest.mark.parametrize('depth', [20, 100])
    def test_one_half_down_comes_up_with_the_port_that_goes(self, depth):
        stage, _ = self.sent((0, depth))
        stage.session.port_lost(0)
        assert [m[2] for _, _, m in stage.sender.sent if m[:2] == b'\xb0\x40'][-1] == 0


class TestOneInstant:
    def test_a_key_that_sounds_by_thru_and_is_arranged_is_struck_once(self):
        stage = stage_of('arrange', player__thru=True)
        play(stage, [(1.0, 0, note_on(0, 60, 90)), (1.5, 0, note_off(0, 60))], 2.0)
        assert [kind for _, kind, _ in ons_and_offs(stage)] == [0x90, 0x80]

    def test_parts_in_unison_on_one_channel_are_one_note_until_the_last_ends(self):
        stage = stage_of(parts=[{'instrument': 'piano', 'channel': 1}, {'instrument': 'flute', 'channel': 1}])
        notes = (PlannedNote(4.0, 1.0, 60, 80, 0), PlannedNote(4.0, 2.0, 60, 80, 1))
        stage.engine.musician.answer = lambda request: iter((PlannedMusic(request.id, 0, notes, request.end, True),))
        play(stage, of(0, clock_ticks(1.0, 10) + phrase(1.0)), 5.5)
        band = [(time, kind) for time, kind, note in ons_and_offs(stage) if note == 60]
        assert band == [(3.0, 0x90), (4.0, 0x80)]


class TestStartButtons:
    """Start without a clock, and clocks without a start."""

    def test_a_keyboards_start_button_takes_no_lead_from_a_clock_whose_start_was_lost(self):
        stage = stage_of('free')
        play(stage, [*of(0, clock_ticks(1.0, 24, first=b'')), (6.003, 1, b'\xfa')], 12.0)
        assert stage.said == ['Following MIDI clock.']
        assert stage.session.transport.beat_at(12.0) == pytest.approx(22.0, abs=0.01)

    def test_nor_from_one_that_was_stopped(self):
        stage = stage_of('free')
        part = [*clock_ticks(1.0, 8), (5.0, b'\xfc'), (7.0, b'\xfb'), *clock_ticks(7.01, 8, first=b'')]
        play(stage, [*of(0, part), (6.0, 1, b'\xfa')], 9.0)
        assert stage.said == ['Following MIDI clock.']
        assert stage.session.transport.beat_at(9.0) == pytest.approx(8 + (9 - 7.01) * 2, abs=0.05)

    def test_a_machine_whose_clock_begins_with_its_start_leads_when_the_first_was_stopped(self):
        stage = stage_of('free')
        idle = [*clock_ticks(1.0, 8), (5.0, b'\xfc'), *clock_ticks(5.01, 30, first=b'')]
        play(stage, [*of(0, idle), *of(1, clock_ticks(8.0, 20, 100))], 14.0)
        assert stage.session.transport.rolling
        assert stage.session.transport.tempo == pytest.approx(100, abs=0.5)

    def test_our_own_tempo_started_twice_never_goes_back(self):
        stage = stage_of('free', transport__leader='internal')
        stage.session.command('start')
        play(stage, [], 2.6)
        before = stage.session.transport.beat_at(2.6)
        stage.session.command('start')
        assert stage.session.transport.beat_at(2.6) >= before - 0.25
        assert stage.session.transport.beat_at(2.6) % 4 == pytest.approx(0.0)


class TestPlayerAheadOfTheBeat:
    """A key struck a little before a line is meant for the line."""

    @pytest.mark.parametrize('early', [0.001, 0.02, 0.08])
    @pytest.mark.parametrize('leader', ['auto', 'midi'])
    def test_a_key_struck_before_start_is_heard_from_the_start_on_and_answered(self, leader, early):
        stage = stage_of(transport__leader=leader)
        keys = [(1.0 - early, 0, note_on(0, 60, 90)), (1.9, 0, note_off(0, 60))]
        play(stage, [*keys, *of(1, clock_ticks(1.0, 12))], 6.5)
        heard = [(note.beat, note.duration) for note in stage.session.heard]
        assert heard == [(pytest.approx(0.0, abs=0.02), pytest.approx(1.8, abs=0.02))]
        assert next(time for time, *_ in stage.notes()) == pytest.approx(3.0, abs=0.02)
        assert min(length for *_, length in lengths(stage)) > 0.2

    @pytest.mark.parametrize('early', [0.005, 0.05])
    def test_a_key_struck_before_a_loop_jumps_goes_on_behind_it(self, early):
        stage = stage_of()
        keys = [(9.0 - early, 0, note_on(0, 64, 90)), (10.0, 0, note_off(0, 64))]
        play(stage, [*of(1, clock_ticks(1.0, 30)), (8.999, 1, song_position(0)), *keys], 11.0)
        (heard,) = stage.session.heard
        assert heard.beat % 4 == pytest.approx(0.0, abs=0.02)
        assert heard.duration == pytest.approx(2.0, abs=0.03)

    @pytest.mark.parametrize('early', [-0.02, 0.0, 0.001, 0.02])
    @pytest.mark.parametrize('mode', ['respond', 'take_over', 'accompany', 'free'])
    @pytest.mark.parametrize('timing', [0.0, 1.0])
    def test_the_band_plays_no_note_twice_at_a_line_and_none_of_no_length(self, timing, mode, early):
        stage = stage_of(mode, DUO, music__timing=timing)
        keys = []
        for i in range(44):
            note, at = 60 + (0, 4, 7, 12, 5, 9)[i % 6], 1.0 + i / 2 - early
            keys += [(at, 0, note_on(0, note, 90)), (at + 0.4, 0, note_off(0, note))]
        play(stage, [*keys, *of(1, clock_ticks(1.0, 50)), (24.9, 1, b'\xfc')], 26.0)
        struck: dict = {}
        for time, *key in stage.notes():
            assert time - struck.get(tuple(key), -1.0) > 0.06, (time, key)
            struck[tuple(key)] = time
        ended = [one for one in lengths(stage) if one[0] + one[3] < 24.89]
        assert min((length for *_, length in ended), default=1.0) > 0.02, ended

    def test_an_early_kick_is_repeated_on_the_line(self):
        band = FallbackMusician()
        kicks = [HeardNote(i, beat, 0.2, 36, 90, 'drums') for i, beat in enumerate((-0.02, 2.0, 3.98))]
        band.hear(kicks)
        (piece,) = band.answer(Request(1, 4.0, 8.0, ('drums',)))
        assert [note.beat for note in piece.notes] == [4.0, 6.0]


class TestOtherMusicBegins:
    def test_what_is_composed_late_ends_where_it_begins(self):
        """The engine is away: the fallback fills in what is still to come of an answer that has been cut."""
        stage = stage_of('arrange')
        stage.engine.ready = False
        play(stage, of(0, clock_ticks(1.0, 20) + phrase(1.0, notes=((1.0, 60),), length=5.0)), 4.6)
        session = stage.session
        answer = session.ask(8.0, 12.0)
        session.ask(10.0, 14.0)
        answer.stand_in = [PlannedNote(9.0, 6.0, 50, 80, 0)]
        play(stage, of(0, [tick for tick in clock_ticks(1.0, 20, first=b'') if tick[0] > 4.6]), 8.0)
        assert [length for *_, note, length in lengths(stage) if note == 50] == [pytest.approx(0.5, abs=0.01)]

    def test_another_take_ends_what_the_old_one_holds(self):
        stage = stage_of('free', music__takes=2)
        stage.engine.musician.answer = lambda request: (
            PlannedMusic(request.id, take, (PlannedNote(request.start, 8.0, 50 + take, 80, 0),), request.end, True)
            for take in range(2)
        )
        play(stage, of(0, clock_ticks(1.0, 30)), 4.2)
        begun = {note for _, _, note in wire(stage).down}
        assert begun == {50}
        stage.session.command('next_take')
        play(stage, of(0, [tick for tick in clock_ticks(1.0, 30, first=b'') if tick[0] > 4.2]), 4.6)
        assert 50 not in {note for _, _, note in wire(stage).down}


def test_running_status_velocity_zero_and_two_channels_on_one_key_end_with_the_last():
    stage = stage_of(player__thru=True)
    score = [
        (1.0, 0, bytes((0x90, 60, 90, 64, 90, 0x91, 60, 80))), (1.5, 0, bytes((0x90, 60, 0, 64, 0))),
        (2.0, 0, bytes((0x91, 60, 0))),
    ]  # fmt: skip
    play(stage, score[:2], 1.8)
    assert {note for _, _, note in wire(stage).down} == {60}
    play(stage, score[2:], 2.2)
    assert stage.sender.sounding.count() == 0 and not wire(stage).struck_twice


@pytest.mark.parametrize('number', [66, 67, 69])
def test_pedals_that_are_not_passed_on_hold_nothing(number):
    stage = stage_of('arrange', player__thru=True)
    keys = [(1.0, 0, note_on(0, 60, 90)), (1.1, 0, control(0, number, 127)), (1.5, 0, note_off(0, 60))]
    play(stage, keys, 2.0)
    assert stage.sender.sounding.count() == 0
    assert not [m for _, _, m in stage.sender.sent if m[0] & 0xF0 == 0xB0 and m[1] != messages.SUSTAIN]
