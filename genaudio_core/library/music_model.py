"""A model of music as one object: continue, generate, accompany and fill in whole scores."""

from collections.abc import Callable, Iterable, Sequence
from typing import Unpack

from genaudio_core.continuation.accompaniment import accompany, beats_of_bars, infill
from genaudio_core.continuation.decoder import Decoder
from genaudio_core.continuation.generation import continue_score, generate, meter_of, no_progress
from genaudio_core.continuation.sampling import Asked, Controls, Wishes
from genaudio_core.errors import GenaudioError
from genaudio_core.files import find_model
from genaudio_core.library.scores import PathOrStr, score_of, told
from genaudio_core.music.keys import Chord, parse_chart
from genaudio_core.score.instruments import find_instruments
from genaudio_core.score.notes import Score


class MusicModel:
    """A model of music: continues, invents, accompanies and fills in scores.

    Scores go in as `Score` objects or as paths of MIDI files, and a new `Score` comes out; what went in stays as it
    was. What of a wish could not be met is logged, and is found in the ``remarks`` of the score.

    Keyword arguments `asked` are those of `Controls.of`: ``instruments`` (such as ``'violin, cello'``), ``key``
    (``'D minor'``), ``chord`` (``'Am7'``), ``temperature``, ``top_p``, ``density`` (0 sparse .. 1 dense), ``lowest``
    and ``highest`` (notes 0..127) and so on.

    Parameters
    ----------
    decoder : Decoder
        The engine; `load` makes it from a name or a path.
    """

    def __init__(self, decoder: Decoder):
        self.decoder = decoder

    @classmethod
    def load(cls, name: PathOrStr = 'live', *, provider: str = 'auto', threads: int = 1) -> 'MusicModel':
        """Load a bundled model by its name, or an .onnx file by its path.

        Raises
        ------
        GenaudioError
            If there is none, it is damaged, or it is a model of something else.
        """
        return cls(Decoder.load(find_model(str(name)), provider=provider, threads=threads))

    @property
    def name(self) -> str:
        """Name of the model's file, without its ending."""
        return self.decoder.model.path.stem

    def continue_(
        self, score: Score | PathOrStr, beats: float = 16, *, seed: int = 0, start: float | None = None,
        chords: str | None = None, free: bool = False, progress: Callable[[float], None] | None = None,
        **asked: Unpack[Asked],
    ) -> Score:  # fmt: skip
        """Return the score with `beats` quarter notes more; its own part stays as it is.

        Parameters
        ----------
        beats : float
            Quarter notes to add, over 0.
        seed : int
            The same seed makes the same music.
        start : float, optional
            Beat at which the new part begins; by default the first whole beat at which everything has ended.
        chords : str, optional
            A chord for each new bar, such as 'C Am F G', or bars of one or two, such as 'C | Am D7 | G'; they come
            round. By default those of the score go on.
        free : bool
            What the model plays by itself: no part is called in, no chords, no rules.
        progress : callable, optional
            Told the beats done.

        Raises
        ------
        GenaudioError
            If the score has nothing that this model can continue, or a wish makes no sense.
        """
        made = continue_score(
            self.decoder, score_of(score), beats, controls=Controls.of(**asked), seed=seed, start=start,
            chart=_chart(chords), listen=not free, progress=progress or no_progress,
        )  # fmt: skip
        return told(made, self.name)

    def generate(
        self, beats: float = 16, *, tempo: float = 100.0, meter: str = '4/4', seed: int = 0,
        free: bool = False, progress: Callable[[float], None] | None = None, **asked: Unpack[Asked],
    ) -> Score:  # fmt: skip
        """Return new music of `beats` quarter notes, for `instruments` or for an ensemble that the model chooses.

        Parameters
        ----------
        tempo : float
            BPM written to the score.
        meter : str
            Such as '3/4'.

        Raises
        ------
        GenaudioError
            If a wish makes no sense, or the model has no class for an instrument.
        """
        controls = Controls.of(**asked)
        made = generate(
            self.decoder, beats, instruments=controls.instruments or (), controls=controls, tempo=tempo,
            meter=meter_of(meter), seed=seed, listen=not free, progress=progress or no_progress,
        )  # fmt: skip
        return told(made, self.name)

    def accompany(
        self, score: Score | PathOrStr, instruments: str | Iterable[str], *, seed: int = 0, chords: str | None = None,
        free: bool = False, progress: Callable[[float], None] | None = None, **asked: Unpack[Wishes],
    ) -> Score:  # fmt: skip
        """Return the score with `instruments` that play along; its own notes stay.

        Parameters
        ----------
        chords : str, optional
            As of `continue_`, from the first bar with notes on, instead of those that are found. Not with `free`.

        Raises
        ------
        GenaudioError
            If there is nothing to accompany, or no instrument that is not there already.
        """
        controls = Controls.of(**asked)
        made = accompany(
            self.decoder, score_of(score), find_instruments(instruments), controls=controls, seed=seed,
            listen=not free, chart=_chart(chords, free=free), progress=progress or no_progress,
        )  # fmt: skip
        return told(made, self.name)

    def infill(
        self, score: Score | PathOrStr, bars: tuple[int, int] | int, *, candidates: int = 4, seed: int = 0,
        chords: str | None = None, free: bool = False, progress: Callable[[float], None] | None = None,
        **asked: Unpack[Asked],
    ) -> Score:  # fmt: skip
        """Return the score with some bars written again; what is before and after them stays.

        Parameters
        ----------
        bars : int or (int, int)
            A bar, or the first and the last of several, counted from 1.
        candidates : int
            So many are written, and the one that leads best into what follows is taken.
        chords : str, optional
            As of `continue_`, of the bars that are written. Not with `free`.

        Raises
        ------
        GenaudioError
            If there are no such bars, or nothing comes before them.
        """
        given = score_of(score)
        first, last = (bars, bars) if isinstance(bars, int) else bars
        begin, end = beats_of_bars(given, first, last)
        made = infill(
            self.decoder, given, begin, end, controls=Controls.of(**asked), candidates=candidates, seed=seed,
            listen=not free, chart=_chart(chords, free=free), progress=progress or no_progress,
        )  # fmt: skip
        return told(made, self.name)


def _chart(chords: str | None, *, free: bool = False) -> Sequence[Sequence[Chord]]:
    if chords is not None and free:
        raise GenaudioError('`free` leaves the harmony to the model: leave out `chords`, or `free`.')
    return () if chords is None else parse_chart(chords)
