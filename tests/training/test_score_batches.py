"""What a training step sees: crops on bar lines, padding, balance, fixed windows."""

import numpy as np
import pytest
from tiny_data import make_data, make_piece

from genaudio_core.music.events import encode_table, timeline
from genaudio_core.music.layouts import END_OF_SONG, LIVE, METER, MMT, NOTE, START_OF_SONG
from genaudio_core.training.scores.batches import WindowSampler, bar_line, collate, fixed_windows
from genaudio_core.training.scores.packed_scores import ScoreData, pack


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> ScoreData:
    path = tmp_path_factory.mktemp('data') / 'x.safetensors'
    return ScoreData(make_data(path, 6, bars=40, sources=('band', 'orchestra')))


def test_bar_lines_follow_the_meter():
    meters = [(0, 1), (96, 2)]  # two bars of 4/4, then 3/4
    assert [bar_line(step, meters) for step in (0, 47, 48, 95, 96, 131, 132)] == [0, 0, 48, 48, 96, 96, 132]
    assert bar_line(50, []) == 48


@pytest.mark.parametrize('encoding', [LIVE, MMT], ids=lambda e: e.name)
def test_sequences_are_whole_and_short_enough(data, encoding):
    sampler = WindowSampler(data, encoding, 64)
    beginnings = set()
    for seed in range(40):
        events = sampler.sequence(np.random.default_rng(seed))
        assert 12 < len(events) <= 65
        assert events[0, 0] == START_OF_SONG
        assert (events >= 0).all() and (events < np.array(encoding.sizes)).all()
        step, phase = timeline(events, encoding)
        first = int(np.argmax(events[:, 0] >= NOTE))
        assert phase[first] == 0  # begins on a bar line
        assert step[first] < 48
        beginnings.add(events[first + 1 :, 3].tobytes())
    assert len(beginnings) > 30


def test_an_end_is_learnt_only_where_the_piece_ends(data):
    sampler = WindowSampler(data, LIVE, 100_000)
    events = sampler.sequence(np.random.default_rng(0))
    assert events[-1, 0] == END_OF_SONG
    short = WindowSampler(data, LIVE, 64)
    ends = [short.sequence(np.random.default_rng(seed))[-1, 0] == END_OF_SONG for seed in range(150)]
    assert 0 < sum(ends) < 50
    published = WindowSampler(data, MMT, 64, as_published=True)
    for seed in range(10):  # the original's quirk: an end where the sequence is cut
        events = published.sequence(np.random.default_rng(seed))
        assert len(events) == 64 and events[-1, 0] == END_OF_SONG


def test_batches_depend_on_seed_step_and_rank_only(data):
    sampler = WindowSampler(data, LIVE, 48)
    first = sampler.batch(3, seed=1, step=5)
    sampler.batch(3, seed=1, step=6)
    again = WindowSampler(data, LIVE, 48).batch(3, seed=1, step=5)
    assert all(first[name].equal(again[name]) for name in first)
    for other in (sampler.batch(3, 1, 6), sampler.batch(3, 2, 5), sampler.batch(3, 1, 5, rank=1)):
        assert not (first['events'].shape == other['events'].shape and first['events'].equal(other['events']))


def test_collate_shifts_by_one_and_marks_padding():
    long, short = (encode_table(make_piece('a', seed=s).notes, LIVE)[:n] for s, n in ((1, 20), (2, 12)))
    b = collate([long, short], LIVE)
    assert b['events'].shape == (2, 19, 8) and b['target'].shape == (2, 19, 8)
    assert np.array_equal(b['events'][0].numpy(), long[:-1]) and np.array_equal(b['target'][0].numpy(), long[1:])
    assert (b['target'][1, 11:, 0] == -1).all() and (b['target'][1, :11, 0] >= 0).all()
    step, phase = timeline(short, LIVE)
    assert b['step'][1, :11].tolist() == step[:-1].tolist()
    assert b['target_phase'][1, :11].tolist() == phase[1:].tolist()


def test_balance_lifts_the_small_source(tmp_path):
    pieces = [make_piece(f'large-{i}', seed=i, source='large', bars=48) for i in range(8)]
    pieces.append(make_piece('small-0', seed=99, source='small', bars=4))
    pack(pieces, np.zeros(9, np.uint8), tmp_path / 'x.safetensors', [])
    data = ScoreData(tmp_path / 'x.safetensors')

    def share(balance: float) -> float:
        sampler = WindowSampler(data, LIVE, 64, balance=balance)
        return float(np.diff(sampler.cumulative, prepend=0.0)[-1])

    assert share(1.0) == pytest.approx(4 / (8 * 48 + 4), rel=0.01)
    assert share(0.0) == pytest.approx(0.5)
    assert share(1.0) < share(0.5) < share(0.0)


def test_excluded_sources_are_never_drawn(data):
    sampler = WindowSampler(data, LIVE, 64, exclude=('band',))
    assert {data.sources[data.source[i]] for i in sampler.pieces} == {'orchestra'}
    windows = fixed_windows(data, LIVE, 64, 'valid', per_source=4, exclude=('band',))
    assert set(windows) == {'orchestra'}


def test_fixed_windows_are_fixed_and_of_the_split(data):
    one, again = (fixed_windows(data, LIVE, 64, 'test', per_source=3) for _ in range(2))
    assert set(one) == {'band', 'orchestra'}
    for source, found in one.items():
        assert len(found) == 1 and all(len(window) <= 65 for window in found)
        assert all(np.array_equal(a, b) for a, b in zip(found, again[source], strict=True))
        assert found[0][2:5, 0].tolist().count(METER) == 1  # header, then the meter on the bar line
    index = int(data.indices('test')[0])
    source = data.sources[data.source[index]]
    expected = encode_table(data.notes(index), LIVE, meters=data.meters(index))[:65]
    assert np.array_equal(one[source][0], expected)


def test_excerpts_begin_on_step_zero(data):
    sampler = WindowSampler(data, LIVE, 64)
    ended = set()
    for seed in range(40):
        table, ends = sampler.excerpt(np.random.default_rng(seed))
        assert 10 < len(table) <= 3 * 64
        assert 0 <= table['step'][0] < 48 and (np.diff(table['step']) >= 0).all()
        ended.add(ends)
    assert ended == {True, False}
