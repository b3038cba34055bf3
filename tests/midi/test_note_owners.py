"""Whose note is it, and what ends it: keys, pedals, ports, plans, programs, each by the promise it keeps."""

import pytest
from live_band import Stage, check_no_hanging, clock_ticks, phrase, preset

from bridge.band.note_output import InputKey, Owner
from bridge.band.scheduler import Due
from bridge.live.rehearsal import note_part
from bridge.midi import messages
from bridge.midi.messages import control, note_off, note_on
from bridge.midi.wire_check import WireCheck
from bridge.musicians.musician import PlannedMusic, PlannedNote
from bridge.settings.band_preset import parse_preset
from bridge.settings.voice import PartVoice
from bridge.transport.transport import InternalLeader
from genaudio_core.score.notes import Note

STOPPED = {'transport__leader': 'midi'}  # nothing leads, so the band is silent: only the player sounds


def stage_of(mode='respond', parts=({'instrument': 'piano'},), **values) -> Stage:
    return Stage(preset(mode, parts, **values))


def offs(stage, note=60):
    return [t for t, _, m in stage.sender.sent if m[0] & 0xF0 == 0x80 and m[1] == note]


def sounding(stage):
    return stage.sender.sounding.count()


class TestInputs:
    @pytest.mark.parametrize('values', [{'mode': 'arrange'}, {'player__thru': True}])
    def test_an_input_that_is_lost_ends_its_notes_and_no_others(self, values):
        stage = stage_of(**STOPPED, **values)
        stage.session.receive(0, note_on(0, 60, 90), 0.0)
        stage.session.receive(1, note_on(0, 64, 90), 0.0)
        stage.play([], 1.0)
        assert sounding(stage) == 2
        stage.session.port_lost(0)
        assert sounding(stage) == 1 and stage.session.listener.n_held == 1
        stage.session.receive(1, note_off(0, 64), 1.5)
        stage.play([], 2.0)
        assert sounding(stage) == 0

    def test_two_inputs_hold_one_key_until_the_last_lets_go(self):
        stage = stage_of(player__thru=True, **STOPPED)
        for source, time, message in (
            (0, 0.1, note_on(0, 60, 90)), (1, 0.2, note_on(0, 60, 80)), (0, 0.5, note_off(0, 60)),
            (1, 0.9, note_off(0, 60)),
        ):  # fmt: skip
            stage.play([], time)
            stage.session.receive(source, message, time)
        stage.play([], 2.0)
        assert offs(stage) == [0.2, 0.9]  # struck again, then the end: not at 0.5
        check_no_hanging(stage.sender.sent)

    def test_a_lost_input_takes_its_pedal_with_it(self):
        stage = stage_of(player__thru=True, **STOPPED)
        stage.play([(0.1, control(0, 64, 127)), (0.2, note_on(0, 60, 90)), (0.3, note_off(0, 60))], 0.5)
        wire = WireCheck().feed_all(stage.sender.sent)
        assert wire.pedals and wire.sounding  # the pedal was passed on, and holds the note at the synthesizer
        stage.session.port_lost(0)
        assert not WireCheck().feed_all(stage.sender.sent).sounding
        stage.play([(1.0, note_on(0, 62, 90)), (1.2, note_off(0, 62))], 2.0)
        assert stage.session.listener.n_held == 0  # the port is back, its pedal up

    def test_a_pedal_that_was_down_when_its_port_went_holds_no_arranged_note_when_it_is_back(self):
        stage = stage_of(mode='arrange', **STOPPED)
        stage.play([(0.1, control(0, 64, 127))], 0.5)
        stage.session.port_lost(0)
        stage.play([(1.0, note_on(0, 62, 90)), (1.2, note_off(0, 62))], 2.0)
        assert [note for _, _, _, note in stage.notes()] and not stage.sender.sounding.count()

    @pytest.mark.parametrize('number', [120, 123])
    @pytest.mark.parametrize('values', [{'mode': 'arrange'}, {'player__thru': True}])
    def test_all_notes_off_from_the_player_ends_what_its_channel_holds(self, number, values):
        stage = stage_of(**STOPPED, **values)
        held = [(0.1, note_on(0, 60, 90)), (0.1, note_on(1, 67, 90)), (0.2, control(0, 64, 127))]
        stage.play([*held, (0.5, control(0, number, 0))], 1.0)
        assert [key[2] for key in WireCheck().feed_all(stage.sender.sent).sounding] == [67]
        assert not WireCheck().feed_all(stage.sender.sent).pedals

    def test_reset_controllers_lifts_the_pedal(self):
        stage = stage_of('arrange', **STOPPED)
        keys = [(0.1, control(0, 64, 127)), (0.2, note_on(0, 60, 90)), (0.3, note_off(0, 60))]
        stage.play(keys, 0.5)
        assert sounding(stage) == 1
        stage.play([(0.6, control(0, 121, 0))], 1.0)
        assert sounding(stage) == 0


