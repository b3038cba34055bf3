"""The bundled arranger over scores, key after key, and as it is measured: its parts can be played."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.cli import main as genaudio
from genaudio_core.arranging.instrumentation import instrument
from genaudio_core.arranging.live_parts import LiveParts
from genaudio_core.arranging.part_model import PartModel, find_parts
from genaudio_core.commands.cli import main as train
from genaudio_core.errors import GenaudioError
from genaudio_core.files import find_model
from genaudio_core.inference.model_card import ModelCard
from genaudio_core.music import band_metrics as metrics
from genaudio_core.music.part_features import mixture_order
from genaudio_core.score.instruments import RANGE, voices_of
from genaudio_core.score.notes import Note, Score, Track
from genaudio_core.score.reading import read_midi, write_midi

QUARTET = ['violin', 'violin', 'viola', 'cello']
# Four voices in the first bars of a hymn, a beat a chord.
HYMN = [(67, 62, 59, 43), (67, 64, 60, 48), (69, 66, 62, 50), (71, 67, 62, 55), (72, 67, 64, 48), (71, 67, 62, 50),
        (69, 66, 62, 50), (67, 62, 59, 43)] * 3  # fmt: skip


@pytest.fixture(scope='module')
def model() -> PartModel:
    return PartModel.load(find_model('arranger'))


def hymn(*others: Track) -> Score:
    notes = [Note(float(beat), 1.0, pitch, 70) for beat, chord in enumerate(HYMN) for pitch in chord]
    return Score([Track(0, name='piano', notes=sorted(notes)), *others])


def test_a_hymn_becomes_four_voices(model):
    made = instrument(model, hymn(), QUARTET).score
    assert [track.name for track in made.tracks] == ['violin 1', 'violin 2', 'viola', 'cello']
    for track, voice in zip(made.tracks, zip(*HYMN, strict=True), strict=True):
        assert [note.note for note in track.notes] == list(voice)


@pytest.mark.parametrize('names', [QUARTET, ['flute', 'oboe', 'clarinet', 'bassoon'], ['flute', 'piano'], ['tuba']])
def test_parts_can_be_played(model, names):
    rng = np.random.default_rng(3)
    notes = {Note(int(rng.integers(0, 80)) / 4, int(rng.integers(1, 9)) / 4, int(rng.integers(25, 105)), 60)
             for _ in range(200)}  # fmt: skip
    made = instrument(model, Score([Track(0, notes=sorted(notes))]), names)
    for track in made.score.tracks:
        name = track.instrument
        assert all(RANGE[name][0] <= note.note <= RANGE[name][1] for note in track.notes)
        for note in track.notes:
            sounding = sum(n.beat <= note.beat < n.beat + n.duration - 1e-9 for n in track.notes)
            assert sounding <= voices_of(name)
    assert any('octave' in line for line in made.remarks) == ('piano' not in names)
    if names == ['tuba']:
        assert any('left out' in line for line in made.remarks)


def test_free_moves_no_note_and_drums_play_where_they_are_named(model):
    given = hymn(Track(0, True, notes=[Note(0, 1, 36, 99)]))
    made = instrument(model, given, [*QUARTET, 'drums'], free=True).score
    assert sorted(n for t in made.tracks for n in t.notes) == sorted(n for t in given.tracks for n in t.notes)
    assert 'drums' not in instrument(model, given, QUARTET).score.instruments
    assert instrument(model, given, ['drums']).score.n_notes == 1
    with pytest.raises(GenaudioError, match='no drums'):
        instrument(model, hymn(), ['drums'])
    with pytest.raises(GenaudioError, match='no note'):
        instrument(model, Score(), QUARTET)


def test_keys_give_the_scores_of_the_file(model):
    rng = np.random.default_rng(5)
    onset = np.repeat(np.arange(24) / 2, 2)
    pitch = np.concatenate([rng.choice(np.arange(45, 80), 2, replace=False) for _ in range(24)])
    end = onset + rng.choice([0.25, 0.5, 0.75], 48)
    order = mixture_order(onset, pitch, end - onset)
    onset, pitch, end = onset[order], pitch[order], end[order]
    live, rows = LiveParts(model, QUARTET), []
    events = sorted([(e, 0, k) for e, k in zip(end, pitch, strict=True)]
                    + [(o, 1, k) for o, k in zip(onset, pitch, strict=True)])  # fmt: skip
    clean = all((pitch[i] != pitch[j]) or end[j] <= onset[i] for i in range(48) for j in range(i))
    for beat, down, key in events:
        if down:
            rows.append(live.key_down(beat, int(key), beat % 1))
        else:
            live.key_up(beat, int(key))
    expected = model.scores(onset, pitch, end, QUARTET, live=True)
    far = np.abs(np.array(rows) - expected).max(axis=1)
    first = next((i for i in range(48) for j in range(i) if pitch[i] == pitch[j] and end[j] > onset[i]), 48)
    assert far[:first].max() < 1e-4 and first > 8 and (clean or first < 48)


def test_a_published_model_takes_its_own_parts_only():
    config = {'network': 'published', 'family': 'lstm', 'parts': QUARTET, 'hints': False}
    card = ModelCard('arranger', details={'config': config})
    loaded: Any = SimpleNamespace(card=card, path='them.onnx', provider='cpu', session=None)
    model = PartModel(loaded)
    with pytest.raises(GenaudioError, match=r'4 parts \(violin, violin, viola, cello\), and 2'):
        model.scores(np.zeros(1), np.array([60]), np.ones(1), ['flute', 'oboe'])
    with pytest.raises(GenaudioError, match='note by note'):
        LiveParts(model, QUARTET)
    with pytest.raises(GenaudioError, match='violin'):
        find_parts('violn, cello')
    with pytest.raises(GenaudioError, match='No instrument'):
        find_parts(' , ')


def test_the_command_gives_two_violins_and_says_what_it_did(tmp_path, capsys):
    write_midi(hymn(), tmp_path / 'in.mid')
    out = tmp_path / 'out.mid'
    argv = ['arrange', str(tmp_path / 'in.mid'), '--instruments', 'violin,violin,viola,cello', '-o', str(out), '--json']
    assert genaudio(argv) == 0
    result = json.loads(capsys.readouterr().out)
    assert result['model'].endswith('arranger.onnx') and result['notes_out'] == 96
    assert len([track for track in read_midi(out).tracks if track.notes]) == 4


def test_known_parts_are_measured_beside_the_baselines(tmp_path, capsys):
    from tiny_data import make_data

    rows = sorted((24 * beat, pitch, 24, part) for beat, chord in enumerate(HYMN) for part, pitch in enumerate(chord))
    np.savez(tmp_path / 'notes.npz', **{'quartet/hymn': np.array(rows)})
    data = make_data(tmp_path / 'scores.safetensors')
    table = tmp_path / 'table.json'
    notes = str(tmp_path / 'notes.npz')
    argv = ['evaluate-arranger', 'arranger', '--data', str(data), '--notes', notes, '-o', str(table)]
    assert train(argv) == 0
    found = {row['way']: row for row in json.loads(table.read_text())}
    assert found['whole, searched']['accuracy'] == 100 and found['whole, searched']['crossings'] == 0
    assert {'closest', 'closest, mono', 'live', 'live, searched', 'whole'} <= set(found)
    np.savez(tmp_path / 'notes.npz', **{'duo/hymn': np.array(rows)})
    capsys.readouterr()
    assert train(argv) != 0 and 'quartet' in capsys.readouterr().err


@st.composite
def anything(draw) -> Score:
    notes = draw(
        st.lists(
            st.builds(
                Note, st.integers(0, 60).map(lambda i: i / 4), st.integers(1, 30).map(lambda i: i / 4),
                st.integers(0, 127), st.integers(1, 127),
            ),
            min_size=1, max_size=60,
        )
    )  # fmt: skip
    return Score([Track.of('piano', sorted(set(notes)))])


@settings(max_examples=40, deadline=None)
@given(anything(), st.sets(st.sampled_from(['flute', 'violin', 'cello', 'trumpet', 'piano', 'bass']), min_size=1))
def test_nobody_is_given_a_note_he_does_not_have_nor_more_than_he_has_hands(score, names):
    made = instrument(PartModel.load(find_model('arranger')), score, sorted(names), temperature=8.0, seed=1)
    for track in made.score.tracks:
        low, high = metrics.RANGE[track.instrument]
        # What an octave cannot bring into a narrow range is nobody's.
        assert metrics.out_of_range(track.notes, track.instrument) in (0, pytest.approx(0, nan_ok=True)), (low, high)
        assert metrics.too_many_voices(track.notes, track.instrument) in (0, pytest.approx(0, nan_ok=True))
    left = score.n_notes - made.score.n_notes
    assert left >= 0
    if left:
        assert any('left out' in line for line in made.remarks) or len(names) < 6
