"""A picture of a score: what was given and what is new, in two colours."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from genaudio_core.files import atomic_write
from genaudio_core.score import Note, Score

GIVEN, NEW = '#4c6a92', '#e07b39'  # told apart in grey too, and by the colour-blind


def draw(
    path: str | Path,
    given: Sequence[Note],
    new: Sequence[Note],
    *,
    title: str = '',
    bars: Sequence[float] = (),
) -> None:
    """Write a piano roll as PNG, SVG or PDF (by the suffix of `path`).

    Parameters
    ----------
    given, new : notes in beats
    bars : beats of bar lines, drawn faintly

    Raises
    ------
    GenaudioError
        If the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    everything = [*given, *new]
    low = min((note.note for note in everything), default=48) - 3
    high = max((note.note for note in everything), default=72) + 3
    first = min((note.beat for note in everything), default=0.0)
    last = max((note.beat + note.duration for note in everything), default=4.0)
    # No pyplot: it keeps global state and wants a display.
    figure = Figure(figsize=(min(max(6.0, (last - first) / 4), 24.0), 4.2), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for beat in bars:
        axes.axvline(beat, color='#dddddd', linewidth=0.8, zorder=0)
    for notes, colour, label in ((given, GIVEN, 'given'), (new, NEW, 'new')):
        if not notes:
            continue
        axes.barh(
            [note.note for note in notes],
            [max(note.duration, 0.06) for note in notes],
            left=[note.beat for note in notes],
            height=0.85, color=[_shade(colour, note.velocity) for note in notes], label=label,
        )  # fmt: skip
    axes.set_xlim(first - 0.2, last + 0.2)
    axes.set_ylim(low, high)
    octaves = [note for note in range(0, 128, 12) if low <= note <= high]
    axes.set_yticks(octaves, [f'C{note // 12 - 1}' for note in octaves])
    axes.set_xlabel('beat')
    if title:
        axes.set_title(title, fontsize=10)
    if given and new:
        axes.legend(loc='upper left', frameon=False, ncols=2)
    for side in ('top', 'right'):
        axes.spines[side].set_visible(False)
    with atomic_write(path) as temporary:
        # Fixed metadata: the same music makes the same file.
        figure.savefig(temporary, dpi=110, metadata={'Software': 'genaudio'} if Path(path).suffix == '.png' else None)


def draw_made(path: str | Path, score: Score, *, title: str = '') -> None:
    """Piano roll of a score in which the notes that its file did not hold are new."""
    given, new = [], []
    for track in score.tracks:
        left = Counter(note for note, _, _ in track.place.notes) if track.place is not None else Counter()
        for note in track.notes:
            (given if left[note] > 0 else new).append(note)
            left[note] -= 1
    bars, beat = [], 0.0
    while beat < score.end and len(bars) < 512:
        bars.append(beat)
        beat = score.next_bar(beat + 1e-3)
    draw(path, given, new, title=title, bars=bars)


def _shade(colour: str, velocity: int) -> tuple[float, float, float, float]:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue, 0.55 + 0.45 * velocity / 127
