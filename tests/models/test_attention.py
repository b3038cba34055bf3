"""The attention study finds what was planted, by both definitions."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_data import make_data, make_piece

from genaudio_core.analysis.attention import (
    DEFINITIONS,
    FIELDS,
    ClassAttention,
    FieldAttention,
    accumulate,
    draw,
    save,
    strongest,
    study_with_tables,
    values,
)
from genaudio_core.analysis.embeddings import cosines
from genaudio_core.commands.cli import main
from genaudio_core.models.mmt import MMT as Model
from genaudio_core.models.mmt import TINY, MMTConfig
from genaudio_core.music.events import encode_table, timeline
from genaudio_core.music.layouts import LIVE, MMT, NOTE
from genaudio_core.training.loops.checkpoints import save_checkpoint


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
            if query > 0 and key < len(value) - 1:  # the script's own edges
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
                with np.errstate(invalid='ignore'):
                    ratio = weight / weight.sum() / (pairs / pairs.sum())
                np.testing.assert_allclose(attention.ratio(name)[layer, head], ratio, rtol=1e-5)


# Four events, each looking at itself and those before it. Worked out by hand below.
LOOKS = torch.tensor([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.2, 0.3, 0.5, 0], [0.1, 0.2, 0.3, 0.4]])


def by_difference(numbers: np.ndarray) -> dict[int, float]:
    """What is there, by the difference (reach 4)."""
    return {k - 4: float(number) for k, number in enumerate(numbers) if number}


def test_by_hand_pairs_and_the_scripts_own_edges():
    attention = FieldAttention(4, 1, 1)
    accumulate(attention, np.array([1, 2, 2, 4]), LOOKS[None, None])
    # Paper: six pairs of an event and one before it, whose attention is 0.5, 0.2, 0.3, 0.1, 0.2, 0.3.
    assert by_difference(attention.pairs['paper']) == {-3: 1, -2: 2, -1: 2, 0: 1}
    assert by_difference(attention.weight['paper'][0, 0]) == pytest.approx({-3: 0.1, -2: 0.5, -1: 0.7, 0: 0.3})
    gain = {-3: 0.1 / 1.6 - 1 / 6, -2: 0.5 / 1.6 - 2 / 6, -1: 0.7 / 1.6 - 2 / 6, 0: 0.3 / 1.6 - 1 / 6}
    assert by_difference(attention.gain('paper')[0, 0]) == pytest.approx(gain)
    # Script: the first event never looks, the last is never looked at; of what is left all nine pairs are even, and
    # events look at themselves, too.
    assert by_difference(attention.pairs['code']) == {-3: 1, -2: 2, -1: 2, 0: 4}
    assert by_difference(attention.weight['code'][0, 0]) == pytest.approx({-3: 0.1, -2: 0.5, -1: 0.7, 0: 1.3})
    gain = {-3: 0.1 / 2.6 - 1 / 9, -2: 0.5 / 2.6 - 2 / 9, -1: 0.7 / 2.6 - 2 / 9, 0: 1.3 / 2.6 - 4 / 9}
    assert by_difference(attention.gain('code')[0, 0]) == pytest.approx(gain)


def test_by_hand_the_ratio_to_even_attention():
    attention = FieldAttention(4, 1, 1)
    accumulate(attention, np.array([1, 2, 2, 4]), LOOKS[None, None])
    for definition, ratio in (
        ('paper', {-3: 0.375, -2: 0.9375, -1: 1.3125, 0: 1.125}),
        ('code', {-3: 9 / 26, -2: 45 / 52, -1: 63 / 52, 0: 1.125}),
    ):
        found = attention.ratio(definition)[0, 0]
        assert by_difference(np.nan_to_num(found)) == pytest.approx(ratio)
        assert np.isnan(found).sum() == 5  # no pair has these differences: there is nothing to be even


def test_by_hand_absolute_tables():
    for with_zero, weight in (
        (False, [[0, 0, 0], [0, 0.5, 0], [0, 0.5, 0.8]]),
        (True, [[0, 0, 0], [0.5, 0.5, 0], [0.3, 0.5, 0.8]]),
    ):
        table = ClassAttention(np.zeros((1, 1, 3, 3)))
        table.add(np.array([0, 1, 2, 2]), LOOKS[None, None], with_zero=with_zero)
        np.testing.assert_allclose(table.weight[0, 0], weight, atol=1e-7)
        shares = [0.3, 0.5, 0.8] if with_zero else [0, 0.5, 0.8]
        np.testing.assert_allclose(table.share()[0, 0, 2], np.array(shares) / sum(shares), atol=1e-7)
        assert not table.share()[0, 0, 0].any()  # the first event never looks


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
    result = study_with_tables(Planted(), sequences)[0]
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


def test_absolute_tables_are_the_scripts_pair_by_pair():
    sequence = encode_table(make_piece('a', seed=1).notes, LIVE)[:40]
    model = Model(TINY)
    _, tables = study_with_tables(model, [sequence])
    assert set(tables) == {'type', 'duration', 'instrument'}
    step, phase = timeline(sequence, LIVE)
    weights: list[torch.Tensor] = []
    model(*(torch.from_numpy(np.asarray(a, np.int64))[None] for a in (sequence, step, phase)), weights=weights)
    attention = torch.cat(weights).detach().numpy()
    for name, table in tables.items():
        code = sequence[:, LIVE.index(name)].astype(int)
        expected = np.zeros_like(table.weight)
        for query in range(1, len(code)):
            for key in range(len(code) - 1):
                if name == 'type' or (code[query] and code[key]):
                    expected[:, :, code[query], code[key]] += attention[:, :, query, key]
        np.testing.assert_allclose(table.weight, expected, atol=1e-5)
        sums = table.share().sum(-1)
        assert ((np.abs(sums - 1) < 1e-6) | (sums == 0)).all() and (sums > 0).any()


def test_cosines_of_embeddings_leave_out_the_undefined_class_as_the_script_does():
    model = Model(MMTConfig(dim=32, layers=1, heads=1, context=24))
    found = cosines(model)
    assert set(found) == {'position', *(f'{side}/{name}' for side in ('in', 'out') for name in MMT.fields)}
    assert found['in/type'].shape == (5, 5) and found['out/pitch'].shape == (128, 128)
    assert found['position'].shape == (24, 24)
    # By hand: (3, 4), (4, 3) and (0, 5) have cosines of 24, 20 and 15 to 25; the undefined class before is left out.
    for name, weight in (('in/pitch', model.embed[3].weight), ('out/beat', model.heads.linear[1].weight)):
        with torch.no_grad():
            weight.zero_()
            weight[:4, :2] = torch.tensor([[1.0, 0], [3, 4], [4, 3], [0, 5]])
        expected = [[1, 0.96, 0.8], [0.96, 1, 0.6], [0.8, 0.6, 1]]
        np.testing.assert_allclose(cosines(model)[name][:3, :3], expected, atol=1e-6)
        assert not cosines(model)[name][3:].any()  # of no length: like nothing
    with torch.no_grad():
        model.embed[0].weight[:2] = 0
        model.embed[0].weight[:2, :2] = torch.tensor([[3.0, 4], [4, 3]])
    assert cosines(model)['in/type'][0, 1] == pytest.approx(0.96)  # a type is never undefined


def test_the_command_draws_the_tables_and_the_cosines_too(tmp_path, capsys):
    data, path = make_data(tmp_path / 'data.safetensors', 4), tmp_path / 'tiny.safetensors'
    save_checkpoint(path, Model(TINY), TINY.to_dict())
    command = ['attention', str(path), '--data', str(data), '-o', str(tmp_path / 'out'), '--length', '40', '--json']
    assert main(command) == 0
    figures = [Path(name).name for name in json.loads(capsys.readouterr().out)['figures']]
    assert figures == ['attention-last.png', 'attention-all.png', 'attention-tables.png', 'embeddings.png']
    assert all((tmp_path / 'out' / name).read_bytes()[:4] == b'\x89PNG' for name in figures)
    with np.load(tmp_path / 'out' / 'attention.npz') as numbers:
        assert numbers['table/duration'].shape == (TINY.layers, TINY.heads, 33, 33)
        assert numbers['cosine/in/instrument'].shape == (65, 65)


def test_study_of_a_real_model_counts_every_layer_and_head():
    torch.manual_seed(0)
    result = study_with_tables(Model(TINY), [encode_table(make_piece('a', seed=2).notes, LIVE)[:40]])[0]
    for attention in result.values():
        assert attention.mean().shape == (TINY.layers, TINY.heads, 2 * attention.reach + 1)
        sums = attention.mean('code').sum(-1)
        assert ((np.abs(sums - 1) < 1e-6) | (sums == 0)).all()
    np.testing.assert_allclose(result['pitch'].mean().sum(-1), 1)
