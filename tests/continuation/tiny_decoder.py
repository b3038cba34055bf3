"""A decoder without weights: the numpy face of `Decoder` with logits that a test decides.

Real exported decoders are tested in test_continuation.py; here the question is what is made of the logits.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from genaudio_core.music.layouts import LIVE, Encoding


class FakeDecoder:
    """Looks like `genaudio_core.continuation.decoder.Decoder` to a `Continuer`; logits come from `rule(field,
    chosen)`."""

    def __init__(self, encoding: Encoding = LIVE, context: int = 256, rule=None):
        self.encoding, self.context, self.dim = encoding, context, 1
        self.chained = self.has_time = self.has_phase = True
        self.provider, self.model = 'cpu', SimpleNamespace(path=Path('fake.onnx'))
        self.rule = rule or (lambda field, chosen: np.zeros(encoding.sizes[encoding.index(field)], np.float32))


class FakeBuffers:
    def __init__(self, decoder: FakeDecoder, takes: int):
        self.decoder, self.takes = decoder, takes

    def step(self, events, step, phase, past):
        return np.zeros((*events.shape[:2], 1), np.float32)

    def logits(self, index, hidden, chosen, phase):
        field = self.decoder.encoding.fields[index]
        rows = [self.decoder.rule(field, None if chosen is None else chosen[take]) for take in range(self.takes)]
        return np.array(rows, np.float32)

    def copy_from(self, other, rows, length):
        pass
