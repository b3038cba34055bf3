"""What the parts of a live band are told to do, without a model."""

from dataclasses import replace

import numpy as np
import pytest

from bridge.musicians.directions import Directions, sampling
from bridge.musicians.musician import ChordAt, MusicControls, Request
from genaudio_core.music.drum_grooves import groove
from genaudio_core.music.keys import SCALES, classes_of, parse_chord
from genaudio_core.score.instruments import DRUMS_CODE, instrument_code

BAR = 48  # steps


def request(role: str, begin: float, end: float, *changes: tuple[float, str], key: str = 'auto') -> Request:
    chords = tuple(ChordAt(beat, parse_chord(name), 'chart') for beat, name in changes)
    return Request(
        1, begin, end, ('piano', 'bass', 'drums'), role, MusicControls(key=key), chords=chords,
        groove=groove('auto', (4, 4)),
    )  # fmt: skip


def classes(allowed: np.ndarray | None) -> set[int]:
    assert allowed is not None
    return set((np.flatnonzero(allowed) % 12).tolist())


@pytest.mark.parametrize('bar', range(8))
def test_the_backbeat_is_called_for_in_every_bar(bar):
    """In the last bar of a phrase, too, where a fill leaves out the cymbals."""
    asked = request('accompany', 4.0 * bar, 4.0 * bar + 4, (4.0 * bar, 'C'))
    (direction,) = Directions(asked, [], [], (), 0).of(BAR * bar)
    drums = [(cue.latest - BAR * bar, cue.pitches) for cue in direction.cues if cue.instrument == DRUMS_CODE]
    assert {at for at, keys in drums if 38 in keys and 45 not in keys} == {12, 36}
    assert [at for at, keys in drums if 45 in keys] == ([42] if bar % 4 == 3 else [])  # what fills in


def test_a_cajon_is_not_asked_for_taps_that_would_stand_for_its_slaps():
    asked = replace(request('accompany', 0.0, 4.0, (0.0, 'C')), drum_keys=(36, 37, 38))
    (direction,) = Directions(asked, [], [], (), 0).of(0)
    drums = [(cue.latest, cue.pitches) for cue in direction.cues if cue.instrument == DRUMS_CODE]
    assert [keys for at, keys in drums if at in (12, 36)] == [frozenset({37, 38})] * 2
    assert {at for at, keys in drums if keys == frozenset({37})} == set()
    rules = direction.rules[DRUMS_CODE, 1]
    allowed = [rules.pitches(step) for step in range(0, BAR, 6)]
    assert all(notes is not None and notes[37] and set(np.flatnonzero(notes)) <= {36, 37, 38} for notes in allowed)


def test_a_pad_moves_with_the_chords():
    asked = replace(request('accompany', 0.0, 4.0, (0.0, 'C'), (2.0, 'F')), instruments=('pad',))
    (direction,) = Directions(asked, [], [], (), 0).of(0)
    rules = direction.rules[instrument_code('pad'), 1]
    open_at = {step for step in range(BAR) if rules.pitches(step).any()}
    assert open_at == {0, 24}


def test_one_who_solos_over_a_chart_has_the_tones_of_each_chord():
    asked = request('continue', 0.0, 4.0, (0.0, 'C'), (2.0, 'F#'))
    (direction,) = Directions(asked, [], [], (), 0).of(0)
    rules = direction.rules[instrument_code('piano'), 1]
    for step in range(BAR):
        assert classes(rules.pitches(step)) == parse_chord('C' if step < 24 else 'F#').pitch_classes


@pytest.mark.parametrize('role', ['accompany', 'continue'])
def test_a_key_that_is_named_binds_where_no_chord_is_known(role):
    asked = request(role, 0.0, 4.0, key='D major')
    (direction,) = Directions(asked, [], [], (), 0).of(0)
    for (code, _), rules in direction.rules.items():
        if code != DRUMS_CODE:
            assert all(classes(rules.pitches(step)) <= classes_of(2, SCALES['major']) for step in range(BAR))


def test_who_accompanies_has_the_tones_of_each_chord_and_the_sampler_knows_nothing_of_them():
    asked = request('accompany', 0.0, 4.0, (0.0, 'C'), (2.0, 'Eb'))
    assert sampling(asked).pitch_classes is None
    (direction,) = Directions(asked, [], [], (), 0).of(0)
    for (code, _), rules in direction.rules.items():
        if code != DRUMS_CODE:
            for step in range(BAR):
                assert classes(rules.pitches(step)) <= parse_chord('C' if step < 24 else 'Eb').pitch_classes
            assert {len(classes(rules.pitches(step))) for step in (0, 24)} <= {1, 3}  # a bass its root, chords all
