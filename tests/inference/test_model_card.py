import json

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_model import CARD, small_model

from genaudio_core.errors import GenaudioError
from genaudio_core.inference.model_card import (
    CARD_KEY,
    FORMAT_VERSION,
    ModelCard,
    read_card,
    read_model,
    with_card,
    write_model,
)


@pytest.fixture
def path(tmp_path):
    write_model(tmp_path / 'model.onnx', small_model(), CARD)
    return tmp_path / 'model.onnx'


def test_card_comes_back(path):
    card = read_card(path, 'decoder')
    assert card == ModelCard(**{**CARD.__dict__, 'metrics': {'nll': 2.5}})
    assert len(card.sha256) == 64


def test_onnx_reads_what_we_write(path):
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert json.loads({p.key: p.value for p in model.metadata_props}[CARD_KEY])['name'] == 'täst'


def test_onnx_may_save_it_again_unless_it_changes_something(path):
    onnx.save(onnx.load(path), path)  # the card now stands behind the graph
    assert read_card(path).name == 'täst'
    model = onnx.load(path)
    model.graph.node[0].op_type = 'Neg'
    onnx.save(model, path)
    with pytest.raises(GenaudioError, match='do not match the hash'):
        read_card(path)


def test_writing_replaces_older_metadata(tmp_path):
    raw = with_card(with_card(small_model(author='x'), CARD), ModelCard(kind='other'))
    (tmp_path / 'm.onnx').write_bytes(raw)
    assert read_card(tmp_path / 'm.onnx').kind == 'other'
    assert raw.count(CARD_KEY.encode()) == 1 and b'author' not in raw


@pytest.mark.parametrize('part', [0.01, 0.3, 0.5, 0.9, 0.999])
def test_a_file_cut_short_says_so(path, part):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(GenaudioError, match=r'cut short|not an ONNX file'):
        read_card(path)


def test_every_changed_byte_is_noticed(path):
    data = path.read_bytes()
    for i in range(len(data)):
        changed = bytearray(data)
        changed[i] ^= 0x10
        path.write_bytes(changed)
        with pytest.raises(GenaudioError):
            read_card(path)


@given(st.binary(max_size=200))
def test_noise_is_one_clear_line(tmp_path_factory, noise):
    path = tmp_path_factory.mktemp('noise') / 'x.onnx'
    path.write_bytes(noise)
    with pytest.raises(GenaudioError) as error:
        read_card(path)
    assert '\n' not in str(error.value)


def test_foreign_onnx(tmp_path):
    (tmp_path / 'foreign.onnx').write_bytes(small_model(author='somebody'))
    with pytest.raises(GenaudioError, match='without a genaudio model card'):
        read_card(tmp_path / 'foreign.onnx')


def test_newer_format_is_refused_before_its_fields_are_read(tmp_path):
    write_newer = with_card(small_model(), CARD)
    path = tmp_path / 'newer.onnx'

    class Newer(ModelCard):
        def to_json(self):
            return json.dumps({'format_version': FORMAT_VERSION + 1, 'kind': ['nobody', 'knows']})

    path.write_bytes(with_card(write_newer, Newer(kind='')))
    with pytest.raises(GenaudioError, match=r'newer genaudio.*Update'):
        read_card(path)


def test_unknown_fields_of_a_card_are_ignored(tmp_path):
    class Extended(ModelCard):
        def to_json(self):
            return json.dumps(json.loads(super().to_json()) | {'mood': 'blue'})

    (tmp_path / 'm.onnx').write_bytes(with_card(small_model(), Extended(kind='decoder')))
    assert read_card(tmp_path / 'm.onnx').kind == 'decoder'


@pytest.mark.parametrize('text', ['[]', '{', '{"format_version": 1}', '{"format_version": "x", "kind": "y"}', 'null'])
def test_unreadable_card(tmp_path, text):
    class Broken(ModelCard):
        def to_json(self):
            return text

    (tmp_path / 'm.onnx').write_bytes(with_card(small_model(), Broken(kind='')))
    with pytest.raises(GenaudioError, match='cannot be read'):
        read_card(tmp_path / 'm.onnx')


def test_other_kind_missing_file_folder_and_checkpoint(path, tmp_path):
    with pytest.raises(GenaudioError, match="kind 'decoder'; a 'separator' is needed"):
        read_model(path, 'separator')
    with pytest.raises(GenaudioError, match='no model file'):
        read_card(tmp_path / 'none.onnx')
    with pytest.raises(GenaudioError, match='is a folder'):
        read_card(tmp_path)
    with pytest.raises(GenaudioError, match='genaudio-export'):
        read_card(tmp_path / 'best.safetensors')


def test_a_card_cannot_hold_what_is_not_data():
    with pytest.raises(TypeError):
        with_card(small_model(), ModelCard(kind='x', details={'model': object()}))
