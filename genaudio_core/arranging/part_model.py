"""A model that tells parts, loaded, and what it makes of whole mixtures; live, key after key: live_parts.py."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from genaudio_core.arranging.live_parts import part_inputs
from genaudio_core.errors import GenaudioError
from genaudio_core.inference.session import LoadedModel, load_model, reading_card
from genaudio_core.music.part_features import (
    causal_features,
    phases,
    whole_features,
)
from genaudio_core.score.instruments import DRUMS, find_instrument

KIND = 'arranger'
_STEPS = 24  # of the published networks, to the quarter note


class PartModel:
    """A loaded model of kind 'arranger': ours, or a published one for its own parts. One thread at a time."""

    def __init__(self, model: LoadedModel):
        self.model = model
        with reading_card(model.path):
            config = model.card.details['config']
            self.is_published: bool = config['network'] == 'published'
            self.own_parts: tuple[str, ...] = tuple(config['parts']) if self.is_published else ()
            self.hears_all = not self.is_published or config['family'] in ('bilstm', 'transformer')
            self.takes_hints = self.is_published and bool(config['hints'])
            self.provider = model.provider
            self.width = 0 if self.is_published else int(config['width'])

    @classmethod
    def load(cls, path: str | Path, *, provider: str = 'auto', threads: int = 1) -> 'PartModel':
        """Load a model file.

        Raises
        ------
        GenaudioError
            If it is missing, damaged or a model of something else.
        """
        return cls(load_model(path, KIND, provider=provider, threads=threads))

    def check_parts(self, names: Sequence[str]) -> None:
        """Raise GenaudioError unless the model can tell these parts."""
        if DRUMS in names:
            raise GenaudioError('A model of parts cannot tell drums: they are left out.')
        if self.is_published and len(names) != len(self.own_parts):
            raise GenaudioError(
                f'{self.model.path} tells {len(self.own_parts)} parts ({", ".join(self.own_parts)}), and {len(names)} '
                'are named. The bundled model takes any.'
            )

    def scores(
        self, onset: np.ndarray, pitch: np.ndarray, end: np.ndarray, names: Sequence[str], *, live: bool = False,
        hint: np.ndarray | None = None,
    ) -> np.ndarray:  # fmt: skip
        """Scores (n, parts) of the notes of a mixture, sorted as `mixture_order` does.

        Parameters
        ----------
        onset, pitch, end : (n,)
            Beats, MIDI notes, beats.
        names : sequence of str
            Instrument classes, one for each part. (A published model takes them for its own parts, in order.)
        live : bool
            Whether each note is judged by what came before it alone. (A published model has one way only.)
        hint : (n, parts), optional
            Of published models with entry hints.

        Raises
        ------
        GenaudioError
            If the model cannot tell these parts.
        """
        self.check_parts(names)
        if not len(pitch):
            return np.zeros((0, len(names)), np.float32)
        onset, end = np.asarray(onset, np.float64), np.asarray(end, np.float64)
        if self.is_published:
            hint = np.zeros((len(pitch), len(names)), np.float32) if hint is None else hint
            steps = [np.rint(beats * _STEPS).astype(np.int64) for beats in (onset, end - onset)]
            inputs = {'time': steps[0], 'pitch': np.asarray(pitch, np.int64) + 1, 'duration': steps[1],
                      'hint': hint.astype(np.float32)}  # fmt: skip
            return np.asarray(self.model.session.run(None, inputs)[0])[:, 1:]
        found = self.model.session.run(
            ['live_scores' if live else 'whole_scores'],
            {
                'pitch': np.asarray(pitch, np.int64), 'phase': phases(onset),
                'causal': causal_features(onset, pitch, end), 'whole': whole_features(onset, pitch, end),
                **part_inputs(names), 'state': self.start(),
            },
        )  # fmt: skip
        return np.asarray(found[0])

    def start(self) -> np.ndarray:
        """The state of the live reading before the first note, (4, 1, width)."""
        return np.zeros((4, 1, self.width), np.float32)


def find_parts(names: str | Sequence[str]) -> list[str]:
    """Classes of a list, or a comma-separated one such as ``'violin,violin,viola,cello'``: one for each part, in order.

    Raises
    ------
    GenaudioError
        If there is none, or one is unknown.
    """
    found = [find_instrument(name) for name in (names.split(',') if isinstance(names, str) else names) if name.strip()]
    if not found:
        raise GenaudioError('No instrument named; give names such as "violin,violin,viola,cello".')
    return found
