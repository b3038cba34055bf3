"""Offline separation: an exported separator, any sample rate and channel count, any length in constant memory.

* The spectrum is taken at the file's own rate, with windows as long (in seconds) as the model's, and read by frequency:
  nothing is resampled, so a stem has the rate, the length and the bandwidth of its file. Above the model's top
  frequency its last band's mask goes on.
* Masks, not samples, are crossfaded between windows of the model (4.5 s); one running overlap-add turns the masked
  spectrum into sound. There is no seam to hear because there is none.
* All channels share a mask, made from their mean power: the stereo image stays.
* With several queries the masks are brought down where they sum to more than one. The residual is the input minus
  the stems, sample by sample, so that they always add up.
* Without a model of one's own, the live network goes through the sound forwards and another of its kind backwards
  (``both_ways.py``): they learned from more music, and take several queries for little more than one. At rates that
  they do not run at the bundled offline model listens, which is what is below.
* A complement ('everything but vocals') has one minus the mask of what it lacks, as that is used for its own stem if
  both are asked for: they add up to the mixture. It holds what other stems hold, so it brings none of them down.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from genaudio_core.errors import GenaudioError
from genaudio_core.files import presets_dir
from genaudio_core.inference.session import LoadedModel, load_model, reading_card
from genaudio_core.query.own_encoder import QuerySource
from genaudio_core.query.vector import Query
from genaudio_core.separation.both_ways import BothWays
from genaudio_core.separation.streaming import MaskNetwork
from genaudio_core.sound.audio_files import AudioReader, AudioWriter
from genaudio_core.sound.spectrogram import StreamingISTFT, StreamingSTFT, bands_to_bins, bins_to_bins, good_size

KIND = 'clipsep'
BUNDLED, LIVE, BACK = 'separator.onnx', 'stems-live.onnx', 'stems-back.onnx'
OVERLAP = 1 / 6  # of a window, crossfaded with the next
MIN_RATE, MAX_RATE = 4000, 384000  # Hz
MAX_QUERIES = 16


class Separator:
    """Applies an exported offline separator.

    Attributes
    ----------
    sample_rate : int
        Hz, the model's own; files may have any.
    query_dim : int
    asked : QuerySource
        Which encoder its queries come from.
    sharpness : float
        1 is what measures best; above it less of other sounds stays in and more of the wanted one is lost.
    threads : int
        Windows that are looked at side by side. One window on two threads is no faster than on one: its products are
        many and small.
    live : MaskNetwork or None
        Who listens instead, at the rates that it runs at.
    back : MaskNetwork or None
        Who goes through the sound backwards beside it, at the same rates; without one it goes forwards only.
    """

    def __init__(
        self, model: LoadedModel, sharpness: float = 1.0, threads: int = 1, live: MaskNetwork | None = None,
        back: MaskNetwork | None = None,
    ):  # fmt: skip
        if not 0.1 <= sharpness <= 10:
            raise GenaudioError(f'`sharpness` must be 0.1 (soft) to 10 (hard), not {sharpness:g}; 1 is balanced.')
        details = model.card.details
        asked = details.get('config', {}).get('query', 'embedding')
        if asked != 'embedding':
            raise GenaudioError(
                f'{model.path} separates {"by numbers of labels" if asked == "label" else "without a query"}, and what '
                'is asked here are words or examples. Run it by itself (docs/onnx.md).'
            )
        self._session = model.session
        self.card = model.card
        self.sample_rate = int(model.card.sample_rate or 44100)
        self.n_fft, self.hop_length = int(details['n_fft']), int(details['hop_length'])
        self.frames, self.height = int(details['frames']), int(details['bands'])
        self.query_dim = int(details['query_dim'])
        self.asked = QuerySource.of(model.card)
        self.front = details['front']
        self._base = float(details.get('base') or 0)
        self.sharpness = sharpness
        self._power = float(details.get('mask_power') or 1) * sharpness
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, 'separation') if threads > 1 else None
        self.live, self.back = live, back

    @classmethod
    def load(
        cls, path: str | Path | None = None, *, provider: str = 'auto', threads: int = 1, sharpness: float = 1.0,
        fast: bool = False,
    ) -> 'Separator':  # fmt: skip
        """Load a model file; without one, the bundled models, of which the live one takes the sound where it can.

        `fast`: it goes forwards only, half the work; of no matter to a model file.
        """
        bundled = presets_dir() / 'models' / BUNDLED
        model = load_model(path or bundled, KIND, provider=provider)
        live = back = None
        if path is None and (beside := bundled.with_name(LIVE)).is_file():
            live = MaskNetwork.load(beside)
            back = None if fast else MaskNetwork.load(bundled.with_name(BACK), backwards=True)
        with reading_card(model.path):
            return cls(model, sharpness, threads, live, back)

    def close(self) -> None:
        """End the threads; what is under way is waited for."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> 'Separator':
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def masks(self, spectrum: np.ndarray, query: np.ndarray) -> np.ndarray:
        """One window (height, frames) of energies or magnitudes and queries (n, D) -> (n, height, frames) in 0..1."""
        feed = {'spectrum': spectrum[None, None].astype(np.float32), 'query': query.astype(np.float32)}
        masks = np.asarray(self._session.run(None, feed)[0])
        return masks if self._power == 1 else masks**self._power

    def masks_of(self, spectra: Sequence[np.ndarray], query: np.ndarray) -> list[np.ndarray]:
        """Several windows, each (height, frames) as `masks` takes it, -> their masks."""
        look = functools.partial(self.masks, query=query)
        return list(map(look, spectra) if self._pool is None else self._pool.map(look, spectra))

    def stream(self, sample_rate: int, channels: int, queries: Sequence[Query]) -> 'Stream':
        """A stream that separates by these queries, block by block.

        Raises
        ------
        GenaudioError
            If there are no queries or too many, they are of another encoder, or sound of this rate cannot be separated.
        """
        if not queries:
            raise GenaudioError('`queries` is empty. Say what to listen for, such as "violin".')
        if len(queries) > MAX_QUERIES:
            raise GenaudioError(f'{len(queries)} queries are too many; at most {MAX_QUERIES} at once.')
        if not MIN_RATE <= sample_rate <= MAX_RATE:
            raise GenaudioError(f'A sample rate of {sample_rate} Hz cannot be separated ({MIN_RATE} to {MAX_RATE}).')
        plan = MaskPlan(queries)
        if plan.vectors.shape[1] != self.query_dim:
            raise GenaudioError(
                f'The query has {plan.vectors.shape[1]} numbers, the model takes {self.query_dim}: '
                'it was trained on another encoder (CLIP and CLAP models need `encoder`).'
            )
        if self.live is None or not self.live.runs_at(sample_rate):
            return SeparationStream(self, sample_rate, channels, plan)
        return BothWays(self.live, self.back, plan, channels, sample_rate, self.sharpness, self._pool)

    def separate(self, audio: np.ndarray, sample_rate: int, queries: Sequence[Query]) -> np.ndarray:
        """Return float32 (n_queries, channels, n_samples) of a whole `audio` (channels, n_samples)."""
        audio = np.atleast_2d(audio)
        if not audio.shape[1]:
            raise GenaudioError('There is nothing to separate: the sound is 0 seconds long.')
        stream = self.stream(sample_rate, audio.shape[0], queries)
        out = np.concatenate([stream.process(audio), stream.finish()], axis=-1)
        return out[..., : audio.shape[1]]


