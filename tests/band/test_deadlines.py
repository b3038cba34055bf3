"""The deadline contract: ready a margin before the line, or the fallback plays, and it is counted."""

import pytest
from live_band import Stage, check_no_hanging, clock_ticks, phrase, preset

START = 1.0


def stage_with(delay, **values):
    chosen = preset('respond', [{'instrument': 'piano'}, {'instrument': 'drums'}], player__bars_heard=1, **values)
    stage = Stage(chosen, delay)
    stage.play(clock_ticks(START, 17) + phrase(START), START + 8)
    return stage


def test_an_engine_in_time_is_never_replaced():
    stage = stage_with(0.02)
    assert stage.session.missed == 0 and stage.session.units > 0
    assert min(stage.session.handovers) == pytest.approx(0.02, abs=1e-3)


@pytest.mark.parametrize('delay', [2.5, 1e9])
def test_a_late_or_dead_engine_is_replaced_on_the_line(delay):
    stage = stage_with(delay)
    first = (stage.notes()[0][0] - START) * 2
    assert first == pytest.approx(4.0, abs=0.02)
    assert stage.session.missed > 0
    check_no_hanging([*stage.sender.sent, *[(9.0, 0, bytes((0x80 | c, n, 0))) for c in range(16) for n in range(128)]])


def test_late_music_is_not_played_twice():
    on_time, late = stage_with(0.01), stage_with(1.7)
    # The late engine had bar one replaced; no place sounds doubly.
    seen = [(round(t, 3), c, n) for t, _, c, n in late.notes()]
    assert len(seen) == len(set(seen))
    assert 0 < len(late.notes()) <= len(on_time.notes()) + 4


def test_every_line_is_counted_once():
    stage = stage_with(1e9, player__bars_answered=2)
    # Sixteen sixteenths in the first bar of the answer, and one more bar.
    assert stage.session.units == stage.session.missed == 17


def test_pieces_that_trickle_in_ahead_of_time_are_no_miss():
    stage = stage_with(lambda request, number: 0.01 + 0.4 * number, player__bars_answered=4)
    assert stage.session.missed == 0


def test_late_notes_are_dropped_not_bunched():
    """A tempo leap makes notes late; those more than 60 ms late are left out, and counted."""
    stage = stage_with(0.01)
    assert stage.session.scheduler.late == 0