class TestPedal:
    def test_arranged_notes_sound_until_it_lifts(self):
        stage = stage_of('arrange', **STOPPED)
        keys = [(0.1, control(0, 64, 127)), (0.2, note_on(0, 60, 90)), (0.4, note_off(0, 60))]
        stage.play([*keys, (2.0, control(0, 64, 0))], 3.0)
        assert offs(stage) == [2.0]

    def test_a_key_struck_again_under_the_pedal_is_struck_after_its_end(self):
        stage = stage_of('arrange', **STOPPED)
        keys = [(0.1, control(0, 64, 127))]
        for at in (0.2, 0.5):
            keys += [(at, note_on(0, 60, 90)), (at + 0.1, note_off(0, 60))]
        stage.play([*keys, (2.0, control(0, 64, 0))], 3.0)
        assert not WireCheck().feed_all(stage.sender.sent).finish(3.0).faults

    def test_thru_passes_it_on(self):
        stage = stage_of(parts=[{'instrument': 'piano', 'channel': 5}], player__thru=True, **STOPPED)
        stage.play([(0.1, control(0, 64, 100)), (0.5, control(0, 64, 0))], 1.0)
        assert [m for *_, m in stage.sender.sent] == [control(4, 64, 100), control(4, 64, 0)]


class TestThru:
    @pytest.mark.parametrize('way', ['osc', 'controller', 'reload', 'mode', 'parts'])
    def test_switched_off_by_any_way_it_ends_what_it_held(self, way):
        stage = stage_of(player__thru=True, **STOPPED)
        stage.session.controllers.bound[20] = 'player.thru'
        stage.play([(0.1, note_on(0, 60, 90)), (0.1, control(0, 64, 127))], 0.5)
        if way == 'osc':
            stage.session.apply({'set': 'player.thru', 'value': False})
        elif way == 'controller':
            stage.session.receive(0, control(0, 20, 0), 0.5)
        elif way == 'reload':
            stage.session.apply({'preset': preset(**STOPPED)})
        elif way == 'mode':
            stage.session.apply({'set': 'player.mode', 'value': 'free'})
        else:
            stage.session.apply({'preset': preset(parts=[{'instrument': 'flute'}], player__thru=True, **STOPPED)})
        assert not WireCheck().feed_all(stage.sender.sent).sounding
        stage.play([(0.7, note_off(0, 60))], 1.0)
        check_no_hanging(stage.sender.sent)

    def test_it_goes_on_while_the_transport_stops(self):
        stage = stage_of('free', player__thru=True)
        clock = [*clock_ticks(0.1, 20), (8.0, note_on(0, 100, 90)), (10.0, b'\xfc')]
        stage.play(clock, 12.0)
        assert list(WireCheck().feed_all(stage.sender.sent).sounding) == [(0, 0, 100)]
        stage.play([(12.5, note_off(0, 100))], 13.0)
        assert sounding(stage) == 0

    def test_a_key_struck_and_let_go_at_one_instant_sounds_and_ends(self):
        stage = stage_of(player__thru=True, **STOPPED)
        stage.play([(0.1, note_on(0, 60, 90) + note_off(0, 60))], 1.0)
        assert [m[0] & 0xF0 for *_, m in stage.sender.sent] == [0x90, 0x80]


