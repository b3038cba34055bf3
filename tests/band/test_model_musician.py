"""The model as a musician: the cache always holds what was heard and played, and sessions have no end."""

import random
from dataclasses import replace

import pytest
import small_decoders
from small_decoders import check_cache

from bridge.musicians.model_events import Event
from bridge.musicians.model_musician import ModelMusician
from bridge.musicians.musician import ChordAt, HeardNote, Request
from genaudio_core.music.descriptions import chord_code, chord_row, told_in
from genaudio_core.music.keys import parse_chord
from genaudio_core.music.layouts import DESCRIBED, FIRST_HALF, NOTE, SECOND_HALF, WHOLE_BAR
from genaudio_core.score.instruments import instrument_code


@pytest.fixture(params=['live', 'described'])
def musician(request):
    return ModelMusician(small_decoders.decoder(request.param))


@pytest.fixture
def told():
    """One that can be told chords, and whose notes tell their part."""
    return ModelMusician(small_decoders.decoder('described'))


def note(number, beat, key=60, duration=0.5, instrument='piano', held=False):
    return HeardNote(number, beat, duration, key, 80, instrument, held)


def hear(musician, *heard):
    """As in the engine: what was heard is worked in when no more messages wait."""
    musician.hear(list(heard))
    assert musician.rest()


def test_one_more_note_costs_one_step(musician):
    for i in range(8):
        hear(musician, note(i, i / 2))
    before = musician._continuer.length
    hear(musician, note(8, 4.0))
    assert musician._continuer.length == before + 1 and musician.rewound == 0
    check_cache(musician)


def test_a_held_note_is_corrected_and_only_what_follows_is_fed_again(musician):
    for i in range(10):
        hear(musician, note(i, i / 2))
    hear(musician, note(10, 5.0, 72, 1.0, held=True), note(11, 5.5))
    length = musician._continuer.length
    hear(musician, note(10, 5.0, 72, 3.0))
    assert musician._continuer.length == length
    assert musician.rewound == 2
    check_cache(musician)


def test_an_answer_keeps_to_its_bars_its_parts_and_its_order(musician):
    musician.hear([note(i, i / 2, 60 + i) for i in range(8)])
    request = Request(1, 4.0, 8.0, ('piano', 'bass', 'violin', 'violin'))
    pieces = list(musician.answer(request))
    notes = [n for piece in pieces for n in piece.notes]
    assert notes and all(4.0 <= n.beat < 8.0 and 0 <= n.part < 4 for n in notes)
    assert [piece.until for piece in pieces] == sorted(piece.until for piece in pieces)
    assert pieces[-1].done and pieces[-1].until == 8.0
    check_cache(musician)


def test_the_same_seed_the_same_answer_whatever_came_before_in_the_cache(musician):
    heard = [note(i, i / 2) for i in range(8)]
    request = Request(1, 4.0, 8.0, ('piano',), seed=3)

    def ask(m):
        return [n for piece in m.answer(request) for n in piece.notes]

    musician.expect(('piano',), 4.0)
    musician.hear(heard)
    first = ask(musician)
    musician.forget(1, 4.0)
    other = ModelMusician(musician.decoder)
    other.expect(('piano',), 4.0)
    other.hear([note(0, 0.0, 61, held=True)])  # a wrong estimate, corrected
    other.hear(heard)
    assert ask(musician) == first == ask(other)


def test_takes_differ_and_the_chosen_one_is_remembered(musician):
    musician.hear([note(i, i / 2) for i in range(8)])
    pieces = list(musician.answer(Request(1, 4.0, 20.0, ('piano',), takes=3)))
    takes = [[n for p in pieces if p.take == take for n in p.notes] for take in range(3)]
    assert len({tuple(notes) for notes in takes}) == 3
    musician.choose(1, 2)
    own = [event for event in musician._fed if event.step >= 48 and isinstance(event, Event)]
    assert {(event.step, event.pitch) for event in own} == {(round(n.beat * 12), n.note) for n in takes[2]}
    check_cache(musician)
    musician.forget(1, 4.0)
    assert all(event.step < 48 for event in musician._fed)
    check_cache(musician)


