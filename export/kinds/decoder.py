"""The MMT decoder, in its published and in its live configuration.

int8 has two kinds. With ``options = { cache = "fp32" }`` in the manifest only the weights of the step are int8: half
the time of a step, and any music can judge it. Otherwise the cache is, too: faster still behind a thousand events, but
a prefill takes twice as long, and its scales are found on music.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.graphs.decoder_graph import build, cache_scales
from export.graphs.half_storage import store_halves
from export.graphs.quantize import quantise_weights
from export.kinds import Kind, Options, ParityError, strays
from genaudio_core.continuation.continuer import Continuer
from genaudio_core.continuation.decoder import Decoder, nll
from genaudio_core.errors import GenaudioError
from genaudio_core.inference.model_card import ModelCard, read_card
from genaudio_core.models.mmt import MMT, count_parameters
from genaudio_core.music.events import timeline
from genaudio_core.music.layouts import METER, NOTE, Encoding
from genaudio_core.training.fit.mmt import load_mmt

# A float graph may differ from torch by rounding only. Half precision has 11 bits, and errors of layers add up.
TOLERANCE = {'fp32': 1e-4, 'fp16': 2e-2}  # of the largest value
MAX_LOSS = 0.02  # nats per event that int8 may cost, unless the manifest says otherwise
CALIBRATION_WINDOWS = 4  # per source of music, from the training split
HELD_OUT_WINDOWS = 6  # per source, from the validation split
WINDOW = 512  # events
UNSEEN, PIECES = 2_000_000_000, 12  # written pieces that nobody trains on: seeds count from 0 there
NEEDS_ONNXRUNTIME = {'fp32': '1.23', 'fp16': '1.23', 'int8': '1.27'}  # RotaryEmbedding; int8 cache on the CPU


class DecoderKind(Kind):
    name = 'decoder'
    variants = ('fp32', 'fp16', 'int8')

    def load(self, checkpoint: Path) -> MMT:
        return load_mmt(checkpoint)[0].eval()

    def build(self, source: MMT, options: Options) -> bytes:
        int8 = options.variant == 'int8'
        if int8 and not keeps_cache(options):
            windows = held_out(options, source.config.layout, 'train', CALIBRATION_WINDOWS)
            context = source.config.context
            batches = [_tensors(window[:context], source.config.layout) for window in windows]
            model = build(source, cache_scales=cache_scales(source, batches))
        else:
            model = build(source, half=options.variant == 'fp16')
        if int8:
            quantise_weights(model, branch='step')
        store_halves(model)
        return model.SerializeToString()

    def card(self, source: MMT, options: Options) -> ModelCard:
        config = source.config
        return ModelCard(
            kind=self.name, layout=config.layout.to_dict(), vocabulary=config.layout.fingerprint,
            details={
                'config': config.to_dict(), 'parameters': count_parameters(source), 'context': config.context,
                'dim': config.dim, 'layers': config.layers, 'heads': config.heads, 'head_dim': config.head_dim,
                'chained': config.chained, 'positions': config.positions,
                'needs_onnxruntime': NEEDS_ONNXRUNTIME['fp32' if keeps_cache(options) else options.variant],
            },
        )  # fmt: skip

    def check(self, source: MMT, path: Path, options: Options) -> dict[str, Any]:
        decoder = Decoder.load(path, provider='cpu', on_notice=lambda text: None)
        rng = np.random.default_rng()  # fresh inputs every time
        # Half precision on the CPU is slow, and there it is checked for meaning only.
        error = parity(source, decoder, rng, n=160 if options.variant != 'fp16' else 60)
        if options.variant in TOLERANCE:
            if not error <= TOLERANCE[options.variant]:
                raise ParityError(f'strays from torch by {error:.2g} (allowed: {TOLERANCE[options.variant]:.0e})')
            result: dict[str, Any] = {'parity': error}
            if options.held_out:
                windows = held_out(options, source.config.layout, 'valid', HELD_OUT_WINDOWS)
                result |= {'nll': nll(decoder, windows)['nll'], 'held_out': options.held_out.name}
            return result
        if keeps_cache(options) and not options.held_out:
            windows = own_pieces(source.config.layout, source.config.context)
        else:
            windows = held_out(options, source.config.layout, 'valid', HELD_OUT_WINDOWS)
        before, after = torch_nll(source, windows), nll(decoder, windows)
        loss = after['nll'] - before['nll']
        allowed = MAX_LOSS if options.max_loss is None else options.max_loss
        result = {
            'parity': error, 'nll_before': before['nll'], 'nll': after['nll'], 'nll_loss': loss,
            'fields': {field: after[field] - before[field] for field in source.config.layout.fields},
            'events': after['events'], 'held_out': options.held_out.name if options.held_out else 'written pieces',
        }  # fmt: skip
        if not loss <= allowed:
            raise ParityError(
                f'int8 costs {loss:.3f} nats per event (allowed: {allowed:g}). Keep fp32, or raise max_loss.'
            )
        return result

    def check_alone(self, path: Path) -> dict[str, Any]:
        decoder = Decoder.load(path, provider='cpu', on_notice=lambda text: None)
        variant = read_card(path).variant
        error = self_consistency(decoder, np.random.default_rng())
        # Quantised kernels for one row and for many round differently.
        allowed = TOLERANCE.get(variant, 0.1)
        if not error <= allowed:
            raise ParityError(f'a prefill differs from its steps by {error:.2g} (allowed: {allowed:g})')
        return {'self_consistency': error}


def random_events(encoding: Encoding, n: int, rng: np.random.Generator) -> np.ndarray:
    """Any legal codes at all (n, fields): parity must hold for nonsense too, and music may be anything."""
    events = np.stack([rng.integers(0, size, n) for size in encoding.sizes], axis=1)
    kinds = [NOTE, NOTE, NOTE, METER] if encoding.has_meter else [NOTE]
    events[:, 0] = rng.choice(kinds, n)
    events[:, 1] = rng.integers(1, 6, n)  # keeps the music within the times that a session has
    events[:, 2] = rng.integers(1, encoding.sizes[2], n)
    return events.astype(np.int16)


@torch.no_grad()
def parity(model: MMT, decoder: Decoder, rng: np.random.Generator, n: int = 160) -> float:
    """Largest difference from torch, relative to the largest value, over steps, sizes, rewinds and batches."""
    encoding = model.config.layout
    n = min(n, decoder.context)
    events = random_events(encoding, n, rng)
    expected = model(*_tensors(events, encoding))[0].numpy()
    errors = []

    def compare(continuer: Continuer, reference: np.ndarray) -> None:
        errors.append(_relative(continuer.hidden, reference[None, continuer.length - 1]))

    # The pattern is fixed and the sizes are drawn: prefill, single steps, chunks behind a past, rewinds between them.
    continuer = Continuer(decoder)
    while continuer.length < n:
        size = int(rng.choice([1, 1, 1, 2, 7, 31]))
        continuer.feed(events[continuer.length : continuer.length + size])
        compare(continuer, expected)
        if rng.random() < 0.2:
            continuer.rewind(int(rng.integers(1, continuer.length + 1)))
    # Several takes that part ways.
    takes, half = 3, n // 2
    continuer.rewind(half)
    band = continuer.fork(takes)
    tails = np.stack([random_events(encoding, 9, rng) for _ in range(takes)])
    references = []
    for tail in tails:
        whole = np.concatenate((events[:half], tail))
        references.append(model(*_tensors(whole, encoding))[0].numpy()[half:])
    for i in range(4):
        band.feed(tails[:, i : i + 1])
    band.feed(tails[:, 4:])
    errors.append(_relative(band.hidden, np.stack(references)[:, -1]))
    # Heads, with what was chosen before them.
    hidden = torch.from_numpy(band.hidden.copy())
    chosen = np.concatenate([random_events(encoding, 1, rng) for _ in range(takes)]).astype(np.int64)
    phase = torch.from_numpy(band.when(chosen)[1])
    for field in encoding.order:
        logits = model.heads.logits(field, hidden, torch.from_numpy(chosen), phase).numpy()
        errors.append(_relative(band.logits(field, chosen), logits))
    return float(max(errors))


def self_consistency(decoder: Decoder, rng: np.random.Generator) -> float:
    """Largest difference between a prefill and single steps with a rewind, relative to the largest value."""
    n = min(96, decoder.context)
    events = random_events(decoder.encoding, n, rng)
    whole, steps = Continuer(decoder), Continuer(decoder)
    whole.feed(events)
    steps.feed(events[: n // 2])
    steps.rewind(n // 4)
    for event in events[n // 4 :]:
        steps.feed(event)
    return _relative(steps.hidden, whole.hidden)


def torch_nll(model: MMT, windows: list[np.ndarray]) -> dict[str, float]:
    """As `genaudio_core.continuation.decoder.nll`, by torch."""
    from genaudio_core.training.fit.mmt import evaluate

    return evaluate(model, {'all': windows}, batch=1)['all']


def keeps_cache(options: Options) -> bool:
    """Whether only weights become int8."""
    return options.variant == 'int8' and (options.extra or {}).get('cache') == 'fp32'


def held_out(options: Options, encoding: Encoding, split: str, per_source: int) -> list[np.ndarray]:
    """Windows of music from the data file that the manifest names.

    Raises
    ------
    GenaudioError
        If none is named, or it holds nothing of this split.
    """
    from genaudio_core.training.scores.batches import fixed_windows
    from genaudio_core.training.scores.packed_scores import ScoreData

    if options.held_out is None:
        raise GenaudioError('int8 is judged on music: name a data file of genaudio-train prepare as held_out.')
    length = int((options.extra or {}).get('window', WINDOW))
    found = fixed_windows(ScoreData(options.held_out), encoding, length, split, per_source=per_source)
    windows = [window for of_source in found.values() for window in of_source]
    if not windows:
        raise GenaudioError(f'{options.held_out} holds no music of the split {split!r}.')
    return windows


def own_pieces(encoding: Encoding, context: int) -> list[np.ndarray]:
    """Pieces of `band_writer` that no model is trained on, told nothing: they are always at hand."""
    from genaudio_core.music.events import encode
    from genaudio_core.training.band_writer import write_piece

    return [encode(write_piece(UNSEEN + seed).score, encoding)[: min(WINDOW, context)] for seed in range(PIECES)]


def _tensors(events: np.ndarray, encoding: Encoding) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    step, phase = timeline(events, encoding)
    return tuple(torch.from_numpy(np.asarray(a, np.int64))[None] for a in (events, step, phase))  # type: ignore


def _relative(values: np.ndarray, reference: np.ndarray) -> float:
    return strays(values, reference, relative=True)
