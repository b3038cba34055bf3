"""Sound from a query: a diffusion model paints a spectrogram, a vocoder makes it sound. Numpy and onnxruntime only.

    synthesizer = Synthesizer.load()
    query = QueryEncoder().query('snare drum')
    takes = synthesizer.make(query, seconds=1.0, takes=4, seed=7)      # float32 (4, 44100)

* The same seed makes the same sound, and take n is the same however many takes are asked for.
* A window of the model is 2 seconds. Longer sounds are painted in windows that overlap by half and agree with each
  other at every step (MultiDiffusion, Bar-Tal et al., 2023); only the first begins with an onset.
* Negative words take the place of the empty query in classifier-free guidance: away from them, not from anything.
* The attack is moved to the very beginning (a pad that answers late is of no use), the end gets a short fade, and the
  loudest moment of every sound has the same level.
"""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from genaudio_core.errors import GenaudioError
from genaudio_core.files import presets_dir
from genaudio_core.inference.session import LoadedModel, load_model, reading_card
from genaudio_core.query.vector import Query, unit
from genaudio_core.sound.mel import BANDS, HOP, LOG_FLOOR, N_FFT, SAMPLE_RATE, bin_magnitudes, griffin_lim
from genaudio_core.synthesis.diffusion import SOLVERS, dpm_solver, guided, x_from_v
from genaudio_core.synthesis.mel_patches import PatchCodec

_log = logging.getLogger(__name__)
DENOISER_KIND, PRIOR_KIND, VOCODER_KIND = 'synth-denoiser', 'synth-prior', 'synth-vocoder'
NOTHING, HEARD, WORDS = 0, 1, 2  # kinds of queries, as in models/clipsonic.py
WAYS = ('words', 'prior', 'zero-shot')
STEPS = 12  # evaluations of the denoiser; see docs/training/synthesis.md
PRIOR_STEPS = 16
REFINE = 12  # rounds of Griffin and Lim's iteration that follow the vocoder
FALLBACK_ROUNDS = 48  # and that stand in for it
RESCALE = 0.5  # of guidance, see diffusion.guided
MIN_SECONDS, MAX_SECONDS = 0.05, 120.0
MAX_TAKES = 64
MAX_PITCH = 24.0  # semitones
LOUDNESS = 0.2  # root mean square of the loudest 50 ms, full scale 1
PEAK = 0.97
SPARE = 0.035  # seconds painted beyond what was asked for: the attack may come that late
EDGE = 2  # tokens at the end of a window that the young model paints badly (they swell)
FADE_IN, FADE_OUT = 0.0005, 0.008  # seconds