def test_an_answer_that_is_given_up_half_way_leaves_a_true_memory(musician):
    musician.hear([note(i, i / 2) for i in range(8)])
    answer = musician.answer(Request(1, 4.0, 60.0, ('piano',)))
    for _ in range(5):
        next(answer)
    answer.close()
    musician.forget(1, 4.5)
    hear(musician, note(20, 4.6))
    check_cache(musician)


def test_what_is_heard_together_is_fed_once(musician, monkeypatch):
    hear(musician, *(note(i, i / 2) for i in range(8)))
    fed = []
    feed = type(musician._continuer).feed
    monkeypatch.setattr(type(musician._continuer), 'feed', lambda self, rows: (fed.append(len(rows)), feed(self, rows)))
    musician.hear([note(8, 4.0, held=True)])
    musician.hear([note(8, 4.0, duration=0.5)])
    next(musician.answer(Request(1, 5.0, 6.0, ('piano',))))
    assert fed == [1]
    assert not musician.rest()


def test_a_long_rest_is_bridged(musician):
    hear(musician, note(0, 0.0))
    hear(musician, note(1, 500.0))
    check_cache(musician)
    notes = [n for piece in musician.answer(Request(1, 800.0, 804.0, ('piano',))) for n in piece.notes]
    assert all(800.0 <= n.beat < 804.0 for n in notes)


