"""Words -> a query vector."""

import functools
import itertools
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genaudio_core.errors import GenaudioError
from genaudio_core.files import presets_dir
from genaudio_core.inference.model_card import ModelCard
from genaudio_core.query.everyday import SAME_AS
from genaudio_core.query.vector import unit

_log = logging.getLogger(__name__)


TEXT_KIND = 'query-text'
UNSURE = 0.55  # cosine with the nearest concept under which the person is told what was understood
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
class WordMatch:
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
        # As they are written first: 'guitar solo' is not to take the place of 'guitar'.
        self.phrases: dict[str, int] = {text.lower(): int(index) for text, index in details['phrases'].items()}
        for text, index in details['phrases'].items():
            self.phrases.setdefault(' '.join(plain_words(text)), int(index))
        self._same = {' '.join(plain_words(text)): names.split(' + ') for text, names in SAME_AS.items()}

    @classmethod
    def load(cls, path: str | Path | None = None) -> 'TextEncoder':
        """Load a text encoder; the bundled one by default."""
        from genaudio_core.inference.session import load_model, reading_card

        model = load_model(path or presets_dir() / 'models' / 'query-text.onnx', TEXT_KIND)
        with reading_card(model.path):
            return cls(model.session, model.card)

    def match(self, text: str) -> WordMatch:
        """Return where `text` lies and what it is nearest to.

        Raises
        ------
        GenaudioError
            If there is no word in it.
        """
        words = plain_words(text)
        if not words:
            raise GenaudioError(f'The query \'{text}\' has no word in it. Say what to listen for, such as "violin".')
        written = ' '.join(text.lower().split())
        for plain in (written, ' '.join(words), ' '.join(word.removesuffix('s') for word in words)):
            if plain in self._same:
                names = self._same[plain]
                mixed = unit(np.sum([self.match(name).vector for name in names], axis=0))
                return WordMatch(mixed, ' and '.join(names), 1.0, True)
            if plain in self.phrases:
                index = self.phrases[plain]
                return WordMatch(self.concepts[index], self.names[index], 1.0, True)
        ids = np.array(text_features(text, self.buckets), np.int64)
        vector = self._session.run(None, {'ids': ids})[0].astype(np.float32)
        similarity = self.concepts @ vector
        best = int(similarity.argmax())
        return WordMatch(vector, self.names[best], float(similarity[best]), False)

    def encode(self, text: str, on_notice: Callable[[str], None] = _log.warning) -> np.ndarray:
        """Return the vector (QUERY_DIM,) of `text`; what a word is taken for that is not in the lexicon is told."""
        match = self.match(text)
        if match.exact:
            return match.vector
        if match.similarity < UNSURE:
            on_notice(
                f"'{text}' is not a sound I know; the nearest is '{match.nearest}' "
                f'(similarity {match.similarity:.2f}). The result may be poor.'
            )
            return match.vector
        on_notice(f"'{text}' is understood as '{match.nearest}'.")
        # A typo or a turn of phrase: what was meant is cleaner than what was typed.
        return self.concepts[self.names.index(match.nearest)] if match.similarity > 0.75 else match.vector