class Stream(Protocol):
    """A sound on its way into stems: float32 (channels, any n) in, (n_queries, channels, m) out, later."""

    n_queries: int
    model_name: str

    def process(self, block: np.ndarray) -> np.ndarray:
        """Take samples (channels, any n); return what is finished: (n_queries, channels, m)."""
        ...

    def finish(self) -> np.ndarray:
        """Return the rest (n_queries, channels, n), or more than that: cut it."""
        ...


class MaskPlan:
    """Which vectors a network is asked with for some queries, and how its masks become those of the stems.

    Attributes
    ----------
    vectors : (n, D)
        Each once.
    """

    def __init__(self, queries: Sequence[Query]):
        rows: dict[bytes, int] = {}
        vectors: list[np.ndarray] = []

        def row(vector: np.ndarray) -> int:
            vector = np.asarray(vector, np.float32).ravel()
            at = rows.setdefault(vector.tobytes(), len(rows))
            if at == len(vectors):
                vectors.append(vector)
            return at

        self._wanted = [None if query.is_complement else row(query.target) for query in queries]
        self._left_out = [[(weight, row(vector)) for weight, vector in query.negative] for query in queries]
        self.vectors = np.stack(vectors)
        self.n_queries = len(queries)

    def stems(self, masks: np.ndarray) -> np.ndarray:
        """Masks (n, ...) of the vectors -> masks (queries, ...) of the stems."""
        result = np.ones((len(self._wanted), *masks.shape[1:]), np.float32)
        plain = [n for n, at in enumerate(self._wanted) if at is not None]
        for n in plain:
            result[n] = masks[self._wanted[n]]
            for weight, at in self._left_out[n]:
                result[n] *= np.clip(1 - weight * masks[at], 0, 1)
        result[plain] /= np.maximum(result[plain].sum(axis=0), 1.0)
        alone = {self._wanted[n]: n for n in plain if not self._left_out[n]}
        for n in set(range(len(result))) - set(plain):
            lacks = sum(w * (result[alone[at]] if at in alone else masks[at]) for w, at in self._left_out[n])
            result[n] = np.clip(1 - lacks, 0, 1)
        return result


