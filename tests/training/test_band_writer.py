"""Written band music is what it says it is: in range, on its chords, in its groove, the same for the same seed."""

import json
import random
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genaudio_core.errors import GenaudioError
from genaudio_core.music.keys import Chord, parse_chord
from genaudio_core.score.instruments import DRUMS, FAMILY, RANGE
from genaudio_core.score.notes import Note, Score, Track
from genaudio_core.score.reading import read_midi, write_midi
from genaudio_core.training.band_writer import drums
from genaudio_core.training.band_writer.archive import write_archives
from genaudio_core.training.band_writer.harmony import chord_at, read_numeral, scale_of
from genaudio_core.training.band_writer.meters import FOUR, swung
from genaudio_core.training.band_writer.performances import Performances
from genaudio_core.training.band_writer.styles import STYLES
from genaudio_core.training.band_writer.writer import WrittenPiece, write_piece
from genaudio_core.training.scores.packed_scores import split_by_work
from genaudio_core.training.scores.score_files import find_scores, work_of

EVERY = [(style, meter) for style, row in STYLES.items() for meter in row.meters]
a_piece = given(st.integers(0, 10**9), st.sampled_from(sorted(STYLES)))


def tracks_of(piece: WrittenPiece, role: str) -> list[Track]:
    return [track for own, track in zip(piece.roles, piece.score.tracks, strict=True) if own.split()[0] == role]


@pytest.mark.parametrize(('style', 'meter'), EVERY)
def test_every_style_in_every_meter_of_its(style, meter):
    piece = write_piece(1, style, meter)
    assert f'{piece.bar.numerator}/{piece.bar.denominator}' == meter
    assert piece.score.meters[0].bar_length == piece.bar.length
    assert tracks_of(piece, 'bass') and tracks_of(piece, 'comp') and tracks_of(piece, 'lead')


def test_the_same_seed_is_the_same_piece_and_another_one_is_not():
    one, again, other = write_piece(5), write_piece(5), write_piece(6)
    assert one.facts() == again.facts() and one.score.tracks == again.score.tracks
    assert one.score.tracks != other.score.tracks


@a_piece
def test_players_play_what_they_can(seed, style):
    piece = write_piece(seed, style)
    for role, track in zip(piece.roles, piece.score.tracks, strict=True):
        low, high = RANGE[track.instrument]
        assert all(low <= note.note <= high and 1 <= note.velocity <= 127 for note in track.notes)
        assert all(note.duration > 0 and note.beat >= 0 for note in track.notes)
        assert track.notes == sorted(track.notes)
        alone = role in ('bass', 'lead') or FAMILY[track.instrument] in ('brass', 'reeds', 'pipes')
        free: dict[int, float] = {}
        for note in track.notes:
            key = 0 if alone and role != 'drums' else note.note
            assert note.beat >= free.get(key, 0.0) - 1e-6
            free[key] = note.beat + note.duration


@a_piece
def test_the_chord_of_every_beat_is_known(seed, style):
    piece = write_piece(seed, style)
    at = 0.0
    for span in piece.chords:
        assert span.beat == pytest.approx(at) and span.duration > 0
        at = span.end
    beat = 0.0
    for section in piece.sections:
        assert section.beat == pytest.approx(beat)
        beat += section.n_bars * piece.bar.length
    assert at == pytest.approx(beat)
    assert {str(parse_chord(str(span.chord))) for span in piece.chords} == {str(span.chord) for span in piece.chords}


def share(hits: list[bool]) -> float:
    return sum(hits) / len(hits) if hits else 1.0


@pytest.mark.parametrize('style', sorted(STYLES))
def test_bass_and_chords_are_those_that_are_named(style):
    roots, fits, backs = [], [], []
    for seed in range(6):
        piece = write_piece(seed, style)
        for track in tracks_of(piece, 'bass'):
            for span in piece.chords:
                first = [note for note in track.notes if abs(note.beat - span.beat) < 0.1]
                roots += [note.note % 12 == span.chord.bass for note in first[:1]]
        for role in ('comp', 'pad', 'horns', 'section'):
            for note in (note for track in tracks_of(piece, role) for note in track.notes):
                # A stab ahead of the line belongs to the chord behind it.
                chords = {chord_at(piece.chords, note.beat + ahead).chord for ahead in (0.08, 0.6)}
                sixth = {(chord.root + 9) % 12 for chord in chords} if style == 'shuffle' else set()  # of a boogie
                fits.append(any(note.note % 12 in chord.pitch_classes | sixth for chord in chords))
        if STYLES[style].backbeat and piece.bar is FOUR:
            sections = [s for s in piece.sections if 'drums' in s.parts and s.label != 'E']
            drum_bars = [s.beat + 4 * bar for s in sections for bar in range(s.n_bars)]
            backs_of = (drums.SNARE, drums.CLAP, drums.RIM)
            strokes = [note for track in tracks_of(piece, 'drums') for note in track.notes if note.note in backs_of]
            struck = {round(note.beat) for note in strokes if abs(note.beat - round(note.beat)) < 0.05}
            half = not any(bar + 1 in struck for bar in drum_bars[:3])  # grooves at half speed have one in the middle
            backs += [bar + 2 in struck if half else {bar + 1, bar + 3} <= struck for bar in drum_bars]
    pedal = {'techno': 0.5, 'cinematic': 0.5}.get(style, 0.98)
    assert share(roots) >= pedal
    assert share(fits) >= 0.99
    assert share(backs) >= 0.8  # a fill may leave one out


