"""What a separator is to be asked with, and the user's own encoders (CLIP, CLAP), which run in another process.

A separator's card says under ``details['queries']`` where the vectors come from that it was trained on::

    encoder     'genaudio' (bundled), or the family of the user's own: 'clip', 'clap'
    inputs      what that encoder takes: text, audio, image
    normalised  whether vectors are brought to length one
    probe       the first numbers of the unit vector of PROBE: tells other weights of the same family apart
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genaudio_core.errors import GenaudioError
from genaudio_core.inference.model_card import ModelCard
from genaudio_core.processes.programs import run_program
from genaudio_core.query.parsing import parse
from genaudio_core.query.vector import Query

BUNDLED = 'genaudio'
TIMEOUT = 900.0  # seconds: large weights from a slow disk, many pictures; then it hangs
PROBE, PROBE_NUMBERS, PROBE_COSINE = 'violin', 16, 0.98


@dataclass(frozen=True)
class QuerySource:
    """Where a separator's queries come from."""

    encoder: str = BUNDLED
    inputs: tuple[str, ...] = ('text', 'audio')
    normalised: bool = True
    probe: tuple[float, ...] = ()

    @classmethod
    def of(cls, card: ModelCard) -> 'QuerySource':
        """Return what a card says; older cards name the space only."""
        told = card.details.get('queries')
        if told:
            return cls(
                str(told['encoder']), tuple(told['inputs']), bool(told['normalised']), tuple(told.get('probe') or ())
            )
        if str(card.details.get('query_space', '')).startswith('clip'):
            return cls('clip', ('text', 'image'), normalised=False)
        return cls()

    def to_dict(self) -> dict[str, Any]:
        """What a model card holds of it."""
        return {'encoder': self.encoder, 'inputs': list(self.inputs), 'normalised': self.normalised,
                'probe': list(self.probe)}  # fmt: skip

    @property
    def bundled(self) -> bool:
        """Whether queries come from the encoders that are bundled."""
        return self.encoder == BUNDLED

    def describes(self, vector: np.ndarray) -> bool:
        """Whether `vector` (D,), of PROBE, comes from the very encoder that this was written with (if it is known)."""
        if not self.probe:
            return True
        first, known = vector[: len(self.probe)], np.asarray(self.probe)
        cosine = float(first @ known) / max(float(np.linalg.norm(first) * np.linalg.norm(known)), 1e-9)
        return cosine > PROBE_COSINE


def probe_of(vector: np.ndarray) -> tuple[float, ...]:
    """Return what a card keeps of the vector (D,) of PROBE."""
    unit = vector / max(float(np.linalg.norm(vector)), 1e-9)
    return tuple(round(float(v), 4) for v in unit[:PROBE_NUMBERS])


class EncoderProcess:
    """An encoder of the user's own: a folder of transformers, or a file of open_clip's `model`."""

    def __init__(self, weights: str | Path, model: str = 'ViT-B-32'):
        self.weights, self.model = weights, model

    def queries(
        self,
        texts: Sequence[str],
        negative: Sequence[str] = (),
        *,
        audio: Sequence[Path] = (),
        image: Sequence[Path] = (),
        normalise: bool = False,
        probe: bool = False,
    ) -> tuple[list[Query], dict[str, Any]]:
        """Return a query for each text (read as `parsing.parse` says), recording and picture, and what `ask` gave.

        All of it is one question, since to load an encoder takes seconds. `negative` is taken out of each query.

        Parameters
        ----------
        normalise : bool
            Whether vectors are brought to length one, see `QuerySource`.
        probe : bool
            Ask for PROBE, too: the last row of ``text`` then.
        """
        parsed = [parse(text) for text in texts]
        words = dict.fromkeys([*(word for sides in parsed for side in sides for _, word in side), *negative])
        words = [word for word in words if not (probe and word == PROBE)] + [PROBE] * probe
        files = {name: list(paths) for name, paths in (('audio', audio), ('image', image)) if paths}
        told = self.ask(text=words, **files)
        vectors = dict(zip(words, told['text'], strict=True))

        def side(parts: Sequence[tuple[float, str]]) -> tuple[tuple[float, np.ndarray], ...]:
            return tuple((weight, vectors[word]) for weight, word in parts)

        left_out = side([(1.0, word) for word in negative])
        found = [
            Query(text, side(positive), side(minus) + left_out, normalise=normalise)
            for text, (positive, minus) in zip(texts, parsed, strict=True)
        ]
        for name, paths in files.items():
            for path, vector in zip(paths, told[name], strict=True):
                found.append(Query(path.stem, ((1.0, vector),), left_out, normalise=normalise))
        return found, told

    def ask(self, **asked: list) -> dict[str, Any]:
        """Return ``family``, ``inputs`` and, for each of `asked` (text, image, audio), float32 (n, dim).

        Raises
        ------
        GenaudioError
            One line if the encoder cannot be loaded or something cannot be encoded.
        """
        if not Path(self.weights).exists():
            raise GenaudioError(f'There is no encoder {self.weights}: give a file of CLIP weights or a folder.')
        command = [sys.executable, '-m', 'genaudio_core.models.encoders.process', '--model', self.model,
                   '--weights', str(self.weights)]  # fmt: skip
        request = json.dumps({name: [str(thing) for thing in things] for name, things in asked.items()})
        done = run_program(command, text=request.encode(), timeout=TIMEOUT)
        if done.returncode:
            said = done.stderr.decode(errors='replace').strip().splitlines()
            reason = said[-1] if said else f'The encoder {self.weights} ended without a word ({done.returncode}).'
            if 'ModuleNotFoundError' in reason or 'ImportError' in reason:
                reason = f"The encoder needs more than is installed ({reason}): pip install 'genaudio[clip]'"
            raise GenaudioError(reason)
        try:
            told = json.loads(done.stdout.decode(errors='replace').strip().splitlines()[-1])
            vectors = {name: np.array(told[name], np.float32) for name in asked}
        except (ValueError, IndexError, KeyError, TypeError):
            raise GenaudioError(f'The encoder {self.weights} gave no answer that can be read.') from None
        for name, found in vectors.items():
            if not np.isfinite(found).all():
                raise GenaudioError(f'The encoder {self.weights} made {name} vectors whose values are not numbers.')
        return {**told, **vectors}