class SeparationStream:
    """Separates what is fed block by block, with a lookahead of one window. Memory does not grow."""

    def __init__(self, separator: Separator, sample_rate: int, channels: int, plan: MaskPlan):
        self._separator, self._plan = separator, plan
        self.model_name, self.n_queries = separator.card.name, plan.n_queries
        ratio = sample_rate / separator.sample_rate
        overlap = separator.n_fft // separator.hop_length
        n_fft = separator.n_fft if ratio == 1 else good_size(separator.n_fft * ratio)
        hop = n_fft // overlap
        bins = n_fft // 2 + 1
        reach = sample_rate / separator.sample_rate
        if separator.front == 'bands':
            self._spread = bands_to_bins(bins, separator.height, separator._base, reach=reach)
            # Energies are gathered with the same weights; those above the model's range are left out.
            self._gather = (self._spread * (np.linspace(0, reach, bins) <= 1.0)[:, None]).T.copy()
        else:
            self._spread = bins_to_bins(bins, separator.height, reach=reach)
            gather = bins_to_bins(separator.height, bins, reach=1 / reach)
            gather[np.linspace(0, 1 / reach, separator.height) > 1.0] = 0
            self._gather = gather * (separator.n_fft / n_fft)  # magnitudes grow with the window
        self._stft = StreamingSTFT(channels, n_fft, hop)
        self._istft = [StreamingISTFT(channels, n_fft, hop) for _ in range(self.n_queries)]
        self._frames = separator.frames
        self._step = separator.frames - max(1, round(separator.frames * OVERLAP))
        # Spectra and features from frame `_first` on; `_mask` and `_weight` gather what windows said of them.
        self._spectra = np.zeros((channels, bins, 0), np.complex64)
        self._features = np.zeros((separator.height, 0), np.float32)
        self._mask = np.zeros((self.n_queries, separator.height, 0), np.float32)
        self._weight = np.zeros(0, np.float32)
        self._kept = 0  # frames at the front that were put out already, kept as the past of the last window
        self._started = False

    def _look(self, starts: Sequence[int]) -> list[np.ndarray]:
        """Return what the model says of the windows from buffer frames `starts`."""
        windows = []
        for start in starts:
            window = self._features[:, start : start + self._frames]
            if window.shape[1] < self._frames:  # heard again and again, as in training
                window = np.tile(window, (1, -(-self._frames // window.shape[1])))[:, : self._frames]
            windows.append(window)
        return self._separator.masks_of(windows, self._plan.vectors)

    def _add(self, start: int, masks: np.ndarray, *, first: bool, last: bool) -> None:
        """Add what the model says of the window from buffer frame `start`."""
        stop = min(start + self._frames, self._features.shape[1])
        length = stop - start
        result = self._plan.stems(masks[:, :, :length])
        fade = self._frames - self._step
        weight = np.ones(length, np.float32)
        ramp = (np.arange(fade, dtype=np.float32) + 0.5) / fade
        if not first:
            weight[:fade] = ramp[: min(fade, length)]
        if not last:
            weight[-fade:] = np.minimum(weight[-fade:], ramp[::-1][-min(fade, length) :])
        self._mask[:, :, start:stop] += result * weight
        self._weight[start:stop] += weight

    def _take(self, spectra: np.ndarray) -> None:
        power = (np.real(spectra) ** 2 + np.imag(spectra) ** 2).mean(axis=0)
        features = self._gather @ (power if self._separator.front == 'bands' else np.sqrt(power))
        n = spectra.shape[2]
        self._spectra = np.concatenate([self._spectra, spectra], axis=2)
        self._features = np.concatenate([self._features, features.astype(np.float32)], axis=1)
        empty = np.zeros((*self._mask.shape[:2], n), np.float32)
        self._mask = np.concatenate([self._mask, empty], axis=2)
        self._weight = np.concatenate([self._weight, np.zeros(n, np.float32)])

    def _put(self, stop: int) -> np.ndarray:
        """Turn the frames from `_kept` to `stop` into sound: (n_queries, channels, n)."""
        masks = self._mask[:, :, self._kept : stop] / np.maximum(self._weight[self._kept : stop], 1e-6)
        spectra = self._spectra[:, :, self._kept : stop]
        out = [istft.process(spectra * (self._spread @ mask)) for istft, mask in zip(self._istft, masks, strict=True)]
        self._kept = stop
        return np.stack(out)

    def _drop(self, n: int) -> None:
        self._spectra, self._features = self._spectra[:, :, n:], self._features[:, n:]
        self._mask, self._weight = self._mask[:, :, n:], self._weight[n:]
        self._kept -= n

    def _advance(self, least: int) -> list[np.ndarray]:
        """Look at all whole windows if `least` are there. Each begins where the last one's steady part ended."""
        begins = range(self._kept, self._features.shape[1] - self._frames + 1, self._step)
        if len(begins) < least:
            return []
        parts = []
        for begin, masks in zip(begins, self._look(begins), strict=True):
            self._add(begin, masks, first=not self._started, last=False)
            self._started = True
            parts.append(self._put(begin + self._step))
        # What the last window may need to look back on stays.
        self._drop(max(0, self._kept - self._frames))
        return parts

    def process(self, block: np.ndarray) -> np.ndarray:
        """Take float32 (channels, any n); return what is finished: (n_queries, channels, m)."""
        parts = [np.zeros((self.n_queries, block.shape[0], 0), np.float32)]
        # In chunks, so that a whole file given at once does not become one huge spectrum.
        for start in range(0, block.shape[1], 1 << 18):
            self._take(self._stft.process(block[:, start : start + (1 << 18)]))
            parts += self._advance(self._separator.threads)
        return np.concatenate(parts, axis=2)

    def finish(self) -> np.ndarray:
        """Return the rest (n_queries, channels, n). It may be longer than what is missing: cut it there."""
        self._take(self._stft.finish())
        parts = [np.zeros((self.n_queries, self._spectra.shape[0], 0), np.float32), *self._advance(1)]
        total = self._features.shape[1]
        if total > self._kept:
            # The last window ends with the sound and reaches back as far as it needs. Where the window before has
            # something to say (`said`), the last one fades in over it.
            start = max(0, total - self._frames)
            share = np.clip(self._weight[self._kept :], 0, 1).copy()
            said = self._mask[:, :, self._kept :] / np.maximum(share, 1e-6)
            self._mask[:, :, start:], self._weight[start:] = 0, 0
            self._add(start, self._look([start])[0], first=True, last=True)
            new = self._mask[:, :, self._kept :]
            self._mask[:, :, self._kept :] = said * share + new * (1 - share)
            self._weight[self._kept :] = 1.0
            parts.append(self._put(total))
        parts.append(np.stack([istft.finish() for istft in self._istft]))
        return np.concatenate(parts, axis=2)


def separate_file(
    separator: Separator,
    path: str | Path,
    outputs: Sequence[str | Path],
    queries: Sequence[Query],
    *,
    residual: str | Path | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Separate one file into files, block by block.

    Parameters
    ----------
    outputs : sequence of paths
        One per query; the suffix is the format.
    residual : path, optional
        Where the input minus all stems goes.
    on_progress : callable, optional
        Told the share done, 0..1.

    Returns
    -------
    dict
        ``seconds``, ``sample_rate``, ``channels`` and ``level_db``: the stems' level against the input's, per output.

    Raises
    ------
    GenaudioError
        If the file cannot be read (see `AudioReader`), is silent, or a stem cannot be written.
    """
    import contextlib

    from genaudio_core.files import atomic_write

    with AudioReader(path) as reader, contextlib.ExitStack() as stack:
        stream = separator.stream(reader.sample_rate, reader.channels, queries)
        targets = [*outputs, *([residual] if residual is not None else [])]
        writers = [
            stack.enter_context(AudioWriter(temporary, reader.sample_rate, reader.channels, name=target))
            for temporary, target in [(stack.enter_context(atomic_write(target)), target) for target in targets]
        ]
        taken, power = 0, np.zeros(len(targets) + 1)
        for own, stems in separated(stream, reader.blocks(), str(path)):
            results = [*stems, own - stems.sum(axis=0)] if residual is not None else list(stems)
            for writer, result in zip(writers, results, strict=True):
                writer.write(result)
            taken += own.shape[1]
            power += [float(np.sum(sound.astype(np.float64) ** 2)) for sound in (own, *results)]
            if on_progress:
                on_progress(min(1.0, taken / max(reader.n_samples, 1)))
    level = 10 * np.log10(np.maximum(power[1:], 1e-20) / max(power[0], 1e-20))
    return {
        'seconds': taken / reader.sample_rate,
        'sample_rate': reader.sample_rate,
        'channels': reader.channels,
        'level_db': [round(float(v), 2) for v in level],
    }


def separated(
    stream: Stream, blocks: Iterable[np.ndarray], name: str = 'The sound'
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Send a whole sound through a stream; yield what is finished, the sound itself beside its stems.

    Parameters
    ----------
    blocks : iterable
        The sound, float32 (channels, any n).
    name : str
        What it is called in messages.

    Yields
    ------
    sound : (channels, n)
    stems : (n_queries, channels, n)
        Rounded to float32: the sound minus their sum is what is left, exactly.

    Raises
    ------
    GenaudioError
        If there is no sound, or it is silent, or the model's samples are NaN or infinite.
    """
    waiting: np.ndarray | None = None
    taken, loudest = 0, 0.0

    def put(stems: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nonlocal waiting
        assert waiting is not None
        stems = stems[..., : waiting.shape[1]]
        if not np.isfinite(stems).all():
            raise GenaudioError(
                f'The model {stream.model_name} made NaN or infinite samples from {name}: it is damaged. '
                'Nothing was written.'
            )
        n = stems.shape[-1]
        own, waiting = waiting[:, :n], waiting[:, n:]
        return own, stems

    for block in blocks:
        taken += block.shape[1]
        loudest = max(loudest, float(np.abs(block).max(initial=0.0)))
        waiting = block if waiting is None else np.concatenate([waiting, block], axis=1)
        own, stems = put(stream.process(block))
        if own.shape[1]:
            yield own, stems
    if not taken:
        raise GenaudioError(f'{name} is empty: it is 0 seconds long.')
    if loudest < 1e-6:
        raise GenaudioError(f'{name} is silent: there is nothing to separate.')
    own, stems = put(stream.finish())
    if own.shape[1]:
        yield own, stems
