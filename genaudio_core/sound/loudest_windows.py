"""The loudest windows of a sound, found at its own rate; only those are resampled and transformed.

Resampling and transforming an hour to look at a minute and a half of it takes most of a minute. So a sound is gone
over twice: once for the power of its channels, once for the samples of the windows that were found to be loud. What
is short enough to be looked at whole is one span of samples, of which every window is taken.

Windows begin at every half of their length, and the last one ends with the sound. A window's energies are gathered
from spectra that add up to its power (Parseval), so that both passes mean the same by "loud".
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from genaudio_core.errors import GenaudioError
from genaudio_core.sound.spectrogram import StreamingSTFT, n_frames

SILENT = 1e-4  # root mean square under which a sound says nothing
FAINT = 0.03  # of the loudest window's energy; what has less is a pause
_PIECE = 1 << 17  # samples transformed at a time: a whole file at once is no huge spectrum

Blocks = Callable[[], Iterable[np.ndarray]]


@dataclass(frozen=True)
class Looking:
    """What windows are made of: a transform, and how its bins become bands."""

    sample_rate: int  # Hz
    n_fft: int
    hop_length: int
    frames: int  # of a window
    gather: np.ndarray  # (bands, n_fft // 2 + 1)

    def loudest(self, blocks: Blocks, rate: float, most: int) -> np.ndarray:
        """Return the energies of the loudest windows, float32 (at most `most`, bands, frames), the loudest first.

        Memory does not grow with the length of the sound.

        Parameters
        ----------
        blocks : callable
            Called twice; each time it goes through the sound: (channels, any n) at `rate` Hz.

        Raises
        ------
        GenaudioError
            If the sound is silent, empty or not finite.
        """
        powers, n = self._powers(blocks(), rate)
        total = n_frames(n, self.hop_length)
        # A short sound has one window: what there is, heard again and again, as in training.
        begins = [*range(0, total - self.frames + 1, self.frames // 2)] or [0]
        if (last := total - self.frames) > begins[-1]:
            begins.append(last)
        if len(begins) > most:
            sums = np.concatenate([[0.0], np.cumsum(powers)])
            level = [sums[min(at + self.frames, len(powers))] - sums[at] for at in begins]
            begins = sorted(begins[i] for i in np.argsort(level, kind='stable')[-most:])
        windows = list(self._windows(blocks(), rate, n, begins))
        windows.sort(key=lambda window: -float(window.mean()))
        limit = float(windows[0].mean()) * FAINT
        return np.stack([window for window in windows if window.mean() > limit]).astype(np.float32)

    def _powers(self, blocks: Iterable[np.ndarray], rate: float) -> tuple[np.ndarray, int]:
        """Return the power around each frame, over all channels and without what is constant, and the sound's length.

        The power of the channels is added up, not their samples: what is out of phase is heard too.
        """
        hop = self.hop_length * rate / self.sample_rate  # samples, of the sound
        sums: list[np.ndarray] = []  # (2, channels, hops): of samples, of their squares; neighbours share a hop
        firsts: list[int] = []
        n = size = 0
        for block in blocks:
            if not np.isfinite(block).all():
                raise GenaudioError('The example holds no sound that can be used (empty, or NaN).')
            if not block.size:
                continue
            first, final = int(n / hop + 0.5), int((n + block.shape[1] - 1) / hop + 0.5)
            edges = np.ceil((np.arange(first, final + 1) - 0.5) * hop).astype(int) - n
            edges = np.clip(edges, 0, block.shape[1] - 1)
            wide = block.astype(np.float64)
            sums.append(np.stack([np.add.reduceat(wide, edges, axis=1), np.add.reduceat(wide**2, edges, axis=1)]))
            firsts.append(first)
            n, size = n + block.shape[1], size + block.size
        if not n:
            raise GenaudioError('The example holds no sound that can be used (empty, or NaN).')
        both = np.zeros((*sums[0].shape[:2], max(at + part.shape[2] for at, part in zip(firsts, sums, strict=True))))
        for at, part in zip(firsts, sums, strict=True):
            both[:, :, at : at + part.shape[2]] += part
        mean = both[0].sum(axis=1, keepdims=True) / n
        # The sum of (x - mean)**2, with as many samples in each hop as a hop has.
        powers = np.maximum(both[1] - 2 * mean * both[0] + mean**2 * hop, 0).sum(axis=0)
        whole = float(both[1].sum() - n * np.square(mean).sum())
        if not whole >= size * SILENT**2:
            raise GenaudioError('The example is silent. Give a clip in which the sound can be heard.')
        return powers, round(n * self.sample_rate / rate)

    def _windows(self, blocks: Iterable[np.ndarray], rate: float, n: int, begins: list[int]) -> Iterator[np.ndarray]:
        """Yield the energies (bands, frames) of windows that begin at these frames of a sound `n` samples long."""
        lead = -(-self.n_fft // self.hop_length)  # frames in front of a span that only fill transform and resampler
        spans: list[tuple[int, int]] = []  # frames that neighbours need
        for at in begins:
            if spans and at <= spans[-1][1] + 2 * lead:
                spans[-1] = (spans[-1][0], at + self.frames)
            else:
                spans.append((at, at + self.frames))
        total = n_frames(n, self.hop_length)
        samples = _Samples(blocks)
        for start, stop in spans:
            early, late = max(0, start - lead), stop + lead
            # Frame `early` lies on the first sample that is read; the rest of a sample is not heard.
            first = round(early * self.hop_length * rate / self.sample_rate)
            final = None if late >= total else round(late * self.hop_length * rate / self.sample_rate)
            energy = self._energy(samples.between(first, final), rate, n - early * self.hop_length)
            if energy.shape[1] < min(stop, total) - early:
                raise GenaudioError('The example became shorter while it was read.')
            energy = energy[:, start - early :]
            if total < self.frames:
                energy = np.tile(energy, (1, -(-self.frames // energy.shape[1])))
            for at in begins:
                if start <= at < stop:
                    yield energy[:, at - start : at - start + self.frames]

    def _energy(self, pieces: Iterator[np.ndarray], rate: float, n: int) -> np.ndarray:
        """Energies (bands, frames) of samples at `rate`, of which at most `n` count after they are resampled."""
        head = next(pieces, None)
        if head is None:
            return np.zeros((len(self.gather), 0), np.float32)
        pieces = itertools.chain([head], pieces)
        if rate != self.sample_rate:
            pieces = self._resampled(pieces, rate, head.shape[0])
        transform = StreamingSTFT(head.shape[0], self.n_fft, self.hop_length)
        found, given = [], 0

        def take(spectrum: np.ndarray) -> None:
            found.append(self.gather @ (np.real(spectrum) ** 2 + np.imag(spectrum) ** 2).mean(axis=0))

        for piece in pieces:
            piece = piece[:, : n - given]
            given += piece.shape[1]
            take(transform.process(piece))
        if n - given < self.hop_length:  # rounding inside the resampler may lose a sample
            take(transform.process(np.zeros((head.shape[0], max(0, n - given)), np.float32)))
        take(transform.finish())
        return np.concatenate(found, axis=1)

    def _resampled(self, pieces: Iterator[np.ndarray], rate: float, channels: int) -> Iterator[np.ndarray]:
        from pedalboard.io import StreamResampler

        resampler = StreamResampler(rate, self.sample_rate, channels)
        for piece in pieces:
            yield resampler.process(np.ascontiguousarray(piece, np.float32))
        yield resampler.process(None)


class _Samples:
    """Parts of a sound that is given in blocks, in their order; what lies between them is passed over."""

    def __init__(self, blocks: Iterable[np.ndarray]):
        self._blocks = iter(blocks)
        self._block: np.ndarray | None = None
        self._at = 0  # sample of the sound with which `_block` begins

    def between(self, start: int, stop: int | None) -> Iterator[np.ndarray]:
        """Yield the samples from `start` to `stop` (None: the end), (channels, up to `_PIECE`)."""
        while stop is None or start < stop:
            while self._block is None or self._at + self._block.shape[1] <= start:
                self._at += 0 if self._block is None else self._block.shape[1]
                self._block = next(self._blocks, None)
                if self._block is None:
                    return
            begin = max(0, start - self._at)
            end = self._block.shape[1] if stop is None else min(stop - self._at, self._block.shape[1])
            end = min(end, begin + _PIECE)
            yield self._block[:, begin:end]
            start = self._at + end
