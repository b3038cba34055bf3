"""One file for each row of a mix."""

from collections.abc import Sequence
from pathlib import Path

from genaudio_core.files import slug
from genaudio_core.script.broadcast_wav import write_broadcast_wav
from genaudio_core.script.composition import Composition
from genaudio_core.script.folders import atomic_folder
from genaudio_core.script.mixing import SAMPLE_RATE, Stem
from genaudio_core.script.table import BACKGROUND, SPEECH, Row


def stem_names(stems: Sequence[Stem]) -> list[str]:
    """A file name for each row: its number and what it is, such as ``03-news-anchor``."""
    return [f'{stem.part.row.number:02d}-{slug(stem.part.row.name, "row")}' for stem in stems]


def track_of(row: Row) -> str:
    """The track that a row lies on: one for each character, background ID and kind of foreground."""
    if row.layout == BACKGROUND:
        return row.id
    if row.kind == SPEECH:
        return row.character or 'Speech'
    return row.kind.capitalize()


def write_stems(folder: Path, composition: Composition) -> list[Path]:
    """Write one file for each row into `folder`; their paths, in the order of the rows."""
    stems = composition.mixdown.stems
    names = stem_names(stems)
    with atomic_folder(folder) as temporary:
        for stem, name in zip(stems, names, strict=True):
            write_broadcast_wav(
                temporary / f'{name}.wav', stem.audio, SAMPLE_RATE, stem.part.start, stem.part.row.content
            )
    return [folder / f'{name}.wav' for name in names]
