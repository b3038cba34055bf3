"""What to listen for: words, an audio example, a picture, or a mix of them -> one query vector.

A query vector has `QUERY_DIM` = 128 numbers and length one. Both separators, offline and live, are conditioned on it.
The space is described in ``training/query_space.py``; here are the encoders that need neither torch nor a download:

* `TextEncoder`: hashed words, word pairs and character n-grams, summed (a table in an .onnx file, about 2 MB).
  Phrases of the lexicon are looked up exactly; everything else, typos included, goes through the n-grams.
* `AudioEncoder`: a small network over log band energies, in the same space ("more like this").
* CLIP and CLAP, the user's own, have spaces of their own, for models trained on them (``query_process.py``).

`Query` holds weighted positive and negative vectors; `Query.vector` is what a separator gets, `morph` turns one query
into another along the sphere.
"""

import functools
import itertools
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from genaudio_core.errors import GenaudioError
from genaudio_core.files import presets_dir
from genaudio_core.loudest_windows import Looking
from genaudio_core.model_card import ModelCard
from genaudio_core.spectrogram import bands_to_bins

_log = logging.getLogger(__name__)
QUERY_DIM = 128
TEXT_KIND, AUDIO_KIND = 'query-text', 'query-audio'
UNSURE = 0.55  # cosine with the nearest concept under which the person is told what was understood
NEGATIVE_PULL = 0.5  # how far a negative query pushes the vector away; more would leave the sphere's known parts
LIKELY = 8.0  # how fast a concept's share in an example falls with its distance
MAX_WINDOWS = 64  # of an example that are listened to

# --- text ------------------------------------------------------------------------------------------------------------

_FILLER = frozenset(
    ('a', 'an', 'the', 'of', 'some', 'sound', 'sounds', 'playing', 'solo', 'track', 'stem', 'just', 'only', 'please',
     'my', 'this', 'that', 'is', 'with')
)  # fmt: skip


def plain_words(text: str) -> list[str]:
    """Return the words of `text`, in lower case, without punctuation and filler ('the sound of a fiddle')."""
    words = re.findall(r"[^\W_]+(?:['\u2019][^\W_]+)?", text.lower())
    return [word for word in words if word not in _FILLER] or words


@functools.lru_cache(maxsize=1 << 16)
def _fnv(text: str) -> int:
    value = 0x811C9DC5
    for byte in text.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def text_features(text: str, buckets: int) -> list[int]:
    """Return the hashed features of `text`: words, pairs of neighbours, character 3- to 5-grams; each once."""
    words = plain_words(text)
    found = {f'w:{word}' for word in words} | {f'p:{a} {b}' for a, b in itertools.pairwise(words)}
    for word in words:
        marked = f'<{word}>'
        found.update(marked[i : i + n] for n in (2, 3, 4, 5) for i in range(len(marked) - n + 1))
    return sorted({_fnv(feature) % buckets for feature in found})


@dataclass(frozen=True)
class Match:
    """What a text was understood as."""

    vector: np.ndarray  # (QUERY_DIM,)
    nearest: str  # the nearest concept
    similarity: float  # cosine with it
    exact: bool  # the phrase is in the lexicon


