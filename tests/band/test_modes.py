"""The five ways of playing, on a simulated clock at 120 BPM: beat b is at 1 + b/2 seconds."""

import pytest
from live_band import Stage, check_no_hanging, clock_ticks, phrase, preset

from bridge.live.rehearsal import note_part
from bridge.midi import messages
from bridge.midi.messages import note_off, note_on
from genaudio_core.score.notes import Note

START = 1.0
TRIO = [{'instrument': 'piano'}, {'instrument': 'bass'}, {'instrument': 'drums'}]


def beats(stage, channel=None):
    return [round((t - START) * 2, 6) for t, _, c, _ in stage.notes() if channel in (None, c)]


def play(chosen, part, length=16.0, **options):
    stage = Stage(chosen, **options)
    stage.play(clock_ticks(START, length) + part, START + length / 2 - 0.02)
    stage.session.close()
    check_no_hanging(stage.sender.sent)
    return stage


class TestRespond:
    def test_answers_on_the_line_for_as_many_bars(self):
        stage = play(preset(player__bars_heard=1, player__bars_answered=2), phrase(START))
        assert beats(stage)[0] == pytest.approx(4.0, abs=0.02)
        assert 8 <= max(beats(stage)) < 12
        assert stage.session.missed == 0 and stage.session.units > 0

    def test_a_pick_up_belongs_to_the_next_bar(self):
        stage = play(
            preset(player__bars_heard=1, player__bars_answered=1), phrase(START, notes=((3.75, 59), (4, 60), (6, 64)))
        )
        assert beats(stage)[0] == pytest.approx(8.0, abs=0.02)

    def test_notes_after_the_question_are_asked_about_again(self):
        late = phrase(START, notes=((0, 60), (1, 62), (3.75, 71)), length=0.2)
        chosen = preset(player__bars_heard=1, player__bars_answered=1, music__key='off')
        stage = play(chosen, late)
        assert 71 in [n for *_, n in stage.notes()] or len(stage.session.handovers) > 1

    def test_it_turns_by_turns(self):
        chosen = preset(player__bars_heard=1, player__bars_answered=1)
        stage = play(chosen, phrase(START) + phrase(START + 4.0), 17)
        bars = {int(beat // 4) for beat in beats(stage)}
        assert bars == {1, 3}

    def test_a_held_note_is_carried_over(self):
        stage = Stage(preset(player__bars_heard=1, player__bars_answered=1))
        seen = []
        hear = stage.engine.hear
        stage.engine.hear = lambda notes: (seen.extend(notes), hear(notes))
        part = [(START, note_on(0, 60, 90)), (START + 1.5, note_on(0, 64, 90)), (START + 3.0, note_off(0, 64))]
        stage.play(clock_ticks(START, 10) + part, START + 4)
        estimates = [note for note in seen if note.note == 64 and note.held]
        final = [note for note in seen if note.note == 64 and not note.held]
        assert estimates and estimates[0].duration > 0
        assert estimates[0].id == final[0].id  # corrected, not doubled
        assert final[0].duration == pytest.approx(3.0, abs=0.01)


class TestTakeOver:
    def test_begins_soon_after_the_pause(self):
        stage = play(preset('take_over', player__pause_beats=1.0, player__bars_answered=1), phrase(START))
        # The phrase ends at beat 3.9, the pause is over at 4.9, the next eighth that can be on time is 5.5.
        assert 5.0 <= beats(stage)[0] <= 6.1

    def test_held_notes_are_no_pause(self):
        part = [(START, note_on(0, 60, 90)), (START + 6.0, note_off(0, 60))]
        stage = play(preset('take_over'), part, 20)
        assert beats(stage)[0] > 13

    def test_yields_to_the_player(self):
        again = [(START + 5.0, note_on(0, 72, 90)), (START + 9.0, note_off(0, 72))]
        stage = play(preset('take_over', player__bars_answered=8), phrase(START) + again, 18)
        assert max(beats(stage)) <= 10.1
        # ... and what sounded ended at once.
        offs = [(t - START) * 2 for t, _, m in stage.sender.sent if m[0] & 0xF0 == 0x80]
        assert max(offs) < 10.2

    def test_a_pedal_hands_over_at_once_in_any_mode(self):
        for mode in ('respond', 'take_over', 'accompany'):
            stage = Stage(preset(mode, player__bars_heard=8))
            stage.session.controllers.bound[67] = 'play'
            press = [(START + 1.0, messages.control(0, 67, 127))]
            stage.play(clock_ticks(START, 8) + phrase(START, notes=((0, 60), (1, 64))) + press, START + 3.5)
            assert 2.0 < beats(stage)[0] < 3.1, mode


class TestAccompany:
    def test_every_part_plays_each_bar_from_the_second_on(self):
        notes = [Note(beat, 0.9, 60 + (beat % 4) * 3, 90) for beat in range(16)]
        stage = play(preset('accompany', TRIO), note_part(notes, START, 120), 16)
        for channel in (1, 9):
            assert {int(beat // 4) for beat in beats(stage, channel)} >= {1, 2, 3}
        assert stage.session.missed == 0

    def test_a_new_chord_is_planned_anew_in_time(self):
        # C major until the middle of bar 2, then F minor: bar 3 must know.
        c = [Note(beat, 0.95, key, 90) for beat in range(5) for key in (48, 60, 64, 67)]
        f = [Note(beat, 0.95, key, 90) for beat in range(5, 12) for key in (41, 65, 68, 72)]
        stage = play(preset('accompany', [{'instrument': 'bass'}]), note_part(c + f, START, 120), 16)
        assert stage.session.mode.replanned >= 1
        third_bar = [n % 12 for t, _, _, n in stage.notes() if 8 <= round((t - START) * 2, 2) < 8.5]
        assert third_bar and third_bar[0] in (5, 0)  # F, or its fifth

    @pytest.mark.parametrize(('chart', 'sure_from'), [('', 5), ('C Am F G', 1)])
    def test_the_bass_has_the_root_where_a_loop_or_a_chart_tells_the_chord(self, chart, sure_from):
        loop = ((48, 64, 67), (45, 60, 64), (41, 60, 65), (43, 62, 67))
        notes = [Note(4.0 * bar, 3.8, key, 90) for bar in range(12) for key in loop[bar % 4]]
        chosen = preset('accompany', [{'instrument': 'bass'}], music__chords=chart)
        stage = play(chosen, note_part(notes, START, 120), 48)
        first: dict[int, tuple[float, int]] = {}
        for time, _, _, note in stage.notes():
            beat = (time - START) * 2 + 0.1
            first.setdefault(int(beat // 4), (beat % 4 - 0.1, note % 12))
        for bar in range(sure_from, 12):
            assert first[bar] == (pytest.approx(0.0, abs=0.05), (0, 9, 5, 7)[bar % 4]), bar
        for bar in range(1, sure_from):  # it listens for half a beat, and has the root then
            assert first[bar] == (pytest.approx(0.5, abs=0.05), (0, 9, 5, 7)[bar % 4]), bar

    def test_a_plan_that_is_made_anew_twice_in_a_bar_covers_all_of_it(self):
        # Chords that change by the half bar, and nobody knows beforehand: every half bar has drums to its end.
        changes = ((48, 64, 67), (45, 60, 64), (41, 60, 65), (43, 62, 67), (40, 59, 67), (46, 62, 65), (44, 60, 63))
        notes = [Note(2.0 * half, 1.9, key, 90) for half in range(14) for key in changes[half % 7]]
        chosen = preset('accompany', [{'instrument': 'bass'}, {'instrument': 'drums'}])
        stage = play(chosen, note_part(notes, START, 120), 28)
        assert stage.session.mode.replanned > 4
        hats = {round((t - START) * 2, 2) for t, _, c, n in stage.notes() if c == 9 and n == 42}
        assert {4 + eighth / 2 for eighth in range(48)} <= hats

    def test_a_broken_chord_is_followed_and_a_tune_is_not(self):
        def replanned(keys):
            notes = [Note(beat / 2, 0.45, keys[beat % len(keys)], 90) for beat in range(8 * len(keys) // 2)]
            chosen = preset('accompany', [{'instrument': 'bass'}])
            return play(chosen, note_part(notes, START, 120), 4 * len(keys)).session.mode.replanned

        assert replanned((60, 64, 67, 72) * 2 + (65, 69, 72, 77) * 2) > 0
        assert replanned(tuple(range(60, 76))) == 0

    def test_rests_when_the_player_does(self):
        stage = play(preset('accompany', TRIO), phrase(START), 32)
        assert max(beats(stage)) < 17


class TestFree:
    def test_plays_without_end_and_without_a_player(self):
        stage = play(preset('free', TRIO), [], 40)
        assert {int(beat // 4) for beat in beats(stage)} >= set(range(1, 9))
        assert stage.session.missed == 0


class TestArrange:
    def test_each_note_goes_out_at_once_and_once(self):
        parts = [{'instrument': 'flute'}, {'instrument': 'clarinet'}, {'instrument': 'cello'}]
        chord = [Note(0, 2, 40, 80), Note(0, 2, 60, 80), Note(0, 2, 84, 80)]
        stage = play(preset('arrange', parts), note_part(chord, START, 120))
        assert sorted(t for t, *_ in stage.notes()) == [START] * 3
        assert {c: n for _, _, c, n in stage.notes()} == {0: 84, 1: 60, 2: 40}

    def test_two_keys_on_one_note_end_with_the_last(self):
        parts = [{'instrument': 'bass'}]  # both keys fold onto the same string
        part = [(1.0, note_on(0, 36, 90)), (1.2, note_on(0, 24, 90)), (1.5, note_off(0, 24)), (2.0, note_off(0, 36))]
        stage = play(preset('arrange', parts), part)
        ends = [t for t, _, m in stage.sender.sent if m[0] & 0xF0 == 0x80]
        assert max(ends) == 2.0


def test_loop_jump_drops_the_plan_and_the_next_pass_is_answered():
    stage = Stage(preset(player__bars_heard=1, player__bars_answered=1))
    first = clock_ticks(START, 6)
    jump = START + 3.0
    again = [(jump, b'\xfc'), (jump, messages.song_position(0)), *clock_ticks(jump, 9, first=b'\xfb')]
    stage.play(first + again + phrase(START) + phrase(jump), jump + 4.2)
    times = [t for t, *_ in stage.notes()]
    before = [t for t in times if t < jump]
    assert before and max(before) < jump
    after = [t for t in times if t >= jump]
    assert after[0] == pytest.approx(jump + 2.0, abs=0.01)  # bar 2 of the second pass


def test_same_seed_same_notes():
    def run(seed):
        return play(preset('free', TRIO, music__seed=seed), [], 12).notes()

    assert run(5) == run(5)
    assert run(5) != run(6)


def test_latency_sends_early_by_that_much():
    plain = play(preset(player__bars_heard=1), phrase(START))
    early = play(preset(player__bars_heard=1, transport__latency_ms=50.0), phrase(START))
    assert early.notes()[0][0] == pytest.approx(plain.notes()[0][0] - 0.05, abs=1e-6)


def test_touch_and_timing_of_the_player_shape_the_answer():
    def run(velocity, shift):
        notes = [Note(beat + shift, 0.5, 60 + beat, velocity) for beat in range(16)]
        chosen = preset('accompany', [{'instrument': 'bass'}], music__touch=1.0, music__timing=1.0)
        return play(chosen, note_part(notes, START, 120), 16)

    loud, soft = run(120, 0.0), run(30, 0.0)
    mean = [sum(m[2] for _, _, m in s.sender.sent if m[0] & 0xF0 == 0x90) / len(s.notes()) for s in (loud, soft)]
    assert mean[0] > 1.5 * mean[1]
    laid_back = run(90, 0.06)
    assert beats(laid_back)[-1] % 1 == pytest.approx(0.055, abs=0.02)


def test_a_first_note_a_hair_early_is_answered_on_the_line():
    """Clock estimates put a note of a DAW track a few microseconds before its own bar line."""
    stage = play(preset(player__bars_heard=1, player__bars_answered=1), phrase(START + 1.9995))
    assert beats(stage)[0] == pytest.approx(8.0, abs=0.01)
