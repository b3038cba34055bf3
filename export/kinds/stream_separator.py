"""The live separator: one frame in, masks and the next state out."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.graphs.stream_graph import build
from export.kinds import Kind, Options, ParityError, strays
from genaudio_core.inference.model_card import ModelCard
from genaudio_core.models.stream_separator import StreamSeparator
from genaudio_core.separation.streaming import MaskNetwork, StreamingSeparator, separate_offline
from genaudio_core.training.fit.stems import load_separator

TOLERANCE = 1e-4  # of masks, which are about 0 to 1
STEPS = 40  # of recurrence: errors that grow would show


class StreamSeparatorKind(Kind):
    name = 'stream_separator'
    variants = ('fp32',)

    def load(self, checkpoint: Path) -> tuple[StreamSeparator, dict[str, np.ndarray]]:
        return load_separator(checkpoint / 'best.safetensors' if checkpoint.is_dir() else checkpoint)

    def build(self, source: Any, options: Options) -> bytes:
        return build(source[0]).SerializeToString()

    def card(self, source: Any, options: Options) -> ModelCard:
        model, words = source
        c = model.config
        return ModelCard(
            kind=self.name, sample_rate=c.sample_rate, block_size=c.hop, latency=2 * c.hop,
            details={
                'config': c.as_dict(), 'parameters': sum(p.numel() for p in model.parameters()),
                'sample_rates': [44100, 48000], 'n_fft': c.n_fft, 'hop': c.hop, 'query_dim': c.query_dim,
                'channels': 2,
                # Words whose vectors it was trained with, so that it can be used without a query encoder.
                'words': {word: np.round(vector, 5).tolist() for word, vector in sorted(words.items())},
            },
        )  # fmt: skip

    @torch.no_grad()
    def check(self, source: Any, path: Path, options: Options) -> dict[str, Any]:
        model: StreamSeparator = source[0]
        network = MaskNetwork.load(path, backwards=model.config.backwards)
        rng = np.random.default_rng()
        worst = 0.0
        for n_queries in (1, 4):
            query = rng.standard_normal((n_queries, model.config.query_dim)).astype(np.float32)
            query /= np.linalg.norm(query, axis=1, keepdims=True)
            spectra = rng.standard_normal((2, STEPS, model.n_bins, 2)).astype(np.float32).view(np.complex64)[..., 0]
            spectra *= 10 ** rng.uniform(-3, 2, (1, STEPS, 1)).astype(np.float32)
            features = model.features(torch.from_numpy(spectra)[None])
            expected = (model(features, torch.from_numpy(query)[None])[0][0] @ model.gather.T).numpy()  # (Q, T, F)
            stream = network.stream(n_queries)
            for t in range(STEPS):
                masks = stream.step(spectra[:, t], query)
                worst = max(worst, strays(masks, expected[:, t]))
        if not worst <= TOLERANCE:
            raise ParityError(f'masks stray from torch by {worst:.2g} within {STEPS} frames (allowed: {TOLERANCE:g})')
        return {'parity': worst, **self.check_alone(path)}

    def check_alone(self, path: Path) -> dict[str, Any]:
        network = MaskNetwork.load(path, backwards=None)
        rng = np.random.default_rng()
        audio = rng.standard_normal((2, network.n_fft + 31 * network.hop)).astype(np.float32) * 0.1
        query = rng.standard_normal((2, network.query_dim)).astype(np.float32) / network.query_dim**0.5
        engine = StreamingSeparator(network, query)
        live, at = [], 0
        while at < audio.shape[1]:
            size = int(rng.integers(1, 700))
            live.append(engine.separate(audio[:, at : at + size]))
            at += size
        whole = separate_offline(network, audio, query)
        latency = engine.latency
        error = strays(np.concatenate(live, -1)[..., latency:], whole[..., :-latency])
        if not error <= TOLERANCE:
            raise ParityError(f'blocks differ from the whole by {error:.2g} (allowed: {TOLERANCE:g})')
        return {'blocks_equal_whole': error}