class TextEncoder:
    """Words -> query vectors.

    Attributes
    ----------
    names : list of str
        The concepts.
    concepts : (n, QUERY_DIM)
    """

    def __init__(self, session, card: ModelCard):
        self._session = session
        details = card.details
        self.buckets = int(details['buckets'])
        self.names: list[str] = list(details['names'])
        self.concepts = np.asarray(details['concepts'], np.float32)
        self.concepts /= np.linalg.norm(self.concepts, axis=1, keepdims=True)
        self.phrases: dict[str, int] = {
            ' '.join(plain_words(text)): int(index) for text, index in details['phrases'].items()
        }

    @classmethod
    def load(cls, path: str | Path | None = None) -> 'TextEncoder':
        """Load a text encoder; the bundled one by default."""
        from genaudio_core.runtime import load_model, reading_card

        model = load_model(path or presets_dir() / 'models' / 'query-text.onnx', TEXT_KIND)
        with reading_card(model.path):
            return cls(model.session, model.card)

    def match(self, text: str) -> Match:
        """Return where `text` lies and what it is nearest to.

        Raises
        ------
        GenaudioError
            If there is no word in it.
        """
        words = plain_words(text)
        if not words:
            raise GenaudioError(f'The query \'{text}\' has no word in it. Say what to listen for, such as "violin".')
        for plain in (' '.join(words), ' '.join(word.removesuffix('s') for word in words)):
            if plain in self.phrases:
                index = self.phrases[plain]
                return Match(self.concepts[index], self.names[index], 1.0, True)
        ids = np.array(text_features(text, self.buckets), np.int64)
        vector = self._session.run(None, {'ids': ids})[0].astype(np.float32)
        similarity = self.concepts @ vector
        best = int(similarity.argmax())
        return Match(vector, self.names[best], float(similarity[best]), False)

    def encode(self, text: str, on_notice: Callable[[str], None] = _log.warning) -> np.ndarray:
        """Return the vector (QUERY_DIM,) of `text`; a word not understood is told, with the nearest known one."""
        match = self.match(text)
        if match.similarity < UNSURE:
            on_notice(
                f"'{text}' is not a sound I know; the nearest is '{match.nearest}' "
                f'(similarity {match.similarity:.2f}). The result may be poor.'
            )
        elif match.similarity > 0.75:
            # A typo or a turn of phrase: what was meant is cleaner than what was typed.
            return self.concepts[self.names.index(match.nearest)]
        return match.vector


# --- audio -----------------------------------------------------------------------------------------------------------


class AudioEncoder:
    """An audio example -> query vector, of the same space as the words."""

    def __init__(self, session, card: ModelCard):
        self._session = session
        details = card.details
        self.sample_rate = int(card.sample_rate or 44100)
        self.n_fft, self.hop_length = int(details['n_fft']), int(details['hop_length'])
        gather = bands_to_bins(self.n_fft // 2 + 1, int(details['bands']), float(details['base'])).T.copy()
        self._looking = Looking(self.sample_rate, self.n_fft, self.hop_length, int(details['frames']), gather)

    @classmethod
    def load(cls, path: str | Path | None = None) -> 'AudioEncoder':
        """Load an audio encoder; the bundled one by default."""
        from genaudio_core.runtime import load_model, reading_card

        model = load_model(path or presets_dir() / 'models' / 'query-audio.onnx', AUDIO_KIND)
        with reading_card(model.path):
            return cls(model.session, model.card)

    def encode(self, audio: np.ndarray, sample_rate: int) -> np.ndarray:
        """Return the query vector of `audio` (channels, n_samples); see `listen`.

        Raises
        ------
        GenaudioError
            If it is silent, empty or not finite.
        """
        audio = np.atleast_2d(audio).astype(np.float32, copy=False)
        return self.listen(lambda: [audio], sample_rate)

    def listen(self, blocks: Callable[[], Iterable[np.ndarray]], sample_rate: float) -> np.ndarray:
        """Return the query vector of a sound: the mean over its louder windows, at most the `MAX_WINDOWS` loudest.

        Memory does not grow with its length. The power of the channels is added up, not their samples: what is out of
        phase is heard too.

        Parameters
        ----------
        blocks : callable
            Called twice; each time it goes through the sound: (channels, any n) at `sample_rate`.

        Raises
        ------
        GenaudioError
            If it is silent, empty or not finite.
        """
        windows = self._looking.loudest(blocks, sample_rate, MAX_WINDOWS)
        vectors = self._session.run(None, {'energy': windows[:, None]})[0]
        vector = unit(vectors.mean(axis=0))
        if not np.isfinite(vector).all():
            raise GenaudioError('The audio encoder made numbers of the example that are none: its model is damaged.')
        return vector


def unit(vector: np.ndarray) -> np.ndarray:
    """Return `vector` (..., D) at length one."""
    return (vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-9)).astype(np.float32)


def drawn_to(concepts: np.ndarray, heard: np.ndarray) -> np.ndarray:
    """Return what the audio encoder heard (D,), drawn towards the concepts (n, D) that it resembles; of length one.

    Separators know concepts best, and the encoder places an instrument it never heard beside them: 0.4 dB for
    instruments of an unseen SoundFont (docs/LOG.md). It stays itself by a third, for what has no name.
    """
    likely = np.exp(LIKELY * (concepts @ heard))
    return unit(heard + 2 * unit(likely @ concepts))


