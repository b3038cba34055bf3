"""A model that tells parts, key after key. Nothing here loads a model or its runtime."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from genaudio_core.errors import GenaudioError
from genaudio_core.music.part_features import CausalWindow, part_codes, phases, whole_features

if TYPE_CHECKING:
    from genaudio_core.arranging.part_model import PartModel


def part_inputs(names: Sequence[str]) -> dict[str, np.ndarray]:
    """The parts as a graph of ours sees them, by the names of its inputs: (parts,), (parts,) and (parts, N_PART)."""
    return dict(zip(('instrument', 'rank', 'numbers'), part_codes(names), strict=True))


class LiveParts:
    """The live reading, key after key, for parts that are named once; no file and no import. One thread at a time.

    Raises
    ------
    GenaudioError
        If the model is a published one, which has no state to go on from.
    """

    def __init__(self, model: 'PartModel', names: Sequence[str]):
        if model.is_published:
            raise GenaudioError(f'{model.model.path} cannot go on note by note: only our own models play live.')
        model.check_parts(names)
        self._model, self.names = model, tuple(names)
        self._parts = part_inputs(names)
        self._whole = whole_features(np.zeros(1), np.array([60]), np.ones(1))  # of no matter to the live reading
        self._window, self._state = CausalWindow(), model.start()

    def key_down(self, onset: float, pitch: int, phase: float) -> np.ndarray:
        """Scores (parts,) of a note that begins now.

        Parameters
        ----------
        onset : float
            Beats on a line that never goes back; notes of one chord have the same.
        phase : float
            Place in the beat, 0..1.
        """
        causal = self._window.row(onset, pitch)
        scores, state = self._model.model.session.run(
            ['live_scores', 'state_out'],
            {
                'pitch': np.array([pitch]), 'phase': phases(np.array([phase])), 'causal': causal, 'whole': self._whole,
                **self._parts, 'state': self._state,
            },
        )  # fmt: skip
        self._state = np.asarray(state)
        self._window.begin(onset, pitch)
        return np.asarray(scores)[0]

    def key_up(self, onset: float, pitch: int) -> None:
        """The key comes up, at beat `onset`."""
        self._window.end(onset, pitch)
