"""What the choice of an event leaned on: how much its chances change when one event before it is not listened to.

Attention is an operator of the decoder's file and tells nobody its weights. But the cache is ours: with the values of
one event at nought in every layer, whoever attends to it takes nothing from it, and one more step gives other chances.
So this is no attention, but what comes of it. It works with every decoder, costs a step and a run of each head for
each event, and leaves the cache as it was, to the bit.
"""

from collections.abc import Sequence

import numpy as np

from genaudio_core.continuation.continuer import Continuer

_LEAST = 1e-9  # a chance, where one has become none


class Influence:
    """Works out, event by event, what event `at` of a past leaned on. For one thread, like the continuer.

    Parameters
    ----------
    continuer : Continuer
        With one take, on the CPU; nobody else uses it meanwhile (`Continuer.fork`).
    at : int
        Index of the event, 2 at least.
    over : sequence of int
        Indices before it to look at, in this order.

    Attributes
    ----------
    shares : list of float
        For each of `over` looked at so far: Kullback-Leibler divergence of the chances of all fields, in nats.

    Raises
    ------
    ValueError
        If the continuer has several takes, or its cache is not in ordinary memory.
    """

    def __init__(self, continuer: Continuer, at: int, over: Sequence[int]) -> None:
        self._continuer, self._at = continuer, at
        self._buffers = continuer._buffers
        self._values = [array for name, array in self._buffers._arrays.items() if name.startswith('value_')]
        if continuer.takes != 1 or not self._values:
            raise ValueError('one take, with its cache in ordinary memory')
        self._chosen = continuer.events[:, at].astype(np.int64)
        continuer.rewind(at)
        self._phase = continuer.when(self._chosen)[1]
        self._left = list(reversed(over))
        self._whole: list[np.ndarray] | None = None
        self.shares: list[float] = []

    def step(self) -> bool:
        """Look at one more event; False if there was none left."""
        if not self._left:
            return False
        if self._whole is None:
            self._whole = self._chances()
        i = self._left.pop()
        kept = [array[0, :, i].copy() for array in self._values]  # (heads, head_dim) of each layer
        try:
            for array in self._values:
                array[0, :, i] = 0
            without = self._chances()
        finally:
            for array, row in zip(self._values, kept, strict=True):
                array[0, :, i] = row
        pairs = zip(self._whole, without, strict=True)
        change = sum(float((p * np.log((p + _LEAST) / (q + _LEAST))).sum()) for p, q in pairs)
        self.shares.append(max(change, 0.0))
        return True

    def _chances(self) -> list[np.ndarray]:
        """Chances of each field of the event, given those before it as they were chosen: (classes,) each."""
        continuer, last = self._continuer, slice(self._at - 1, self._at)
        events = continuer.events[:, last].astype(np.int64)
        hidden = self._buffers.step(events, continuer.steps[:, last], continuer.phases[:, last], self._at - 1)[
            :, 0
        ].copy()
        found = []
        for field in continuer.encoding.order:
            logits = self._buffers.logits(continuer.encoding.index(field), hidden, self._chosen, self._phase)[0]
            chances = np.exp((logits - logits.max()).astype(np.float64))
            found.append(chances / chances.sum())
        return found
