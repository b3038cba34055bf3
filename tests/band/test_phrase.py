"""An answer takes up the phrase: its rhythm, its line, its chords, whatever a model would play by itself."""

import functools
import itertools

import numpy as np
import small_decoders
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.musicians.directions import Directions
from bridge.musicians.model_musician import ModelMusician
from bridge.musicians.musician import ChordAt, HeardNote, MusicControls, PlannedNote, Request
from bridge.musicians.phrase import LONGEST, NEAR, read_phrase
from genaudio_core.music.keys import classes_of, parse_chord
from genaudio_core.score.instruments import RANGE, instrument_code
from genaudio_core.score.notes import Note

BAR = 4.0
TUNE = [(0, 0.5, 67), (0.5, 0.5, 69), (1, 1, 71), (2, 0.5, 74), (2.5, 0.5, 72), (3, 1, 71),
        (4, 0.5, 69), (4.5, 0.5, 71), (5, 1, 72), (6, 2, 69)]  # fmt: skip
BASS = [(0, 4, 43), (4, 4, 50)]


def notes(written, at=0.0):
    return sorted(Note(at + beat, 0.9 * length, pitch, 80) for beat, length, pitch in written)


def answer_of(heard, request, encoding='described') -> list[PlannedNote]:
    musician = ModelMusician(decoder(encoding))
    musician.hear([HeardNote(i, n.beat, n.duration, n.note, n.velocity, 'piano') for i, n in enumerate(heard)])
    return [note for piece in musician.answer(request) for note in piece.notes]


@functools.cache
def decoder(encoding):
    return small_decoders.decoder(encoding)


def step(beat):
    return round(12 * beat)


phrases = st.lists(
    st.tuples(st.integers(0, 15), st.sampled_from([0.25, 0.5, 1.0, 2.0]), st.integers(55, 84)), min_size=1, max_size=12,
    unique_by=lambda one: one[0],
).map(lambda found: [(place / 2, length, pitch) for place, length, pitch in found])  # fmt: skip


