"""From stems to what is sent out: levels, mute, solo, the rest, and the balance of dry and wet."""

from collections.abc import Sequence

import numpy as np

from bridge.settings.mix import Mix


class Mixer:
    """Mixes hop by hop; a change takes one hop, so that no level jumps."""

    def __init__(self, mix: Mix):
        self._now = self._wanted = mix.weights()

    def set(self, mix: Mix) -> None:
        """Use other levels from the next hop on."""
        self._wanted = mix.weights()

    def process(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Take the stems, the rest and the dry signal, each (2, n); return the monitor (2, n)."""
        n = parts[0].shape[-1]
        if self._now is self._wanted:
            out = np.zeros((2, n), np.float32)
            for weight, part in zip(self._now, parts, strict=True):
                if weight:
                    out += weight * part
            return out
        ramp = np.linspace(0, 1, n + 1, dtype=np.float32)[1:]
        curves = self._now[:, None] + (self._wanted - self._now)[:, None] * ramp
        self._now = self._wanted
        return np.einsum('kn,kcn->cn', curves, np.stack(parts)).astype(np.float32)
