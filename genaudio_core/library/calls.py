"""The functions of ``import genaudio_core as ga``: models by name, and whole jobs in one call.

Over the engines that the commands use: the same input, settings and seed give the same notes and samples as
``genaudio continue``, ``genaudio separate`` and so on. All of it may be called from any thread; one model object from
one thread at a time.
"""

from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from genaudio_core.errors import GenaudioError
from genaudio_core.files import find_model, presets_dir
from genaudio_core.inference.model_card import read_card
from genaudio_core.query.encoder import QueryEncoder
from genaudio_core.query.vector import QUERY_DIM, Query

if TYPE_CHECKING:
    from genaudio_core.library.arranger import Arranger
    from genaudio_core.library.music_model import MusicModel
    from genaudio_core.query.audio_encoder import AudioEncoder
    from genaudio_core.query.text_encoder import TextEncoder
    from genaudio_core.separation.offline import Separator
    from genaudio_core.separation.streaming import MaskNetwork
    from genaudio_core.synthesis.synthesizer import Prior, Synthesizer, Vocoder

_SEPARATOR = 'separator'  # by this name what `separate` uses; by its path that model alone
_BLOCK = 65536  # samples of an array that go through a separator at a time, as many as a file's

PathOrStr = str | PathLike[str]


# --- models by name ---


@overload
def load(name: Literal['live'], *, provider: str = 'auto', threads: int = 1) -> 'MusicModel': ...
@overload
def load(name: Literal['arranger'], *, provider: str = 'auto', threads: int = 1) -> 'Arranger': ...
@overload
def load(name: Literal['separator'], *, provider: str = 'auto', threads: int = 1) -> 'Separator': ...
@overload
def load(name: Literal['stems-live', 'stems-back'], *, provider: str = 'auto', threads: int = 1) -> 'MaskNetwork': ...
@overload
def load(name: Literal['synth-denoiser'], *, provider: str = 'auto', threads: int = 1) -> 'Synthesizer': ...
@overload
def load(name: Literal['synth-prior'], *, provider: str = 'auto', threads: int = 1) -> 'Prior': ...
@overload
def load(name: Literal['synth-vocoder'], *, provider: str = 'auto', threads: int = 1) -> 'Vocoder': ...
@overload
def load(name: Literal['query-text'], *, provider: str = 'auto', threads: int = 1) -> 'TextEncoder': ...
@overload
def load(name: Literal['query-audio'], *, provider: str = 'auto', threads: int = 1) -> 'AudioEncoder': ...
@overload
def load(name: PathOrStr, *, provider: str = 'auto', threads: int = 1) -> Any: ...
def load(name: PathOrStr, *, provider: str = 'auto', threads: int = 1) -> Any:
    """Load a model, and return an object for what it does.

    =============== ===================== =======================================================================
    bundled         object                does
    =============== ===================== =======================================================================
    live            `MusicModel`          ``continue_``, ``generate``, ``accompany``, ``infill``
    arranger        `Arranger`            ``arrange``: spreads a score over other instruments
    separator       `Separator`           ``separate`` whole sounds, any sample rate, as `separate` does
    stems-live      `MaskNetwork`         what `StreamingSeparator` pulls sounds out of a stream with
    stems-back      `MaskNetwork`         what `separator` goes back through a sound with
    synth-denoiser  `Synthesizer`         ``make`` sounds; see also `synthesize`
    query-text      `TextEncoder`         ``encode`` words as a query vector
    query-audio     `AudioEncoder`        ``encode`` a recording as a query vector
    =============== ===================== =======================================================================

    Parameters
    ----------
    name : str or path
        A bundled name, or the path of an .onnx file (with its ending) that ``genaudio-export`` wrote.
    provider : str
        'auto', 'cpu', 'cuda', 'coreml' or 'directml', for music and offline separation; the others run on the CPU.
    threads : int
        Threads for one model; for a separator, windows side by side.

    Raises
    ------
    GenaudioError
        If there is none, it is damaged, or nothing here plays it.
    """
    path = find_model(str(name))
    kind = read_card(path).kind
    match kind:
        case 'decoder':
            from genaudio_core.library.music_model import MusicModel

            return MusicModel.load(path, provider=provider, threads=threads)
        case 'arranger':
            from genaudio_core.library.arranger import Arranger

            return Arranger.load(path, provider=provider, threads=threads)
        case 'clipsep':
            from genaudio_core.separation.offline import Separator

            return Separator.load(None if name == _SEPARATOR else path, provider=provider, threads=threads)
        case 'stream_separator':
            from genaudio_core.separation.streaming import MaskNetwork

            return MaskNetwork.load(path, backwards=None)
        case 'synth-denoiser' | 'synth-prior' | 'synth-vocoder':
            from genaudio_core.synthesis.synthesizer import Prior, Synthesizer, Vocoder

            if kind == 'synth-denoiser':
                return Synthesizer.load(path, threads=threads)
            return Prior.load(path) if kind == 'synth-prior' else Vocoder.load(path, threads=threads)
        case 'query-text' | 'query-audio':
            from genaudio_core.query.audio_encoder import AudioEncoder
            from genaudio_core.query.text_encoder import TextEncoder

            return TextEncoder.load(path) if kind == 'query-text' else AudioEncoder.load(path)
    raise GenaudioError(f"{path} is a model of kind '{kind}', which this version of genaudio does not know.")


