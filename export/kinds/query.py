"""The bundled query encoders: words (a table of int8) and audio examples."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.graphs.graph import torch_to_onnx
from export.kinds import Kind, Options, ParityError, strays
from genaudio_core.inference.model_card import ModelCard
from genaudio_core.inference.session import load_model
from genaudio_core.models.query_encoder import AudioNet, AudioNetConfig, OnePhrase, TextTable, TextTableConfig
from genaudio_core.query.audio_encoder import AUDIO_KIND
from genaudio_core.query.text_encoder import TEXT_KIND, TextEncoder, text_features
from genaudio_core.training.loops.checkpoints import rebuild

OPSET = 20
TEXT_TOLERANCE = 0.999  # cosine between the int8 table and the float one
AUDIO_TOLERANCE = 1e-4


class QueryTextKind(Kind):
    name = TEXT_KIND
    variants = ('fp32',)

    def load(self, checkpoint: Path) -> tuple[TextTable, dict]:
        return rebuild(checkpoint, lambda config: TextTable(TextTableConfig(**config)), 'the text encoder')

    def build(self, source: Any, options: Options) -> bytes:
        n = torch.export.Dim('features', min=2, max=65536)
        proto = torch_to_onnx(
            OnePhrase(source[0]), {'ids': torch.arange(12)}, ('ids',), ('vector',), {'ids': {0: n}}, OPSET
        )
        return proto.SerializeToString()

    def card(self, source: Any, options: Options) -> ModelCard:
        model, info = source
        return ModelCard(
            kind=self.name,
            details={
                'query_space': 'genaudio-128', 'query_dim': model.config.dim, 'buckets': model.config.buckets,
                'names': info['names'], 'concepts': info['concepts'], 'phrases': info['phrases'],
                'typo_accuracy': info.get('typo_accuracy'), 'teacher': 'all-MiniLM-L6-v2 (Apache-2.0)',
            },
        )  # fmt: skip

    @torch.no_grad()
    def check(self, source: Any, path: Path, options: Options) -> dict[str, Any]:
        model, info = source
        session = load_model(path, self.name, provider='cpu').session
        worst = 1.0
        for text in [*list(info['phrases'])[::7], 'piana', 'a saxafone playing', 'tax election']:
            ids = text_features(text, model.config.buckets)
            expected = model(torch.tensor(ids), torch.tensor([0]))[0].numpy()
            got = session.run(None, {'ids': np.array(ids, np.int64)})[0]
            worst = float(np.minimum(worst, got @ expected))  # NaN stays NaN
        if not worst >= TEXT_TOLERANCE:
            raise ParityError(f'a phrase moved to cosine {worst:.4f} (allowed: {TEXT_TOLERANCE})')
        return {'parity_cosine': worst, **self.check_alone(path)}

    def check_alone(self, path: Path) -> dict[str, Any]:
        model = load_model(path, self.name, provider='cpu')
        encoder = TextEncoder(model.session, model.card)
        wrong = [name for name in encoder.names if encoder.match(name).nearest != name]
        if wrong:
            raise ParityError(f"'{wrong[0]}' is not understood as the word it is")
        return {'concepts': len(encoder.names)}


class QueryAudioKind(Kind):
    name = AUDIO_KIND
    variants = ('fp32',)

    def load(self, checkpoint: Path) -> tuple[AudioNet, dict]:
        return rebuild(checkpoint, lambda config: AudioNet(AudioNetConfig(**config)), 'the audio encoder')

    def _energy(self, model: AudioNet, n: int) -> torch.Tensor:
        rng = np.random.default_rng(n)
        shape = (n, 1, model.config.bands, model.config.frames)
        return torch.from_numpy((rng.standard_normal(shape) ** 2).astype(np.float32))

    def build(self, source: Any, options: Options) -> bytes:
        n = torch.export.Dim('windows', min=1, max=1024)
        model = source[0]
        proto = torch_to_onnx(
            model, {'energy': self._energy(model, 3)}, ('energy',), ('vector',), {'energy': {0: n}}, OPSET
        )
        return proto.SerializeToString()

    def card(self, source: Any, options: Options) -> ModelCard:
        model, info = source
        c = model.config
        return ModelCard(
            kind=self.name, sample_rate=c.sample_rate,
            metrics={key: value for key, value in info.items() if key.startswith(('valid_', 'test_'))},
            details={'query_space': 'genaudio-128', 'query_dim': c.dim, 'n_fft': c.n_fft, 'hop_length': c.hop_length,
                     'bands': c.bands, 'base': c.base, 'frames': c.frames},
        )  # fmt: skip

    @torch.no_grad()
    def check(self, source: Any, path: Path, options: Options) -> dict[str, Any]:
        model = source[0]
        session = load_model(path, self.name, provider='cpu').session
        worst = 0.0
        for n in (1, 5):
            energy = self._energy(model, n)
            got = session.run(None, {'energy': energy.numpy()})[0]
            worst = max(worst, strays(got, model(energy).numpy()))
        if not worst <= AUDIO_TOLERANCE:
            raise ParityError(f'vectors stray from torch by {worst:.2g} (allowed: {AUDIO_TOLERANCE:g})')
        return {'parity': worst}
