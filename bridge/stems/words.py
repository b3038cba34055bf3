"""Words that a person types, made into queries while the sound goes on."""

from typing import Any

import numpy as np

from genaudio_core.errors import GenaudioError, MissingModel, did_you_mean


class Words:
    """Words -> query vectors: those that the model was trained with as they are, all others by the query encoder."""

    def __init__(self, card_words: dict[str, list[float]], query_dim: int):
        self._known = card_words
        self.query_dim = query_dim
        self._encoder: Any = None

    def knows(self, text: str) -> bool:
        """Whether the vector of a query needs no encoder: the model was trained with it, or it is refused."""
        plain = ' '.join(text.lower().split())
        return not plain or plain in self._known

    def vector(self, text: str) -> np.ndarray:
        """Return the vector (D,) of a query. From any thread, from one at a time.

        Raises
        ------
        GenaudioError
            If it is empty, or unknown and there is no query encoder.
        """
        plain = ' '.join(text.lower().split())
        if not plain:
            raise GenaudioError('The query is empty. Say what to listen for, such as drums.')
        if plain in self._known:
            return np.asarray(self._known[plain], np.float32)
        if self._encoder is None:
            from genaudio_core.query.encoder import QueryEncoder

            self._encoder = QueryEncoder()
        try:
            vector = self._encoder.query(plain).vector
        except MissingModel:
            raise GenaudioError(
                f"'{text}' is not a word of this model, and there is no query encoder."
                f'{did_you_mean(plain, self._known)} It has: {", ".join(sorted(self._known))}.'
            ) from None
        if len(vector) != self.query_dim:
            raise GenaudioError(f'The query encoder gives {len(vector)} numbers, this model takes {self.query_dim}.')
        return np.asarray(vector, np.float32)