def bundled_models() -> dict[str, Path]:
    """Return the bundled models: what `load` takes -> its file."""
    return {path.stem: path for path in sorted((presets_dir() / 'models').glob('*.onnx'))}


# --- sounds ---


class Stems(dict[str, np.ndarray]):
    """Stems by name, float32 (channels, n_samples) each, as long and at the rate of what they were pulled out of.

    Attributes
    ----------
    sample_rate : int
        Hz.
    """

    def __init__(self, stems: dict[str, np.ndarray], sample_rate: int):
        super().__init__(stems)
        self.sample_rate = sample_rate

    def save(self, folder: PathOrStr, suffix: str = '.wav') -> list[Path]:
        """Write each stem as NAME.wav (or .flac, .mp3 ...) into a folder, which is made; return the files.

        Raises
        ------
        GenaudioError
            If one cannot be written.
        """
        from genaudio_core.files import make_folder, names_apart, slug
        from genaudio_core.sound.audio_files import write_audio

        folder = make_folder(Path(folder))
        files = [folder / f'{name}{suffix}' for name in names_apart(slug(name, 'stem') for name in self)]
        for file, audio in zip(files, self.values(), strict=True):
            write_audio(file, audio, self.sample_rate)
        return files


def separate(
    source: PathOrStr | np.ndarray, queries: str | Path | Query | Sequence[str | Path | Query], *,
    sample_rate: int | None = None, negative: Sequence[str] = (), residual: bool = False,
    model: 'PathOrStr | Separator | None' = None, sharpness: float = 1.0, threads: int = 2, fast: bool = False,
) -> Stems:  # fmt: skip
    """Pull sounds out of a recording, as ``genaudio separate`` does.

    Parameters
    ----------
    source : path or np.ndarray
        An audio file; or samples, (channels, n_samples) or (n_samples,), full scale 1, with their `sample_rate`.
    queries : sequence of str, Path or Query
        What to listen for: words such as ``'0.7 violin + 0.3 flute, not cymbals'``, a `pathlib.Path` to a recording
        of such a sound, or a `Query`; or one of them.
    sample_rate : int, optional
        Hz; for samples.
    negative : sequence of str
        Words: what to leave out of every stem.
    residual : bool
        Also return what is left, as ``'residual'``: all together add up to the source.
    model : path, name or Separator, optional
        By default the bundled one. One that `load` gave keeps its own `sharpness` and `threads`.
    sharpness : float
        0.1..10; above 1 less of other sounds stays in a stem, and more of its own is lost.
    threads : int
        With two it goes forwards and backwards through a sound at once; more look at windows of others side by side.
    fast : bool
        Whether the bundled model goes forwards only: half the work, not as good.

    Returns
    -------
    Stems
        A dict: query (as it was written; a recording's name) -> float32 (channels, n_samples), with channels, length
        and sample rate of the source, so (2, n) for stereo.

    Raises
    ------
    GenaudioError
        If the source cannot be read, is silent or not finite, or a query cannot be used.
    """
    from genaudio_core.separation.offline import Separator

    if isinstance(model, Separator):
        return _separated(model, source, queries, sample_rate, negative, residual)
    path = None if model in (None, _SEPARATOR) else find_model(str(model))
    with Separator.load(path, threads=threads, sharpness=sharpness, fast=fast) as separator:
        return _separated(separator, source, queries, sample_rate, negative, residual)


def _separated(
    separator: 'Separator', source: Any, queries: Any, sample_rate: int | None, negative: Sequence[str], residual: bool
) -> Stems:
    from genaudio_core.files import names_apart
    from genaudio_core.separation.offline import separated
    from genaudio_core.sound.audio_files import AudioReader

    asked = [queries] if isinstance(queries, (str, Path, Query)) else list(queries)
    found = [_query(separator, query, negative) for query in asked]
    if isinstance(source, np.ndarray):
        audio, rate, name = _checked(source, sample_rate)
        parts = list(separated(separator.stream(rate, len(audio), found), _blocks(audio), name))
    else:
        if sample_rate is not None:
            raise GenaudioError('A file has its own `sample_rate`: give one for samples only.')
        with AudioReader(Path(source)) as reader:
            rate = reader.sample_rate
            stream = separator.stream(rate, reader.channels, found)
            parts = list(separated(stream, reader.blocks(), str(source)))
    stems = np.concatenate([stems for _, stems in parts], axis=-1)
    named: dict[str, np.ndarray] = dict(
        zip(names_apart((query.name for query in found), ['residual']), stems, strict=True)
    )
    if residual:
        named['residual'] = np.concatenate([own - stems.sum(axis=0) for own, stems in parts], axis=-1)
    return Stems(named, rate)


