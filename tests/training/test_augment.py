"""Augmentation leaves music music."""

import numpy as np
import pytest
from tiny_data import make_piece, notes

from genaudio_core.music.events import DRUM_PROGRAM
from genaudio_core.score.instruments import FAMILY, INSTRUMENTS, PROGRAM_TO_LIVE_CODE
from genaudio_core.training.scores.augment import augment, drop_tracks, rescale_velocity, substitute, transpose


def family(program: int) -> str:
    return FAMILY[INSTRUMENTS[PROGRAM_TO_LIVE_CODE[program] - 1]]


def test_transposition_moves_all_but_drums_and_clips():
    table = notes([(0, 6, 60, 80, 0), (0, 6, 125, 80, 40), (0, 3, 36, 80, DRUM_PROGRAM), (6, 6, 3, 80, 40)])
    up = transpose(table, 5)
    assert up['pitch'][up['program'] == 0].tolist() == [65]
    assert sorted(up['pitch'][up['program'] == 40]) == [8, 127]
    assert up['pitch'][up['program'] == DRUM_PROGRAM].tolist() == [36]
    assert transpose(table, -5)['pitch'][table['pitch'] == 3].tolist() == [0]
    assert table['pitch'].max() == 125  # the argument is left alone


def test_substitutes_are_of_the_family_and_whole_tracks_move():
    table = make_piece('a', drums=True).notes
    moved = False
    for seed in range(20):
        other = substitute(table, np.random.default_rng(seed), 1.0)
        for program in np.unique(table['program']):
            new = np.unique(other['program'][table['program'] == program])
            assert len(new) == 1
            if program == DRUM_PROGRAM:
                assert new[0] == DRUM_PROGRAM
            else:
                assert family(int(new[0])) == family(int(program))
                moved |= new[0] != program
    assert moved
    assert np.array_equal(substitute(table, np.random.default_rng(0), 0.0), table)


def test_dropping_tracks_keeps_at_least_one_whole():
    table = make_piece('a', drums=True).notes
    kept = set()
    for seed in range(30):
        left = drop_tracks(table, np.random.default_rng(seed))
        programs = np.unique(left['program'])
        assert 1 <= len(programs) < 3
        kept |= {len(programs)}
        assert np.array_equal(left, table[np.isin(table['program'], programs)])
    assert kept == {1, 2}
    alone = table[table['program'] == 40]
    assert np.array_equal(drop_tracks(alone, np.random.default_rng(0)), alone)


@pytest.mark.parametrize('seed', range(10))
def test_velocities_stay_velocities(seed):
    table = notes([(i, 6, 60, velocity, 0) for i, velocity in enumerate((1, 40, 90, 127))])
    other = rescale_velocity(table, np.random.default_rng(seed))
    assert other['velocity'].min() >= 1 and other['velocity'].max() <= 127
    assert (np.diff(other['velocity'].astype(int)) >= 0).all()  # louder stays louder


def test_the_same_seed_draws_the_same_music_and_published_only_transposes():
    table = make_piece('a', drums=True).notes
    one, again, other = (augment(table, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    shifts = set()
    for seed in range(60):
        plain = augment(table, np.random.default_rng(seed), full=False)
        assert np.array_equal(plain['velocity'], table['velocity'])
        assert np.array_equal(plain['program'], table['program'])
        shifts |= set((plain['pitch'].astype(int) - table['pitch'])[table['program'] != DRUM_PROGRAM].tolist())
    assert shifts == set(range(-5, 7))
