import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from small_decoders import CONFIGS, CONTEXT, decoder, events, file, model, torch_hidden
from small_model import small_model

from genaudio_core.continuation.continuer import ContextFull, Continuer
from genaudio_core.continuation.decoder import Decoder, nll
from genaudio_core.errors import GenaudioError
from genaudio_core.inference.model_card import ModelCard, read_model, write_model
from genaudio_core.music.events import timeline

NAMES = tuple(CONFIGS)
CLOSE = {'rtol': 0, 'atol': 2e-5}  # of hidden states of size about 3


@pytest.mark.parametrize('name', NAMES)
def test_steps_equal_torch(name):
    rows = events(name, 70)
    expected = torch_hidden(name, rows)
    continuer = Continuer(decoder(name))
    for i, row in enumerate(rows):
        continuer.feed(row)
        assert_allclose(continuer.hidden[0], expected[i], **CLOSE)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('sizes', [[CONTEXT], [1, CONTEXT - 1], [CONTEXT - 1, 1], [128, 32], [7] * 22, [2, 64, 1, 65]])
def test_chunks_equal_torch_up_to_a_full_context(name, sizes):
    rows = events(name, CONTEXT, seed=1)
    expected = torch_hidden(name, rows)
    continuer = Continuer(decoder(name))
    for size in sizes:
        continuer.feed(rows[continuer.length : continuer.length + size])
        assert_allclose(continuer.hidden[0], expected[continuer.length - 1], **CLOSE)


@pytest.mark.parametrize('name', NAMES)
@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 40)), min_size=1, max_size=6), st.integers(0, 99))
def test_any_rewinds_leave_no_trace(name, moves, seed):
    rng = np.random.default_rng(seed)
    continuer, history = Continuer(decoder(name)), events(name, 0)
    for back, forward in moves:
        keep = max(len(history) - back, 0)
        fresh = events(name, min(forward, CONTEXT - keep), seed=int(rng.integers(1 << 30)))
        history = np.concatenate((history[:keep], fresh))
        continuer.rewind(keep)
        continuer.feed(fresh)
    assert_array_equal(continuer.events[0], history)
    assert_allclose(continuer.hidden[0], torch_hidden(name, history)[-1], **CLOSE)


@pytest.mark.parametrize('name', NAMES)
def test_logits_equal_torch(name):
    config, rows = CONFIGS[name], events(name, 20)
    continuer = Continuer(decoder(name))
    continuer.feed(rows[:19])
    chosen = rows[19:].astype(np.int64)
    step, phase = timeline(rows, config.layout)
    assert continuer.when(chosen)[0] == step[19] and continuer.when(chosen)[1] == phase[19]
    hidden = torch.from_numpy(torch_hidden(name, rows[:19])[-1:])
    so_far = np.zeros_like(chosen)
    for field in config.layout.order:
        got = continuer.logits(field, so_far)
        with torch.no_grad():
            expected = model(name).heads.logits(field, hidden, torch.from_numpy(so_far), torch.from_numpy(phase[19:]))
        assert_allclose(got, expected.numpy(), **CLOSE)
        assert got.shape == (1, config.layout.sizes[config.layout.index(field)])
        so_far[0, config.layout.index(field)] = chosen[0, config.layout.index(field)]


def test_chained_fields_see_what_was_chosen_and_independent_ones_do_not():
    for name, differs in (('live', True), ('mmt', False)):
        continuer = Continuer(decoder(name))
        continuer.feed(events(name, 5))
        low, high = events(name, 2, seed=3).astype(np.int64)
        assert (np.abs(continuer.logits('duration', low) - continuer.logits('duration', high)).max() > 1e-3) == differs


def test_logits_are_the_callers_to_change():
    continuer = Continuer(decoder('live'))
    continuer.feed(events('live', 5))
    first = continuer.logits('type')
    kept = first.copy()
    continuer.feed(events('live', 1, seed=1))
    continuer.logits('type')[:] = -np.inf
    assert_array_equal(first, kept)


def test_a_chained_field_asks_for_the_fields_before_it():
    continuer = Continuer(decoder('live'))
    continuer.feed(events('live', 3))
    with pytest.raises(ValueError, match="'pitch' depends on the fields chosen before it"):
        continuer.logits('pitch')


