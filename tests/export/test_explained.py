"""What a file says of itself, and docs/onnx.md with it, is what its graph takes and gives."""

import re
from pathlib import Path

import onnx
import pytest
from small_decoders import file as small_decoder

import export
from export.explained import READING, reading
from genaudio_core.files import presets_dir
from genaudio_core.inference.model_card import read_card
from genaudio_core.music.layouts import DESCRIBED, DURATIONS, LIVE, METERS, MMT, TYPES
from genaudio_core.query.text_encoder import _FILLER
from genaudio_core.score.instruments import CODE_TO_PROGRAM, INSTRUMENTS

MODELS = sorted((presets_dir() / 'models').glob('*.onnx'))
PAGE = (Path(export.__file__).parents[1] / 'docs' / 'onnx.md').read_text(encoding='utf-8')


@pytest.mark.parametrize('path', MODELS, ids=lambda path: path.stem)
def test_every_input_and_output_is_explained_and_nothing_else(path):
    graph, card = onnx.load(path).graph, read_card(path)
    told = {part for name in READING[card.kind] for part in name.split(', ')}
    assert card.details['reading'] == reading(card)
    assert {re.sub(r'_\d+$', '_*', value.name) for value in (*graph.input, *graph.output)} == told


def test_the_page_says_what_the_cards_say():
    for kind, names in READING.items():
        for name, what in names.items():
            assert f'| {kind} | {name} | {what} |' in PAGE
    assert ' '.join(map(str, DURATIONS)) in PAGE and ', '.join(f'{a}/{b}' for a, b in METERS) in PAGE
    words = ' '.join(PAGE.split())
    assert ', '.join(f'{code} {name}' for code, name in enumerate(TYPES)) in words
    for code, name in enumerate(INSTRUMENTS, 1):
        assert f'{code} {name} ({CODE_TO_PROGRAM[code]})' in words
    for column, field in enumerate(DESCRIBED.fields):
        assert f'| {column} | {field} |' in PAGE
    for word in _FILLER - {'sound', 'sounds'}:
        assert re.search(rf'\b{word}\b', words)


def test_a_file_that_is_exported_explains_itself():
    told = read_card(small_decoder('live')).details['reading']
    assert told['inputs_and_outputs'] == READING['decoder'] and told['durations'] == DURATIONS.tolist()
    assert told['instruments'][24] == ['violin', 40] and told['meters'][0] == [4, 4]
    assert reading(read_card(small_decoder('live'))) == told
    # The tables are those of the file's own layout.
    assert told['types'] == list(TYPES[: LIVE.sizes[0]]) and told['velocity'] == '4 (code - 1) + 2'
    published = reading(read_card(small_decoder('mmt')))
    assert published['types'] == list(TYPES[: MMT.sizes[0]]) and not {'meters', 'velocity'} & published.keys()
