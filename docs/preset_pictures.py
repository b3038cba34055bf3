"""Writes docs/presets.md, each preset with a picture of what it answers: python docs/preset_pictures.py"""

import contextlib
import io
import sys
import tempfile
from pathlib import Path

from panel import DOCS, shrink

ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))

from bridge.cli import main  # noqa: E402
from bridge.settings.band_preset import Preset, available, load_preset  # noqa: E402
from genaudio_core.score.notes import Meter, Note, Score, Tempo, Track  # noqa: E402
from genaudio_core.score.reading import write_midi  # noqa: E402

PAGE, FIGURES = DOCS / 'presets.md', DOCS / 'figures'
CHORDS = ((48, 55, 60, 64), (45, 57, 60, 64), (41, 57, 60, 65), (43, 55, 59, 62))  # C Am F G
TUNE = (67, 69, 67, 64, 60, 64, 69, 72, 72, 69, 67, 65, 67, 71, 74, 71)
INTRO = """# Presets

What each of them answers to the same eight bars: two are played (C and Am, then F and G, with a tune on top), two are
silent, and so again. Outlined is what is played, filled what the band does with it. Made by
`python docs/preset_pictures.py`, which runs `genaudio rehearse PRESET in.mid -o out.mid --picture out.png`; yours
will differ with what you play, with `--seed` and with `--set`. To play one: `genaudio live NAME`.
"""


def phrase() -> Score:
    notes = []
    for bar in range(4):
        begin = 4.0 * (bar + 2 * (bar // 2))
        notes += [Note(begin, 3.8, note, 70) for note in CHORDS[bar]]
        notes += [Note(begin + beat, 0.9, note, 88) for beat, note in enumerate(TUNE[4 * bar : 4 * bar + 4])]
    return Score([Track(0, notes=sorted(notes))], [Tempo(0.0, 112.0)], [Meter(0.0, 4, 4)])


def part(name: str, preset: Preset) -> str:
    who = ', '.join(voice.instrument for voice in preset.voices)
    return (
        f'## {name}\n\n{preset["about.title"]}. {preset["about.text"]} Mode `{preset["player.mode"]}`, {who}.\n\n'
        f'![what {name} answers](figures/preset-{name}.png)\n'
    )


def page() -> str:
    """Return the text of the page."""
    return '\n'.join([INTRO, *(part(name, load_preset(path)) for name, path in available().items())])


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as folder:
        write_midi(phrase(), given := Path(folder) / 'in.mid')
        for name in available():
            picture = FIGURES / f'preset-{name}.png'
            if name in sys.argv or len(sys.argv) == 1:
                with contextlib.redirect_stdout(io.StringIO()):
                    words = ['rehearse', name, str(given), '-o', f'{folder}/{name}.mid', '--picture', str(picture)]
                    if main(words):
                        raise SystemExit(f'{name} cannot be rehearsed')
                shrink(picture, 900)
    PAGE.write_text(page(), encoding='utf-8')
