import json

import pytest
import torch
from tiny_data import make_data
from torch import nn

from export.cli import main
from export.published import load_published_mmt
from genaudio_core.commands.cli import main as train
from genaudio_core.continuation.decoder import Decoder
from genaudio_core.errors import GenaudioError
from genaudio_core.inference.model_card import read_card
from genaudio_core.music.layouts import MMT as ENCODING
from genaudio_core.training.fit.mmt import load_mmt

DIM, LAYERS, HEADS = 64, 2, 2


def authors_state(positions: str) -> dict[str, torch.Tensor]:
    """Random weights under the names of the authors' checkpoints (seen in x-transformers 0.25.9 as MMT wraps it)."""
    torch.manual_seed(3)
    shapes: dict[str, tuple[int, ...]] = {}
    for i, size in enumerate(ENCODING.sizes):
        shapes[f'token_emb.{i}.emb.weight'] = (size, DIM)
        shapes[f'to_logits.{i}.weight'], shapes[f'to_logits.{i}.bias'] = (size, DIM), (size,)
    if positions == 'learned':
        shapes['pos_emb.emb.weight'] = (48, DIM)
    if positions == 'rotary':
        shapes['attn_layers.rotary_pos_emb.inv_freq'] = (16,)
    for i in range(2 * LAYERS):
        layer = f'attn_layers.layers.{i}'
        shapes[f'{layer}.0.0.weight'] = shapes[f'{layer}.0.0.bias'] = (DIM,)
        if i % 2 == 0:
            for part in 'qkv':
                shapes[f'{layer}.1.to_{part}.weight'] = (64 * HEADS, DIM)
            shapes[f'{layer}.1.to_out.weight'], shapes[f'{layer}.1.to_out.bias'] = (DIM, 64 * HEADS), (DIM,)
        else:
            shapes[f'{layer}.1.net.0.0.weight'], shapes[f'{layer}.1.net.0.0.bias'] = (4 * DIM, DIM), (4 * DIM,)
            shapes[f'{layer}.1.net.3.weight'], shapes[f'{layer}.1.net.3.bias'] = (DIM, 4 * DIM), (DIM,)
    shapes['norm.weight'] = shapes['norm.bias'] = (DIM,)
    state = {f'decoder.net.{name}': 0.2 * torch.randn(shape) for name, shape in shapes.items()}
    if positions == 'rotary':
        state['decoder.net.attn_layers.rotary_pos_emb.inv_freq'] = 10000.0 ** (-torch.arange(0, 32, 2) / 32)
    return state


@torch.no_grad()
def authors_logits(state: dict[str, torch.Tensor], x: torch.Tensor, positions: str) -> list[torch.Tensor]:
    """The published network in plain sums: shares no code with ours."""
    w = {name.removeprefix('decoder.net.'): tensor for name, tensor in state.items()}
    n = x.shape[0]
    y = sum(w[f'token_emb.{i}.emb.weight'][x[:, i]] for i in range(6))
    if positions == 'learned':
        y = y + w['pos_emb.emb.weight'][:n] * DIM**-0.5

    def turn(t: torch.Tensor) -> torch.Tensor:  # (n, 64): the first 32 dimensions, queries, keys and values alike
        angle = torch.arange(n)[:, None] * w['attn_layers.rotary_pos_emb.inv_freq'][None].repeat(1, 2)
        first, rest = t[:, :32], t[:, 32:]
        swapped = torch.cat((-first[:, 16:], first[:, :16]), 1)
        return torch.cat((first * angle.cos() + swapped * angle.sin(), rest), 1)

    def norm(t, name):
        return nn.functional.layer_norm(t, (DIM,), w[f'{name}.weight'], w[f'{name}.bias'])

    causal = torch.full((n, n), -torch.inf).triu(1)
    for i in range(0, 2 * LAYERS, 2):
        a, f = f'attn_layers.layers.{i}', f'attn_layers.layers.{i + 1}'
        inner, heads = norm(y, f'{a}.0.0'), []
        for h in range(HEADS):
            at = slice(64 * h, 64 * h + 64)
            q, k, v = (inner @ w[f'{a}.1.to_{part}.weight'][at].T for part in 'qkv')
            if positions == 'rotary':
                q, k, v = turn(q), turn(k), turn(v)
            heads.append((q @ k.T / 8 + causal).softmax(-1) @ v)
        y = y + torch.cat(heads, 1) @ w[f'{a}.1.to_out.weight'].T + w[f'{a}.1.to_out.bias']
        inner = nn.functional.gelu(norm(y, f'{f}.0.0') @ w[f'{f}.1.net.0.0.weight'].T + w[f'{f}.1.net.0.0.bias'])
        y = y + inner @ w[f'{f}.1.net.3.weight'].T + w[f'{f}.1.net.3.bias']
    y = norm(y, 'norm')
    return [y @ w[f'to_logits.{i}.weight'].T + w[f'to_logits.{i}.bias'] for i in range(6)]


@pytest.mark.parametrize('positions', ['learned', 'rotary', 'none'])
def test_the_imported_network_is_the_published_one(tmp_path, positions):
    state = authors_state(positions)
    torch.save(state, tmp_path / 'best_model.pt')
    model = load_published_mmt(tmp_path / 'best_model.pt')
    assert (model.config.positions, model.config.heads, model.config.layers) == (positions, HEADS, LAYERS)
    x = torch.stack([torch.randint(0, size, (30,)) for size in ENCODING.sizes], dim=-1)
    with torch.no_grad():
        hidden = model(x[None])
    for field, expected in zip(ENCODING.fields, authors_logits(state, x, positions), strict=True):
        torch.testing.assert_close(model.heads.logits(field, hidden)[0], expected, atol=1e-4, rtol=1e-4)


