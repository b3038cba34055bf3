"""What travels inside an .onnx file, and whether the file is whole.

A model is one file. Its card says what it is (kind, rates, latency, layout of events), where it comes from (licence,
training data, source hash, tools) and how good it is (metrics), and it holds a SHA-256 over the graph, the weights and
the card itself. This module is the only reader and writer of cards.

Reading needs neither onnx nor a runtime: an .onnx file is a sequence of tagged records, and the card lives in those of
field 14 (``metadata_props``). Only the top level is walked, so that it takes as long as the hash does (1 to 10 ms; to
start a session for its metadata takes 2 to 150, after 200 for importing onnxruntime), and a file that is cut short,
foreign or changed is told apart before a runtime sees it.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from genaudio_core.errors import GenaudioError, MissingModel
from genaudio_core.files import atomic_write

FORMAT_VERSION = 1
"""Raised when an older program could not run a newer file correctly. Older versions stay readable."""

CARD_KEY, HASH_KEY = 'genaudio.card', 'genaudio.sha256'
MAX_CARD_BYTES = 1 << 20

# Field numbers of onnx.ModelProto (onnx/onnx.proto): 7 is the graph, 14 metadata_props, 20 training_info, 25 functions.
_GRAPH, _METADATA = 7, 14
_KNOWN_FIELDS = {1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26}
# Of onnx.GraphProto and onnx.TensorProto: the weights; a weight's type, name, and values, as floats or as bytes.
_INITIALIZER, _TYPE, _FLOATS, _NAME, _RAW, _DOUBLES = 5, 2, 4, 8, 9, 10
_FLOAT_TYPES = {1: '<f4', 10: '<f2', 11: '<f8'}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class ModelCard:
    """What a model file says about itself. Units: Hz and samples."""

    kind: str  # 'decoder', 'clipsep', ...; names a class in export.kinds
    name: str = ''
    variant: str = 'fp32'  # 'fp32', 'fp16' or 'int8'
    target: str = 'cpu'  # what it was made for: 'cpu' or 'cuda'
    sample_rate: int | None = None  # Hz, None for models of events
    block_size: int | None = None  # samples (or hop) that go in at once, None if any number may
    latency: int | None = None  # samples from input to output
    layout: dict[str, Any] = field(default_factory=dict)  # of events: Encoding.to_dict()
    vocabulary: str = ''  # fingerprint of the layout
    licence: str = ''  # of the weights
    training_data: list[str] = field(default_factory=list)  # collections, with licences
    metrics: dict[str, Any] = field(default_factory=dict)  # measured on held-out music; before and after quantising
    source_hash: str = ''  # of weights, config and exporter; see export.up_to_date
    tools: dict[str, str] = field(default_factory=dict)  # name -> version, at the time of export
    details: dict[str, Any] = field(default_factory=dict)  # what only this kind needs
    format_version: int = FORMAT_VERSION
    sha256: str = field(default='', compare=False)  # filled in by the reader

    def to_json(self) -> str:
        """The card as text, with sorted keys."""
        content = asdict(self)
        del content['sha256']
        return json.dumps(content, sort_keys=True, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    """numpy scalars and arrays as plain JSON."""
    if hasattr(value, 'tolist'):
        return value.tolist()
    raise TypeError(f'{type(value).__name__} does not belong in a model card')


# --- protobuf, top level only ----------------------------------------------------------------------------------------


class _NotProtobuf(ValueError):
    pass


class _CutShort(ValueError):
    pass


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Read a varint at byte `at`; return it and the byte after."""
    value = shift = 0
    while True:
        if at >= len(data):
            raise _CutShort
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise _NotProtobuf


