"""A sound -> a query vector."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from genaudio_core.errors import GenaudioError
from genaudio_core.files import presets_dir
from genaudio_core.inference.model_card import ModelCard
from genaudio_core.query.vector import unit
from genaudio_core.sound.loudest_windows import Looking
from genaudio_core.sound.spectrogram import bands_to_bins

AUDIO_KIND = 'query-audio'
LIKELY = 8.0  # how fast a concept's share in an example falls with its distance
MAX_WINDOWS = 64  # of an example that are listened to


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
        from genaudio_core.inference.session import load_model, reading_card

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
            raise GenaudioError(
                'The audio encoder turned the example into values that are not numbers: its model is damaged.'
            )
        return vector


def drawn_to(concepts: np.ndarray, heard: np.ndarray) -> np.ndarray:
    """Return what the audio encoder heard (D,), drawn towards the concepts (n, D) that it resembles; of length one.

    Separators know concepts best, and the encoder places an instrument it never heard beside them: 0.4 dB for
    instruments of an unseen SoundFont (docs/LOG.md). A third of the heard vector is kept, for sounds without a name.
    """
    likely = np.exp(LIKELY * (concepts @ heard))
    return unit(heard + 2 * unit(likely @ concepts))