class TestOutputs:
    def two(self) -> Stage:
        parts = [{'instrument': 'piano', 'program': 4}, {'instrument': 'bass', 'output': 2}]
        chosen = parse_preset({'ports': {'outputs': ['a', 'b']}, 'player': {'thru': True}, 'parts': parts,
                               'transport': {'leader': 'midi'}})  # fmt: skip
        return Stage(chosen)

    def test_one_that_is_back_gets_the_note_offs_it_missed_and_its_programs(self):
        stage = self.two()
        stage.play([(0.1, note_on(0, 60, 90))], 0.2)
        stage.sender.away.add(0)
        stage.play([(0.5, note_off(0, 60))], 1.0)
        assert list(WireCheck().feed_all(stage.sender.sent).sounding) == [(0, 0, 60)]
        stage.sender.away.clear()
        stage.session.output_back(0)
        assert not WireCheck().feed_all(stage.sender.sent).finish(1.0).hung_notes
        before = len(stage.sender.sent)
        stage.play([(1.5, note_on(0, 62, 90)), (1.6, note_off(0, 62))], 2.0)
        assert stage.sender.sent[before][2] == messages.program(0, 4)

    def test_the_other_outputs_play_on(self):
        stage = self.two()
        stage.session.notes.press(Owner('thru', 1), InputKey(0, 40), 0.0, PartVoice('bass', 1, 1), 40, 90)
        stage.play([], 0.5)
        stage.session.output_back(0)
        assert sounding(stage) == 1

    @pytest.mark.parametrize('outputs', [0, 17, 20])
    def test_more_than_there_can_be_are_refused_in_the_preset(self, outputs):
        from genaudio_core.errors import GenaudioError

        with pytest.raises(GenaudioError, match='1 to 16 names'):
            parse_preset({'ports': {'outputs': [f'o{i}' for i in range(outputs)]}})

    def test_programs_outlive_a_silence(self):
        """What chooses a sound is still true when all notes are taken back."""
        stage = self.two()
        stage.sender.send_at(0.5, 0, messages.program(0, 4))
        stage.sender.send_at(0.5, 0, note_on(0, 60, 90), 7)
        stage.sender.silence()
        stage.play([], 1.0)
        assert [m for *_, m in stage.sender.sent] == [messages.program(0, 4)]