# --- queries ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Query:
    """A weighted mix of vectors to listen for, and vectors to leave out."""

    name: str
    positive: tuple[tuple[float, np.ndarray], ...]
    negative: tuple[tuple[float, np.ndarray], ...] = field(default=())
    normalise: bool = True  # False for CLIP, whose vectors CLIPSep takes at their own length
    n_words: int | None = None  # how many of the positive vectors, the first ones, come from words; None: all

    @property
    def target(self) -> np.ndarray:
        """The mix of the positive vectors, of length one (or, not normalised, their weighted mean)."""
        whole = sum(weight for weight, _ in self.positive)
        total = np.sum([weight / whole * vector for weight, vector in self.positive], axis=0)
        return unit(total) if self.normalise else total.astype(np.float32)

    @property
    def vector(self) -> np.ndarray:
        """One vector (QUERY_DIM,) for separators that take only one: the target, pushed away from the negatives."""
        vector = self.target
        for weight, other in self.negative:
            vector = vector - NEGATIVE_PULL * weight * unit(other)
        return unit(vector)


def morph(first: np.ndarray, second: np.ndarray, amount: float) -> np.ndarray:
    """Return the vector (D,) that is `amount` (0..1) of the way from one unit vector (D,) to another, on the sphere."""
    cosine = float(np.clip(first @ second, -1, 1))
    angle = np.arccos(cosine)
    if angle < 1e-4 or np.pi - angle < 1e-4:
        return unit((1 - amount) * first + amount * second)
    return unit((np.sin((1 - amount) * angle) * first + np.sin(amount * angle) * second) / np.sin(angle))


class QueryEncoder:
    """One interface for every kind of query. Encoders are loaded when first needed."""

    def __init__(self, text: TextEncoder | None = None, audio: AudioEncoder | None = None, image=None):
        self._text, self._audio, self._image = text, audio, image

    @functools.cached_property
    def text_encoder(self) -> TextEncoder:
        return self._text or TextEncoder.load()

    @functools.cached_property
    def audio_encoder(self) -> AudioEncoder:
        return self._audio or AudioEncoder.load()

    def text(self, text: str) -> np.ndarray:
        """Return the query vector (QUERY_DIM,) of words; see `TextEncoder.encode`."""
        return self.text_encoder.encode(text)

    def example(self, audio: np.ndarray, sample_rate: int) -> np.ndarray:
        """Return the query vector of a clip (channels, n_samples), drawn towards the concepts that it resembles.

        Raises
        ------
        GenaudioError
            If it is silent, empty or not finite.
        """
        return drawn_to(self.text_encoder.concepts, self.audio_encoder.encode(audio, sample_rate))

    def audio(self, path: str | Path) -> np.ndarray:
        """Return the query vector (QUERY_DIM,) of a recording, which is read block by block; see `example`."""
        from genaudio_core.audio_files import AudioReader

        try:
            with AudioReader(path) as reader:
                heard = self.audio_encoder.listen(reader.blocks, reader.sample_rate)
        except GenaudioError as error:
            raise GenaudioError(f'{path}: {error}' if str(path) not in str(error) else str(error)) from None
        return drawn_to(self.text_encoder.concepts, heard)

    def image(self, path: str | Path) -> np.ndarray:
        """Return the vector (D,) of a picture, through the image encoder that was given.

        Raises
        ------
        GenaudioError
            If there is none: the bundled encoders do not see.
        """
        if self._image is None:
            raise GenaudioError(
                'The bundled encoders see no pictures: those need a model trained on CLIP, and its `encoder`.'
            )
        return self._image.image(path)

    def query(
        self,
        text: str = '',
        *,
        examples: Sequence[str | Path] = (),
        images: Sequence[str | Path] = (),
        negative: Sequence[str] = (),
        name: str = '',
    ) -> Query:
        """Return a query of words (`parse`), examples and pictures, all of equal weight, less the negative words.

        Raises
        ------
        GenaudioError
            If nothing is asked for, or a part cannot be used.
        """
        positive, minus = parse(text) if text.strip() else ([], [])
        if text.strip() == '' and not examples and not images:
            raise GenaudioError('The query is empty. Say what to listen for, such as "violin".')
        wanted = [(weight, self.text(words)) for weight, words in positive]
        wanted += [(1.0, self.audio(path)) for path in examples]
        wanted += [(1.0, self.image(path)) for path in images]
        if not wanted and not minus:
            raise GenaudioError(f'The query \'{text}\' has no word in it. Say what to listen for, such as "violin".')
        if not wanted:
            raise GenaudioError(f"'{text}' only says what not to hear; name something to listen for too.")
        left_out = [(weight, self.text(words)) for weight, words in minus]
        left_out += [(1.0, self.text(words)) for words in negative]
        label = name or text.strip() or Path(str((*examples, *images)[0])).stem
        return Query(label, tuple(wanted), tuple(left_out), n_words=len(positive))


