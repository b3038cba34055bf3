"""The model composes parts of an answer again: beside what the others play there, and remembers what is played."""

from dataclasses import replace

import numpy as np
import pytest
import small_decoders
from small_decoders import check_cache

from bridge.musicians.model_events import DescriptionEvent, Event
from bridge.musicians.model_musician import ModelMusician
from bridge.musicians.musician import Again, ChordAt, HeardNote, Request
from genaudio_core.music.keys import parse_chord
from genaudio_core.score.instruments import instrument_code

BAND = ('piano', 'bass', 'violin', 'violin', 'drums')


@pytest.fixture(params=['live', 'described'])
def musician(request):
    return ModelMusician(small_decoders.decoder(request.param))


def answered(musician, takes=1, band=BAND, role='accompany'):
    """A request for three bars, and the notes of its first take."""
    musician.expect(band, 4.0)
    musician.hear([HeardNote(i, i / 2, 0.5, 60 + i, 80, 'flute') for i in range(16)])
    chords = tuple(ChordAt(8.0 + 4 * bar, parse_chord(name), 'chart') for bar, name in enumerate(('C', 'F', 'G')))
    request = Request(1, 8.0, 20.0, band, role, takes=takes, chords=chords, seed=4)
    pieces = list(musician.answer(request))
    return request, [n for piece in pieces if piece.take == 0 for n in piece.notes]


def once_more(musician, request, notes, parts, start, end, seed=9):
    """What the parts play now, and the request for it."""
    given = tuple(n for n in notes if start <= n.beat < end and n.part not in parts)
    again = Again(request.takes, 0, parts, given, request.start)
    asked = replace(request, start=start, end=end, takes=1, seed=seed, again=again)
    return [piece for piece in musician.answer(asked)], asked


@pytest.mark.parametrize('role', ['accompany', 'continue'])
@pytest.mark.parametrize('parts', [(1,), (2,), (0, 4), (0, 1, 2, 3, 4)])
def test_some_parts_play_something_else_and_the_memory_is_what_is_played(musician, role, parts):
    request, notes = answered(musician, role=role)
    before = list(musician._own[1, 0])
    pieces, _ = once_more(musician, request, notes, parts, 12.0, 16.0)
    new = [n for piece in pieces for n in piece.notes]
    assert pieces[-1].done and pieces[-1].until == 16.0 and {piece.take for piece in pieces} == {1}
    assert {n.part for n in new} == set(parts) and all(12.0 <= n.beat < 16.0 for n in new)
    assert [piece.until for piece in pieces] == sorted(piece.until for piece in pieces)
    old = [n for n in notes if 12.0 <= n.beat < 16.0 and n.part in parts]
    assert {(n.beat, n.note) for n in new} != {(n.beat, n.note) for n in old}
    assert musician.rest()  # the bar after it is fed behind it
    check_cache(musician)
    kept = [n for n in notes if n not in old]
    wanted = {(round(n.beat * 12), n.note) for n in kept + new}
    own = [event for event in musician._fed if isinstance(event, Event) and event.step >= 96]
    assert {(event.step, event.pitch) for event in own} == wanted
    musician.choose(1, 0)
    own = [event for event in musician._fed if isinstance(event, Event) and event.step >= 96]
    assert own == sorted(set(before))
    check_cache(musician)


def test_what_is_composed_anew_depends_on_what_the_others_play_there(musician):
    request, notes = answered(musician)
    kept = [n for n in notes if n.part != 1]
    other = [n._replace(note=n.note + 5) if n.part == 0 else n for n in kept]
    first = once_more(musician, request, kept, (1,), 12.0, 16.0)[0]
    hidden = musician._continuer.hidden.copy()
    musician.choose(1, 0)
    once_more(musician, request, other, (1,), 12.0, 16.0)
    assert np.abs(musician._continuer.hidden - hidden).max() > 1e-4
    musician.choose(1, 0)
    assert once_more(musician, request, kept, (1,), 12.0, 16.0)[0] == first  # the same seed, the same past


def test_what_was_told_stays_told_in_the_bar_that_is_composed_again():
    musician = ModelMusician(small_decoders.decoder('described'))
    request, notes = answered(musician)
    told = [entry for entry in musician._fed if isinstance(entry, DescriptionEvent)]
    assert len(told) == 3
    once_more(musician, request, notes, (1, 4), 12.0, 16.0)
    musician.rest()
    assert [entry for entry in musician._fed if isinstance(entry, DescriptionEvent)] == told
    check_cache(musician)


def test_one_that_is_given_up_half_way_goes_on_as_it_was(musician):
    request, notes = answered(musician)
    given = tuple(n for n in notes if n.part != 0)
    answer = musician.answer(replace(request, takes=1, seed=3, again=Again(1, 0, (0,), given, 8.0)))
    new = [n for _ in range(6) for n in next(answer).notes]
    answer.close()
    musician.rest()
    check_cache(musician)
    reached, piano = round(max(n.beat for n in new) * 12), instrument_code('piano')
    mine = [event for event in musician._fed if isinstance(event, Event) and event.instrument == piano]
    assert {event.pitch for event in mine if 96 <= event.step <= reached} == {n.note for n in new}
    old = {(round(n.beat * 12), n.note) for n in notes if n.part == 0}
    left = {(event.step, event.pitch) for event in mine if event.step > reached}
    assert left == {one for one in old if one[0] > reached}
    musician.forget(1, 14.0)
    assert all(event.step < 14 * 12 for event in musician._fed)
    check_cache(musician)