def test_a_refrain_comes_back():
    """The lead of a section that returns has the tune of the first time, in most places."""
    alike = []
    for seed in range(20):
        piece = write_piece(seed, 'pop')
        lead = tracks_of(piece, 'lead')[0].notes
        seen: dict[str, list] = {}
        for section in piece.sections:
            length = section.n_bars * piece.bar.length
            tune = [(round((n.beat - section.beat) * 4), (n.note - section.tonic) % 12) for n in lead
                    if section.beat - 0.1 <= n.beat < section.beat + length - 0.1]  # fmt: skip
            if section.label in seen and section.label in 'AB' and tune:
                alike.append(len(set(tune) & set(seen[section.label])) / len(set(tune)))
            seen.setdefault(section.label, tune)
    assert sum(alike) / len(alike) > 0.5


@pytest.mark.parametrize(
    ('numeral', 'chord'),
    [('I', 'C'), ('vi', 'Am'), ('bVII', 'Bb'), ('V7/ii', 'A7'), ('iiø7', 'Dm7b5'), ('#iv°7', 'F#dim7'), ('I>3', 'C/E'),
     ('IVmaj7', 'Fmaj7'), ('i>3', 'Cm/Eb'), ('iv6', 'Fm6'), ('V/vi', 'E')],
)  # fmt: skip
def test_numerals(numeral, chord):
    assert str(read_numeral(numeral, 0)) == chord


@pytest.mark.parametrize(
    ('mode', 'chord', 'scale'),
    [
        ('major', 'A7', (1, 2, 4, 5, 7, 9, 11)),
        ('major', 'Fm', (0, 2, 4, 5, 7, 8, 11)),
        ('minor', 'G7', (0, 2, 3, 5, 7, 8, 11)),
        ('major', 'Bb', (0, 2, 4, 5, 7, 9, 10)),
        ('major', 'C', (0, 2, 4, 5, 7, 9, 11)),
    ],
)
def test_scales_bend_to_chords(mode, chord, scale):
    assert scale_of(0, mode, parse_chord(chord)) == scale


def test_chord_symbols_say_what_is_wrong():
    assert parse_chord('C/E') == Chord(0, '', 4) and parse_chord('F#m7b5').root == 6
    with pytest.raises(GenaudioError, match='not a chord'):
        parse_chord('Hello')


@given(st.floats(0, 64, allow_subnormal=False), st.floats(0, 4, allow_subnormal=False), st.floats(0.5, 0.7))
def test_swing_keeps_the_order_and_the_quarters(beat, more, swing):
    assert swung(beat + more, swing) >= swung(beat, swing) - 1e-9
    assert swung(float(round(beat)), swing) == round(beat)


def test_archives_are_gone_on_with_and_read_back(tmp_path, monkeypatch):
    from genaudio_core.training.band_writer import archive

    monkeypatch.setattr(archive, 'PER_ARCHIVE', 2)
    report = write_archives(tmp_path / 'written', 3, 10, styles=['waltz'])
    assert report['written_now'] == 3 and report['by_style'] == {'waltz': 3}
    assert write_archives(tmp_path / 'written', 3, 10, styles=['waltz'])['written_now'] == 0
    facts = []
    for path in sorted((tmp_path / 'written').glob('*.zip')):
        with zipfile.ZipFile(path) as whole:
            facts += map(json.loads, whole.read(archive.FACTS).decode().splitlines())
    assert [row['seed'] for row in facts] == [10, 11, 12]
    scores = list(find_scores([tmp_path]))
    assert {file.source for file in scores} == {'written'} and len({work_of('written', f.name) for f in scores}) == 3
    read = read_midi(scores[0].data)
    assert read.n_notes == write_piece(10, 'waltz').score.n_notes
    with pytest.raises(GenaudioError, match='polka'):
        write_archives(tmp_path / 'x', 1, styles=['polka'])


@pytest.fixture
def grooves(tmp_path) -> Path:
    folder = tmp_path / 'groove_midi_dataset'
    folder.mkdir()
    for drummer in range(1, 9):
        for take in range(3):
            notes = [
                Note(4 * bar + beat, 0.1, drum, 90)
                for bar in range(8)
                for beat, drum in ((0, 36), (1, 38), (2, 36), (3, 38))
            ]
            marked = Note(2.5, 0.1, 60 + drummer, 80)
            track = Track(0, True, 'drums', sorted([*notes, marked]))
            write_midi(Score([track]), folder / f'drummer{drummer}_session{take}_{take}_rock_100_beat_4-4.mid')
    return tmp_path


def test_drummers_play_some_pieces_and_held_out_ones_never(grooves):
    files = list(find_scores([grooves]))
    splits = split_by_work([work_of(file.source, file.name) for file in files])
    assert splits.any(), 'some must be held out for this to mean anything'
    held = {60 + int(Path(file.name).stem[7]) for file, split in zip(files, splits, strict=True) if split}
    trained = {60 + int(Path(file.name).stem[7]) for file, split in zip(files, splits, strict=True) if not split}
    performances = Performances([grooves])
    assert len(performances) == (splits == 0).sum()
    played = set()
    for seed in range(40):
        piece = write_piece(seed, 'rock', '4/4', performances)
        played |= {note.note for track in tracks_of(piece, 'drums') for note in track.notes}
    assert played & trained and not played & (held - trained)
    bars = performances.draw(['rock'], 20, random.Random(1))
    assert len(bars) == 20 and all(any(note.note == 36 for note in bar) for bar in bars)
    with pytest.raises(GenaudioError, match='no drum performances'):
        Performances([Path(__file__)])


def test_the_drums_of_a_piece_are_a_track_of_drums():
    piece = write_piece(2, 'rock')
    assert [track.instrument for track in tracks_of(piece, 'drums')] == [DRUMS]
