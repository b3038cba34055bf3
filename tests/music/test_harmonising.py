"""Keys and chords found for tunes that stand alone, and where a bar is felt."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genaudio_core.analysis.band_prompts import tune
from genaudio_core.music import grooves
from genaudio_core.music.drum_grooves import Pace, groove
from genaudio_core.music.grooves import Feel
from genaudio_core.music.harmonising import Key, find_keys, harmonise, is_full, scale_over
from genaudio_core.music.keys import SCALES, classes_of, parse_chord
from genaudio_core.music.layouts import METERS
from genaudio_core.score.notes import Meter, Note, Score, Track


def alone(text: str, bar: float = 4.0, meter: tuple[int, int] = (4, 4), instrument: str = 'violin') -> Score:
    return Score([Track.of(instrument, sorted(tune(text, bar)))], meters=[Meter(0.0, *meter)])


FRERE = 'C5:1 D5:1 E5:1 C5:1 | C5:1 D5:1 E5:1 C5:1 | E5:1 F5:1 G5:2 | E5:1 F5:1 G5:2'
TURNS = ' | C5:1 G4:1 C5:2 | C5:1 G4:1 C5:2'


@settings(max_examples=30, deadline=None)
@given(st.integers(-6, 6))
def test_a_tune_in_major_is_harmonised_in_its_key_wherever_it_lies(shift):
    score = alone(FRERE + TURNS)
    score.tracks[0].notes = [note._replace(note=note.note + shift) for note in score.tracks[0].notes]
    harmony: Any = harmonise(score)
    assert [(key.tonic, key.mode) for _, key in harmony.keys] == [(shift % 12, 'major')]
    assert harmony.chords[0].chord.root == harmony.chords[-1].chord.root == shift % 12
    assert sum(one.duration for one in harmony.chords) == 24


def test_a_key_that_is_known_is_taken_and_its_chords_with_it():
    """The first bars alone could be in G; who knows more of the music says so."""
    score, known = alone('D5:1 E5:1 D5:2 | G5:2 D5:2'), Key(0, 'major')
    assert harmonise(score).keys != ((0.0, known),)
    harmony = harmonise(score, key=known)
    assert harmony.keys == ((0.0, known),)
    assert all(one.chord.pitch_classes <= known.classes for one in harmony.chords)


def test_a_minor_tune_has_its_dominant():
    harmony: Any = harmonise(alone('A4:2 C5:1 E5:1 | D5:1 C5:1 B4:2 | G#4:2 B4:2 | A4:4'))
    ((_, key),) = harmony.keys
    assert key.tonic == 9
    assert str(harmony.chord_at(8.0)).startswith('E')
    assert str(harmony.chord_at(12.0)).startswith('Am')


def test_a_tune_that_modulates_has_two_keys():
    first = 'C5:1 E5:1 G5:1 E5:1 | F5:1 A5:1 G5:2 | E5:1 D5:1 C5:1 B4:1 | C5:4'
    second = 'E5:1 G#5:1 B5:1 G#5:1 | A5:1 C#6:1 B5:2 | G#5:1 F#5:1 E5:1 D#5:1 | E5:4'
    harmony: Any = harmonise(alone(f'{first} | {second}'))
    assert harmony.key_at(2.0).classes == classes_of(0, SCALES['major'])
    assert harmony.key_at(30.0).classes == classes_of(4, SCALES['major'])


def test_a_walking_bass_tells_its_chords():
    bass = 'F2:1 A2:1 C3:1 Eb3:1 | Bb2:1 D3:1 F3:1 D3:1 | C3:1 E3:1 G3:1 Bb2:1 | F2:1 A2:1 C3:1 A2:1'
    harmony: Any = harmonise(alone(bass, instrument='contrabass'))
    assert [harmony.chord_at(at).root for at in (0, 4, 8, 12)] == [5, 10, 0, 5]


def test_chords_that_are_given_are_heard_and_not_made():
    chords = [parse_chord(name) for name in ('Am', 'F', 'C', 'G')]
    notes = [Note(4.0 * i, 3.9, 60 + c, 80) for i, chord in enumerate(chords) for c in chord.pitch_classes]
    score = Score([Track.of('piano', sorted(notes))])
    assert is_full(score)
    assert [one.chord.root for one in harmonise(score).chords] == [9, 5, 0, 7]
    assert not is_full(alone(FRERE))


def test_what_lies_a_semitone_beside_a_long_note_is_not_in_its_chord():
    harmony: Any = harmonise(alone('B4:4 | C5:4 | F5:4 | E5:4 | C5:4'))
    for segment, note in zip(range(0, 16, 4), (11, 0, 5, 4), strict=True):
        chord = harmony.chord_at(segment + 0.5)
        assert not {(note + 1) % 12, (note - 1) % 12} & chord.pitch_classes or note in chord.pitch_classes


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 60), st.integers(0, 127)), max_size=40),
    st.sampled_from(METERS),
)
def test_any_score_is_harmonised_from_its_beginning_to_its_end(rows, meter):
    score = Score(
        [Track.of('piano', sorted(Note(a / 6, b / 6, p, 80) for a, b, p in rows))], meters=[Meter(0.0, *meter)]
    )
    harmony: Any = harmonise(score, seed=1)
    if not rows:
        assert harmony.chords == ()
        return
    edge = 0.0
    for one in harmony.chords:
        assert one.beat == pytest.approx(edge)
        edge += one.duration
    assert edge >= score.end - 1e-6
    assert harmonise(score, seed=1) == harmony
    for beat in (-1.0, 0.0, edge / 2, edge + 9):
        chord, key = harmony.chord_at(beat), harmony.key_at(beat)
        assert chord.pitch_classes <= scale_over(key, chord)


def test_a_chord_bends_the_scale_it_stands_in():
    c_major = Key(0, 'major')
    assert scale_over(c_major, parse_chord('D7')) == classes_of(7, SCALES['major'])
    assert scale_over(c_major, parse_chord('C')) == c_major.classes
    assert scale_over(None, None) == frozenset(range(12))


def test_no_notes_have_no_key():
    assert find_keys([], [0.0], 4.0) == []


@pytest.mark.parametrize('meter', METERS)
@pytest.mark.parametrize('feel', [Feel(), Feel(swung=True), Feel(fine=True)])
def test_whatever_is_played_in_a_bar_lies_in_it(meter, feel):
    length = meter[0] * 48 // meter[1]
    rng = np.random.default_rng(3)
    figures = [*grooves.bass_figures(meter, feel), *grooves.comping_figures(meter, feel), feel.grid(meter)]
    assert all(figure and min(figure) >= 0 and max(figure) < length for figure in figures)
    for _ in range(5):
        struck = groove('auto', meter, Pace(feel=feel), tempo=100.0, rng=rng).struck()
        assert all(0 <= at < length for at, _ in struck)
        assert any(at == 0 and keys == grooves.KICKS for at, keys in struck)
        assert all((at, grooves.SNARES) in struck for at in grooves.backbeats(meter))


def test_a_shuffle_is_felt_in_thirds():
    assert Feel.of([0, 2 / 3, 1, 5 / 3, 2]).swung
    assert Feel.of([0, 0.5, 1, 1.5]) == Feel()
    assert Feel.of([0, 0.25, 0.5, 0.75, 1]).fine
