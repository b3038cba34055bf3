"""From folders and archives to one data file: formats, bad files, duplicates, splits by work."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_data import TEST, TRAIN, VALID, make_data, make_piece

from genaudio_core.errors import GenaudioError
from genaudio_core.music.events import DRUM_PROGRAM, NOTE_TYPE
from genaudio_core.music.layouts import RESOLUTION
from genaudio_core.score.notes import Meter, Note, Score, Track
from genaudio_core.score.reading import to_midi
from genaudio_core.training.scores.packed_scores import (
    MIN_NOTES,
    ScoreData,
    near_duplicates,
    pack,
    prepare,
    split_by_work,
)
from genaudio_core.training.scores.score_files import ScoreFile, read_score, work_of


def midi(score: Score) -> bytes:
    buffer = io.BytesIO()
    to_midi(score).save(file=buffer)
    return buffer.getvalue()


def tune(n: int, seed: int = 0, program: int = 0) -> Score:
    rng = np.random.default_rng(seed)
    return Score([Track(program, notes=[Note(i / 2, 0.5, int(rng.integers(48, 84)), 70) for i in range(n)])])


def music_xml(pitches: str) -> bytes:
    steps = ''.join(
        f'<note><pitch><step>{step}</step><octave>4</octave></pitch><duration>1</duration><type>quarter</type></note>'
        for step in pitches
    )
    return f"""<?xml version="1.0"?>
