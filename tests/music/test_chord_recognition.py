"""Chords read from notes: fifty bars set by hand, written band music, and what must hold for any notes."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genaudio_core.music.chord_recognition import Segment, recognise, recognise_score, simple, slots_of
from genaudio_core.music.keys import CHORDS, Chord, parse_chord
from genaudio_core.music.layouts import QUALITIES
from genaudio_core.score.notes import Meter, Note, Score, Tempo, Track
from genaudio_core.training.band_writer.writer import write_piece

LETTERS = {'C': 0, 'D': 2, 'E': 4, 'F': 5, 'G': 7, 'A': 9, 'B': 11}
# (name, meter, chords bar by bar: one or two, voices in tokens of notes and lengths in quarters; + joins, r rests)
BY_HAND = [
    (
        'hymn',
        (4, 4),
        'C G|Am F|C/E G|F C|G C',
        [
            'C4/2 B3/2 C4/2 C4/2 C4/2 D4/2 C4/2 C4/2 B3/2 C4/2',
            'E3+G3/2 D3+G3/2 E3+A3/2 F3+A3/2 G3/2 G3+B3/2 A3/2 G3+E3/2 D3+G3/2 E3+G3/2',
            'C3/2 G2/2 A2/2 F2/2 E2/2 G2/2 F2/2 C3/2 G2/2 C3/2',
        ],
    ),
    (
        'alberti',
        (4, 4),
        'C|G7|C|F|G7 C',
        [
            'E5/2 G5/1 E5/1 D5/1 F5/1 E5/1 D5/1 C5/1 E5/1 G5/2 A5/1 G5/1 F5/1 E5/1 D5/1 B4/1 C5/2',
            ' '.join(
                ['C3/.5 G3/.5 E3/.5 G3/.5'] * 2
                + ['B2/.5 G3/.5 F3/.5 G3/.5'] * 2
                + ['C3/.5 G3/.5 E3/.5 G3/.5'] * 2
                + ['C3/.5 A3/.5 F3/.5 A3/.5'] * 2
                + ['B2/.5 G3/.5 F3/.5 G3/.5', 'C3/.5 G3/.5 E3/.5 G3/.5']
            ),
        ],
    ),
    (
        'waltz',
        (3, 4),
        'Am|Dm|E7|Am|E7|Am',
        [
            'E5/2 C5/1 D5/1 F5/1 A5/1 G#5/2 B4/1 C5/3 D5/1 B4/1 G#4/1 A4/3',
            'A2/1 C4+E4/1 C4+E4/1 D3/1 D4+F4/1 D4+F4/1 E3/1 D4+G#4/1 D4+G#4/1 A2/1 C4+E4/1 C4+E4/1 E3/1 '
            'D4+G#4/1 D4+G#4/1 A2/1 C4+E4/1 C4+E4/1',
        ],
    ),
    (
        'pop',
        (4, 4),
        'F#m|D|A|E|F#m',
        [
            'A4/.5 A4/.5 G#4/.5 F#4/1.5 E4/1 F#4/.5 F#4/.5 A4/.5 D5/1.5 r/1 C#5/.5 C#5/.5 B4/.5 A4/1.5 E4/1 '
            'B4/1 G#4/1 E4/1 r/1 A4/2 F#4/2',
            'F#3/.5 C#4/.5 A4/.5 C#4/.5 F#3/.5 C#4/.5 A4/.5 C#4/.5 D3/.5 A3/.5 F#4/.5 A3/.5 D3/.5 A3/.5 '
            'F#4/.5 A3/.5 A2/.5 E3/.5 C#4/.5 E3/.5 A2/.5 '
            'E3/.5 C#4/.5 E3/.5 E3/.5 B3/.5 G#4/.5 B3/.5 E3/.5 B3/.5 G#4/.5 B3/.5 F#3/4',
        ],
    ),
    (
        'jazz',
        (4, 4),
        'Dm7|G7|Cmaj7|Am7|Dm7 G7',
        [
            'A4/1 C5/1 E5/1 D5/1 B4/1 F4/1 A4/1 G4/1 B4/2 G4/2 C5/1 G4/1 E4/2 F4/1 A4/1 B4/1 F4/1',
            'F3+C4/4 F3+B3/4 E3+B3/4 E3+G3+C4/4 F3+C4/2 F3+B3/2',
            'D2/1 F2/1 A2/1 Ab2/1 G2/1 B2/1 D3/1 Db3/1 C3/1 B2/1 G2/1 E2/1 A2/1 C3/1 E3/1 Eb3/1 D3/1 A2/1 G2/1 D2/1',
        ],
    ),
    (
        'folk',
        (6, 8),
        'Em|D|Em|C G|Em',
        [
            'E5/.5 F#5/.5 G5/.5 B5/1 A5/.5 F#5/1 D5/.5 A4/1.5 G5/.5 F#5/.5 E5/.5 B4/1.5 E5/1 G5/.5 D5/1 B4/.5 E5/3',
            'E3+B3/3 D3+A3/3 E3+B3/3 C3+G3/1.5 G2+D3/1.5 E3+B3/3',
        ],
    ),
    (
        'bass and tune',
        (4, 4),
        'C|F|G|C|Am|F G',
        [
            'E4/1 G4/1 C5/1 G4/1 A4/1.5 C5/.5 F4/2 B4/1 D5/1 G4/2 C5/1 E5/1 C5/2 C5/1 B4/.5 A4/.5 E4/2 A4/1 '
            'F4/1 B4/1 D5/1',
            'C2/2 G2/2 F2/2 C2/2 G2/2 D2/2 C2/2 G2/2 A2/2 E2/2 F2/2 G2/2',
        ],
    ),
    (
        'blues',
        (4, 4),
        'E7|A7|E7|B7|A7|E7',
        [
            'G#4+D5/1 r/1 G#4+D5/1 B4/1 G4+C#5/1 r/1 A4+C#5/1 G4/1 G#4+D5/1 r/1 B4/1 E5/1 A4+D#5/2 F#4/2 '
            'G4+C#5/2 E4/2 G#4+D5/4',
            'E2/1 G#2/1 B2/1 C#3/1 A2/1 C#3/1 E3/1 F#3/1 E2/1 G#2/1 B2/1 C#3/1 B2/1 D#3/1 F#3/1 A3/1 A2/1 '
            'C#3/1 E3/1 G3/1 E2/2 B2/2',
        ],
    ),
    (
        'minor with its dominant',
        (4, 4),
        'Cm|Fm|G7|Cm|Ab|Bb|Eb',
        [
            'G4/2 Eb5/2 C5/1.5 Ab4/.5 F4/2 B4/1 D5/1 F5/1 D5/1 Eb5/2 C5/2 C5/1 Eb5/1 Ab4/2 D5/1 F5/1 Bb4/2 G4/4',
            'C3+Eb3+G3/4 F2+C3+Ab3/4 G2+F3+B3/4 C3+G3+Eb4/4 Ab2+Eb3+C4/4 Bb2+F3+D4/4 Eb3+Bb3+G4/4',
        ],
    ),
]


def chord_agreement(found: Sequence[Segment], true: Sequence[Segment]) -> tuple[float, float]:
    """Shares of the time in which the roots are the same, and root and quality (as `simple` counts) are."""
    same_root = same = whole = 0.0
    for one in true:
        for other in found:
            shared = min(one.beat + one.duration, other.beat + other.duration) - max(one.beat, other.beat)
            if shared > 0 and one.chord.root == other.chord.root:
                same_root += shared
                same += shared * (simple(one.chord.quality) == simple(other.chord.quality))
        whole += one.duration
    return (same_root / whole, same / whole) if whole else (1.0, 1.0)


def pitch(name: str) -> int:
    accidental = name[1:-1].count('#') - name[1:-1].count('b')
    return 12 * (int(name[-1]) + 1) + LETTERS[name[0]] + accidental


def set_by_hand(meter: tuple[int, int], chords: str, voices: list[str]) -> tuple[Score, list[Segment]]:
    bar = meter[0] * 4 / meter[1]
    tracks = []
    for voice in voices:
        beat, notes = 0.0, []
        for token in voice.split():
            names, length = token.split('/')
            if names != 'r':
                notes += [Note(beat, float(length), pitch(name), 80) for name in names.split('+')]
            beat += float(length)
        assert beat == bar * len(chords.split('|')), f'{voice}: {beat} beats'
        tracks.append(Track(0, notes=sorted(notes)))
    true = []
    for number, names in enumerate(chords.split('|')):
        own = names.split()
        for i, name in enumerate(own):
            true.append(Segment(bar * number + bar * i / len(own), bar / len(own), parse_chord(name)))
    return Score(tracks, [Tempo(0.0, 100.0)], [Meter(0.0, *meter)]), true


def test_fifty_bars_set_by_hand():
    roots, whole, bars = [], [], 0
    for _, meter, chords, voices in BY_HAND:
        score, true = set_by_hand(meter, chords, voices)
        root, same = chord_agreement(recognise_score(score), true)
        roots.append(root)
        whole.append(same)
        bars += len(chords.split('|'))
    assert bars == 50
    assert sum(roots) / len(roots) >= 0.95
    assert sum(whole) / len(whole) >= 0.9


def test_chords_of_written_music():
    """What `write_piece` says its chords are; a power chord has no third, so it may be read as either."""
    roots, whole = [], []
    for seed in range(12):
        piece = write_piece(seed)
        root, same = chord_agreement(
            recognise_score(piece.score), [Segment(s.beat, s.duration, s.chord) for s in piece.chords]
        )
        roots.append(root)
        whole.append(same)
    assert sum(roots) / 12 >= 0.9
    assert sum(whole) / 12 >= 0.75


@pytest.mark.parametrize('quality', [q for q in QUALITIES if q not in ('aug', 'dim7', '6', 'm6', 'sus2', '5')])
@pytest.mark.parametrize('root', [0, 5, 10])
def test_a_block_chord_is_itself(quality, root):
    """Those of other names by the same notes (C6 is Am7, sus2 is sus4 of another root) are left out."""
    notes = [Note(0.0, 4.0, 36 + root), *[Note(0.0, 4.0, 60 + (root + tone) % 12) for tone in CHORDS[quality]]]
    found = recognise(notes, [0.0], 4.0)
    assert (found[0].chord.root, found[0].chord.quality) == (root, quality)


notes = st.builds(
    Note,
    st.floats(0, 15.9, allow_subnormal=False),
    st.floats(0, 8, allow_subnormal=False),
    st.integers(0, 127),
    st.integers(1, 127),
)


@given(st.lists(notes, max_size=40))
def test_any_notes_give_a_chord_for_every_beat(some):
    slots = [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0]
    found = recognise(some, slots, 16.0, lines=slots[::2])
    assert bool(found) == bool(some)
    at = 0.0
    for segment in found:
        assert segment.beat == at and segment.duration > 0
        at = segment.beat + segment.duration
    assert at == (16.0 if some else 0.0)


@pytest.mark.parametrize('up', [1, 5, 7])
def test_music_in_another_key_has_the_same_chords_there(up):
    score = write_piece(3, 'pop').score
    before = recognise_score(score)
    for track in score.tracks:
        if not track.is_drum:
            track.notes = [note._replace(note=note.note + up) for note in track.notes]
    after = [
        Segment(s.beat, s.duration, Chord((s.chord.root - up) % 12, s.chord.quality, (s.chord.bass - up) % 12))
        for s in recognise_score(score)
    ]
    assert chord_agreement(after, before) == (1.0, 1.0)


@pytest.mark.parametrize(
    ('meter', 'slots'),
    [
        ((4, 4), [0, 2, 4, 6]),
        ((3, 4), [0, 3]),
        ((6, 8), [0, 1.5, 3, 4.5]),
        ((5, 4), [0, 3, 5, 8]),
        ((7, 8), [0, 2, 3.5, 5.5]),
        ((2, 4), [0, 1, 2, 3]),
    ],
)
def test_chords_change_by_the_half_bar(meter, slots):
    score = Score([], meters=[Meter(0.0, *meter)])
    assert slots_of(score, 2 * meter[0] * 4 / meter[1]) == slots


def test_ninths_count_as_sevenths():
    assert simple('maj9') == 'maj7' and simple('9') == '7' and simple('m7b5') == 'm7b5'
    assert all(simple(quality) in QUALITIES for quality in CHORDS)