@pytest.mark.parametrize('name', NAMES)
def test_time_is_that_of_the_encoding(name):
    rows = events(name, 60, seed=4)
    rows[::7, 0] = 4  # events without a time between the others
    continuer = Continuer(decoder(name))
    continuer.feed(rows[:11])
    for row in rows[11:]:
        continuer.feed(row)
    step, phase = timeline(rows, CONFIGS[name].layout)
    assert_array_equal(continuer.steps[0], step)
    assert_array_equal(continuer.phases[0], phase)


@pytest.mark.parametrize('name', NAMES)
def test_takes_part_ways_and_do_not_disturb_each_other(name):
    past, takes = events(name, 40), 4
    tails = np.stack([events(name, 12, seed=10 + i) for i in range(takes)])
    continuer = Continuer(decoder(name))
    continuer.feed(past)
    band = continuer.fork(takes)
    for i in range(5):
        band.feed(tails[:, i : i + 1])
    band.feed(tails[:, 5:])  # several events for several takes behind a past
    expected = [torch_hidden(name, np.concatenate((past, tail)))[-1] for tail in tails]
    assert_allclose(band.hidden, np.stack(expected), **CLOSE)
    assert_allclose(continuer.hidden[0], torch_hidden(name, past)[-1], **CLOSE)  # the original goes on undisturbed
    alone = band.select(2)
    more = events(name, 3, seed=77)
    alone.feed(more)
    whole = np.concatenate((past, tails[2], more))
    assert_array_equal(alone.events[0], whole)
    assert_allclose(alone.hidden[0], torch_hidden(name, whole)[-1], **CLOSE)


def test_a_step_copies_no_cache():
    # What was written stays where it is: the very memory that was bound holds all keys, and nothing beyond.
    continuer = Continuer(decoder('live'))
    caches = continuer._buffers._arrays
    before = {name: array.ctypes.data for name, array in caches.items()}
    continuer.feed(events('live', 10))
    marks = {name: array[:, :, :10].copy() for name, array in caches.items()}
    continuer.feed(events('live', 1, seed=1))
    for name, array in caches.items():
        assert array.ctypes.data == before[name]
        assert_array_equal(array[:, :, :10], marks[name])
        assert np.abs(array[:, :, 10]).max() > 0
        assert not array[:, :, 11:].any()


def test_bad_events_are_refused_and_leave_the_past_alone():
    continuer = Continuer(decoder('live'))
    continuer.feed(events('live', 5))
    past = continuer.hidden.copy()
    wrong = events('live', 3)
    wrong[1, 3] = 500
    for bad in (wrong, -np.ones((1, 8), int), np.zeros((2, 5), int), np.zeros((3, 2, 8), int)):
        with pytest.raises(ValueError, match=r'outside its field|events must be'):
            continuer.feed(bad)
    with pytest.raises(ContextFull, match='155 of 160 are free'):
        continuer.feed(events('live', CONTEXT))
    with pytest.raises(ValueError, match='cannot rewind to 6'):
        continuer.rewind(6)
    assert continuer.length == 5
    assert_array_equal(continuer.hidden, past)
    with pytest.raises(ValueError, match='at least one event'):
        _ = Continuer(decoder('live')).hidden


def session(name: str, n: int) -> np.ndarray:
    """A session that could have been played: header, then notes four to the beat, bars of 4/4."""
    encoding = CONFIGS[name].layout
    from genaudio_core.music.events import header
    from genaudio_core.music.layouts import NOTE

    head = header(['piano', 'bass'], encoding)
    rows = np.zeros((n, len(encoding.fields)), np.int16)
    rows[: len(head)] = head
    i = np.arange(n - len(head))
    beat = i // 4
    body = rows[len(head) :]
    body[:, 0] = NOTE
    body[:, 1] = np.diff(beat, prepend=0) + 1 if encoding.relative_beat else beat + 1
    body[:, 2] = i % 4 * 3 + 1
    body[:, 3] = 50 + i * 7 % 24
    body[:, 4], body[:, 5] = 3, 1
    return rows


