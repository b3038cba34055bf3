"""The checker of the wire counts what a listener would hear: keys struck twice, notes that hang."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.midi.messages import control, note_off, note_on
from bridge.midi.wire_check import WireCheck


def checked(*messages: bytes) -> WireCheck:
    return WireCheck().feed_all((float(i), 0, message) for i, message in enumerate(messages))


def test_a_note_and_its_end_are_no_fault():
    check = checked(note_on(0, 60, 90), note_off(0, 60), note_on(0, 60, 90), note_on(0, 60, 0)).finish(9.0)
    assert (check.hung_notes, check.struck_twice) == (0, 0) and not check.sounding


def test_a_key_struck_twice_is_counted():
    check = checked(note_on(0, 60, 90), note_on(0, 60, 91), note_off(0, 60))
    assert check.struck_twice == 1 and '0, note 60, on since 0.000 s' in str(check.faults[0])


def test_all_notes_off_ends_nothing_for_a_synthesizer_that_ignores_it():
    assert checked(note_on(2, 60, 90), control(2, 123, 0)).finish(5.0).hung_notes == 1


def test_a_pedal_holds_what_was_let_go():
    check = checked(control(0, 64, 127), note_on(0, 60, 90), note_off(0, 60))
    assert list(check.sounding) == [(0, 0, 60)] and check.pedals == {(0, 0)}
    check.feed(4.0, 0, note_on(0, 60, 80))  # struck again under the pedal: no fault
    check.feed(5.0, 0, note_off(0, 60))
    assert check.struck_twice == 0
    check.feed(6.0, 0, control(0, 64, 0))
    assert check.finish(7.0).hung_notes == 0


def test_a_hung_note_is_counted_once_until_it_ends():
    check = checked(note_on(0, 60, 90), note_on(0, 64, 90))
    assert check.must_be_quiet(3.0, allowed={(0, 0, 64)}) == [(0, 0, 60)]
    check.must_be_quiet(4.0, allowed={(0, 0, 64)})
    assert check.hung_notes == 1
    check.finish(5.0)
    assert check.hung_notes == 2


def test_outputs_are_told_apart():
    check = WireCheck()
    check.feed(0.0, 0, note_on(0, 60, 90))
    check.feed(0.0, 1, note_on(0, 60, 90))
    assert check.struck_twice == 0
    assert check.must_be_quiet(1.0, outputs=[1]) == [(1, 0, 60)]
    check.forget(1)
    assert check.none_longer_than(5.0, 6.0) == [(0, 0, 60)]


@given(st.lists(st.tuples(st.booleans(), st.integers(60, 62)), max_size=40))
def test_it_agrees_with_counting_by_hand(plan):
    check, down, twice = WireCheck(), set(), 0
    for on, note in plan:
        check.feed(0.0, 0, note_on(0, note, 64) if on else note_off(0, note))
        twice += on and note in down
        (down.add if on else down.discard)(note)
    assert check.finish(1.0).hung_notes == len(down) and check.struck_twice == twice