@given(
    phrase=phrases, bars=st.integers(1, 4), seed=st.integers(0, 1000), encoding=st.sampled_from(['live', 'described'])
)
@settings(max_examples=25, deadline=None)
def test_every_note_of_a_phrase_is_answered_near_it(phrase, bars, seed, encoding):
    """By a model that knows nothing: in each bar the rhythm of one of the phrase, each note around one that it had."""
    heard = notes(phrase, 8.0)
    request = Request(1, 16.0, 16.0 + bars * BAR, ('piano',), seed=seed)
    played = answer_of(heard, request, encoding)
    rhythms = [{step(n.beat % BAR) for n in heard if n.beat // BAR == number} for number in (2, 3)]
    rhythms = [rhythm for rhythm in rhythms if rhythm]
    for bar in range(bars):
        mine = {step(n.beat % BAR) for n in played if n.beat // BAR == 4 + bar}
        strong = [{at for at in rhythm if at % 24 == 0 or len(rhythm) < 4} for rhythm in rhythms]
        assert any(kept <= mine for kept in strong), (bar, mine, rhythms)
    for note in played:
        there = [n.note for n in heard]
        assert min(abs(note.note - pitch) for pitch in there) <= NEAR, note


@given(
    written=st.lists(st.integers(0, 7), min_size=1, max_size=8, unique=True), begin=st.sampled_from([16.0, 17.5, 19.0])
)
@settings(max_examples=40, deadline=None)
def test_a_phrase_stands_where_the_number_of_its_bar_leads(written, begin):
    """From the bar in which an answer begins on, bar for bar; one that is silent is as the one before it."""
    heard = notes([(place + 0.5, 4, 60 + place) for place in sorted(written)], 8.0)
    phrase = read_phrase(heard, Request(1, begin, begin + 8.0, ('piano',)), 'piano', (1, 1))
    assert phrase is not None
    given_bars = phrase.role.given
    assert all(given_bars), 'a bar without a note to answer'
    last = [n.note for n in heard if n.beat // BAR == max(n.beat // BAR for n in heard)]
    found = {hit.pitch for struck in given_bars for hits in struck.values() for hit in hits}
    assert found <= {n.note for n in heard} and found & set(last)


def test_its_chords_come_round_and_a_chart_has_the_last_word():
    heard = notes([*TUNE, *BASS], 8.0)
    request = Request(1, 16.0, 24.0, ('piano', 'bass'))
    told = Directions(request, heard, [], (), 0).request
    assert [(each.beat, each.chord.root, each.source) for each in told.chords] == [
        (16.0, 7, 'phrase'),
        (20.0, 2, 'phrase'),
    ]
    chart = (ChordAt(16.0, parse_chord('C'), 'chart'), ChordAt(20.0, parse_chord('F#'), 'chart'))
    charted = Directions(Request(1, 16.0, 24.0, ('piano', 'bass'), chords=chart), heard, [], (), 0)
    assert charted.request.chords == chart
    for begin, name in ((192, 'C'), (240, 'F#')):
        rules = charted.of(begin)[0].rules[instrument_code('piano'), 1]
        head = rules.pitches(begin)
        assert head is not None
        assert set((np.flatnonzero(head) % 12).tolist()) <= parse_chord(name).pitch_classes


def test_an_answer_in_the_key_that_was_played():
    heard = notes([*TUNE, *BASS], 8.0)
    for seed in range(6):
        played = answer_of(heard, Request(1, 16.0, 24.0, ('piano',), seed=seed))
        assert {note.note % 12 for note in played} <= classes_of(7, (0, 2, 4, 5, 7, 9, 10, 11))  # G, with C and F


def test_a_bass_that_is_held_is_held_and_a_line_that_moves_moves():
    heard = notes([*TUNE, *BASS], 8.0)
    for seed in range(6):
        played = answer_of(heard, Request(1, 16.0, 24.0, ('piano',), seed=seed))
        lows = [note for note in played if note.note < 59]
        assert [note.beat for note in lows if note.duration >= 2] == [16.0, 20.0], lows
        line = sorted((note.beat, note.note) for note in played if note.note >= 59)
        assert all(one[1] != other[1] for one, other in itertools.pairwise(line) if one[0] != other[0]), line


def test_an_answer_is_as_dense_as_is_asked_for():
    heard = notes(TUNE, 8.0)
    counts = []
    for density in (0.0, 0.25, 0.5, 0.75, 1.0):
        found = []
        for seed in range(20):
            request = Request(1, 16.0, 24.0, ('piano',), seed=seed, controls=MusicControls(density=density))
            phrase = read_phrase(heard, request, 'piano', (1, 1))
            assert phrase is not None
            found.append(sum(len(struck) for struck in phrase.role.given))
        counts.append(np.mean(found))
    assert counts[2] == len(TUNE) and counts == sorted(counts) and len(set(counts)) == 5, counts


def test_who_has_not_got_the_notes_answers_an_octave_away():
    heard = notes(TUNE, 8.0)
    phrase = read_phrase(heard, Request(1, 16.0, 24.0, ('cello',)), 'contrabass', (instrument_code('contrabass'), 1))
    assert phrase is not None
    low, high = RANGE['contrabass']
    pitches = [hit.pitch for struck in phrase.role.given for hits in struck.values() for hit in hits]
    assert all(low <= pitch <= high for pitch in pitches)
    assert {pitch % 12 for pitch in pitches} == {note.note % 12 for note in heard}


def test_the_phrase_begins_after_the_last_silent_bar_and_is_no_longer_than_one_can_remember():
    early, late = notes(TUNE, 0.0), notes([(0, 1, 60), (1, 1, 62)], 16.0)
    request = Request(1, 20.0, 24.0, ('piano',))
    phrase = read_phrase([*early, *late], request, 'piano', (1, 1))
    assert phrase is not None
    assert {hit.pitch for struck in phrase.role.given for hits in struck.values() for hit in hits} == {60, 62}
    endless = notes([(beat, 1, 60 + beat % 5) for beat in range(80)])
    phrase = read_phrase(endless, Request(1, 80.0, 96.0, ('piano',)), 'piano', (1, 1))
    assert phrase is not None
    assert len(phrase.role.given) <= LONGEST
    assert read_phrase([], request, 'piano', (1, 1)) is None
