"""Which musician plays: the model of the preset, the bundled one, or the rules of `rule_musician.py`."""

from collections.abc import Callable
from pathlib import Path

from bridge.musicians.musician import Musician
from bridge.musicians.rule_musician import FallbackMusician
from genaudio_core.files import presets_dir

BUNDLED = 'live.onnx'


def model_path(name: str) -> Path | None:
    """The model file that a preset's 'music.model' means; None where the band plays by rules.

    'rules' is none on purpose; an empty name is the bundled model, if it is installed.
    """
    if name == 'rules':
        return None
    if name:
        return Path(name)
    bundled = presets_dir() / 'models' / BUNDLED
    return bundled if bundled.is_file() else None


def make_musician(name: str) -> Musician:
    """Make the musician for the engine process; loading a model and warming it up take about a second."""
    path = model_path(name)
    if path is None:
        return FallbackMusician()
    from bridge.musicians.model_musician import ModelMusician  # loads the model runtime: only in the engine process

    return ModelMusician.load(path)


def load_musicians(name: str) -> tuple[Callable[[], Musician], str]:
    """Load a model once; return what makes musicians that have heard nothing, and the hash of its file ('': rules)."""
    first = make_musician(name)
    if isinstance(first, FallbackMusician):
        return FallbackMusician, ''
    from bridge.musicians.model_musician import ModelMusician

    assert isinstance(first, ModelMusician)
    decoder = first.decoder
    return lambda: ModelMusician(decoder), decoder.card.sha256
