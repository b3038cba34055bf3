"""Writes docs/settings.md, every setting of the live side, from the code: ``python docs/settings.py``."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / 'docs' / 'settings.md'
sys.path.insert(0, str(ROOT))

from bridge.settings import stems_preset  # noqa: E402
from bridge.settings.parameters import COMMANDS, PARAMETERS  # noqa: E402
from bridge.settings.stem_knobs import mix_knobs  # noqa: E402
from bridge.settings.voice import OF_PART  # noqa: E402
from genaudio_core.tables import Setting  # noqa: E402


def table(settings: Mapping[str, Setting]) -> Iterable[str]:
    yield '| setting | what it does | what it may be | default |'
    yield '| --- | --- | --- | --- |'
    for name, setting in settings.items():
        default = ', '.join(setting.default) if isinstance(setting.default, tuple) else str(setting.default)
        cells = [f'`{name}`', setting.help, setting.right, f'`{default}`' if default else '']
        yield f'| {" | ".join(cell.replace("|", chr(92) + "|") for cell in cells)} |'.replace('  |', ' |')


def page() -> str:
    """Return the text of the page."""
    lines = [
        '# Settings', '',
        'Made from the code by `python docs/settings.py`. The same names serve in a preset, `--set NAME=VALUE`,',
        '`[cc]` and OSC; the part before the dot is the section of the preset and may be left out elsewhere.', '',
        '## A band: while the music plays', '',
        *table({name: one for name, one in PARAMETERS.items() if one.live}), '',
        '## Each part of a band: while the music plays', '',
        'In a preset in `[[parts]]`, without the name of the part; two violins are `violin` and `violin_2`.', '',
        *table({f'{name}.PART': one for name, one in OF_PART.items()}), '',
        '## A band: with a restart', '',
        *table({name: one for name, one in PARAMETERS.items() if not one.live}), '',
        '## Commands, for controllers, OSC and keys', '',
        '| command | what it does |', '| --- | --- |',
        *(f'| `{name}` | {text} |' for name, text in COMMANDS.items()), '',
        '## Live stems (`genaudio isolate`)', '',
        *table(mix_knobs(['STEM', 'rest', 'monitor']) | stems_preset.SETTINGS),
    ]  # fmt: skip
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    PAGE.write_text(page(), encoding='utf-8')