def _checked(samples: np.ndarray, sample_rate: int | None) -> tuple[np.ndarray, int, str]:
    """Return samples as (channels, n_samples) float32, with their rate and what to call them in messages."""
    from genaudio_core.sound.audio_files import LOUDEST, MAX_CHANNELS

    if sample_rate is None:
        raise GenaudioError('Samples need their `sample_rate` in Hz, such as 44100.')
    audio = np.atleast_2d(samples)
    if audio.ndim != 2 or len(audio) > MAX_CHANNELS:
        hint = ' Transpose them?' if audio.ndim == 2 and audio.shape[1] <= MAX_CHANNELS else ''
        raise GenaudioError(
            f'Samples must be (channels, n_samples) with up to {MAX_CHANNELS} channels, not {samples.shape}.{hint}'
        )
    if not np.issubdtype(audio.dtype, np.floating):
        raise GenaudioError(f'Samples must be floats with full scale 1, not {audio.dtype}.')
    if not (np.abs(audio) <= LOUDEST).all():  # NaN is not
        raise GenaudioError('Samples must be finite numbers; some are NaN, infinite or huge.')
    return np.ascontiguousarray(audio, np.float32), int(sample_rate), 'The sound'


def _blocks(audio: np.ndarray) -> Iterator[np.ndarray]:
    return (audio[:, start : start + _BLOCK] for start in range(0, audio.shape[1], _BLOCK))


def _query(separator: 'Separator', query: str | Path | Query, negative: Sequence[str]) -> Query:
    if isinstance(query, Query):
        return query
    if not separator.asked.bundled:
        raise GenaudioError(
            f'This model was trained on {separator.asked.encoder.upper()}: give `queries` as Query objects with '
            'vectors of that encoder.'
        )
    if isinstance(query, str):
        return _encoder().query(query, negative=negative)
    return _encoder().query(examples=[query], negative=negative, name=query.stem)


def _encoder() -> QueryEncoder:
    """One for all calls: its encoders are loaded when they are first needed."""
    global _kept
    if _kept is None:
        _kept = QueryEncoder()
    return _kept


_kept: QueryEncoder | None = None


def synthesize(
    words: str | Query = '', *, examples: Sequence[PathOrStr] = (), negative: Sequence[str] = (), seconds: float = 2.0,
    takes: int = 1, seed: int = 1, guidance: float = 3.0, pitch: float = 0.0, steps: int | None = None,
    prior: bool = False, model: 'PathOrStr | Synthesizer | None' = None, threads: int = 2,
) -> np.ndarray:  # fmt: skip
    """Make sounds, as ``genaudio synth`` does.

    Parameters
    ----------
    words : str or Query
        What to make, such as ``'snare drum'`` or ``'0.6 rain + 0.4 snare, not cymbals'``.
    examples : sequence of paths
        Recordings of such sounds.
    negative : sequence of str
        What it must not sound like.
    seconds : float
        Length of each take.
    takes : int
        How many different ones.
    seed : int
        The same seed makes the same sounds.
    guidance : float
        How strictly to keep to the words: 1 freely, 3 usual, 6 very.
    pitch : float
        Semitones to transpose by, like a tape.
    steps : int, optional
        Of the sampler: more is cleaner and slower.
    prior : bool
        Lead words through the diffusion prior: more variety between takes.
    model : path, name or Synthesizer, optional
        By default the bundled one.

    Returns
    -------
    np.ndarray
        float32 (takes, n_samples) at 44.1 kHz; full scale 1.

    Raises
    ------
    GenaudioError
        If nothing is asked for, or a value makes no sense.
    """
    from genaudio_core.synthesis.synthesizer import Synthesizer

    if isinstance(model, Synthesizer):
        synthesizer = model
    else:
        synthesizer = Synthesizer.load(None if model is None else find_model(str(model)), threads=threads)
    if isinstance(words, Query):
        query = words
    elif synthesizer.query_dim != QUERY_DIM:
        raise GenaudioError('This model was trained on another encoder: give `words` as a Query with its vectors.')
    else:
        query = _encoder().query(words, examples=[Path(path) for path in examples], negative=negative)
    way = 'prior' if prior else 'words'
    return synthesizer.make(query, seconds, takes, seed, guidance, steps, pitch, way=way)