class TestPlans:
    def chords(self, early: float) -> list:
        """Chords of eighths that change twice a bar, `early` seconds ahead of the beat; 120 BPM, beat 0 at 1 s."""
        notes = []
        for half in range(24):
            order = (0, 1, 2, 3, 1, 3, 0, 2, 3, 0, 1, 2, 0, 2, 1, 3)  # no loop that could be expected
            chord = ((60, 64, 67), (57, 60, 64), (65, 69, 72), (67, 71, 74))[order[half % 16]]
            notes += [Note(half * 2 + e / 2, 0.4, n, 90) for e in range(4) for n in chord]
        return [(time - early, message) for time, message in note_part(notes, 1.0, 120)]

    def doubled(self, stage: Stage) -> list:
        notes = sorted(stage.notes())
        return [
            (a, b) for i, a in enumerate(notes) for b in notes[i + 1 : i + 12]
            if (a[1], a[2], a[3]) == (b[1], b[2], b[3]) and b[0] - a[0] < 0.06
        ]  # fmt: skip

    @pytest.mark.parametrize('early', [-0.01, 0.0, 0.001, 0.008, 0.03])
    def test_a_player_ahead_of_the_beat_gets_one_plan_on_the_bar_line(self, early):
        parts = [{'instrument': 'bass', 'channel': 1}, {'instrument': 'drums', 'channel': 10}]
        stage = stage_of('accompany', parts, music__timing=1.0)
        stage.play([*clock_ticks(1.0, 50), *self.chords(early)], 25.0)
        assert stage.session.mode.replanned > 5 and not self.doubled(stage)
        downbeats = [t for t, _, channel, _ in stage.notes() if channel == 0 and abs((t - 1 + 0.05) % 2 - 0.05) < 0.05]
        assert len(downbeats) == len({round((t - 1) / 2) for t in downbeats})  # one bass note each, of one plan

    def test_a_question_asked_again_does_not_double_the_first_chord(self):
        stage = stage_of(player__bars_heard=1, player__bars_answered=1, music__timing=1.0)
        early = [(t - 0.015, m) for t, m in phrase(1.0, notes=[(i / 2, 60 + i) for i in range(7)], length=0.4)]
        late = phrase(1.0, notes=[(3.6, 70), (3.7, 71)], length=0.05)  # between the question and the line
        stage.play([*clock_ticks(1.0, 12), *early, *late], 6.5)
        first = [n for t, _, _, n in stage.notes() if 2.9 < t < 3.1]
        assert stage.session.requests._next > 2 and len(first) == len(set(first)) == 1

    def test_one_taken_back_after_its_first_note_has_begun_early_is_taken_back_whole(self):
        stage = stage_of()
        scheduler, voice = stage.session.scheduler, PartVoice('piano')
        stage.session.leaders.own.start(0.0)
        stage.play([], 0.5)  # beat 1
        scheduler.add(1, [Due(1.2, 4.0, 60, 90, voice, written=2.0), Due(2.0, 1.0, 64, 90, voice)])
        stage.play([], 0.7)
        assert sounding(stage) == 1
        assert [due.note for due in scheduler.cancel(1, 2.0)] == [64]
        assert sounding(stage) == 0

    def test_a_late_end_never_cuts_the_next_strike(self):
        stage = stage_of()
        stage.session.leaders.own.start(0.0)
        stage.session.step()
        scheduler, voice = stage.session.scheduler, PartVoice('piano')
        scheduler.add(1, [Due(0.0, 0.05, 60, 90, voice), Due(0.104, 1.0, 60, 90, voice)])
        stage.clock.advance_to(0.05)  # the first is due since 50 ms, the second in 2 ms
        stage.play([], 2.0)
        assert offs(stage) == pytest.approx([0.052, 0.552], abs=1e-3)
        assert not WireCheck().feed_all(stage.sender.sent).finish(2.0).faults

    def test_a_key_of_the_player_is_not_cut_by_the_band(self):
        stage = stage_of(player__thru=True)
        stage.session.leaders.own.start(0.0)
        stage.play([(0.1, note_on(0, 60, 90))], 0.2)
        stage.session.scheduler.add(1, [Due(1.0, 0.5, 60, 90, PartVoice('piano'))])
        stage.play([], 2.0)
        assert sounding(stage) == 1  # struck again by the band at 0.5 s, over at 0.75 s, and still held
        stage.play([(2.5, note_off(0, 60))], 3.0)
        assert not WireCheck().feed_all(stage.sender.sent).finish(3.0).faults

    def test_no_note_of_the_band_outlasts_its_harmony(self):
        """An accompanist that holds each note for 32 beats, under chords that change every bar."""
        stage = stage_of('accompany', [{'instrument': 'bass'}, {'instrument': 'strings'}], music__timing=0.0)

        def answer(request):
            low = 40 + int(request.start) % 12
            notes = (PlannedNote(request.start, 32.0, low, 80, 0), PlannedNote(request.start, 32.0, low + 7, 80, 1))
            yield PlannedMusic(request.id, 0, notes, request.end, True)

        stage.engine.musician.answer = answer
        roots = (0, 5, 7, 9)
        notes = [Note(4 * bar, 3.9, 48 + roots[bar % 4] + i, 90) for bar in range(10) for i in (0, 4, 7)]
        stage.play([*clock_ticks(1.0, 44), *note_part(notes, 1.0, 120)], 21.0)
        began: dict = {}
        lengths = []
        for time, _, message in stage.sender.sent:
            if message[0] & 0xF0 == 0x90:
                began[message[0] & 15, message[1]] = time
            elif message[0] & 0xF0 == 0x80 and (message[0] & 15, message[1]) in began:
                lengths.append((time - began.pop((message[0] & 15, message[1]))) * 2)
        assert len(lengths) > 10 and max(lengths) <= 4.1, lengths

    def test_no_note_outlasts_its_answer_by_more_than_a_bar(self):
        stage = stage_of(player__bars_heard=1, player__bars_answered=1)

        def answer(request):
            yield PlannedMusic(request.id, 0, (PlannedNote(request.start, 99.0, 60, 80, 0),), request.end, True)

        stage.engine.musician.answer = answer
        stage.play([*clock_ticks(1.0, 30), *phrase(1.0, notes=((0, 70),))], 14.0)
        assert offs(stage)[0] == pytest.approx(1 + 12 / 2, abs=0.06)

    def test_an_audition_ends_with_the_next(self):
        stage = stage_of(player__bars_heard=1, player__bars_answered=1, music__takes=3)
        stage.play(clock_ticks(1.0, 60) + phrase(1.0), 5.2)
        for at in (5.2, 7.6):
            stage.session.command('next_take')
            stage.play([], at + 1.9)
        stage.session.command('hush')
        stage.sender.run_until(stage.clock.now())
        assert sounding(stage) == 0


def test_a_leader_that_stands_still_without_a_stop_ends_the_plan():
    leader = InternalLeader()
    stage = Stage(preset('free'), leader=leader)
    leader.start(0.0)
    stage.play([], 7.0)
    assert stage.session.scheduler.sounding
    leader.rolling = False  # whatever made it so, it told nobody
    stage.play([], 7.5)
    assert sounding(stage) == 0
