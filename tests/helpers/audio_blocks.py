"""Sound through the audio callback, block by block."""

import time

import numpy as np

from bridge.audio.callback import AudioCore
from bridge.audio.shared_ring import Ring
from bridge.stems.inference_process import Gauges

RATE = 48000


class Core:
    """An `AudioCore` whose worker is this test: results are the input times ten, one hop behind."""

    def __init__(self, block=256, hop=256, margin=0):
        self.inbox, self.outbox = Ring(2), Ring(4)
        self.core = AudioCore(
            self.inbox, self.outbox, sample_rate=RATE, block=block, hop=hop, margin_samples=margin, wake=lambda: None
        )  # fmt: skip
        self.block, self.hop, self.done = block, hop, 0

    def work(self):
        hop = self.hop
        while self.inbox.end - self.done >= hop:
            if self.done:
                samples = np.empty((2, hop), np.float32)
                assert self.inbox.read_into(samples, self.done - hop)
                self.outbox.write(np.concatenate([10 * samples, -samples]), self.done - hop)
            self.done += hop

    def skip(self):
        """As a worker does that has been away."""
        self.done = self.inbox.end // self.hop * self.hop
        self.done += self.hop if self.done == self.outbox.end else 0

    def block_through(self, samples, work=True):
        out = np.empty((4, samples.shape[1]), np.float32)
        self.core.process(samples, out)
        if work:
            self.work()
        return out

    def close(self):
        self.inbox.close()
        self.outbox.close()


def slow_sine(n, level=0.05):
    return np.tile(level * np.sin(2 * np.pi * 100 * np.arange(n) / RATE), (2, 1)).astype(np.float32)


def play(host, x, between=lambda k: None):
    out = []
    for k, i in enumerate(range(0, x.shape[1] - 255, 256)):
        between(k)
        block = np.empty((host.outbox.n_channels, 256), np.float32)
        host.core.process(x[:, i : i + 256], block)
        out.append(block)
    return np.concatenate(out, -1)


def work_off(host):
    """Wait until the worker has taken every whole hop that came in."""
    counters, end = host.gauges.counters, time.monotonic() + 60
    while (counters[Gauges.HOPS] + counters[Gauges.SKIPPED] + 1) * host.hop <= host.inbox.end:
        assert time.monotonic() < end, 'the worker stands still'
        time.sleep(0.0005)