@pytest.mark.parametrize('bar', [4.0, 3.0])
def test_a_session_outlives_the_context_many_times(musician, bar):
    rng = random.Random(2)
    musician.expect(('piano', 'bass', 'drums'), bar)
    beat, number = 0.0, 0
    for turn in range(40):
        for _ in range(8):
            beat += 0.5
            number += 1
            musician.hear([note(number, beat, rng.randrange(50, 80), instrument=rng.choice(('piano', 'drums')))])
        start = bar * -(-beat // bar)
        list(musician.answer(Request(turn, start, start + bar, ('piano', 'bass'), bar=bar)))
        beat = start + bar
        musician.rest()
        while musician._rebase is not None and not musician._rebase.done:
            pass
    check_cache(musician)
    assert musician.rebases > 3 and musician.late_rebases == 0
    assert len(musician._heard) < 200  # what left the window is forgotten


def test_a_context_that_fills_before_the_background_is_done(musician):
    for i in range(400):
        hear(musician, note(i, i / 4, 60 + i % 12))
    assert musician.late_rebases > 0
    check_cache(musician)


def test_an_answer_goes_on_in_the_new_past_where_the_old_one_had_no_room(musician):
    for i in range(120):
        hear(musician, note(i, i / 4, 60 + i % 12))
    musician.hear([note(i, i / 4, 60 + i % 12) for i in range(120, 180)])
    before = musician.late_rebases
    chords = tuple(ChordAt(48.0 + 4 * bar, parse_chord('C'), 'chart') for bar in range(2))
    notes = [n for p in musician.answer(Request(1, 48.0, 56.0, ('piano',), 'free', chords=chords)) for n in p.notes]
    assert musician.late_rebases > before and notes and all(48.0 <= n.beat < 56.0 for n in notes)
    check_cache(musician)


def test_a_rebase_that_fails_is_counted_and_tried_again(musician, monkeypatch):
    from genaudio_core.continuation.continuer import Rebase

    run, failures = Rebase.run, []

    def fail_once(self):
        if not failures:
            failures.append(self)
            raise MemoryError
        run(self)

    monkeypatch.setattr(Rebase, 'run', fail_once)
    for number in range(2000):
        musician.hear([note(number, number / 2, 60 + number % 12)])
        while musician.rest() or (musician._worker is not None and musician._worker.is_alive()):
            pass
        if musician.rebases:
            break
    assert musician.failed_rebases == 1 and musician.rebases > 0 and musician.late_rebases == 0
    check_cache(musician)
    musician.close()
    assert not musician._worker.is_alive()


def test_closing_ends_the_rebase_that_runs(musician, monkeypatch):
    from genaudio_core.continuation.continuer import Rebase

    def run(self):
        while not self.cancelled:
            pass

    monkeypatch.setattr(Rebase, 'run', run)
    for number in range(2000):
        hear(musician, note(number, number / 2, 60 + number % 12))
        musician.rest()
        if musician._rebase is not None:
            break
    musician.close()
    assert not musician._worker.is_alive()


@pytest.mark.parametrize('role', ['accompany', 'free'])
@pytest.mark.parametrize('seed', range(3))
def test_over_chords_that_are_told_chords_and_basses_have_their_tones(musician, role, seed):
    changes = (('C', 8.0), ('Am', 12.0), ('F', 14.0), ('G7', 16.0))
    chords = tuple(ChordAt(beat, parse_chord(name), 'chart') for name, beat in changes)
    musician.hear([note(i, i / 2, 60 + i) for i in range(16)])
    request = Request(1, 8.0, 20.0, ('piano', 'bass'), role, chords=chords, seed=seed)
    notes = [n for piece in musician.answer(request) for n in piece.notes]
    lines = {8.0, 12.0, 14.0, 16.0}
    for number, (_, begin) in enumerate(changes):
        end = changes[number + 1][1] if number + 1 < len(changes) else 20.0
        inside = [n for n in notes if begin <= n.beat < end]
        assert {n.part for n in inside} == {0, 1}
        for n in inside:
            assert n.part == 1 or n.note % 12 in chords[number].chord.pitch_classes
            if n.beat in lines:  # what begins with a chord is of it, the bass its root
                assert n.note % 12 in ({chords[number].chord.root} if n.part else chords[number].chord.pitch_classes)
    check_cache(musician)


def chords_in(musician):
    """(step of the session, place, chord code) of the chords in the cache."""
    steps, rows = told_in(musician._continuer.events[0])
    found = []
    for step, row in zip(steps, rows, strict=True):
        place = int(row[DESCRIBED.index('place')])
        code = next(code for code in range(1, 14 * 144 + 1) if (chord_row(place, code)[3:] == row[3:]).all())
        found.append((int(step) + musician._origin, place, code))
    return found


def code_of(name):
    return chord_code(parse_chord(name))


@pytest.mark.parametrize('role', ['accompany', 'continue'])
def test_a_model_that_can_be_told_is_told_the_chords_of_each_bar_that_are_known(told, role):
    sources = (
        ('C', 8.0, 'heard'),
        ('Am', 12.0, 'loop'),
        ('F', 14.0, 'loop'),
        ('G7', 16.0, 'guess'),
        ('C', 20.0, 'last'),
    )
    answers = role == 'continue'  # it goes on with the chords of the phrase, if there is no chart
    chords = tuple(ChordAt(beat, parse_chord(name), 'chart' if answers else source) for name, beat, source in sources)
    told.hear([note(i, i / 2, 60 + i) for i in range(16)])
    list(told.answer(Request(1, 8.0, 24.0, ('nylon-string-guitar', 'bass'), role, chords=chords)))
    second = [(144, FIRST_HALF, code_of('Am')), (144, SECOND_HALF, code_of('F'))]
    # An answer does not begin with it: its first note would come later.
    first, third, last = ([(at, WHOLE_BAR, code_of(name))] for at, name in ((96, 'C'), (192, 'G7'), (240, 'C')))
    assert chords_in(told) == ([*second, *third, *last] if answers else [*first, *second, *last])
    check_cache(told)
    told.forget(1, 13.0)
    assert chords_in(told) == (second if answers else [*first, *second])
    hear(told, note(30, 9.0, 62))  # before what was told: it is fed again
    assert chords_in(told) == (second if answers else [*first, *second])
    check_cache(told)


def test_a_bar_in_which_the_player_was_heard_already_is_not_told_any_more(told):
    told.hear([note(i, i / 2, 60 + i) for i in range(20)])  # up to beat 9.5
    chords = (ChordAt(8.0, parse_chord('C'), 'heard'), ChordAt(12.0, parse_chord('F'), 'loop'))
    request = Request(1, 8.0, 16.0, ('bass',), 'accompany', chords=chords)
    list(told.answer(request))
    assert chords_in(told) == [(144, WHOLE_BAR, code_of('F'))]
    told.forget(1, 8.0)
    list(told.answer(request))
    assert chords_in(told) == [(144, WHOLE_BAR, code_of('F'))]
    check_cache(told)


def test_takes_are_told_alike_and_the_chosen_one_remembers_it(told):
    chords = (ChordAt(8.0, parse_chord('Dm'), 'chart'), ChordAt(12.0, parse_chord('G'), 'chart'))
    told.hear([note(i, i / 2) for i in range(16)])
    list(told.answer(Request(1, 8.0, 16.0, ('bass', 'piano'), 'accompany', chords=chords, takes=3)))
    told.choose(1, 2)
    assert chords_in(told) == [(96, WHOLE_BAR, code_of('Dm')), (144, WHOLE_BAR, code_of('G'))]
    check_cache(told)


def test_what_was_told_outlives_the_context(told):
    told.expect(('piano', 'bass'), 4.0)
    for turn in range(30):
        told.hear([note(8 * turn + i, 8.0 * turn + i / 2, 60 + i) for i in range(8)])
        chords = (ChordAt(8.0 * turn + 4, parse_chord('F'), 'chart'),)
        list(told.answer(Request(turn, 8.0 * turn + 4, 8.0 * turn + 8, ('bass',), 'accompany', chords=chords)))
        told.settle()
        check_cache(told)
    assert told.rebases + told.late_rebases > 2
    assert all(line >= told._origin for line in told._told)


def test_two_guitars_are_two_parts_and_a_player_beside_them_is_a_third(told):
    guitar = instrument_code('nylon-string-guitar')
    told.hear([note(i, i / 2, 52 + i, instrument='nylon-string-guitar') for i in range(16)])
    chords = (ChordAt(8.0, parse_chord('C'), 'chart'),)
    band = ('nylon-string-guitar', 'bass', 'nylon-string-guitar')
    notes = [n for p in told.answer(Request(1, 8.0, 16.0, band, 'accompany', chords=chords)) for n in p.notes]
    assert {n.part for n in notes} == {0, 1, 2}
    rows = told._continuer.events[0]
    column = told.encoding.columns
    of_guitars = rows[(rows[:, 0] == NOTE) & (rows[:, column['instrument']] == guitar)]
    heard = [event for event in told._fed if isinstance(event, Event) and event.step < 96]
    assert {event.part for event in heard} == {3}
    assert of_guitars[: len(heard), column['part']].tolist() == [3] * len(heard)
    by_part = {part: sum(n.part == place for n in notes) for place, part in ((0, 1), (2, 2))}
    new = of_guitars[len(heard) :, column['part']].tolist()
    assert {part: new.count(part) for part in by_part} == by_part
    check_cache(told)


@pytest.mark.parametrize('takes', [1, 2])
def test_what_an_answer_leans_on_is_among_the_notes_before_its_last_and_changes_nothing(musician, takes):
    heard = [note(i, i / 2, 60 + i) for i in range(8)]
    request = Request(1, 4.0, 8.0, ('piano', 'drums'), 'accompany', takes=takes)
    musician.hear(heard)
    plain = [piece for piece in musician.answer(request)]
    musician.settle()
    assert musician.leans == () and musician._influence is None
    other = ModelMusician(musician.decoder)
    other.hear(heard)
    assert [piece for piece in other.answer(replace(request, leans=True))] == plain
    other.settle()
    own = [one for piece in plain if piece.take == 0 for one in piece.notes]
    last = max((one.beat for one in own), default=0.0)
    assert own and other.leans and sum(share for *_, share in other.leans) == pytest.approx(1)
    known = {(one.beat, one.note) for one in heard} | {(round(12 * one.beat) / 12, one.note) for one in own}
    assert {(beat, pitch) for beat, pitch, _, _ in other.leans} <= known
    assert all(beat <= last and share >= 0 for beat, _, _, share in other.leans)
    check_cache(other)
    list(other.answer(Request(2, 8.0, 12.0, ('piano', 'drums'), 'accompany', leans=True)))
    other.forget(2, 8.0)  # taken back while it looks
    hear(other, note(20, 8.0, 65))
    other.settle()
    check_cache(other)
