"""Figures of a band: known answers on scores made by hand, and each goes down (or up) when the music is made worse."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genaudio_core.music import band_metrics as metrics
from genaudio_core.music.band_metrics import Bar, CopyIndex
from genaudio_core.music.chord_recognition import Segment
from genaudio_core.music.keys import parse_chord, pitch_classes
from genaudio_core.score.notes import Meter, Note, Score, Track

BARS = [Bar(4.0 * n, 4.0 * n + 4) for n in range(4)]
CHORDS = [Segment(4.0 * n, 4.0, parse_chord(name)) for n, name in enumerate(('C', 'Am', 'F', 'G'))]
ROOTS = (36, 33, 41, 43)


def line(*pitches, length=1.0, start=0.0):
    return [Note(start + i * length, length * 0.9, pitch) for i, pitch in enumerate(pitches)]


def roots(shift=0):
    return [Note(4.0 * n, 3.9, root + shift) for n, root in enumerate(ROOTS)]


def kit(snares=(1, 3), kicks=(0, 2)):
    hits = [(beat, 38) for beat in snares] + [(beat, 36) for beat in kicks]
    return [Note(bar.start + beat, 0.1, key) for bar in BARS for beat, key in hits]


def test_bars_are_whole_bars_of_the_meter():
    score = Score([Track(0, notes=[Note(0, 11.0, 60)])], meters=[Meter(0.0, 4, 4), Meter(4.0, 3, 4)])
    assert metrics.bars_of(score, 0.0, 10.0) == [Bar(0, 4), Bar(4, 7), Bar(7, 10)]
    assert metrics.bars_of(score, 1.0, 9.0) == [Bar(4, 7)]


# --- presence --------------------------------------------------------------------------------------------------------


def test_presence_counts_bars_in_which_a_part_begins_a_note_or_holds_one():
    assert metrics.presence(roots(), BARS) == 1.0
    assert metrics.presence([Note(0.0, 16.0, 60)], BARS) == 1.0  # held throughout
    assert metrics.presence([Note(0.0, 4.1, 60)], BARS) == 0.25  # a little over the line is not played there
    assert metrics.presence([Note(3.95, 1.0, 60)], BARS) == 0.25  # a little early it belongs to the next bar
    assert metrics.presence([], BARS) == 0.0
    assert math.isnan(metrics.presence(roots(), []))


def test_presence_goes_down_with_every_bar_of_silence():
    for n in range(5):
        assert metrics.presence(roots()[:n], BARS) == n / 4


# --- harmony ---------------------------------------------------------------------------------------------------------


def test_notes_in_the_key():
    c_major = pitch_classes('C major')
    assert metrics.in_key(line(60, 62, 64, 65), c_major) == 1.0
    assert metrics.in_key(line(60, 61, 64, 66), c_major) == 0.5
    assert math.isnan(metrics.in_key([], c_major))


@pytest.mark.parametrize(
    ('other', 'share'),
    [(71, 1.0), (61, 1.0), (73, 1.0), (48, 0.0), (59, 1.0), (64, 0.0), (67, 0.0), (62, 0.0), (66, 0.0), (37, 1.0)],
)
def test_a_clash_is_a_semitone_in_any_octave(other, share):
    assert metrics.clash([Note(0.0, 1.0, 60)], [Note(0.0, 1.0, other)]) == share


def test_a_clash_takes_time_to_be_heard():
    tune = [Note(0.0, 1.0, 60)]
    assert metrics.clash(tune, [Note(0.9, 1.0, 61)]) == 0.0  # sounds together for a tenth
    assert metrics.clash(tune, [Note(0.5, 1.0, 61)]) == 1.0
    assert metrics.clash(tune, [Note(-8.0, 8.5, 61)]) == 1.0  # begun long before
    assert metrics.clash(tune, [Note(1.0, 1.0, 61)]) == 0.0  # after it
    assert metrics.clash([Note(0.0, 0.1, 60)], [Note(0.0, 4.0, 61)]) == 1.0  # a short note counts, too
    assert math.isnan(metrics.clash([], tune))


def test_half_of_the_notes_clash_when_half_are_spoiled():
    tune = line(72, 76, 79, 76)
    chord = [Note(0.0, 4.0, key) for key in (60, 64, 67)]
    assert metrics.clash(tune, chord) == 0.0
    assert metrics.clash(line(72, 77, 79, 77), chord) == 0.5  # F over E


def test_strong_beats_fit_the_chord():
    strong = [beat for bar in BARS for beat in (bar.start, bar.start + 2)]
    right = [Note(beat, 1.0, 48 + CHORDS[int(beat // 4)].chord.root) for beat in strong]
    assert metrics.chord_fit(right, CHORDS, strong) == 1.0
    passing = [*right, Note(1.0, 0.5, 61), Note(2.5, 0.5, 61)]
    assert metrics.chord_fit(passing, CHORDS, strong) == 1.0  # between strong beats a note is free
    assert metrics.chord_fit([note._replace(beat=note.beat + 0.05) for note in right], CHORDS, strong) == 1.0
    assert metrics.chord_fit([note._replace(note=note.note + 1) for note in right], CHORDS, strong) == 0.0
    assert metrics.chord_fit([*right[:4], *(n._replace(note=n.note + 1) for n in right[4:])], CHORDS, strong) == 0.5
    assert math.isnan(metrics.chord_fit([Note(1.0, 1.0, 60)], CHORDS, strong))


def test_the_bass_has_the_root_when_the_chord_comes_in():
    assert metrics.bass_on_root(roots(), CHORDS) == 1.0
    assert metrics.bass_on_root(roots(7), CHORDS) == 0.0
    assert metrics.bass_on_root(roots()[:2], CHORDS) == 0.5  # silence has missed it
    assert metrics.bass_on_root([n._replace(beat=n.beat - 0.5) for n in roots()[1:]], CHORDS[1:]) == 1.0  # pushed
    assert metrics.bass_on_root([n._replace(beat=n.beat + 1.0, duration=1) for n in roots()], CHORDS) == 1.0  # late
    assert metrics.bass_on_root([n._replace(beat=n.beat + 3.0, duration=1) for n in roots()], CHORDS) == 0.0  # too late
    octaves = [Note(n.beat, 1.0, n.note + 12) for n in roots()] + [Note(n.beat, 1.0, n.note + 7) for n in roots()]
    assert metrics.bass_on_root(octaves, CHORDS) == 0.0  # the lowest counts


def test_the_bass_may_play_the_bass_that_a_chord_names():
    slash = [Segment(0.0, 4.0, parse_chord('C/E'))]
    assert [metrics.bass_on_root([Note(0, 4, key)], slash) for key in (40, 36, 43)] == [1.0, 1.0, 0.0]


# --- rhythm ----------------------------------------------------------------------------------------------------------


def test_the_backbeat_is_a_snare_on_two_and_four():
    assert metrics.backbeat(kit(), BARS, (1, 3)) == 1.0
    assert metrics.backbeat(kit(snares=(1,)), BARS, (1, 3)) == 0.5
    assert metrics.backbeat(kit(snares=(0, 2), kicks=(1, 3)), BARS, (1, 3)) == 0.0
    assert metrics.backbeat([n._replace(beat=n.beat + 0.05) for n in kit()], BARS, (1, 3)) == 1.0
    assert metrics.backbeat([n._replace(beat=n.beat + 0.25) for n in kit()], BARS, (1, 3)) == 0.0
    assert metrics.backbeat([n for n in kit() if n.beat < 8], BARS, (1, 3)) == 0.5
    assert metrics.backbeat([], BARS, (1, 3)) == 0.0
    assert math.isnan(metrics.backbeat(kit(), BARS, ()))


def test_rhythm_is_alike_when_it_comes_again():
    before, after = BARS[:2], BARS[2:]
    groove = [Note(bar.start + beat, 0.2, 60) for bar in BARS for beat in (0, 1.5, 2, 3)]

    def likeness(new):
        return metrics.rhythm_likeness(new, after, groove[:8], before)

    assert likeness(groove[8:]) == 1.0
    assert likeness([n._replace(note=72) for n in groove[8:]]) == 1.0  # pitch does not matter
    assert likeness([n for n in groove[8:] if n.beat % 4 != 3]) == pytest.approx(2 * 3 / 7)
    assert likeness([Note(bar.start + 0.75, 0.2, 60) for bar in after]) == 0.0
    assert likeness(groove[8:12]) == 1.0  # a silent bar is a matter of presence
    assert math.isnan(likeness([]))


def test_a_rhythm_may_be_that_of_any_bar_before():
    given = [Note(0.0, 1, 60), Note(4.0, 1, 60), Note(5.0, 1, 60), Note(6.0, 1, 60)]
    assert metrics.rhythm_likeness([Note(8.0, 1, 60)], BARS[2:3], given, BARS[:2]) == 1.0


def test_register_is_where_the_part_was():
    before = line(*range(60, 73))
    assert metrics.register_likeness(before, before) == 1.0
    assert metrics.register_likeness([n._replace(note=n.note + 24) for n in before], before) == 0.0
    shares = [metrics.register_likeness([n._replace(note=n.note + by) for n in before], before) for by in (0, 6, 12)]
    assert shares == sorted(shares, reverse=True) and shares[2] < 0.5
    assert math.isnan(metrics.register_likeness(before, []))


# --- likeness --------------------------------------------------------------------------------------------------------


def test_equal_notes_of_two_versions():
    one = line(60, 62, 64, 65)
    assert metrics.equal_notes(one, one) == 1.0
    assert metrics.equal_notes(one, line(60, 62, 65, 67)) == 0.5
    assert metrics.equal_notes(one, line(60, 62, 64, 65, start=0.5)) == 0.0
    assert metrics.equal_notes(one, []) == 0.0 and math.isnan(metrics.equal_notes([], []))
    assert metrics.equal_notes([Note(0, 1, 60)] * 2, [Note(0, 1, 60)]) == pytest.approx(2 / 3)  # counted once each


@given(st.lists(st.builds(Note, st.integers(0, 15), st.just(1), st.integers(50, 70)), max_size=12), st.randoms())
def test_equal_notes_do_not_depend_on_order(notes, rng):
    mixed = list(notes)
    rng.shuffle(mixed)
    assert not notes or metrics.equal_notes(notes, mixed) == 1.0


def phrase(*firsts):
    """A bar of four notes for each first note."""
    return [n for bar, first in zip(BARS, firsts, strict=False) for n in line(first, first + 2, first + 4, first + 2,
                                                                             start=bar.start)]  # fmt: skip


def test_the_longest_run_of_copied_bars():
    index = CopyIndex()
    index.add(metrics.contents(phrase(60, 62, 65, 67), BARS))
    assert index.longest_run(metrics.contents(phrase(60, 62, 65, 67), BARS)) == 4
    assert index.longest_run(metrics.contents(phrase(62, 65, 50, 60), BARS)) == 2
    assert index.longest_run(metrics.contents(phrase(65, 62, 60, 50), BARS)) == 1  # the order matters
    assert index.longest_run(metrics.contents(phrase(50, 51, 52, 53), BARS)) == 0
    index.add(metrics.contents(phrase(50, 51), BARS[:2]))
    assert index.longest_run(metrics.contents(phrase(50, 51, 60, 62), BARS)) == 2  # a run does not cross parts


def test_a_copy_in_another_key_is_found_where_that_is_asked():
    index = CopyIndex()
    index.add(metrics.contents(phrase(60, 62, 65, 67), BARS, transposed=True))
    moved = phrase(63, 65, 68, 70)
    assert index.longest_run(metrics.contents(moved, BARS, transposed=True)) == 4
    assert index.longest_run(metrics.contents(moved, BARS)) == 0


def test_a_bar_of_few_notes_or_of_one_pitch_is_no_copy():
    index = CopyIndex()
    index.add(metrics.contents(roots(), BARS))
    assert index.longest_run(metrics.contents(roots(), BARS)) == 0
    pulse = [Note(beat / 2, 0.4, 40) for beat in range(32)]
    index.add(metrics.contents(pulse, BARS))
    assert index.longest_run(metrics.contents(pulse, BARS)) == 0


# --- instruments -----------------------------------------------------------------------------------------------------


def test_notes_an_instrument_does_not_have():
    assert metrics.out_of_range(line(60, 72, 84, 96), 'flute') == 0.0
    assert metrics.out_of_range(line(40, 58, 84, 99), 'flute') == 0.75
    assert math.isnan(metrics.out_of_range([], 'flute'))


def test_more_voices_than_an_instrument_has():
    thirds = [Note(0, 1, 60), Note(0, 1, 64), Note(1, 1, 62), Note(1, 1, 65)]
    assert metrics.too_many_voices(thirds, 'flute') == 0.5
    assert metrics.too_many_voices(thirds, 'violin') == 0.0
    assert metrics.too_many_voices([*thirds, Note(0, 1, 67), Note(1, 1, 69)], 'violin') == pytest.approx(1 / 3)
    assert metrics.too_many_voices([Note(0, 1.1, 60), Note(1, 1.1, 62)], 'flute') == 0.0  # legato
    assert metrics.too_many_voices([Note(0, 2.0, 60), Note(1, 1.0, 62)], 'flute') == 0.5
    assert metrics.too_many_voices([Note(0, 1, key) for key in range(60, 68)], 'piano') == 0.0
