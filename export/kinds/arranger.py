"""Models that tell parts: ours, and the published ones of Dong et al. (ISMIR 2021)."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.graphs.part_graph import build
from export.kinds import Kind, Options, ParityError, strays
from genaudio_core.inference.model_card import ModelCard, read_card
from genaudio_core.inference.session import load_model
from genaudio_core.models.arranger.part_tagger import PartTagger
from genaudio_core.models.arranger.published import PublishedArranger
from genaudio_core.music.part_features import N_CAUSAL, N_PART, N_PHASES, N_WHOLE
from genaudio_core.training.fit.arranger import load_arranger

TOLERANCE = 1e-4


class ArrangerKind(Kind):
    name = 'arranger'

    def load(self, checkpoint: Path) -> PartTagger | PublishedArranger:
        return load_arranger(checkpoint)[0]

    def build(self, source: PartTagger | PublishedArranger, options: Options) -> bytes:
        return build(source).SerializeToString()

    def card(self, source: PartTagger | PublishedArranger, options: Options) -> ModelCard:
        config = source.config
        details = {'config': config.to_dict(), 'parameters': sum(p.numel() for p in source.parameters())}
        return ModelCard(kind=self.name, details=details)

    @torch.no_grad()
    def check(self, source: PartTagger | PublishedArranger, path: Path, options: Options) -> dict[str, Any]:
        session = load_model(path, self.name, provider='cpu').session
        rng = np.random.default_rng()  # fresh inputs every time
        worst = 0.0
        for notes in (1, 70, 300):
            published = isinstance(source, PublishedArranger)
            inputs, expected = _published(source, notes, rng) if published else _ours(source, notes, rng)
            for got, wanted in zip(session.run(None, inputs), expected, strict=True):
                worst = max(worst, strays(got, wanted))
        if not worst <= TOLERANCE:
            raise ParityError(f'scores stray from torch by {worst:.2g} (allowed: {TOLERANCE:g})')
        return {'parity': worst, **self.check_alone(path)}

    def check_alone(self, path: Path) -> dict[str, Any]:
        if read_card(path).details['config']['network'] != 'parts':
            return {}
        session = load_model(path, self.name, provider='cpu').session
        inputs = _random(40, 3, np.random.default_rng(), session.get_inputs()[-1].shape[-1])
        live, _, last = session.run(None, inputs)
        state, rows = inputs['state'], []
        for i in range(40):
            row = {key: inputs[key][i : i + 1] for key in ('pitch', 'phase', 'causal', 'whole')}
            found = session.run(None, {**inputs, **row, 'state': state})
            rows.append(found[0])
            state = found[2]
        worst = max(strays(np.concatenate(rows), live), strays(state, last))
        if not worst <= TOLERANCE:
            raise ParityError(f'notes one by one differ from all at once by {worst:.2g} (allowed: {TOLERANCE:g})')
        return {'self_consistency': worst}


def _random(notes: int, parts: int, rng: np.random.Generator, width: int) -> dict[str, np.ndarray]:
    """Inputs of our network that no score need have."""

    def numbers(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    return {
        'pitch': rng.integers(0, 128, notes), 'phase': rng.integers(0, N_PHASES, notes),
        'causal': numbers(notes, N_CAUSAL), 'whole': numbers(notes, N_WHOLE),
        'instrument': rng.integers(1, 65, parts), 'rank': rng.integers(0, 16, parts),
        'numbers': numbers(parts, N_PART), 'state': numbers(4, 1, width),
    }  # fmt: skip


def _ours(model: PartTagger, notes: int, rng: np.random.Generator) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    inputs = _random(notes, int(rng.integers(1, 9)), rng, model.config.width)
    b = {name: torch.from_numpy(values)[None] for name, values in inputs.items()}
    b |= {'there': torch.ones(b['instrument'].shape, dtype=torch.bool), 'length': torch.tensor([notes])}
    found = model(b, [part[None] for part in torch.from_numpy(inputs['state'])])
    after = torch.cat(found['state'])  # type: ignore[arg-type]
    return inputs, [found['live'][0].numpy(), found['whole'][0].numpy(), after.numpy()]


def _published(
    model: PublishedArranger, notes: int, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    inputs = {
        'time': np.sort(rng.integers(0, 200_000, notes)), 'pitch': rng.integers(1, 129, notes),
        'duration': rng.integers(0, 400, notes),
        'hint': rng.integers(-1, 2, (notes, len(model.config.parts))).astype(np.float32),
    }  # fmt: skip
    return inputs, [model(*(torch.from_numpy(values)[None] for values in inputs.values()))[0].numpy()]
