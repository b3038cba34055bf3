"""A picture of a score: a colour for each part, strong for loud notes, filled for new ones, hollow for given ones."""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genaudio_core.files import atomic_write
from genaudio_core.score.notes import Note, Score

# Okabe and Ito's colours, which the colour-blind tell apart, then others between them.
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#7a5195', '#8c6d31', '#5f6b6d', '#b22222')
_KIT = (
    ('kick', (35, 36)), ('snare', (37, 38, 39, 40)), ('hat', (42, 44, 46)), ('tom', (41, 43, 45, 47, 48, 50)),
    ('cymbal', (49, 51, 52, 53, 55, 57, 59)), ('other', ()),
)  # fmt: skip
_ROWS = {key: row for row, (_, keys) in enumerate(_KIT) for key in keys}
_DOTS = 110  # to the inch
_SHORTEST = 0.06  # beats, so that a stroke is seen
_NAMED = 11  # parts; the others are counted


@dataclass
class Part:
    """One part of a picture."""

    name: str
    given: Sequence[Note] = field(default_factory=list)
    new: Sequence[Note] = field(default_factory=list)
    is_drum: bool = False


def draw(path: str | Path, parts: Sequence[Part], *, title: str = '', bars: Sequence[float] = ()) -> None:
    """Write a piano roll as PNG, SVG or PDF (by the suffix of `path`). Drums have rows of their own below.

    Parameters
    ----------
    parts : with notes in beats; the louder a note, the stronger its colour. One without notes is named
    bars : beats of bar lines, drawn faintly

    Raises
    ------
    GenaudioError
        If the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    shown = [part for part in parts if part.given or part.new]
    pitched = [part for part in shown if not part.is_drum]
    kits = [part for part in shown if part.is_drum]
    everything = [note for part in shown for note in (*part.given, *part.new)]
    first = min((note.beat for note in everything), default=0.0)
    last = max((note.beat + note.duration for note in everything), default=4.0)
    heights = [4.2] * bool(pitched or not kits) + [1.5] * bool(kits)
    # No pyplot: it keeps global state and wants a display.
    size = (min(max(6.0, (last - first) / 4), 24.0), sum(heights))
    figure = Figure(figsize=size, layout='constrained')
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(heights), sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    colours = {id(part): COLOURS[number % len(COLOURS)] for number, part in enumerate(shown)}
    if pitched or not kits:
        notes = [note.note for part in pitched for note in (*part.given, *part.new)]
        low, high = min(notes, default=51) - 3, max(notes, default=69) + 3
        for part in pitched:
            _add(panels[0], part, colours[id(part)], lambda note: note.note)
        panels[0].set_ylim(low, high)
        octaves = [note for note in range(0, 128, 12) if low <= note <= high]
        panels[0].set_yticks(octaves, [f'C{note // 12 - 1}' for note in octaves])
    for part in kits:
        _add(panels[-1], part, colours[id(part)], lambda note: _ROWS.get(note.note, len(_KIT) - 1))
    if kits:
        panels[-1].set_ylim(-0.7, len(_KIT) - 0.3)
        panels[-1].set_yticks(range(len(_KIT)), [name for name, _ in _KIT])
    for axes in panels:
        for beat in bars:
            axes.axvline(beat, color='#dddddd', linewidth=0.8, zorder=0)
        for side in ('top', 'right'):
            axes.spines[side].set_visible(False)
    panels[-1].set_xlim(first - 0.2, last + 0.2)
    panels[-1].set_xlabel('beat')
    if title:
        panels[0].set_title(_drawn(title), fontsize=10, parse_math=False)
    named = [part for part in shown if part.name]
    keys = [Patch(facecolor=colours[id(part)], label=_drawn(part.name)) for part in named[:_NAMED]]
    if len(named) > _NAMED:
        keys.append(Patch(alpha=0, label=f'and {len(named) - _NAMED} more'))
    silent = ', '.join(part.name for part in parts if part.name and not part.given and not part.new)
    if silent:
        keys.append(Patch(alpha=0, label=f'silent: {_drawn(silent)}'))
    if any(part.given for part in shown) and any(part.new for part in shown):
        keys += [
            Patch(facecolor='#dddddd', edgecolor='#555555', label='given'),
            Patch(facecolor='#555555', label='new'),
        ]
    if keys:
        ncols = min(len(keys), 6)
        legend = figure.legend(handles=keys, loc='outside upper left', frameon=False, ncols=ncols, fontsize=8)
        for text in legend.get_texts():
            text.set_parse_math(False)
    with atomic_write(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Glyph')  # a letter that the font lacks is drawn as a box
        # Fixed metadata: the same music makes the same file.
        metadata = {'Software': 'genaudio'} if Path(path).suffix == '.png' else None
        figure.savefig(temporary, dpi=_DOTS, metadata=metadata)


def _add(axes: Any, part: Part, colour: str, row: Any) -> None:
    from matplotlib.collections import PolyCollection

    for notes, is_new in ((part.given, False), (part.new, True)):
        if notes:
            shades = [_shade(colour, note.velocity, is_new=is_new) for note in notes]
            # One collection, not a patch for each note: a file may hold a hundred thousand.
            boxes = PolyCollection(
                [_box(note, row(note)) for note in notes],
                facecolors=shades, edgecolors=colour, linewidths=0.0 if is_new else 0.7,
            )  # fmt: skip
            axes.add_collection(boxes)


def _box(note: Note, row: float) -> list[tuple[float, float]]:
    """Corners of a note: beats, rows."""
    begin, end = note.beat, note.beat + max(note.duration, _SHORTEST)
    return [(begin, row - 0.425), (begin, row + 0.425), (end, row + 0.425), (end, row - 0.425)]


def _drawn(text: str) -> str:
    """A text as it can be drawn: no bytes that are not letters, no control characters, no endless one."""
    text = ''.join(letter if letter.isprintable() else '\N{REPLACEMENT CHARACTER}' for letter in text[:100])
    return f' {text}' if text.startswith('_') else text  # matplotlib takes a leading underscore for "leave it out"


def _shade(colour: str, velocity: int, *, is_new: bool) -> tuple[float, float, float, float]:
    """The colour over white: full for a loud new note, a hint of it for a given one, whose edge tells the part."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    loud = velocity / 127
    return red, green, blue, 0.25 + 0.75 * loud if is_new else 0.05 + 0.3 * loud


def bar_lines(score: Score, most: int = 512) -> list[float]:
    """Beats of the bar lines of a score."""
    bars, beat, end = [], 0.0, score.end
    while beat < end and len(bars) < most:
        bars.append(beat)
        beat = score.next_bar(beat + 1e-3)
    return bars


def draw_made(path: str | Path, score: Score, *, title: str = '') -> None:
    """Piano roll of a score in which the notes that its file did not hold are new."""
    parts = []
    for track in score.tracks:
        given: list[Note] = []
        new: list[Note] = []
        left = Counter(note for note, _, _ in track.place.notes) if track.place is not None else Counter()
        for note in track.notes:
            (given if left[note] > 0 else new).append(note)
            left[note] -= 1
        parts.append(Part(track.name or track.instrument, given, new, track.is_drum))
    draw(path, parts, title=title, bars=bar_lines(score))
