"""How alike are the classes of a field to a model? Cosines of its embeddings, as the published script draws them."""

from pathlib import Path

import numpy as np

from genaudio_core.files import atomic_write
from genaudio_core.models.mmt import MMT


def cosines(model: MMT) -> dict[str, np.ndarray]:
    """Cosine between any two classes, a matrix (classes, classes) for each of what a model knows them by.

    ``in/<field>`` are the embeddings of what it hears, ``out/<field>`` the rows of the layers that choose (one for each
    class); of all fields but type the undefined class 0 is left out, as published. ``position`` are the learned
    positions, where the model has them.
    """
    found = {}
    for i, name in enumerate(model.config.layout.fields):
        first = 0 if name == 'type' else 1
        found[f'in/{name}'] = _cosine(model.embed[i].get_parameter('weight').detach().cpu().numpy()[first:])
        out = model.heads.linear[i].get_parameter('weight').detach().cpu().numpy()
        found[f'out/{name}'] = _cosine(out[first:])
    if model.config.positions == 'learned':
        found['position'] = _cosine(model.position.weight.detach().cpu().numpy())
    return found


def _cosine(rows: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    return unit @ unit.T


def draw_cosines(matrices: dict[str, np.ndarray], path: Path, *, title: str = '') -> None:
    """Draw all matrices (classes, classes) as heat maps in one figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = 4
    rows = -(-len(matrices) // columns)
    figure = Figure(figsize=(4 * columns, 3.6 * rows), layout='constrained')
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in panels[len(matrices) :]:
        axes.set_axis_off()
    for axes, (name, matrix) in zip(panels, matrices.items(), strict=False):
        picture = axes.imshow(matrix, cmap='inferno', interpolation='none')
        figure.colorbar(picture, ax=axes, shrink=0.8)
        axes.set_title(name, fontsize=9)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110)
