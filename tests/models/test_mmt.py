"""The model: size, causality, cache, padding, chained fields, and what the loss counts."""

import numpy as np
import pytest
import torch
from tiny_data import make_piece

from genaudio_core.models import mmt
from genaudio_core.models.mmt import CONFIGS, TINY, MMTConfig, count_parameters
from genaudio_core.models.tokens import TokenConfig, TokenModel
from genaudio_core.music.events import encode_table, timeline
from genaudio_core.music.layouts import LIVE, MMT
from genaudio_core.training.scores.batches import collate

_SIZE = {'dim': 32, 'layers': 2, 'heads': 2, 'head_dim': 32, 'dropout': 0.0}
SMALL = {
    **{name: MMTConfig('mmt', positions=name, **_SIZE) for name in ('learned', 'rotary', 'none')},
    'musical': MMTConfig('live', positions='musical', chained=True, **_SIZE),
}
every_position = pytest.mark.parametrize('position', SMALL)


def build(config: MMTConfig, seed: int = 0) -> mmt.MMT:
    torch.manual_seed(seed)
    return mmt.MMT(config).eval()


def music(config: MMTConfig, n: int = 40, seed: int = 3):
    """(events, step, phase), each with a batch axis of one."""
    events = encode_table(make_piece('a', seed=seed, drums=True).notes, config.layout)[:n]
    step, phase = timeline(events, config.layout)
    return tuple(torch.from_numpy(np.asarray(a, np.int64))[None] for a in (events, step, phase))


@pytest.mark.parametrize(
    ('name', 'parameters'),
    [('published', 19_944_950), ('published-rotary', 19_420_662), ('published-none', 19_420_662)],
)
def test_published_sizes(name, parameters):
    assert count_parameters(mmt.MMT(CONFIGS[name])) == parameters


@pytest.mark.parametrize(('vocabulary', 'parameters'), [(372, 19_811_700), (1264, 20_726_000)])
def test_sizes_of_the_published_baselines(vocabulary, parameters):
    assert count_parameters(TokenModel(TokenConfig(vocabulary=vocabulary))) == parameters


@every_position
def test_the_future_changes_nothing(position):
    model = build(SMALL[position])
    events, step, phase = music(SMALL[position])
    before = model(events, step, phase)
    other = events.clone()
    other[:, 25:, 3] = other[:, 25:, 3] % 100 + 7
    other[:, 25:, 5] = 9
    after = model(other, step + (torch.arange(step.shape[1]) >= 25) * 12, phase)
    torch.testing.assert_close(after[:, :25], before[:, :25], rtol=0, atol=1e-6)
    assert not torch.allclose(after[:, 25:], before[:, 25:], atol=1e-3)


@every_position
def test_no_gradient_comes_from_the_future(position):
    model = build(SMALL[position])
    events, step, phase = music(SMALL[position])
    x = model.embedding(events, phase, torch.arange(events.shape[1])).detach().requires_grad_()
    model.embedding = lambda *_: x
    # Any direction but (1, 1, ...), which the last norm makes zero.
    (model(events, step, phase)[0, 20] * torch.arange(32)).sum().backward()
    assert x.grad is not None
    reach = x.grad[0].abs().sum(-1)
    assert (reach[21:] == 0).all()
    assert (reach[:21] > 0).all()


@every_position
@pytest.mark.parametrize('cuts', [(1, 2, 3), (17,), (39,), tuple(range(1, 40))])
def test_cache_equals_no_cache(position, cuts):
    model = build(SMALL[position])
    events, step, phase = music(SMALL[position])
    whole = model(events, step, phase)
    cache: list = []
    parts = []
    for a, b in zip((0, *cuts), (*cuts, events.shape[1]), strict=True):
        parts.append(model(events[:, a:b], step[:, a:b], phase[:, a:b], cache=cache))
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=2e-5)


