"""Keras' weights of the published arranger, written here as it writes them, against its formulas in plain numpy."""

import h5py
import numpy as np
import pytest
from tiny_data import make_data

from bridge.cli import main as genaudio
from export.cli import main
from genaudio_core.commands.cli import main as train
from genaudio_core.inference.model_card import read_card
from genaudio_core.inference.session import load_model
from genaudio_core.score.notes import Note, Score, Track
from genaudio_core.score.reading import write_midi
from genaudio_core.training.fit.arranger import load_arranger

K = 4
EMBEDDING, RAW = 'embedding', 'raw'


def arrays_of(family: str, *, embedding: bool, duration: bool, hints: bool) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    shapes: list[tuple[int, ...]] = []
    if embedding:
        shapes += [(129, 16), (24, 16), *([(193, 16)] if duration else [])]
    inputs = (16 * (3 + duration) + 1 if embedding else 2 + duration) + K * hints
    if family in ('lstm', 'bilstm'):
        units = 64 if family == 'bilstm' else 128
        for size in (inputs, 128, 128):
            shapes += [(size, 4 * units), (units, 4 * units), (4 * units,)] * (2 if family == 'bilstm' else 1)
        shapes += [(128,), (128,)] * 3
    else:
        shapes += [(inputs, 128), (128,)]
        for _ in range(3):
            shapes += [(128, 128), (128,)] * 4 + [(128, 256), (256,), (256, 128), (128,)] + [(128,)] * 4
    shapes += [(128, K + 1), (K + 1,)]
    arrays = [(rng.standard_normal(shape) * 0.15).astype(np.float32) for shape in shapes]
    return [*arrays, *([np.zeros((4097, 16), 'f4'), np.zeros((129, 1), 'f4')] if embedding else [])]