def test_import_writes_a_file_that_plays(tmp_path, capsys):
    torch.save(authors_state('rotary'), tmp_path / 'rpe.pt')
    assert main(['import', 'mmt', str(tmp_path / 'rpe.pt'), '--json']) == 0
    result = json.loads(capsys.readouterr().out)
    assert result['file'] == str(tmp_path / 'rpe.onnx') and result['metrics']['parity'] < 1e-4
    assert Decoder.load(tmp_path / 'rpe.onnx').encoding is ENCODING
    assert read_card(tmp_path / 'rpe.onnx').details['positions'] == 'rotary'
    assert result['checkpoint'] == str(tmp_path / 'rpe.safetensors')
    model, info = load_mmt(tmp_path / 'rpe.safetensors')  # for attention, finetune, fit --init and evaluate
    assert info['published'] == 'rpe.pt' and model.config.positions == 'rotary'
    expected = load_published_mmt(tmp_path / 'rpe.pt').state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize('command', ['attention', 'finetune', 'fit'])
def test_the_authors_file_given_to_a_wrong_command_is_told_what_to_do(command, tmp_path, capsys):
    torch.save(authors_state('none'), tmp_path / 'best_model.pt')
    data = make_data(tmp_path / 'data.safetensors', 4)
    path = str(tmp_path / 'best_model.pt')
    argv = {
        'attention': ['attention', path, '--data', str(data), '-o', str(tmp_path / 'out')],
        'finetune': ['finetune', '--model', path, '--files', str(tmp_path), '--out', str(tmp_path / 'run')],
        'fit': ['fit', 'mmt', '--config', 'tiny', '--init', path, '--data', str(data), '--out', str(tmp_path / 'run')],
    }[command]
    assert train(argv) == 2
    assert f'genaudio-export import mmt {path}' in capsys.readouterr().err


class Evil:
    def __reduce__(self):
        return (print, ('code of a checkpoint ran',))


def test_code_in_a_checkpoint_never_runs(tmp_path, capsys):
    torch.save({'decoder.net.norm.weight': Evil()}, tmp_path / 'evil.pt')
    with pytest.raises(GenaudioError, match='cannot be read'):
        load_published_mmt(tmp_path / 'evil.pt')
    assert 'ran' not in capsys.readouterr().out


def spoil(state, how):
    if how == 'other':
        state['decoder.net.memory_tokens'] = torch.zeros(1)
    elif how == 'incomplete':
        del state['decoder.net.norm.bias']
    elif how == 'vocabulary':
        state['decoder.net.token_emb.1.emb.weight'] = torch.zeros(1026, DIM)
    elif how == 'both':
        state['decoder.net.attn_layers.rotary_pos_emb.inv_freq'] = torch.zeros(16)
    return state


@pytest.mark.parametrize(
    ('how', 'why'),
    [
        ('other', "it has 'decoder.net.memory_tokens'"),
        ('incomplete', 'norm.bias'),
        ('vocabulary', '1026'),
        ('both', 'both rotary and learned'),
    ],
)
def test_a_checkpoint_of_another_layout_is_refused(tmp_path, how, why):
    torch.save(spoil(authors_state('learned'), how), tmp_path / 'x.pt')
    with pytest.raises(GenaudioError) as error:
        load_published_mmt(tmp_path / 'x.pt')
    assert why in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize('content', [b'', b'not a checkpoint', b'PK\x03\x04broken'])
def test_no_checkpoint_at_all(tmp_path, content):
    (tmp_path / 'x.pt').write_bytes(content)
    with pytest.raises(GenaudioError, match='cannot be read as a checkpoint'):
        load_published_mmt(tmp_path / 'x.pt')
    with pytest.raises(GenaudioError, match='There is no checkpoint'):
        load_published_mmt(tmp_path / 'none.pt')


@pytest.mark.parametrize('place', ['', 'checkpoints'])
def test_what_the_weights_cannot_say_is_read_from_train_args(tmp_path, place):
    folder = tmp_path / place
    folder.mkdir(exist_ok=True)
    torch.save(authors_state('none'), folder / 'best_model.pt')
    assert load_published_mmt(folder / 'best_model.pt').config.context == 1024
    args = {'dim': DIM, 'layers': LAYERS, 'heads': HEADS, 'abs_pos_emb': False, 'rel_pos_emb': False, 'max_seq_len': 96}
    (tmp_path / 'train-args.json').write_text(json.dumps(args))
    assert load_published_mmt(folder / 'best_model.pt').config.context == 96


@pytest.mark.parametrize(
    ('text', 'why'),
    [('{"dim": 512}', 'dim is 512 there, and 64'), ('{"rel_pos_emb": true}', 'rel_pos_emb is True there'),
     ('[]', 'cannot be read'), ('{', 'cannot be read'), ('{"max_seq_len": "x"}', 'cannot be read')],
)  # fmt: skip
def test_train_args_of_another_network_are_told(tmp_path, text, why):
    torch.save(authors_state('none'), tmp_path / 'best_model.pt')
    (tmp_path / 'train-args.json').write_text(text)
    with pytest.raises(GenaudioError, match=why) as told:
        load_published_mmt(tmp_path / 'best_model.pt')
    assert 'train-args.json' in str(told.value) and '\n' not in str(told.value)