@every_position
def test_padding_changes_nothing(position):
    config = SMALL[position]
    model = build(config)
    long, short = (encode_table(make_piece('a', seed=s).notes, config.layout)[:n] for s, n in ((1, 50), (2, 23)))

    def losses(sequences):
        b = collate(sequences, config.layout)
        hidden = model(b['events'], b['step'], b['phase'])
        return hidden, model.field_losses(hidden, b['target'], b['target_phase'])

    alone, (loss_short, count_short) = losses([short])
    _, (loss_long, count_long) = losses([long])
    together, (loss, count) = losses([long, short])
    torch.testing.assert_close(together[1, :22], alone[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(loss, loss_short + loss_long, rtol=1e-5, atol=1e-3)
    assert (count == count_short + count_long).all()


def test_attention_weights_are_causal_and_sum_to_one():
    model = build(TINY)
    weights: list = []
    inputs = music(TINY)
    hidden = model(*inputs, weights=weights)
    torch.testing.assert_close(hidden, model(*inputs), rtol=0, atol=1e-5)  # looking on changes nothing
    assert len(weights) == TINY.layers and weights[0].shape == (1, TINY.heads, 40, 40)
    for layer in weights:
        torch.testing.assert_close(layer.sum(-1), torch.ones(1, TINY.heads, 40))
        assert (layer.triu(1) == 0).all()


def test_chained_heads_see_the_fields_chosen_before_and_no_others():
    model = build(TINY)
    hidden = torch.randn(1, TINY.dim)
    chosen = torch.tensor([[3, 2, 5, 60, 7, 1, 20, 0]])
    phase = torch.tensor([3])
    for k, name in enumerate(LIVE.order):
        logits = model.heads.logits(name, hidden, chosen, phase)
        for j, other in enumerate(LIVE.order):
            changed = chosen.clone()
            changed[0, LIVE.index(other)] = 1 if chosen[0, LIVE.index(other)] != 1 else 2
            same = torch.equal(model.heads.logits(name, hidden, changed, phase), logits)
            assert same == (j >= k), f'{name} looks at {other}'
        knows_time = k > LIVE.order.index('position')
        assert torch.equal(model.heads.logits(name, hidden, chosen, phase + 1), logits) != knows_time


def test_loss_leaves_out_padding_and_undefined_fields_unless_as_published():
    config = SMALL['learned']
    model = build(config)
    long, short = (encode_table(make_piece('a', seed=s).notes, MMT)[:n] for s, n in ((1, 30), (2, 10)))
    b = collate([long, short], MMT)
    hidden = model(b['events'], b['step'], b['phase'])
    _, counts = model.field_losses(hidden, b['target'])
    n_notes = sum(int((s[1:, 0] == 3).sum()) for s in (long, short))
    n_instruments = sum(int((s[1:, 5] > 0).sum()) for s in (long, short))
    expected = [29 + 9, n_notes, n_notes, n_notes, n_notes, n_instruments]
    assert counts.tolist() == expected
    published, counts = model.field_losses(hidden, b['target'], as_published=True)
    assert counts.tolist() == [2 * 29] * 6
    # As the published code computes it: every position, the padding as zeros.
    target = b['target'].clamp(min=0)
    for i in range(6):
        by_hand = torch.nn.functional.cross_entropy(
            model.heads.linear[i](hidden).flatten(0, 1), target[..., i].flatten(), reduction='sum'
        )
        torch.testing.assert_close(published[i], by_hand)


def test_bad_configurations_are_refused():
    with pytest.raises(ValueError, match='positions'):
        MMTConfig(positions='absolute')
    with pytest.raises(ValueError, match='encoding'):
        MMTConfig('remi')
    with pytest.raises(ValueError, match='place in the bar'):
        build(TINY)(torch.zeros(1, 3, 8, dtype=torch.long))


def test_musical_positions_do_not_depend_on_where_in_a_session_we_are():
    """The same bars, a hundred beats later: relative time is all that attention sees."""
    model = build(TINY)
    events, step, phase = music(TINY)
    torch.testing.assert_close(model(events, step + 1200, phase), model(events, step, phase), rtol=0, atol=1e-3)
