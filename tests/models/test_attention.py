"""The attention study finds what was planted, by both definitions."""

import numpy as np
import pytest
import torch
from tiny_data import make_piece

from genaudio_core.analysis.attention import (
    DEFINITIONS,
    FIELDS,
    FieldAttention,
    accumulate,
    draw,
    save,
    strongest,
    study,
    values,
)
from genaudio_core.models.mmt import MMT as Model
from genaudio_core.models.mmt import TINY
from genaudio_core.music.events import encode_table
from genaudio_core.music.layouts import LIVE, MMT, NOTE


@pytest.mark.parametrize('encoding', [LIVE, MMT], ids=lambda e: e.name)
def test_beats_are_absolute_in_every_layout(encoding):
    events = encode_table(make_piece('a', seed=1).notes, encoding)
    found = values(events, encoding)
    notes = events[:, 0] == NOTE
    assert sorted(set(found['beat'][notes].tolist())) == list(range(1, 49))
    assert (found['beat'][:2] == 0).all() and found['beat'][-1] == 0  # header and end have no time
    assert (found['pitch'][~notes] == 0).all()


def by_hand(value, weights, reach):
    """Both definitions pair by pair, from their words."""
    result = {name: (np.zeros(2 * reach + 1), np.zeros(2 * reach + 1)) for name in DEFINITIONS}
    for query in range(len(value)):
        for key in range(len(value)):
            if not value[query] or not value[key]:
                continue
            k = value[key] - value[query] + reach
            if key < query:
                result['paper'][0][k] += weights[query, key]
                result['paper'][1][k] += 1
            result['code'][0][k] += weights[query, key]
            result['code'][1][k] += 1
    return result


def test_sums_agree_with_pair_by_pair():
    rng = np.random.default_rng(0)
    value = rng.integers(0, 6, 30)
    weights = torch.from_numpy(rng.random((2, 3, 30, 30))).float().tril()
    weights = weights / weights.sum(-1, keepdim=True)
    attention = FieldAttention(6, 2, 3)
    accumulate(attention, value, weights)
    for layer in range(2):
        for head in range(3):
            expected = by_hand(value, weights[layer, head].numpy(), 6)
            for name in DEFINITIONS:
                weight, pairs = expected[name]
                np.testing.assert_allclose(attention.weight[name][layer, head], weight, atol=1e-5)
                np.testing.assert_array_equal(attention.pairs[name], pairs)
                np.testing.assert_allclose(
                    attention.gain(name)[layer, head], weight / weight.sum() - pairs / pairs.sum(), atol=1e-6
                )


def test_even_attention_gains_nothing_by_the_paper_but_does_by_the_script():
    value = np.arange(1, 41)
    even = torch.ones(40, 40).tril(-1)  # every earlier event alike
    attention = FieldAttention(40, 1, 1)
    accumulate(attention, value, even[None, None])
    np.testing.assert_allclose(attention.gain('paper'), 0, atol=1e-9)
    # The script's baseline also counts pairs to the future, so the past seems favoured.
    gain = attention.gain('code')[0, 0]
    assert gain[:40].sum() > 0.4 and gain[41:].sum() < -0.4


class Planted:
    """A model of two layers and two heads: head 1 of the last layer looks four beats back, head 2 an octave up."""

    config = TINY

    def eval(self):
        return self

    def __call__(self, events, step, phase, weights):
        n = events.shape[1]
        pitch, kind = events[0, :, 3], events[0, :, 0]
        past = torch.ones(n, n).tril()
        beat = step[0] // 12
        notes = (kind == NOTE)[None] & (kind == NOTE)[:, None]
        four_back = ((beat[None] - beat[:, None]) == -4) & notes
        octave = ((pitch[None] - pitch[:, None]) == 12) & notes
        planted = torch.stack([(past * (0.01 + rule)) for rule in (four_back, octave)])
        planted = planted / planted.sum(-1, keepdim=True)
        even = (past / past.sum(-1, keepdim=True)).expand(2, n, n)
        weights += [even[None], planted[None]]


def test_a_planted_pattern_is_found(tmp_path):
    sequences = [encode_table(make_piece('a', seed=seed).notes, LIVE)[:120] for seed in range(3)]
    result = study(Planted(), sequences)
    assert set(result) == set(FIELDS)
    beat, pitch = result['beat'], result['pitch']
    for definition in DEFINITIONS:
        assert int(beat.gain(definition)[1, 0].argmax()) - beat.reach == -4
        assert int(pitch.gain(definition)[1, 1].argmax()) - pitch.reach == 12
    assert beat.gain()[1, 0].max() > 0.3
    # The layer that looks at everything alike: no head of it stands out.
    assert np.abs(beat.gain()[0]).max() < 0.1
    np.testing.assert_allclose(beat.mean().sum(-1), 1)
    assert strongest(result, 1)['beat'][0]['difference'] == -4

    for layers in ('last', 'all'):
        draw({'beat': beat, 'pitch': pitch}, tmp_path / f'{layers}.png', layers=layers, title='planted')
        assert (tmp_path / f'{layers}.png').read_bytes()[:4] == b'\x89PNG'
    assert (tmp_path / 'last.png').read_bytes() != (tmp_path / 'all.png').read_bytes()
    save(result, tmp_path / 'numbers.npz')
    with np.load(tmp_path / 'numbers.npz') as numbers:
        np.testing.assert_array_equal(numbers['beat/paper/weight'], beat.weight['paper'])
        np.testing.assert_array_equal(numbers['pitch/code/pairs'], pitch.pairs['code'])


def test_study_of_a_real_model_counts_every_layer_and_head():
    torch.manual_seed(0)
    result = study(Model(TINY), [encode_table(make_piece('a', seed=2).notes, LIVE)[:40]])
    for attention in result.values():
        assert attention.mean().shape == (TINY.layers, TINY.heads, 2 * attention.reach + 1)
        sums = attention.mean('code').sum(-1)
        assert ((np.abs(sums - 1) < 1e-6) | (sums == 0)).all()
    np.testing.assert_allclose(result['pitch'].mean().sum(-1), 1)
