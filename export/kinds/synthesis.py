"""The three parts of synthesis: the denoiser, the prior from words to what is heard, and the vocoder.

Weights that are exact in half precision (all of a released checkpoint) are stored so, with a cast behind each: files
of half the size, computed in single precision, bit for bit the same. onnxruntime folds the casts when it loads.
"""

from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from export.graphs.graph import torch_to_onnx
from export.kinds import Kind, Options, ParityError, strays
from genaudio_core.inference.model_card import ModelCard
from genaudio_core.inference.session import load_model
from genaudio_core.models.clipsonic import Denoiser, MelUNet, PriorNetwork
from genaudio_core.models.vocoder import VocoderNetwork
from genaudio_core.sound.mel import BANDS, SAMPLE_RATE
from genaudio_core.synthesis.mel_patches import PatchCodec
from genaudio_core.synthesis.synthesizer import DENOISER_KIND, PRIOR_KIND, VOCODER_KIND

OPSET = 20
TOLERANCE = 1e-3  # relative to the largest value
SMALL = 512  # numbers a weight must have to be worth a cast


def store_in_half(model: onnx.ModelProto) -> int:
    """Store exact weights in half precision, each with a cast to single; return how many."""
    casts, changed = [], 0
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT:
            continue
        array = numpy_helper.to_array(weight)
        with np.errstate(over='ignore'):
            half = array.astype(np.float16)
        if array.size < SMALL or not np.array_equal(half.astype(np.float32), array):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(half, f'{name}.half'))
        casts.append(helper.make_node('Cast', [f'{name}.half'], [name], to=TensorProto.FLOAT))
        changed += 1
    for node in reversed(casts):
        model.graph.node.insert(0, node)
    return changed


class _Part(Kind):
    """What the three have in common: build, compare on random inputs of several sizes."""

    variants = ('fp32',)
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]

    @abstractmethod
    def inputs(self, model: Any, size: int, seed: int) -> dict[str, Tensor]:
        """Random inputs; `size` says how many or how long."""

    @abstractmethod
    def shapes(self) -> dict[str, Any]:
        """Which axes of which inputs may have any size."""

    def build(self, source: Any, options: Options) -> bytes:
        proto = torch_to_onnx(
            source[0], self.inputs(source[0], 3, 0), self.input_names, self.output_names, self.shapes(), OPSET
        )
        store_in_half(proto)
        return proto.SerializeToString()

    @torch.no_grad()
    def check(self, source: Any, path: Path, options: Options) -> dict[str, Any]:
        session = load_model(path, self.name, provider='cpu').session
        worst = 0.0
        for seed, size in enumerate((1, 4, 9)):
            inputs = self.inputs(source[0], size, seed)
            expected = source[0](**inputs)
            expected = expected if isinstance(expected, tuple) else (expected,)
            got = session.run(None, {name: value.numpy() for name, value in inputs.items()})
            worst = max(worst, *(strays(g, e.numpy(), relative=True) for g, e in zip(got, expected, strict=True)))
        if not worst <= TOLERANCE:
            raise ParityError(f'it strays from torch by {worst:.2g} (allowed: {TOLERANCE:g})')
        measured = {name: value for name, value in source[1].items() if name.startswith('valid')}
        return {'parity': worst, **measured, **self.check_alone(path)}

    def check_alone(self, path: Path) -> dict[str, Any]:
        return {}

    def _card(self, source: Any, details: dict[str, Any]) -> ModelCard:
        model, info = source
        trained = {key: info[key] for key in ('step', 'hardware') if key in info}
        return ModelCard(
            kind=self.name, sample_rate=SAMPLE_RATE,
            details={
                **details, 'query_space': 'genaudio-128', 'parameters': sum(p.numel() for p in model.parameters()),
                'trained': trained,
            },
        )  # fmt: skip


