"""The offline separators: CLIPSep as published, CLIPSep-small, and the band separator, which we ship."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from export.graphs.band_graph import build as build_bands
from export.graphs.graph import torch_to_onnx
from export.kinds import Kind, Options, ParityError, strays
from genaudio_core.errors import GenaudioError
from genaudio_core.inference.model_card import ModelCard
from genaudio_core.inference.session import load_model
from genaudio_core.models.band_separator import BandSeparator
from genaudio_core.models.clipsep import CLIPSep, CLIPSepConfig, from_published
from genaudio_core.models.clipsep_small import CLIPSepSmall
from genaudio_core.query.own_encoder import QuerySource
from genaudio_core.training.fit.clipsep import build_small
from genaudio_core.training.loops.checkpoints import rebuild

TOLERANCE = 1e-3  # of masks in 0..1; a U-Net of 7 levels adds up its rounding
OPSET = 20
PUBLISHED = QuerySource('clip', ('text', 'image'), normalised=False)  # ViT-B/32
Network = CLIPSep | CLIPSepSmall | BandSeparator
SMALL_FRAMES = 192  # 4.46 s at 44.1 kHz; a multiple of 64


def load_published_clipsep(checkpoint: Path) -> CLIPSep:
    """Return the model of the authors' own checkpoint, read without running code in it.

    Raises
    ------
    GenaudioError
        If it is missing, no torch file, or of another model.
    """
    if not checkpoint.is_file():
        raise GenaudioError(f'The file {checkpoint} does not exist.')
    try:
        weights = torch.load(checkpoint, map_location='cpu', weights_only=True)
    except Exception as error:  # torch raises pickle, zip, runtime and other errors
        raise GenaudioError(f'{checkpoint} is not a torch checkpoint that holds only weights.') from error
    for key in ('state_dict', 'model'):
        if isinstance(weights, dict) and isinstance(weights.get(key), dict):
            weights = weights[key]
    if not isinstance(weights, dict) or not all(isinstance(v, Tensor) for v in weights.values()):
        raise GenaudioError(f'{checkpoint} does not contain a dictionary of weights.')
    return from_published(weights)


class _Masks(nn.Module):
    """What is exported: without noise heads, one mixture at a time, any number of queries."""

    def __init__(self, model: Network):
        super().__init__()
        self.model = model

    def forward(self, spectrum: Tensor, query: Tensor | None = None) -> Tensor:
        """(1, 1, height, frames) and queries (n, query_dim), or labels (n,), or none, -> masks (n, height, frames)."""
        if query is None:
            return self.model(spectrum, None)[0]
        if getattr(self.model.config, 'fusion', 'late') != 'late':  # the U-Net hears each query apart
            return self.model(spectrum.expand(query.shape[0], -1, -1, -1), query[:, None])[:, 0]
        return self.model(spectrum, query[None])[0]


def way_of_asking(model: Network) -> str:
    """One of `models.clipsep.QUERIES`."""
    return getattr(model.config, 'query', 'embedding')


class ClipsepKind(Kind):
    name = 'clipsep'
    variants = ('fp32',)

    def load(self, checkpoint: Path) -> Network:
        def build(config: dict) -> Network:
            return CLIPSep(CLIPSepConfig(**config)) if 'fusion' in config else build_small(config)

        model, info = rebuild(checkpoint, build, 'an offline separator')
        # A checkpoint trained on somebody else's encoder says so; see genaudio_core/query/own_encoder.py.
        model.query_source = info.get('queries')  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
        return model

    def _input(self, source: Network, seed: int = 0) -> dict[str, Tensor]:
        rng = np.random.default_rng(seed)
        config: Any = source.config  # a type checker may think of a model that is both
        if isinstance(source, CLIPSepSmall | BandSeparator):
            height, frames = config.bands, SMALL_FRAMES
        else:
            height, frames = config.n_fft // 2 + 1, config.frames
        spectrum = rng.standard_normal((1, 1, height, frames)) ** 2 * 10 ** rng.uniform(-3, 2)
        found = {'spectrum': torch.from_numpy(spectrum).float()}
        asked = way_of_asking(source)
        if asked == 'label':
            found['query'] = torch.from_numpy(rng.integers(0, config.n_labels, 2))
        elif asked == 'embedding':
            query = rng.standard_normal((2, config.query_dim)) / config.query_dim**0.5
            found['query'] = torch.from_numpy(query).float()
        return found

    def build(self, source: Any, options: Options) -> bytes:
        if isinstance(source, BandSeparator):
            return build_bands(source, SMALL_FRAMES).SerializeToString()
        n = torch.export.Dim('queries', min=1, max=64)
        inputs = self._input(source)
        shapes = {name: {0: n} if name == 'query' else None for name in inputs}
        proto = torch_to_onnx(_Masks(source).eval(), inputs, list(inputs), ('masks',), shapes, OPSET)
        return proto.SerializeToString()

    def card(self, source: Any, options: Options) -> ModelCard:
        c = source.config
        small = isinstance(source, CLIPSepSmall | BandSeparator)
        frames = SMALL_FRAMES if small else c.frames
        asked = getattr(source, 'query_source', None) or (QuerySource() if small else PUBLISHED).to_dict()
        return ModelCard(
            kind=self.name, sample_rate=c.sample_rate, latency=None,
            details={
                'config': c.to_dict(), 'parameters': sum(p.numel() for p in source.parameters()),
                'front': 'bands' if small else 'magnitude', 'n_fft': c.n_fft, 'hop_length': c.hop_length,
                'frames': frames, 'bands': c.bands if small else c.n_fft // 2 + 1,
                'base': c.base if small else 0.0, 'query_dim': c.query_dim,
                'queries': asked, 'mask_power': c.mask_power if small else 1.0,
            },
        )  # fmt: skip

    @torch.no_grad()
    def check(self, source: Any, path: Path, options: Options) -> dict[str, Any]:
        session = load_model(path, self.name, provider='cpu').session
        worst = 0.0
        for seed in range(3):
            inputs = self._input(source, seed)
            expected = _Masks(source)(**inputs).numpy()
            got = session.run(None, {key: value.numpy() for key, value in inputs.items()})[0]
            worst = max(worst, strays(got, expected))
        if not worst <= TOLERANCE:
            raise ParityError(f'masks stray from torch by {worst:.2g} (allowed: {TOLERANCE:g})')
        return {'parity': worst, **self.check_alone(path)}

    def check_alone(self, path: Path) -> dict[str, Any]:
        model = load_model(path, self.name, provider='cpu')
        d = model.card.details
        rng = np.random.default_rng(1)
        asked = d['config'].get('query', 'embedding')
        feed: dict[str, np.ndarray] = {}
        feed['spectrum'] = rng.standard_normal((1, 1, d['bands'], d['frames'])).astype(np.float32) ** 2
        if asked != 'none':
            query = rng.standard_normal((3, d['query_dim'])).astype(np.float32)
            feed['query'] = rng.integers(0, d['config']['n_labels'], 3) if asked == 'label' else query
        together = np.asarray(model.session.run(None, feed)[0])
        if asked == 'none':
            if not np.isfinite(together).all():
                raise ParityError('it makes NaN or infinite masks')
            return {}
        alone = np.asarray(model.session.run(None, feed | {'query': feed['query'][1:2]})[0])
        error = strays(together[1:2], alone)
        if not error <= TOLERANCE or not np.isfinite(together).all():
            raise ParityError(f'a mask depends on the other queries by {error:.2g}')
        return {'queries_independent': error}
