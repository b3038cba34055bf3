"""A part, or a bar, of an answer composed again: the others stay, the old notes stand until the new ones are there."""

import pytest
from live_band import Stage, check_no_hanging, clock_ticks, phrase, preset

from bridge.musicians.musician import Again, ChordAt, PlannedMusic, PlannedNote, Request
from bridge.musicians.rule_musician import FallbackMusician
from genaudio_core.music.keys import parse_chord

START = 1.0  # seconds; beat b is at 1 + b/2


class Anew(FallbackMusician):
    """Where something is composed again, its notes are marked by the highest velocity, one on each beat."""

    def answer(self, request):
        if request.again is None:
            yield from super().answer(request)
            return
        for beat in range(round(request.start), round(request.end)):
            notes = [PlannedNote(float(beat), 0.5, 50, 127, part) for part in request.again.parts]
            yield PlannedMusic(request.id, request.again.take, tuple(notes), float(beat), False)
        yield PlannedMusic(request.id, request.again.take, (), request.end, True)


@pytest.fixture
def stage():
    """A phrase of a bar is answered by three parts in the bars 2 to 5; now it is beat 6."""
    made = Stage(preset('respond', [{'instrument': name} for name in ('piano', 'bass', 'drums')],
                        player__bars_heard=1, player__bars_answered=4), keep=True)  # fmt: skip
    made.engine.musician = Anew(made.engine.heard)
    made.score = clock_ticks(START, 24) + phrase(START)
    go_on(made, 6.0)
    assert [(answer.request.start, answer.end) for answer in made.session.answers] == [(4.0, 20.0)]
    return made


def go_on(stage, beat):
    until = START + beat / 2
    stage.play([one for one in stage.score if stage.clock.now() <= one[0] < until], until)


def planned(stage, part, begin=0.0, end=99.0):
    voice = stage.session.voices[part]
    waiting = [due for due in stage.session.scheduler.planned() if due.voice == voice and begin <= due.place < end]
    return [(due.place, due.note, due.velocity) for due in waiting]


def test_one_bar_of_one_part(stage):
    before = {part: planned(stage, part) for part in range(3)}
    stage.session.apply({'again': 'bass', 'bar': 4})
    assert {part: planned(stage, part) for part in range(3)} == before  # what was planned stands
    go_on(stage, 7.0)
    assert planned(stage, 1, 12, 16) == [(beat, 50, 127) for beat in (12.0, 13.0, 14.0, 15.0)]
    assert planned(stage, 1, 7.1, 12) == [one for one in before[1] if 7.1 <= one[0] < 12]
    assert planned(stage, 1, 16) == [one for one in before[1] if one[0] >= 16]
    assert planned(stage, 2, 8) == [one for one in before[2] if one[0] >= 8]
    assert stage.said[-1] == 'Composed again: bass, bar 4 (take 2/2).'
    missed = stage.session.missed
    go_on(stage, 21.0)
    assert stage.session.missed == missed
    kept = stage.session.takes.gather(stage.session.takes.current)
    assert sum(note.velocity == 127 for _, note in kept.played) == 4
    stage.session.close()
    check_no_hanging(stage.sender.sent)


def test_everything_that_is_to_come_and_back_again(stage):
    before = {part: planned(stage, part, 9) for part in range(3)}
    stage.session.apply({'command': 'again'})
    go_on(stage, 7.5)
    for part in range(3):
        assert planned(stage, part, 9) == [(float(beat), 50, 127) for beat in range(9, 20)]
    stage.session.apply({'take': 1})
    assert {part: planned(stage, part, 9) for part in range(3)} == before
    stage.session.apply({'take': 2})
    go_on(stage, 8.2)
    assert all(planned(stage, part, 9) == [(float(beat), 50, 127) for beat in range(9, 20)] for part in range(3))


def test_what_comes_too_late_changes_only_what_has_not_begun(stage):
    stage.engine._delay = lambda request, number: 0.3 * number if request.again else 0.0  # 0.6 beats: slower than them
    before = planned(stage, 1, 6)
    stage.session.apply({'again': 'bass'})
    go_on(stage, 20.5)
    bass = [(round((time - START) * 2, 2), number) for time, _, channel, number in stage.notes() if channel == 1]
    played, old = ({beat for beat, number in bass if (number == 50) == new} for new in (True, False))
    assert played and old and not played & old
    kept = stage.session.takes.gather(stage.session.takes.current)
    bass = [note for instrument, note in kept.played if instrument == 'bass' and note.beat >= 7]
    assert {note.beat for note in bass if note.velocity == 127} == {beat for beat in played if beat >= 7}
    assert {beat for beat, *_ in before} >= {note.beat for note in bass if note.velocity != 127}
    assert stage.session.missed == 0
    stage.session.close()
    check_no_hanging(stage.sender.sent)


@pytest.mark.parametrize(('message', 'says'), [
    ({'again': 'bas'}, "no part 'bas'. Did you mean 'bass'?"),
    ({'again': 'bass', 'bar': 1}, 'nothing in bar 1 that is not over'),
    ({'again': 'all', 'bar': 99}, 'nothing in bar 99 that is not over'),
])  # fmt: skip
def test_what_cannot_be_is_one_line(stage, message, says):
    before = [planned(stage, part) for part in range(3)]
    stage.session.apply(message)
    assert says in stage.said[-1]
    assert [planned(stage, part) for part in range(3)] == before


def test_one_after_the_other_and_not_without_end(stage):
    stage.session.apply({'again': 'all'})
    stage.session.apply({'again': 'bass'})
    assert 'still being composed' in stage.said[-1]
    for _ in range(20):
        go_on(stage, (stage.clock.now() - START) * 2 + 0.1)
        stage.session.apply({'again': 'bass', 'bar': 5})
    assert 'has 16 takes' in stage.said[-1]
    stage.session.engine.ready = False
    stage.session.apply({'again': 'bass', 'bar': 5})
    assert 'is starting' in stage.said[-1]


def test_what_was_turned_since_counts(stage):
    asked = []
    stage.engine.ask = asked.append
    stage.session.apply({'set': 'density', 'value': 0.9})
    stage.session.apply({'again': 'drums', 'bar': 3})
    assert asked[0].controls.density == 0.9 and asked[0].again.parts == (2,)
    assert (asked[0].start, asked[0].end, asked[0].role) == (8.0, 12.0, 'continue')
    assert asked[0].chords == stage.session.answers[0].request.chords


def test_by_rule_only_the_parts_that_are_asked_for():
    chords, again = (ChordAt(0.0, parse_chord('C'), 'chart'),), Again(3, 0, (1, 2), (), 4.0)
    request = Request(1, 8.0, 16.0, ('piano', 'bass', 'drums'), 'accompany', chords=chords, again=again)
    pieces = list(FallbackMusician().answer(request))
    assert {piece.take for piece in pieces} == {3} and pieces[-1].done
    assert {note.part for piece in pieces for note in piece.notes} == {1, 2}
