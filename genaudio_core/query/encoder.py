"""Queries: words, an audio example, a picture, or a mix of them -> one query vector.

A query vector has `QUERY_DIM` = 128 numbers and length one. Both separators, offline and live, are conditioned on it.
The space is described in ``training/queries/space.py``; here are the encoders that need neither torch nor a download:

* `TextEncoder`: hashed words, word pairs and character n-grams, summed (a table in an .onnx file, about 2 MB).
  Phrases of the lexicon are looked up exactly; everything else, typos included, goes through the n-grams.
* `AudioEncoder`: a small network over log band energies, in the same space ("more like this").
* CLIP and CLAP, the user's own, have spaces of their own, for models trained on them (``own_encoder.py``).

`Query` holds weighted positive and negative vectors; `Query.vector` is what a separator gets, `morph` turns one query
into another along the sphere.
"""

import functools
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from genaudio_core.errors import GenaudioError
from genaudio_core.query.audio_encoder import AudioEncoder, drawn_to
from genaudio_core.query.parsing import parse
from genaudio_core.query.text_encoder import TextEncoder
from genaudio_core.query.vector import Query

_log = logging.getLogger(__name__)


class QueryEncoder:
    """One interface for every kind of query. Encoders are loaded when first needed."""

    def __init__(self, text: TextEncoder | None = None, audio: AudioEncoder | None = None, image=None):
        self._text, self._audio, self._image = text, audio, image

    @functools.cached_property
    def text_encoder(self) -> TextEncoder:
        """The encoder of words, loaded when it is first asked for."""
        return self._text or TextEncoder.load()

    @functools.cached_property
    def audio_encoder(self) -> AudioEncoder:
        """The encoder of examples, loaded when it is first asked for."""
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
        from genaudio_core.sound.audio_files import AudioReader

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
                'The bundled encoders do not see pictures: those need a model trained on CLIP, and its `encoder`.'
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

        Where the words only say what to leave out it is a complement; with an example or a picture it is not.

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
            raise GenaudioError(f'The query \'{text}\' contains no word. Say what to listen for, such as "violin".')
        left_out = [(weight, self.text(words)) for weight, words in minus]
        left_out += [(1.0, self.text(words)) for words in negative]
        label = name or text.strip() or Path(str((*examples, *images)[0])).stem
        return Query(label, tuple(wanted), tuple(left_out), n_words=len(positive))
