"""Scores in and out of the library: paths are read, and what could not be met is told."""

import logging
from os import PathLike
from pathlib import Path

from genaudio_core.continuation.generation import Generated
from genaudio_core.score.notes import Score
from genaudio_core.score.reading import read_midi

_log = logging.getLogger(__name__)

PathOrStr = str | PathLike[str]


def score_of(source: Score | PathOrStr) -> Score:
    """Return a score, or what a MIDI file holds; raises GenaudioError if it holds none."""
    return source if isinstance(source, Score) else read_midi(Path(source))


def told(made: Generated, model: str) -> Score:
    """Return the score that was made by `model` (its name); what could not be met is logged and among its remarks."""
    lines = made.told(model)
    for line in lines:
        _log.warning(line)
    made.score.remarks.extend(lines)
    return made.score
