"""The arranger as one object: scores for other instruments."""

from collections.abc import Callable, Sequence

from genaudio_core.arranging.instrumentation import instrument
from genaudio_core.arranging.part_model import PartModel, find_parts
from genaudio_core.continuation.generation import no_progress
from genaudio_core.files import find_model
from genaudio_core.library.scores import PathOrStr, score_of, told
from genaudio_core.score.notes import Score


class Arranger:
    """Spreads the notes of scores over parts (automatic instrumentation), as ``genaudio arrange`` does.

    Parameters
    ----------
    model : PartModel
        The engine; `load` makes it from a name or a path.
    """

    def __init__(self, model: PartModel):
        self.model = model

    @classmethod
    def load(cls, name: PathOrStr = 'arranger', *, provider: str = 'auto', threads: int = 1) -> 'Arranger':
        """Load a bundled model by its name, or an .onnx file by its path.

        Raises
        ------
        GenaudioError
            If there is none, it is damaged, or it is a model of something else.
        """
        return cls(PartModel.load(find_model(str(name)), provider=provider, threads=threads))

    @property
    def name(self) -> str:
        """Name of the model's file, without its ending."""
        return self.model.model.path.stem

    def arrange(
        self, score: Score | PathOrStr, instruments: str | Sequence[str], *, temperature: float = 0.0, seed: int = 0,
        free: bool = False, progress: Callable[[float], None] | None = None,
    ) -> Score:  # fmt: skip
        """Return the notes of a score spread over `instruments`, one for each part: two violins are two parts.

        Parameters
        ----------
        instruments : str or sequence of str
            Such as ``'violin, violin, viola, cello'``.
        temperature : float
            0: always the best; above it the model's opinion of each note is blurred.
        free : bool
            Whether every note stays as it is, also where an instrument has no such note or no hand free.
        progress : callable, optional
            Called with the beat that is reached.

        Raises
        ------
        GenaudioError
            If there is nothing to arrange, an instrument is unknown, or the model cannot tell these parts.
        """
        made = instrument(
            self.model, score_of(score), find_parts(instruments), temperature=temperature, seed=seed, free=free,
            progress=progress or no_progress,
        )  # fmt: skip
        return told(made, self.name)