def _records(data: memoryview) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield (field number, wire type, start, start of content, end) of each top-level record."""
    at = 0
    while at < len(data):
        start = at
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise _NotProtobuf
        content = at
        if wire == _VARINT:
            _, at = _varint(data, at)
        elif wire == _FIXED64:
            at += 8
        elif wire == _BYTES:
            size, content = _varint(data, at)
            at = content + size
        elif wire == _FIXED32:
            at += 4
        else:
            raise _NotProtobuf
        if at > len(data):
            raise _CutShort
        yield number, wire, start, content, at


def _entry(data: memoryview) -> tuple[str, str]:
    """Key and value of a StringStringEntryProto."""
    found = {1: '', 2: ''}
    for number, wire, _, content, end in _records(data):
        if number in found and wire == _BYTES:
            found[number] = bytes(data[content:end]).decode('utf-8')
    return found[1], found[2]


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelFile:
    """A checked file: its card and its bytes, which are what was hashed and what the runtime must get."""

    path: Path
    card: ModelCard
    data: bytes


def _digest(data: memoryview, keep: list[tuple[int, int]], card_json: str) -> str:
    digest = hashlib.sha256()
    for start, end in keep:
        digest.update(data[start:end])
    digest.update(card_json.encode())
    return digest.hexdigest()


def read_model(path: str | Path, kind: str | None = None) -> ModelFile:
    """Read a model file and check it against its card.

    Parameters
    ----------
    kind : str, optional
        The kind that is needed.

    Raises
    ------
    GenaudioError
        One line if the file is missing, damaged, cut short, no ONNX, without a card, newer than this program, of
        another kind, or not what its hash says.
    """
    path = Path(path)
    if path.is_dir():
        raise GenaudioError(f'{path} is a folder; give the name of an .onnx file.')
    if path.exists() and not path.is_file():  # a device has no end, and a pipe may never begin
        raise GenaudioError(f'{path} is a pipe or a device; give the name of an .onnx file.')
    if path.suffix.lower() in ('.pt', '.pth', '.ckpt', '.pkl', '.hdf5', '.h5', '.safetensors'):
        raise GenaudioError(f'{path} is a checkpoint. Convert it first: genaudio-export one or genaudio-export import.')
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise MissingModel(f'There is no model file {path}.') from None
    except (OSError, ValueError) as error:  # a zero byte in a name is a ValueError
        raise GenaudioError(f'Cannot read {path}: {getattr(error, "strerror", None) or error}.') from error
    card = _check(path, data)
    if kind is not None and card.kind != kind:
        raise GenaudioError(f"{path} is a model of kind '{card.kind}'; a '{kind}' is needed here.")
    return ModelFile(path, card, data)


def read_card(path: str | Path, kind: str | None = None) -> ModelCard:
    """Return the card of a model file; errors as for `read_model`."""
    return read_model(path, kind).card


def _check(path: Path, data: bytes) -> ModelCard:
    view = memoryview(data)
    keep: list[tuple[int, int]] = []
    entries: dict[str, str] = {}
    seen: set[int] = set()
    cut_short = False
    try:
        for number, wire, start, content, end in _records(view):
            seen.add(number)
            if number == _METADATA and wire == _BYTES:
                if end - content > MAX_CARD_BYTES:
                    raise GenaudioError(f'{path} is damaged: its model card is larger than a card can be.')
                key, value = _entry(view[content:end])
                entries[key] = value
            else:
                keep.append((start, end))
    except _CutShort:
        cut_short = True
    except (_NotProtobuf, UnicodeDecodeError):
        raise GenaudioError(f'{path} is not an ONNX file, or it is damaged.') from None
    if not data or not seen or not seen <= _KNOWN_FIELDS or 1 not in seen:
        raise GenaudioError(f'{path} is not an ONNX file, or it is damaged.')
    if cut_short or _GRAPH not in seen:
        raise GenaudioError(f'{path} is cut short: copy or export it again.')
    if CARD_KEY not in entries or HASH_KEY not in entries:
        raise GenaudioError(
            f'{path} is an ONNX file without a genaudio model card. Export the model with genaudio-export.'
        )
    text = entries[CARD_KEY]
    card = _parse(path, text)
    if _digest(view, keep, text) != entries[HASH_KEY]:
        raise GenaudioError(
            f'{path} is damaged or was changed: its contents do not match the hash in its model card. Export it again.'
        )
    return replace(card, sha256=entries[HASH_KEY])


def nan_weight(data: bytes) -> str:
    """Return the name of a weight of a serialised ``onnx.ModelProto`` that holds NaN, or '' if there is none."""
    view = memoryview(data)
    for graph in _inside(view, _GRAPH):
        for tensor in _inside(graph, _INITIALIZER):
            if _holds_nan(tensor):
                return next((bytes(name).decode('utf-8', 'replace') for name in _inside(tensor, _NAME)), '?')
    return ''


def _inside(data: memoryview, wanted: int) -> Iterator[memoryview]:
    """Yield what the records of field `wanted` hold."""
    for number, wire, _, content, end in _records(data):
        if number == wanted and wire == _BYTES:
            yield data[content:end]


def _holds_nan(tensor: memoryview) -> bool:
    """Whether an onnx.TensorProto holds NaN; not seen in bfloat16 and floats of 8 bits, which no export of ours has."""
    kind, values = 0, []
    for number, wire, _, content, end in _records(tensor):
        if (number, wire) == (_TYPE, _VARINT):
            kind = _varint(tensor, content)[0]
        elif number in (_FLOATS, _RAW, _DOUBLES) and wire == _BYTES:
            values.append((number, tensor[content:end]))
    for number, raw in values:
        dtype = {_FLOATS: '<f4', _DOUBLES: '<f8'}.get(number) or _FLOAT_TYPES.get(kind)
        if dtype and np.isnan(np.frombuffer(raw, dtype)).any():
            return True
    return False


def _parse(path: Path, text: str) -> ModelCard:
    try:
        content = json.loads(text)
        version = content['format_version']
        newer = isinstance(version, int) and version > FORMAT_VERSION
        known = {f.name for f in fields(ModelCard)}
        if not newer:
            card = ModelCard(**{key: value for key, value in content.items() if key in known})
            if not isinstance(version, int) or not isinstance(card.kind, str) or not isinstance(card.details, dict):
                raise TypeError
            return card
    except (ValueError, KeyError, TypeError, RecursionError):
        raise GenaudioError(f'{path} has a model card that cannot be read. Export the model again.') from None
    raise GenaudioError(
        f'{path} was written by a newer genaudio (model format {version}, this one reads up to {FORMAT_VERSION}). '
        'Update genaudio.'
    )


# --- writing ---------------------------------------------------------------------------------------------------------


def with_card(data: bytes, card: ModelCard) -> bytes:
    """Return the bytes of a serialised ``onnx.ModelProto`` with `card` in them, replacing all other metadata.

    Needs the onnx package, as every export does.
    """
    import onnx

    model, text = onnx.load_from_string(without_card(data)), card.to_json()
    if not model.HasField('graph'):
        raise ValueError('not an onnx.ModelProto: it has no graph')
    view = memoryview(model.SerializeToString())
    digest = _digest(view, [(start, end) for _, _, start, _, end in _records(view)], text)
    onnx.helper.set_model_props(model, {CARD_KEY: text, HASH_KEY: digest})
    return model.SerializeToString()


def without_card(data: bytes) -> bytes:
    """Return the bytes of a serialised ``onnx.ModelProto`` without its metadata: graph and weights."""
    view = memoryview(data)
    return b''.join(view[start:end] for number, _, start, _, end in _records(view) if number != _METADATA)


def write_model(path: str | Path, data: bytes, card: ModelCard) -> ModelCard:
    """Write a serialised ``onnx.ModelProto`` with its card, whole or not at all; return the card with its hash."""
    raw = with_card(data, card)
    checked = _check(Path(path), raw)
    with atomic_write(path) as temporary:
        temporary.write_bytes(raw)
    return checked
