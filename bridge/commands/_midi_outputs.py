"""The output of a command that makes music: a MIDI file, and perhaps a picture of it."""

from pathlib import Path

from genaudio_core.errors import GenaudioError

SUFFIXES = ('.mid', '.midi', '.smf', '.kar', '')  # of MIDI files


def check_names(out: Path | None, picture: Path | None) -> None:
    """Raise GenaudioError unless `out` is called as a MIDI file is, and `picture` as a picture."""
    if out is not None and (out.suffix.lower() not in SUFFIXES or out == Path('-')):
        raise GenaudioError(f'{out} would be a MIDI file, not {out.suffix[1:] or "-"}: end its name in .mid.')
    if picture is not None and picture.suffix.lower() not in ('.png', '.svg', '.pdf'):
        raise GenaudioError(f'--picture must end in .png, .svg or .pdf, not {picture.name}.')