class Vocoder:
    """Log mels -> sound: the exported network, or Griffin and Lim's iteration alone where there is none."""

    def __init__(self, model: LoadedModel | None = None, refine: int | None = None):
        self._session = model.session if model else None
        if model and (int(model.card.details['n_fft']), int(model.card.details['hop_length'])) != (N_FFT, HOP):
            raise GenaudioError(f'{model.path} is a vocoder for other spectrograms than ours.')
        self.refine = (REFINE if model else FALLBACK_ROUNDS) if refine is None else refine

    @classmethod
    def load(cls, path: str | Path | None = None, *, threads: int = 1, refine: int | None = None) -> 'Vocoder':
        """Load a vocoder; the bundled one by default."""
        path = path or presets_dir() / 'models' / 'synth-vocoder.onnx'
        model = load_model(path, VOCODER_KIND, threads=threads)
        with reading_card(model.path):
            return cls(model, refine)

    def spectrum(self, mel: np.ndarray) -> np.ndarray:
        """Log mels (frames, BANDS) -> what the network makes of them, complex64 (N_FFT // 2 + 1, frames)."""
        if self._session is None:
            raise ValueError('there is no network')
        real, imag = self._session.run(None, {'mel': mel[None].astype(np.float32)})
        parts = (np.asarray(real)[0] + 1j * np.asarray(imag)[0]).T
        whole = np.zeros((N_FFT // 2 + 1, mel.shape[0]), np.complex64)
        whole[: parts.shape[0]] = parts
        return whole

    def sound(self, mel: np.ndarray, n_samples: int) -> np.ndarray:
        """Log mels (frames, BANDS) -> float32 (n_samples,); frame t is centred on sample t * HOP."""
        if self._session is None:
            return griffin_lim(bin_magnitudes(mel), n_samples, self.refine)
        spectrum = self.spectrum(mel)
        return griffin_lim(np.abs(spectrum), n_samples, self.refine, spectrum=spectrum)


class Prior:
    """Text vectors -> what such sounds are heard as: one draw of a small diffusion model."""

    def __init__(self, model: LoadedModel):
        self._session = model.session
        self._shift = float(model.card.details['shift'])

    @classmethod
    def load(cls, path: str | Path | None = None) -> 'Prior':
        """Load a prior; the bundled one by default."""
        model = load_model(path or presets_dir() / 'models' / 'synth-prior.onnx', PRIOR_KIND)
        with reading_card(model.path):
            return cls(model)

    def draw(self, text: np.ndarray, noise: np.ndarray, steps: int = PRIOR_STEPS) -> np.ndarray:
        """Text vectors (n, dim) and white noise (n, dim) -> unit vectors (n, dim)."""
        scale = np.sqrt(text.shape[1])

        def predict(z: np.ndarray, t: float) -> np.ndarray:
            feed = {'z': z.astype(np.float32), 't': np.full(len(z), t, np.float32),
                    'text': (text * scale).astype(np.float32)}  # fmt: skip
            return x_from_v(z, np.asarray(self._session.run(None, feed)[0]), t, self._shift)

        return unit(dpm_solver(predict, noise, steps, self._shift))


class Synthesizer:
    """Makes sounds; see the module's docstring.

    Attributes
    ----------
    sample_rate : int
        Hz.
    query_dim : int
    vocoder : Vocoder
    prior : Prior or None
    """

    sample_rate = SAMPLE_RATE

    def __init__(self, denoiser: LoadedModel, vocoder: Vocoder, prior: Prior | None = None):
        details = denoiser.card.details
        self.card = denoiser.card
        self._session = denoiser.session
        self._codec = PatchCodec(**details['codec'])
        if self._codec.bands != BANDS:
            raise GenaudioError(f'{denoiser.path} paints {self._codec.bands} bands; the vocoder reads {BANDS}.')
        self._shift, self._tokens = float(details['shift']), int(details['tokens'])
        self.query_dim = int(details['query_dim'])
        self.vocoder, self.prior = vocoder, prior

    @classmethod
    def load(
        cls,
        model: str | Path | None = None,
        *,
        vocoder: str | Path | None = None,
        prior: str | Path | None = None,
        threads: int = 2,
        on_notice: Callable[[str], None] = _log.warning,
    ) -> 'Synthesizer':
        """Load a denoiser with its vocoder and prior; the bundled ones by default.

        A missing bundled vocoder is replaced by Griffin and Lim's iteration, and told.

        Raises
        ------
        GenaudioError
            If a file is missing (other than that), damaged or of another kind.
        """
        folder = presets_dir() / 'models'
        denoiser = load_model(model or folder / 'synth-denoiser.onnx', DENOISER_KIND, threads=threads)
        if vocoder is None and not (folder / 'synth-vocoder.onnx').is_file():
            on_notice('The bundled vocoder is missing; sounds are made by Griffin-Lim, which is duller.')
            voice = Vocoder()
        else:
            voice = Vocoder.load(vocoder, threads=threads)
        found = prior or (folder / 'synth-prior.onnx' if (folder / 'synth-prior.onnx').is_file() else None)
        leads = Prior.load(found) if found else None
        with reading_card(denoiser.path):
            return cls(denoiser, voice, leads)

    # --- painting ----------------------------------------------------------------------------------------------------

    def conditions(self, query: Query, takes: int, seed: int, way: str = 'words') -> tuple[np.ndarray, int]:
        """Return one query vector a take (takes, query_dim), and of which kind they are.

        Parameters
        ----------
        way : str
            How words are used: 'words' (as words, which the model was trained on too), 'prior' (through the diffusion
            prior) or 'zero-shot' (as if they were heard; the paper's ZS).
        """
        if way not in WAYS:
            raise GenaudioError(f"'{way}' is not a way to use words; there are: {', '.join(WAYS)}.")
        if way == 'prior' and self.prior is None:
            raise GenaudioError("There is no prior for this model (synth-prior.onnx). Use `way='words'`.")
        if query.is_complement:
            raise GenaudioError(f"'{query.name}' only says what not to hear; name something to listen for too.")
        vectors = [np.asarray(vector, np.float32) for _, vector in query.positive]
        if any(vector.shape != (self.query_dim,) for vector in vectors):
            raise GenaudioError(
                f'The query has {vectors[0].shape[-1]} numbers, the model wants {self.query_dim}: '
                'it was trained on another encoder.'
            )
        n_words = len(vectors) if query.n_words is None else query.n_words
        only_words = n_words == len(vectors)
        # Words beside an example must first become something that can be heard.
        through_prior = self.prior is not None and (way == 'prior' or not only_words) and way != 'zero-shot'
        out = np.zeros((takes, self.query_dim), np.float32)
        for i, ((weight, _), vector) in enumerate(zip(query.positive, vectors, strict=True)):
            part = np.repeat(unit(vector)[None], takes, axis=0)
            if i < n_words and through_prior and self.prior is not None:
                draws = [_generator(seed, take, 1 + i).standard_normal(self.query_dim) for take in range(takes)]
                part = self.prior.draw(part, np.stack(draws))
            out += weight * part
        return unit(out), WORDS if only_words and way == 'words' else HEARD

    def _windows(self, rows: int) -> tuple[list[int], np.ndarray]:
        """Return where windows begin that cover `rows`, and how much each row of a window counts (tokens,)."""
        tokens = self._tokens
        if rows <= tokens:
            return [0], np.ones(tokens, np.float32)
        count = -(-(rows - tokens) // (tokens // 2)) + 1
        begins = np.round(np.linspace(0, rows - tokens, count)).astype(int).tolist()
        weight = np.minimum(np.arange(tokens) + 1, tokens - np.arange(tokens)).astype(np.float32)
        weight[-EDGE:] *= 0.01
        return begins, weight / weight.max()

    def _predict(self, x: np.ndarray, t: float, asked: list[tuple[np.ndarray, int]], guidance: float) -> np.ndarray:
        """Noisy rows (takes, n, size) at time t -> clean rows, the windows' predictions averaged."""
        begins, weight = self._windows(x.shape[1])
        tokens, size = self._tokens, x.shape[2]
        clean, total = np.zeros_like(x), np.zeros((x.shape[1], 1), np.float32)
        for at, begin in enumerate(begins):
            part = x[:, begin : begin + tokens]
            start = np.full(len(x), int(at == 0), np.int64)
            v = []
            for query, kind in asked if guidance != 1 else asked[:1]:
                feed = {
                    'x': part.astype(np.float32), 't': np.full(len(x), t, np.float32), 'query': query,
                    'kind': np.full(len(x), kind, np.int64), 'start': start,
                }  # fmt: skip
                v.append(np.asarray(self._session.run(None, feed)[0]))
            found = [x_from_v(part, one, t, self._shift) for one in v]
            mixed = found[0] if len(found) == 1 else guided(found[0], found[1], guidance, RESCALE)
            clean[:, begin : begin + tokens] += weight[:, None] * mixed.reshape(len(x), tokens, size)
            total[begin : begin + tokens] += weight[:, None]
        return clean / total

    def mels(
        self,
        query: Query,
        frames: int,
        takes: int = 1,
        seed: int = 1,
        guidance: float = 3.0,
        steps: int | None = None,
        *,
        way: str = 'words',
        solver: str = 'dpm',
    ) -> np.ndarray:
        """Return log mels (takes, frames, BANDS), before any vocoder."""
        vectors, kind = self.conditions(query, takes, seed, way)
        if query.negative:
            minus = unit(np.sum([weight * unit(vector) for weight, vector in query.negative], axis=0))
            other = np.repeat(minus[None], takes, axis=0).astype(np.float32), WORDS if way == 'words' else HEARD
        else:
            other = np.zeros_like(vectors), NOTHING
        # Up to two frames may be missing at the end, so that two seconds are one window and not two.
        rows = max(self._tokens, -(-(frames - 2) // self._codec.frames))
        noise = np.stack([
            _generator(seed, take).standard_normal((rows, self._codec.size), np.float32) for take in range(takes)
        ])  # fmt: skip
        asked = [(vectors, kind), other]
        rows_out = SOLVERS[solver](
            lambda x, t: self._predict(x, t, asked, guidance), noise, steps or STEPS, self._shift
        )
        mel = np.maximum(self._codec.decode(rows_out), LOG_FLOOR)
        # What comes before the last tokens goes on instead of them.
        edge = EDGE * self._codec.frames
        mel[:, -edge:] = mel[:, -edge - self._codec.frames : -edge].mean(axis=1, keepdims=True)
        mel = mel[:, :frames]
        return np.pad(mel, ((0, 0), (0, frames - mel.shape[1]), (0, 0)), 'edge')

    # --- making ------------------------------------------------------------------------------------------------------

    def make(
        self,
        query: Query,
        seconds: float = 2.0,
        takes: int = 1,
        seed: int = 1,
        guidance: float = 3.0,
        steps: int | None = None,
        pitch: float = 0.0,
        *,
        way: str = 'words',
        solver: str = 'dpm',
        on_progress: Callable[[float], None] | None = None,
    ) -> np.ndarray:
        """Make a sound.

        Parameters
        ----------
        seconds : float
            Length of each take.
        guidance : float
            1 takes the model at its word, 3 keeps to the query, more than 6 exaggerates.
        steps : int, optional
            Evaluations of the model: more is cleaner and slower.
        pitch : float
            Semitones by which the finished sound is transposed, as a tape is: the length stays what was asked for.
        way : str
            See `conditions`.

        Returns
        -------
        np.ndarray
            float32 (takes, n_samples), n_samples == round(seconds * 44100), peak below 1.

        Raises
        ------
        GenaudioError
            If a value makes no sense.
        """
        _check(seconds, takes, guidance, steps, pitch, seed)
        ratio = 2 ** (pitch / 12)
        n_out = round(seconds * SAMPLE_RATE)
        n_made = int(np.ceil((n_out / SAMPLE_RATE + SPARE) * ratio * SAMPLE_RATE))
        frames = -(-n_made // HOP) + 1
        mels = self.mels(query, frames, takes, seed, guidance, steps, way=way, solver=solver)
        out = np.zeros((takes, n_out), np.float32)
        for take, mel in enumerate(mels):
            if on_progress:
                on_progress(take / takes)
            sound = _from_attack(self.vocoder.sound(mel, n_made))
            if not np.isfinite(sound).all():
                raise GenaudioError(f'The model {self.card.name} made samples that are not numbers: it is damaged.')
            out[take] = finish(_transposed(sound, ratio), n_out)
        return out


def _generator(seed: int, take: int, part: int = 0) -> np.random.Generator:
    """Random numbers that depend on the seed, the take and what they are for, and on nothing else."""
    return np.random.default_rng((seed, take, part))


def _check(seconds: float, takes: int, guidance: float, steps: int | None, pitch: float, seed: int) -> None:
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise GenaudioError(f'A sound of {seconds:g} seconds cannot be made ({MIN_SECONDS:g} to {MAX_SECONDS:g}).')
    if not 1 <= takes <= MAX_TAKES:
        raise GenaudioError(f'{takes} takes cannot be made at once (1 to {MAX_TAKES}).')
    if not 0 <= guidance <= 20:
        raise GenaudioError(f'The guidance must be 0 to 20, not {guidance:g}; 3 is usual.')
    if steps is not None and not 2 <= steps <= 500:
        raise GenaudioError(f'The number of steps must be 2 to 500, not {steps}; {STEPS} is usual.')
    if not abs(pitch) <= MAX_PITCH:
        raise GenaudioError(f'The pitch can be moved by {MAX_PITCH:g} semitones at most, not {pitch:g}.')
    if not 0 <= seed < 2**63:
        raise GenaudioError(f'The seed must be a whole number from 0 on, not {seed}.')


def _from_attack(sound: np.ndarray) -> np.ndarray:
    """Return `sound` (n,) from just before its attack, which is looked for in the first `SPARE` seconds only."""
    spare = int(SPARE * SAMPLE_RATE)
    envelope = np.abs(sound)
    peak = float(envelope[: SAMPLE_RATE // 2].max(initial=0.0))
    above = np.flatnonzero(envelope[:spare] > 0.1 * peak)
    begin = max(0, int(above[0]) - 64) if len(above) and peak > 0 else 0  # 64 samples: 1.5 ms of the rise
    return sound[begin:]


def _transposed(sound: np.ndarray, ratio: float) -> np.ndarray:
    """Return `sound` (n,) played `ratio` times as fast."""
    if abs(ratio - 1) < 1e-6:
        return sound
    from pedalboard.io import StreamResampler

    resampler = StreamResampler(SAMPLE_RATE * ratio, SAMPLE_RATE, 1)
    sound = np.ascontiguousarray(sound[None], np.float32)
    return np.concatenate([resampler.process(sound), resampler.process(None)], axis=1)[0]


def finish(sound: np.ndarray, n_samples: int) -> np.ndarray:
    """Return `sound` (n,) at our level, `n_samples` long, with fades that keep its ends from clicking."""
    out = np.zeros(n_samples, np.float32)
    n = min(n_samples, len(sound))
    out[:n] = sound[:n]
    block = min(SAMPLE_RATE // 20, n_samples)
    sums = np.concatenate([[0.0], np.cumsum(out.astype(np.float64) ** 2)])
    loudest = float(np.sqrt(np.max(sums[block:] - sums[:-block]) / block))
    if loudest > 1e-6:
        out *= min(LOUDNESS / loudest, PEAK / float(np.abs(out).max()))
    rise, fall = min(int(FADE_IN * SAMPLE_RATE), n // 4), min(int(FADE_OUT * SAMPLE_RATE), n // 2)
    if rise:
        out[:rise] *= np.linspace(0, 1, rise, endpoint=False, dtype=np.float32)
    if fall:
        out[n - fall : n] *= np.linspace(1, 0, fall, dtype=np.float32)
    return out
