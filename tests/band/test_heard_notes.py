"""One memory of what the player has played: against a list searched by hand, and shared by the whole band."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.musicians.heard_notes import HeardNotes
from bridge.musicians.musician import HeardNote
from tests.helpers.live_band import Stage, clock_ticks, phrase, preset

BEATS = st.floats(-8, 64).map(lambda beat: round(beat, 2))
TOLD = st.builds(
    HeardNote, st.integers(1, 12), BEATS, st.floats(0.1, 40), st.integers(0, 127), st.integers(1, 127),
    st.sampled_from(('piano', 'drums')), st.booleans(),
)  # fmt: skip


class TestAgainstAListThatIsSearchedByHand:
    @settings(max_examples=200)
    @given(st.lists(st.lists(TOLD, max_size=4, unique_by=lambda note: note.id), max_size=12), BEATS, BEATS)
    def test_every_window_holds_what_it_should(self, told, start, end):
        memory, known = HeardNotes(), {}
        for notes in told:
            new = [note for note in notes if known.get(note.id) != note]
            assert memory.hear(notes) == new
            known.update({note.id: note for note in notes})
        order = sorted(known.values(), key=lambda note: (note.beat, note.note, note.id))
        assert list(memory) == order and len(memory) == len(order)
        assert memory.between(start, end) == [note for note in order if start <= note.beat < end]
        assert memory.between(start) == [note for note in order if start <= note.beat]
        sounds = [note for note in order if note.beat + note.duration > start and note.beat < end]
        assert memory.sounding(start, end) == sounds

    @given(st.integers(1, 40), st.integers(1, 200))
    def test_it_keeps_the_newest_and_stays_small(self, keeps, n_notes):
        memory = HeardNotes(keeps)
        for number in range(n_notes):
            memory.hear([HeardNote(number, float(number), 1.0, 60, 80, 'piano')])
            assert len(memory) <= keeps + keeps // 4
        newest = list(memory)[-min(keeps, n_notes) :]
        assert [note.id for note in newest] == list(range(max(n_notes - keeps, 0), n_notes))

    def test_what_was_forgotten_is_gone(self):
        memory = HeardNotes()
        memory.hear([HeardNote(number, float(number), 50.0, 60, 80, 'piano') for number in range(8)])
        memory.forget_before(5.0)
        assert [note.id for note in memory.between(-math.inf)] == [5, 6, 7]
        assert [note.id for note in memory.sounding(6.5)] == [5, 6, 7]
        assert memory.hear([HeardNote(3, 3.0, 50.0, 60, 80, 'piano')]), 'it is new again'


class TestOneForTheWholeBand:
    def test_chords_grooves_rules_takes_and_engine_read_the_same_notes(self):
        stage = Stage(preset(player__bars_heard=1, player__bars_answered=1))
        stage.play([*clock_ticks(1.0, 12), *phrase(1.0)], 6.0)
        session = stage.session
        assert [note.note for note in session.heard] == [60, 64, 67, 72]
        memories = (
            session.engine.heard, session.requests.harmony.notes, session.requests.pace.notes,
            session.deadlines.fallback.notes,
        )  # fmt: skip
        assert all(memory is session.heard for memory in memories)

    @pytest.mark.parametrize('held', [False, True])
    def test_a_kept_take_holds_what_is_over_and_not_a_guess(self, held):
        stage = Stage(preset(player__bars_heard=1, player__bars_answered=1))
        last = phrase(1.0, notes=((3, 72),), length=30.0 if held else 0.5)
        stage.play([*clock_ticks(1.0, 12), *phrase(1.0, notes=((0, 60),)), *last], 4.0)
        (answer,) = stage.session.answers
        assert [note.note for note in stage.session.heard] == [60, 72]
        assert [note.note for _, note in stage.session.takes.gather(answer).heard] == ([60] if held else [60, 72])
