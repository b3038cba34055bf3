"""The chord that is played and the one that comes: blocks, broken chords, strums, loops, charts."""

import random

import pytest

from bridge.band.chord_follower import ChordFollower
from bridge.musicians.heard_notes import HeardNotes
from bridge.musicians.musician import HeardNote
from genaudio_core.music.keys import parse_chart, parse_chord

LOOPS = (
    ('C', 'Am', 'F', 'G'),
    ('Dm7', 'G7', 'Cmaj7', 'A7'),
    ('Em', 'D', 'C', 'B7'),
    ('C7', 'F7', 'C7', 'C7', 'F7', 'F7', 'C7', 'A7', 'Dm7', 'G7', 'C7', 'G7'),
)
STYLES = ('block', 'broken', 'strum')


def played(chords, style, rounds, seed=1):
    """Notes of a loop with a chord for each bar of four quarters."""
    rng = random.Random(seed)
    notes = []

    def add(beat, duration, note):
        notes.append(HeardNote(len(notes) + 1, beat, duration, note, 80, 'piano'))

    for bar in range(rounds * len(chords)):
        chord = parse_chord(chords[bar % len(chords)])
        tones = [60 + pitch for pitch in sorted(chord.pitch_classes, key=lambda p: (p - chord.root) % 12)]
        begin = bar * 4.0
        if style == 'block':
            for tone in (36 + chord.bass, *tones):
                add(begin + rng.uniform(-0.02, 0.02), 3.8, tone)
        elif style == 'broken':
            add(begin, 0.9, 36 + chord.bass)
            for eighth in range(1, 8):
                add(begin + eighth / 2, 0.45, tones[eighth % len(tones)])
        else:
            for beat in (0, 1.5, 2, 3.5):
                for tone in tones:
                    add(begin + beat, 0.4, tone - 12)
    return notes


def hear(follower, notes, now):
    follower.hear(follower.notes.hear(notes), now)


def follow(chords, style, rounds, follower=None):
    """(follower, per bar: root expected just before it, source, root heard at its second beat)."""
    follower = follower or ChordFollower(4.0, 2.0)
    waiting, rows = played(chords, style, rounds), []
    for bar in range(rounds * len(chords)):
        found = []
        for until in (bar * 4 - 0.2, bar * 4 + 1.1):
            while waiting and waiting[0].beat < until:
                hear(follower, [waiting[0]], waiting[0].beat)
                waiting.pop(0)
            found.append(follower.expected(bar * 4.0))
        before, now = found
        rows.append((before.chord.root if before else None, before.source if before else '', now.chord.root))
    return follower, rows


@pytest.mark.parametrize('style', STYLES)
@pytest.mark.parametrize('chords', LOOPS)
def test_a_chord_is_known_by_its_second_beat(chords, style):
    _, rows = follow(chords, style, 2)
    assert [heard for _, _, heard in rows] == [parse_chord(name).root for name in chords] * 2


@pytest.mark.parametrize('style', STYLES)
@pytest.mark.parametrize('chords', LOOPS)
def test_a_loop_is_expected_from_the_third_bar_of_its_second_round_on(chords, style):
    _, rows = follow(chords, style, 3)
    known = len(chords) + 2
    true = [parse_chord(name).root for name in chords] * 3
    assert [expected for expected, _, _ in rows[known:]] == true[known:]
    assert {source for _, source, _ in rows[known:]} == {'loop'}


def test_a_loop_that_is_left_is_left():
    notes = played(('C', 'Am', 'F', 'G'), 'block', 2) + [
        HeardNote(1000 + i, 32.0 + i // 4 * 4, 3.9, note, 80, 'piano')
        for i, note in enumerate((46, 62, 65, 70) * 2)  # B flat, twice
    ]
    follower = ChordFollower(4.0, 2.0)
    for note in notes:
        hear(follower, [note], note.beat)
    assert follower.expected(36.0).chord.root == 10
    assert follower.expected(36.0).source == 'heard'


def test_a_chart_is_what_is_expected_whatever_is_played():
    follower = ChordFollower(4.0, 2.0, parse_chart('C | Am D7 | G'))
    hear(follower, played(('F',), 'block', 1), 0.0)
    assert [str(each.chord) for each in follower.over(0.0, 12.0)] == ['C', 'C', 'Am', 'D7', 'G', 'G']
    assert str(follower.expected(14.0).chord) == 'C'  # it comes round
    assert {each.source for each in follower.over(0.0, 12.0)} == {'chart'}


def test_chords_that_change_with_each_bar_are_a_guess_until_the_loop_is_known():
    _, rows = follow(('C', 'Am', 'F', 'G'), 'block', 1)
    assert rows[3][1] == 'guess'


def test_nobody_has_played_nothing_is_expected():
    follower = ChordFollower(4.0, 2.0)
    assert follower.expected(8.0) is None and follower.over(0.0, 8.0) == ()
    hear(follower, [HeardNote(1, 0.0, 0.5, 36, 100, 'drums')], 0.5)
    assert follower.expected(8.0) is None


def test_memory_stays_small_and_quick_in_a_session_of_hours():
    follower = ChordFollower(4.0, 2.0, heard=HeardNotes(300))
    for note in played(('C', 'Am', 'F', 'G'), 'broken', 15):
        hear(follower, [note], note.beat)
        follower.expected(note.beat)
    assert len(follower.notes) < 400 and len(follower._chords) < 100