<score-partwise version="3.1"><part-list><score-part id="P1"><part-name>Violin</part-name></score-part></part-list>
<part id="P1"><measure number="1"><attributes><divisions>1</divisions><time><beats>{len(pitches)}</beats>
<beat-type>4</beat-type></time></attributes>{steps}</measure></part></score-partwise>""".encode()


def humdrum(pitches: str) -> bytes:
    return ('**kern\n*clefG2\n*M4/4\n' + ''.join(f'4{p.lower()}\n' for p in pitches) + '*-\n').encode()


@pytest.fixture(scope='module')
def prepared(tmp_path_factory) -> tuple[ScoreData, dict]:
    root: Path = tmp_path_factory.mktemp('scores')
    (root / 'songs').mkdir()
    for i in range(4):
        (root / 'songs' / f'song{i}.mid').write_bytes(midi(tune(60 + i, seed=i)))
    (root / 'songs' / 'again.MID').write_bytes(midi(tune(60, seed=0)))
    (root / 'songs' / 'short.mid').write_bytes(midi(tune(20, seed=9)))
    (root / 'songs' / 'broken.mid').write_bytes(midi(tune(60, seed=8))[:40])
    (root / 'songs' / 'noise.mid').write_bytes(b'this is no music')
    (root / 'songs' / 'notes.txt').write_text('not a score')
    (root / 'songs' / '.hidden.mid').write_bytes(b'')
    (root / 'notation').mkdir()
    (root / 'notation' / 'a.musicxml').write_bytes(music_xml('CDEFGAB' * 8))
    (root / 'notation' / 'b.krn').write_bytes(humdrum('CEGCEGABCDEF' * 5))
    (root / 'notation' / 'bad.xml').write_bytes(b'<score-partwise><part')
    with zipfile.ZipFile(root / 'zipped.zip', 'w') as archive:
        archive.writestr('in/zip.mid', midi(tune(70, seed=20, program=40)))
    with tarfile.open(root / 'packed.tar.gz', 'w:gz') as archive:
        data = midi(Score([Track(0, is_drum=True, notes=[Note(i / 4, 0.1, 36, 90) for i in range(12)])]))
        entry = tarfile.TarInfo('in/groove.mid')
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    seen: list[int] = []
    report = prepare([root], root / 'out.safetensors', workers=1, progress=seen.append)
    assert seen == list(range(1, 14))
    return ScoreData(root / 'out.safetensors'), report


def test_every_kind_of_file_is_read(prepared):
    data, report = prepared
    names = {f'{data.sources[s]}/{Path(n).name}' for s, n in zip(data.source, data.names, strict=True)}
    assert {'songs/song1.mid', 'notation/a.musicxml', 'notation/b.krn', 'zipped/zip.mid', 'packed/groove.mid'} <= names
    assert report['pieces'] == len(data) == 8
    assert report['notes'] == sum(data.n_notes(i) for i in range(len(data)))
    assert report['drum_notes'] == 12 and report['instruments']['violin'] >= 70
    assert report['sources']['songs']['pieces'] == 4
    by_name = {Path(name).name: i for i, name in enumerate(data.names)}
    xml = data.notes(by_name['a.musicxml'])
    assert xml['pitch'][:7].tolist() == [60, 62, 64, 65, 67, 69, 71]
    assert xml['step'][:4].tolist() == [0, 12, 24, 36] and (xml['duration'] == RESOLUTION).all()
    assert data.notes(by_name['b.krn'])['pitch'][:3].tolist() == [60, 64, 67]
    assert (data.notes(by_name['groove.mid'])['program'] == DRUM_PROGRAM).all()


def test_bad_files_are_skipped_and_named(prepared):
    _, report = prepared
    skipped = {line.split(': ', 1)[0]: line.split(': ', 1)[1] for line in report['skipped_files']}
    assert report['skipped'] == len(skipped) == 5
    assert skipped['songs/songs/short.mid'] == 'only 20 notes'
    duplicates = [name for name, why in skipped.items() if why == 'the same notes as another file']
    assert len(duplicates) == 1 and Path(duplicates[0]).name in ('song0.mid', 'again.MID')
    for name in ('songs/songs/broken.mid', 'songs/songs/noise.mid', 'notation/notation/bad.xml'):
        assert skipped[name]


def test_a_damaged_file_is_no_teacher():
    whole = midi(tune(60))
    assert read_score(ScoreFile('songs', 'a.mid', whole)).n_notes == 60
    with pytest.raises(GenaudioError, match='truncated'):
        read_score(ScoreFile('songs', 'a.mid', whole[:-40]))


def test_a_piece_comes_back_as_it_was_written(tmp_path):
    pieces = [make_piece(f'p{i}', seed=i, drums=True) for i in range(3)]
    pieces[1].meters = np.array([[0, 2], [96, 5]], np.int32)
    pack(pieces, np.array([TRAIN, VALID, TEST], np.uint8), tmp_path / 'x.safetensors', [])
    data = ScoreData(tmp_path / 'x.safetensors')
    for i, piece in enumerate(pieces):
        assert np.array_equal(data.notes(i), piece.notes)
        assert np.array_equal(data.notes(i, 5, 9), piece.notes[5:9])
    assert data.notes(2, 10**6).shape == (0,)
    assert data.meters(1) == [(0, 2), (96, 5)] and data.meters(2) == [(0, 1)]
    assert [data.indices(split).tolist() for split in ('train', 'valid', 'test')] == [[0], [1], [2]]
    assert [index for index, *_ in data.pieces('valid')] == [1]


def test_works_stay_together():
    assert work_of('mutopia', 'bach/suite-1.mid') == work_of('mutopia', 'bach/suite-2.mid')
    assert work_of('mutopia', 'a/suite-1.mid') != work_of('other', 'a/suite-1.mid')
    groove = 'groove_midi_dataset'
    assert work_of(groove, 'drummer1/1_funk_80_beat.mid') == work_of(groove, 'drummer1/1_funk_9_fill.mid')
    assert work_of(groove, 'drummer1/1_funk_80_beat.mid') != work_of(groove, 'drummer1/2_funk_80_beat.mid')
    works = [f'w{i % 300}' for i in range(900)]
    splits = split_by_work(works)
    assert (splits[:300] == splits[300:600]).all() and (splits[:300] == splits[600:]).all()
    shares = np.bincount(splits, minlength=3) / 900
    assert shares[0] > 0.9 and shares[1] > 0.005 and shares[2] > 0.005
    # More data moves no work.
    assert (split_by_work([*works, *(f'new{i}' for i in range(50))])[:900] == splits).all()


def test_small_collections_lend_one_work_to_each_split():
    assert sorted(split_by_work(['a', 'b', 'c'])) == [0, 1, 2]
    assert split_by_work(['a', 'a']).tolist() == [0, 0]


def test_another_edition_of_a_training_piece_is_not_held_out():
    train, other = make_piece('a', seed=1), make_piece('b', seed=2)
    edition = make_piece('a again', seed=1)
    edition.notes['pitch'] += 3  # transposed, half as fast, and with another ending
    edition.notes['step'] *= 2
    edition.notes['pitch'][-20:] = 60
    splits = np.array([TRAIN, VALID, VALID], np.uint8)
    assert near_duplicates([train, other, edition], splits) == [2]
    assert near_duplicates([train, other, edition], np.array([TRAIN, VALID, TRAIN], np.uint8)) == []


def test_prepare_drops_the_edition_it_would_hold_out(tmp_path, monkeypatch):
    from genaudio_core.training.scores import packed_scores

    for i in range(3):
        (tmp_path / f'{i}.mid').write_bytes(midi(tune(80, seed=i if i < 2 else 0)))
    transposed = tune(80, seed=0)
    transposed.tracks[0].notes = [note._replace(note=note.note + 2) for note in transposed.tracks[0].notes]
    (tmp_path / '2.mid').write_bytes(midi(transposed))
    monkeypatch.setattr(packed_scores, 'split_by_work', lambda works: np.array([0, 1, 2], np.uint8))
    report = prepare([tmp_path], tmp_path / 'out.safetensors')
    assert report['split'] == {'train': 1, 'valid': 1, 'test': 0}
    assert 'another edition' in report['skipped_files'][0] and '2.mid' in report['skipped_files'][0]


def test_nothing_usable_is_one_line(tmp_path):
    (tmp_path / 'noise.mid').write_bytes(b'noise')
    with pytest.raises(GenaudioError, match=r'No usable score.*noise\.mid'):
        prepare([tmp_path], tmp_path / 'out.safetensors')
    with pytest.raises(GenaudioError, match='No such file or folder'):
        prepare([tmp_path / 'absent'], tmp_path / 'out.safetensors')
    assert not (tmp_path / 'out.safetensors').exists()


@pytest.mark.parametrize('content', [b'', b'short', b'\xff' * 64, b'\x02\x00\x00\x00\x00\x00\x00\x00{}'])
def test_other_files_are_no_data(tmp_path, content):
    (tmp_path / 'x.safetensors').write_bytes(content)
    with pytest.raises(GenaudioError, match='genaudio-train prepare'):
        ScoreData(tmp_path / 'x.safetensors')
    with pytest.raises(GenaudioError, match='There is no data file'):
        ScoreData(tmp_path / 'absent.safetensors')


def test_data_is_mapped_and_not_read(tmp_path):
    data = ScoreData(make_data(tmp_path / 'x.safetensors', 4))
    base = data._notes['step']
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert isinstance(base, np.memmap)
    assert data.notes(0).dtype == NOTE_TYPE


def test_the_meter_of_a_score_arrives(tmp_path):
    score = tune(MIN_NOTES + 10)
    score.meters = [Meter(0.0, 3, 4)]
    (tmp_path / 'a.mid').write_bytes(midi(score))
    prepare([tmp_path / 'a.mid'], tmp_path / 'out.safetensors')
    assert ScoreData(tmp_path / 'out.safetensors').meters(0) == [(0, 2)]


@given(share=st.floats(0, 0.9999))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_data_file_that_is_cut_off_anywhere_is_one_line(tmp_path, share):
    whole = tmp_path / 'x.safetensors'
    if not whole.exists():
        make_data(whole, 4)
    data = whole.read_bytes()
    (tmp_path / 'cut.safetensors').write_bytes(data[: int(len(data) * share)])
    with pytest.raises(GenaudioError, match=r'cut\.safetensors') as caught:
        ScoreData(tmp_path / 'cut.safetensors')
    assert '\n' not in str(caught.value)
