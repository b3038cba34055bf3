"""Stand-ins for exported separators: masks that a test can compute by itself."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from genaudio_core.inference.model_card import ModelCard
from genaudio_core.query.vector import Query
from genaudio_core.separation.offline import Separator


class MaskSession:
    """Gives the mask (height,) that the query's first number asks for: that share of the bands, lowest first."""

    def __init__(self, height: int):
        self.height = height
        self.calls: list[tuple[int, ...]] = []

    def run(self, _, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        frames = feed['spectrum'].shape[-1]
        self.calls.append(feed['spectrum'].shape)
        masks = np.zeros((len(feed['query']), self.height, frames), np.float32)
        for n, query in enumerate(feed['query']):
            masks[n, : round(float(abs(query[0])) * self.height)] = 1.0
        return [masks]


@dataclass
class FakeModel:
    session: Any
    card: ModelCard
    provider: str = 'cpu'
    notices: tuple[str, ...] = field(default=())


def fake_separator(session=None, *, frames: int = 64, bands: int = 48, front: str = 'bands') -> Separator:
    """A separator of 44.1 kHz, 2048 points 512 apart, whose masks come from `session`."""
    height = bands if front == 'bands' else 1025
    card = ModelCard(
        kind='clipsep', sample_rate=44100,
        details={'n_fft': 2048, 'hop_length': 512, 'frames': frames, 'bands': height, 'base': 101.0, 'query_dim': 4,
                 'front': front},
    )  # fmt: skip
    return Separator(FakeModel(session or MaskSession(height), card))  # type: ignore[arg-type]


def low(share: float, name: str = 'low', **settings) -> Query:
    """A query that lets through the lowest `share` of the bands."""
    return Query(name, ((1.0, np.array([share, 0, 0, 0], np.float32)),), normalise=False, **settings)