def write(path, family: str, arrays: list[np.ndarray]) -> None:
    name = 'lstm_arranger' if family.endswith('lstm') else 'transformer_arranger'
    with h5py.File(path, 'w') as file:
        file.attrs['layer_names'] = [b'pitch', name.encode()]
        file.create_group('pitch')
        group, names = file.create_group(name), [f'{name}/x_{i}/w:0'.encode() for i in range(len(arrays))]
        for one, array in zip(names, arrays, strict=True):
            group[one.decode()] = array
        group.attrs['weight_names'] = names


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(x, kernel, recurrent, bias):
    units = recurrent.shape[0]
    h = c = np.zeros(units)
    rows = []
    for row in x:
        i, f, g, o = np.split(row @ kernel + h @ recurrent + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        rows.append(h)
    return np.array(rows)


def norm(x, gamma, beta, eps):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * gamma + beta


def wave(rows, width):
    table = np.zeros((len(rows), width))
    for j in range(width // 2):
        table[:, 2 * j], table[:, 2 * j + 1] = (f(rows / 10000 ** (2 * j / width)) for f in (np.sin, np.cos))
    return table


def by_formula(family, arrays, time, pitch, duration, hint, *, embedding, has_duration, hints):
    a = [array.astype(np.float64) for array in arrays]
    if embedding:
        columns = [a.pop(0)[pitch], a.pop(0)[time % 24], wave(np.minimum(time // 24, 4096), 16)]
        if has_duration:
            columns.append(a.pop(0)[np.minimum(duration, 192)])
        columns.append((440 * 2 ** ((pitch - 1 - 69) / 12) / (440 * 2 ** ((127 - 69) / 12)))[:, None])
    else:
        columns = [pitch[:, None], time[:, None], *([duration[:, None]] if has_duration else [])]
    x = np.concatenate([*columns, *([hint] if hints else [])], 1)
    if family in ('lstm', 'bilstm'):
        layers = [[[a.pop(0) for _ in range(3)] for _ in range(2 if family == 'bilstm' else 1)] for _ in range(3)]
        norms = [(a.pop(0), a.pop(0)) for _ in range(3)]
        for ways, (gamma, beta) in zip(layers, norms, strict=True):
            found = [lstm(x, *ways[0]), *([lstm(x[::-1], *ways[1])[::-1]] if len(ways) == 2 else [])]
            x = norm(np.concatenate(found, 1), gamma, beta, 1e-3)
    else:
        x = x @ a.pop(0) + a.pop(0) + wave(np.arange(len(x)), 128)
        for _ in range(3):
            q, k, v = (x @ a.pop(0) + a.pop(0) for _ in range(3))
            heads = []
            for h in range(8):
                part = slice(16 * h, 16 * h + 16)
                weight = q[:, part] @ k[:, part].T / 4
                if family == 'transformer-causal':
                    weight = np.where(np.tri(len(x)) > 0, weight, -1e9)
                weight = np.exp(weight - weight.max(1, keepdims=True))
                heads.append(weight / weight.sum(1, keepdims=True) @ v[:, part])
            attended = np.concatenate(heads, 1) @ a.pop(0) + a.pop(0)
            up, up_bias, down, down_bias = (a.pop(0) for _ in range(4))
            gamma1, beta1, gamma2, beta2 = (a.pop(0) for _ in range(4))
            x = norm(x + attended, gamma1, beta1, 1e-6)
            x = norm(x + np.maximum(x @ up + up_bias, 0) @ down + down_bias, gamma2, beta2, 1e-6)
    return x @ a.pop(0) + a.pop(0)


VARIANTS = [
    ('lstm', True, False, True), ('bilstm', True, True, True), ('lstm', False, True, False),
    ('transformer', True, True, False), ('transformer-causal', True, False, True),
    ('transformer-causal', False, False, False),
]  # fmt: skip


@pytest.mark.parametrize(('family', 'embedding', 'duration', 'hints'), VARIANTS)
def test_a_published_file_gives_what_its_formulas_give(tmp_path, capsys, family, embedding, duration, hints):
    arrays = arrays_of(family, embedding=embedding, duration=duration, hints=hints)
    file = tmp_path / f'musicnet_{family}{"_lookahead" if family.endswith("causal") else ""}.hdf5'
    write(file, family, arrays)
    assert main(['import', 'arranger', str(file), str(tmp_path / 'them.onnx')]) == 0, capsys.readouterr().err
    rng = np.random.default_rng(1)
    n = 30
    time, pitch = np.sort(rng.integers(0, 200 if not embedding else 200_000, n)), rng.integers(1, 129, n)
    length, hint = rng.integers(0, 300, n), rng.integers(-1, 2, (n, K)).astype(np.float32)
    model = load_model(tmp_path / 'them.onnx', 'arranger')
    (found,) = model.session.run(None, {'time': time, 'pitch': pitch, 'duration': length, 'hint': hint})
    expected = by_formula(family, arrays, time, pitch, length, hint, embedding=embedding, has_duration=duration,
                          hints=hints)  # fmt: skip
    assert np.abs(found - expected).max() < 1e-4 * max(np.abs(expected).max(), 1)
    config, told = (read_card(tmp_path / 'them.onnx').details[name] for name in ('config', 'reading'))
    graph = (*model.session.get_inputs(), *model.session.get_outputs())
    assert {value.name for value in graph} == told['inputs_and_outputs'].keys()
    assert (config['family'], config['duration'], config['hints']) == (family, duration, hints)
    again, info = load_arranger(tmp_path / 'them.safetensors')
    assert again.config.to_dict() == config and info['published'] == file.name


@pytest.mark.parametrize('damage', ['no keras', 'an array too few', 'another width', 'no file'])
def test_what_is_no_such_file_is_refused_in_one_line(tmp_path, capsys, damage):
    arrays = arrays_of('lstm', embedding=True, duration=False, hints=False)
    file = tmp_path / 'x.hdf5'
    if damage == 'no keras':
        file.write_bytes(b'no hdf5 at all')
    elif damage != 'no file':
        write(file, 'lstm', arrays[:5] + arrays[6:] if damage == 'an array too few' else
              [np.zeros((12, 16), 'f4'), *arrays[1:]])  # fmt: skip
    assert main(['import', 'arranger', str(file), str(tmp_path / 'them.onnx')]) != 0
    told = capsys.readouterr().err.strip()
    assert len(told.splitlines()) == 1 and 'x.hdf5' in told
    assert not (tmp_path / 'them.onnx').exists()


@pytest.mark.parametrize('command', ['fit', 'evaluate', 'arrange'])
def test_the_authors_file_given_to_a_wrong_command_is_told_what_to_do(command, tmp_path, capsys):
    file, out = tmp_path / 'bach_lstm.hdf5', str(tmp_path / 'out')
    write(file, 'lstm', arrays_of('lstm', embedding=True, duration=False, hints=False))
    data = str(make_data(tmp_path / 'data.safetensors'))
    if command == 'fit':
        code = train(['fit', 'arranger', '--init', str(file), '--data', data, '--out', out])
    elif command == 'evaluate':
        code = train(['evaluate-arranger', str(file), '--data', data])
    else:
        midi = str(tmp_path / 'in.mid')
        write_midi(Score([Track(0, notes=[Note(0, 1, 60)])]), tmp_path / 'in.mid')
        code = genaudio(['arrange', midi, '--instruments', 'flute', '--model', str(file), '-o', out])
    told = capsys.readouterr().err
    assert code == 2 and 'genaudio-export import' in told and len(told.strip().splitlines()) == 1