@pytest.mark.parametrize('name', NAMES)
def test_rebase_while_playing(name):
    continuer, rows = Continuer(decoder(name)), session(name, CONTEXT)
    continuer.feed(rows[:120])
    rebase = continuer.start_rebase(60)
    assert continuer.adopt(rebase) is None  # not done: nothing happens
    thread = threading.Thread(target=rebase.run)
    thread.start()
    for row in rows[120:130]:  # the band plays on
        continuer.feed(row)
    thread.join()
    old_steps = continuer.steps[0].copy()
    dropped = continuer.adopt(rebase)
    assert dropped and continuer.length == 130 - dropped <= 70
    # It is a past that the model knows: header, a bar line, the notes of the last bars.
    assert_allclose(continuer.hidden[0], torch_hidden(name, continuer.events[0])[-1], **CLOSE)
    n = 40
    assert_array_equal(continuer.events[0, -n:, 3:], rows[130 - n : 130, 3:])
    assert len(set(old_steps[-n:] - continuer.steps[0, -n:])) == 1  # all moved together ...
    assert (old_steps[-1] - continuer.steps[0, -1]) % 48 == 0  # ... by whole bars
    continuer.feed(rows[130:])
    assert continuer.length == CONTEXT - dropped


def test_rebase_is_of_no_use_after_a_rewind_behind_it():
    continuer, rows = Continuer(decoder('live')), session('live', 120)
    continuer.feed(rows)
    rebase = continuer.start_rebase(60)
    rebase.run()
    continuer.rewind(100)
    assert continuer.adopt(rebase) is None
    continuer.feed(session('live', 120)[60:80])
    assert continuer.adopt(rebase) is None
    assert continuer.length == 120
    rebase = continuer.start_rebase(60)
    rebase.cancelled = True
    rebase.run()
    assert not rebase.done


def test_two_continuers_in_two_threads():
    rows = {seed: events('live', 100, seed=seed) for seed in (1, 2)}
    results: dict[int, np.ndarray] = {}

    def play(seed: int) -> None:
        continuer = Continuer(decoder('live'))
        for row in rows[seed]:
            continuer.feed(row)
        results[seed] = continuer.hidden[0].copy()

    threads = [threading.Thread(target=play, args=(seed,)) for seed in rows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, hidden in results.items():
        assert_allclose(hidden, torch_hidden('live', rows[seed])[-1], **CLOSE)


@pytest.mark.parametrize('name', NAMES)
def test_nll_equals_that_of_training(name):
    from genaudio_core.training.fit.mmt import evaluate

    windows = [events(name, n, seed=n) for n in (150, 33)]
    expected = evaluate(model(name), {'all': windows}, batch=1)['all']
    got = nll(decoder(name), windows)
    assert got['events'] == expected['events']
    for field in ('nll', *CONFIGS[name].layout.fields):
        assert got[field] == pytest.approx(expected[field], abs=1e-4)


def spoiled(**changes):
    model = read_model(file('live'))
    details = {k: v for k, v in (model.card.details | changes).items() if v is not None}
    return model.data, ModelCard(**{**model.card.__dict__, 'details': details})


@pytest.mark.parametrize('changes', [{'dim': None}, {'dim': 'wide'}, {'dim': 1 << 30}, {'dim': -1}, {'chained': None}])
def test_a_card_that_makes_no_sense_is_told(tmp_path, changes):
    write_model(tmp_path / 'x.onnx', *spoiled(**changes))
    with pytest.raises(GenaudioError, match='not a decoder that this version'):
        Decoder.load(tmp_path / 'x.onnx')


def test_a_graph_that_is_no_decoder(tmp_path):
    write_model(tmp_path / 'x.onnx', small_model(), read_model(file('live')).card)
    with pytest.raises(GenaudioError, match='not a decoder that this version'):
        Decoder.load(tmp_path / 'x.onnx')


def test_events_of_another_meaning_are_refused(tmp_path):
    model = read_model(file('live'))
    layout = model.card.layout | {'fingerprint': 'f' * 16}
    write_model(tmp_path / 'x.onnx', model.data, ModelCard(**{**model.card.__dict__, 'layout': layout}))
    with pytest.raises(GenaudioError, match="event layout 'live'"):
        Decoder.load(tmp_path / 'x.onnx')
