"""Pictures: what hidden units look for, and the learning curve (extra ``[plot]``).

Made with `matplotlib.figure.Figure`, so that no window opens and pyplot's global state is not touched.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsae._types import Array
from sparsae.errors import MissingExtraError, ParameterError
from sparsae.files import atomic_write
from sparsae.training.result import History

MOST_TILES = 400
FORMATS = ("png", "svg", "pdf")


def feature_tiles(W1: Array, *, image_shape: tuple[int, int] | None = None) -> NDArray[np.float64]:
    """Arrange the encoder weights as an image of tiles, one a hidden unit, as in the UFLDL exercise.

    The input that excites a unit most is its row of W1 up to scale: each tile is scaled by its own largest magnitude.

    Parameters
    ----------
    W1 : ndarray (n_hidden, n_visible)
    image_shape : (int, int), optional
        Rows and columns of a sample; a square when left out.

    Returns
    -------
    ndarray
        Values in [-1, 1]; borders are NaN.

    Raises
    ------
    ParameterError
        When samples are no images of that shape.
    """
    p, n = W1.shape
    side = int(np.sqrt(n))
    rows, columns = image_shape or (side, side)
    if rows * columns != n:
        given = f"image_shape {image_shape}" if image_shape else "no square image"
        raise ParameterError(f"{given} does not fit n_visible={n}; give image_shape=(rows, columns) with that product.")
    shown = min(p, MOST_TILES)
    across = int(np.ceil(np.sqrt(shown)))
    down = -(-shown // across)
    sheet = np.full((down * (rows + 1) + 1, across * (columns + 1) + 1), np.nan)
    for j in range(shown):
        top, left = (j // across) * (rows + 1) + 1, (j % across) * (columns + 1) + 1
        largest = abs(W1[j]).max() or 1.0
        sheet[top : top + rows, left : left + columns] = W1[j].reshape(rows, columns) / largest
    return sheet


def plot_features(
    path: str | os.PathLike[str], W1: Array, *, image_shape: tuple[int, int] | None = None, title: str = ""
) -> None:
    """Draw `feature_tiles` into a .png, .svg or .pdf file."""
    figure = _figure(path, (5, 5.3 if title else 5))
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.9 if title else 0.96))
    sheet = np.ma.masked_invalid(feature_tiles(W1, image_shape=image_shape))
    shades = _colormap()
    axes.imshow(sheet, cmap=shades, vmin=-1, vmax=1, interpolation="nearest")
    axes.set_axis_off()
    if title:
        axes.set_title(title, fontsize=9)
    _write(path, figure)


def plot_history(path: str | os.PathLike[str], history: History, *, title: str = "") -> None:
    """Draw the cost and its three terms against the iterations, logarithmically, into a .png, .svg or .pdf file."""
    figure = _figure(path, (6.4, 4.0))
    axes = figure.add_subplot()
    axes.semilogy(history.iteration, history.cost, color="black", label="cost")
    for name in ("squared_error", "weight_decay", "sparsity"):
        term = np.asarray(getattr(history, name))
        if (term > 0).any():
            axes.semilogy(history.iteration, np.where(term > 0, term, np.nan), label=name.replace("_", " "), lw=1)
    axes.set_xlabel("iteration")
    axes.set_ylabel("cost")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(frameon=False)
    if title:
        axes.set_title(title, fontsize=9)
    figure.tight_layout()
    _write(path, figure)


def _figure(path: str | os.PathLike[str], size: tuple[float, float]) -> Any:
    """Return an empty figure, after the file's ending was checked."""
    ending = Path(path).suffix.lower().lstrip(".")
    if ending not in FORMATS:
        raise ParameterError(f"{path} must end in {', '.join('.' + name for name in FORMATS)}.")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("Pictures need matplotlib: pip install 'sparsae[plot]'.") from error
    return Figure(figsize=size)


def _colormap() -> Any:
    from matplotlib import colormaps

    return colormaps["gray"].with_extremes(bad="#557799")


def _write(path: str | os.PathLike[str], figure: Any) -> None:
    """Write the picture whole or not at all."""
    ending = Path(path).suffix.lower().lstrip(".")
    atomic_write(path, lambda file: figure.savefig(file, format=ending, dpi=150))