_PART = re.compile(
    r'\s*(?P<sign>[+;&]|(?<!\d),|,(?!\d)|-\s|\bnot\b|\bwithout\b|\bminus\b|\bno\b|\band\b|\bplus\b)\s*', re.IGNORECASE
)
_NUMBER = r'\d*[.,]?\d+'
_TIMES = re.compile(rf'({_NUMBER})(?:\s*[*\u00d7]\s*|\s*x\s+)(.+)')  # 2 * violin, 2x violin
_DECIMAL = re.compile(r'(\d*[.,]\d+)\s+(.+)')  # 0.7 violin
_ONLY_NUMBER = re.compile(r'\d*[.,]\d+(?:\s*[*\u00d7x])?')  # a weight without words
_NOTHING = re.compile(r'(0+)\s+(.+)')
_DIGIT = re.compile(r'(\d)\s+(.+)')  # 2 violin, where there is more than one sound
_BELOW_ZERO = re.compile(rf'(?:^|\s)[-\u2212]\s*({_NUMBER})\b')
MAX_WEIGHT = 100.0


def parse(text: str) -> tuple[list[tuple[float, str]], list[tuple[float, str]]]:
    """Split '0.7 violin + 0.3 flute, not cymbals' into weighted positive and negative words.

    A number in front of words is a weight if it is written with a point (or a decimal comma) and is at most 100, or
    with ``*``, ``×`` or ``x`` behind it; a single digit also, where the query names more than one sound. Any other
    number belongs to the words: '808 bass', '12 string guitar', '303', '1e3 hz'.

    Raises
    ------
    GenaudioError
        If a weight is not a positive number.
    """
    positive: list[tuple[float, str]] = []
    negative: list[tuple[float, str]] = []
    pieces = _PART.split(text)
    several = sum(bool(piece.strip()) for piece in pieces[::2]) > 1
    minus = False
    for index, piece in enumerate(pieces):
        if index % 2:
            sign = piece.lower().strip()
            minus = sign in ('-', 'not', 'without', 'minus', 'no') or (minus and sign == 'and')
            continue
        words = piece.strip()
        if not words:
            continue
        if found := _BELOW_ZERO.search(words):
            raise GenaudioError(
                f"The weight -{found[1]} in '{words}' must be more than 0; to leave a sound out write 'not' before it."
            )
        weight = 1.0
        if _ONLY_NUMBER.fullmatch(words):
            raise GenaudioError(f"The weight {words} stands alone; write a sound behind it, such as '{words} violin'.")
        found = _TIMES.fullmatch(words) or _NOTHING.fullmatch(words) or (_DIGIT.fullmatch(words) if several else None)
        if not found and (found := _DECIMAL.fullmatch(words)) and _weight(found[1]) > MAX_WEIGHT:
            found = None  # '440.5 hz' is no weight
        if found:
            weight, words = _weight(found[1]), found[2]
        if not 0 < weight <= MAX_WEIGHT:
            raise GenaudioError(f"The weight {weight:g} of '{words}' must be more than 0 and at most {MAX_WEIGHT:g}.")
        (negative if minus else positive).append((weight, words))
    return positive, negative


def _weight(text: str) -> float:
    return float(text.replace(',', '.'))