class DenoiserKind(_Part):
    name = DENOISER_KIND
    input_names, output_names = ('x', 't', 'query', 'kind', 'start'), ('v',)

    def load(self, checkpoint: Path) -> tuple[Denoiser | MelUNet, dict]:
        from genaudio_core.training.fit.synth_denoiser import load_denoiser

        return load_denoiser(checkpoint)

    def shapes(self) -> dict[str, Any]:
        n = torch.export.Dim('batch', min=1, max=256)
        return {name: {0: n} for name in self.input_names}

    def inputs(self, model: Any, size: int, seed: int) -> dict[str, Tensor]:
        rng = np.random.default_rng(seed)
        c = model.config
        query = rng.standard_normal((size, c.query_dim))
        query /= np.linalg.norm(query, axis=1, keepdims=True)
        return {
            'x': torch.from_numpy(rng.standard_normal((size, c.tokens, c.size))).float(),
            't': torch.from_numpy(rng.uniform(0, 1, size)).float(), 'query': torch.from_numpy(query).float(),
            'kind': torch.from_numpy(rng.integers(0, 3, size)), 'start': torch.from_numpy(rng.integers(0, 2, size)),
        }  # fmt: skip

    def card(self, source: Any, options: Options) -> ModelCard:
        c = source[0].config
        return self._card(source, {
            'net': c.net, 'tokens': c.tokens, 'shift': c.shift, 'codec': c.codec, 'query_dim': c.query_dim,
        })  # fmt: skip

    def check_alone(self, path: Path) -> dict[str, Any]:
        model = load_model(path, self.name, provider='cpu')
        d = model.card.details
        codec = PatchCodec(**d['codec'])
        rng = np.random.default_rng(1)
        feed = {
            'x': rng.standard_normal((3, d['tokens'], codec.size)).astype(np.float32),
            't': np.array([0.1, 0.5, 0.9], np.float32), 'kind': np.array([0, 1, 2]), 'start': np.array([1, 0, 1]),
            'query': rng.standard_normal((3, d['query_dim'])).astype(np.float32) / d['query_dim'] ** 0.5,
        }  # fmt: skip
        together = np.asarray(model.session.run(None, feed)[0])
        alone = np.asarray(model.session.run(None, {name: value[:1] for name, value in feed.items()})[0])
        feed['query'] = feed['query'][::-1].copy()
        deaf = np.asarray(model.session.run(None, feed)[0])
        error = strays(together[:1], alone, relative=True)
        if not error <= TOLERANCE or not np.isfinite(together).all():
            raise ParityError(f'a sound depends on the others of its batch by {error:.2g}')
        if not strays(deaf[:1], together[:1], relative=True) <= TOLERANCE:
            raise ParityError('without a query the result still depends on one')
        return {'batch_independent': error}


class PriorKind(_Part):
    name = PRIOR_KIND
    input_names, output_names = ('z', 't', 'text'), ('v',)

    def load(self, checkpoint: Path) -> tuple[PriorNetwork, dict]:
        from genaudio_core.training.fit.synth_prior import load_prior

        return load_prior(checkpoint)

    def shapes(self) -> dict[str, Any]:
        n = torch.export.Dim('batch', min=1, max=256)
        return {name: {0: n} for name in self.input_names}

    def inputs(self, model: Any, size: int, seed: int) -> dict[str, Tensor]:
        rng = np.random.default_rng(seed)
        dim = model.config.dim
        return {
            'z': torch.from_numpy(rng.standard_normal((size, dim))).float(),
            't': torch.from_numpy(rng.uniform(0, 1, size)).float(),
            'text': torch.from_numpy(rng.standard_normal((size, dim))).float(),
        }

    def card(self, source: Any, options: Options) -> ModelCard:
        c = source[0].config
        return self._card(source, {'shift': c.shift, 'query_dim': c.dim})


class VocoderKind(_Part):
    name = VOCODER_KIND
    input_names, output_names = ('mel',), ('real', 'imaginary')

    def load(self, checkpoint: Path) -> tuple[VocoderNetwork, dict]:
        from genaudio_core.training.fit.synth_vocoder import load_vocoder

        return load_vocoder(checkpoint)

    def shapes(self) -> dict[str, Any]:
        return {'mel': {0: torch.export.Dim.STATIC, 1: torch.export.Dim('frames', min=2, max=1 << 20)}}

    def inputs(self, model: Any, size: int, seed: int) -> dict[str, Tensor]:
        rng = np.random.default_rng(seed)
        return {'mel': torch.from_numpy(rng.uniform(-11, 0, (1, 16 * size + seed, BANDS))).float()}

    def card(self, source: Any, options: Options) -> ModelCard:
        c = source[0].config
        return self._card(source, {'n_fft': c.n_fft, 'hop_length': c.hop_length, 'bands': c.bands, 'bins': c.bins})
