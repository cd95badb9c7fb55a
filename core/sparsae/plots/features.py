"""What the hidden units look for: tiles where samples are images, else bars."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsae._types import Array
from sparsae.errors import ParameterError
from sparsae.model import check_size
from sparsae.plots.files import check_format, make_figure, write_figure

MOST_TILES = 400
MOST_BARS = 64  # units that are drawn where samples are no images


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
    shape: Any = (math.isqrt(n), math.isqrt(n)) if image_shape is None else image_shape
    if not isinstance(shape, Sequence) or len(shape) != 2 or isinstance(shape, str):
        raise ParameterError(f"image_shape must be two numbers, (rows, columns); given {image_shape!r}.")
    rows, columns = (check_size("image_shape", number) for number in shape)
    if rows * columns != n:
        given = "square images" if image_shape is None else f"{rows}x{columns} images"
        raise ParameterError(
            f"Samples of {n} inputs are not {given}; give image_shape=(rows, columns) with the product {n}."
        )
    shown = min(p, MOST_TILES)
    across = int(np.ceil(np.sqrt(shown)))
    down = -(-shown // across)
    sheet = np.full((down * (rows + 1) + 1, across * (columns + 1) + 1), np.nan)
    for j in range(shown):
        top, left = (j // across) * (rows + 1) + 1, (j % across) * (columns + 1) + 1
        largest = abs(W1[j]).max() or 1.0
        sheet[top : top + rows, left : left + columns] = W1[j].reshape(rows, columns) / largest
    return sheet


def draw_features(W1: Array, *, image_shape: tuple[int, int] | None = None, title: str = "") -> Any:
    """Draw the encoder weights.

    Samples that are images give `feature_tiles`; others give bars, one row of W1 a panel, at most 64 of them.

    Parameters
    ----------
    W1 : ndarray (n_hidden, n_visible)
    image_shape : (int, int), optional
        Rows and columns of a sample; when left out, a square where n_visible is one.
    title : str

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ParameterError
        When samples are no images of that shape.
    MissingExtraError
        When matplotlib is not installed.
    """
    if image_shape is None and math.isqrt(W1.shape[1]) ** 2 != W1.shape[1]:
        return _draw_bars(W1, title)
    sheet = np.ma.masked_invalid(feature_tiles(W1, image_shape=image_shape))
    figure = make_figure((5, 5.3 if title else 5))
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.9 if title else 0.96))
    axes.imshow(sheet, cmap=_colormap(), vmin=-1, vmax=1, interpolation="nearest")
    axes.set_axis_off()
    if title:
        axes.set_title(title, fontsize=9)
    return figure


def plot_features(
    path: str | os.PathLike[str], W1: Array, *, image_shape: tuple[int, int] | None = None, title: str = ""
) -> None:
    """Draw the encoder weights into a .png, .svg or .pdf file, as `draw_features` does.

    Raises
    ------
    ParameterError
        When samples are no images of that shape, or the file has another ending.
    MissingExtraError
        When matplotlib is not installed.
    FileAccessError
        When the file cannot be written.
    """
    check_format(path)
    write_figure(path, draw_features(W1, image_shape=image_shape, title=title))


def _draw_bars(W1: Array, title: str) -> Any:
    """Draw each unit's weights as bars over the inputs; each panel is scaled by its own largest magnitude."""
    p, n = W1.shape
    shown = min(p, MOST_BARS)
    across = math.ceil(math.sqrt(shown))
    down = -(-shown // across)
    figure = make_figure((max(4.0, 1.5 * across), max(3.0, 1.1 * down + 0.6)))
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for j, axes in enumerate(panels.flat):
        if j >= shown:
            axes.set_axis_off()
            continue
        axes.bar(np.arange(n), W1[j] / (abs(W1[j]).max() or 1.0), width=0.9, color="#446688")
        axes.axhline(0, color="black", linewidth=0.5)
        axes.set(ylim=(-1.05, 1.05), yticks=[])
        axes.set_title(f"unit {j}", fontsize=7, pad=2)
        axes.tick_params(labelsize=7)
    left_out = f"; {shown} of {p} units" if shown < p else ""
    figure.supxlabel("input", fontsize=9)
    figure.suptitle(title or f"Weights of each hidden unit, each to its own scale{left_out}", fontsize=9)
    figure.set_layout_engine("constrained")
    return figure


def _colormap() -> Any:
    from matplotlib import colormaps

    return colormaps["gray"].with_extremes(bad="#557799")
