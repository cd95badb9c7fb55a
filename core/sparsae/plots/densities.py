"""How often units are active: a histogram of their densities on a logarithmic axis."""

from __future__ import annotations

import os
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sparsae.plots.files import check_format, make_figure, write_figure


class Densities(Protocol):
    """What is drawn of `sparsae.metrics.Metrics`."""

    @property
    def rows(self) -> int:
        """Number of rows."""

    @property
    def fired(self) -> NDArray[np.int64]:
        """Rows in which each unit is active."""

    def histogram(self) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
        """Edges, counts, dead units."""


def draw_densities(metrics: Densities, *, title: str = "") -> Any:
    """Draw how many units are active in which share of the rows; dead units, which have no place, are in the title.

    Parameters
    ----------
    metrics : Metrics
        Of `sparsae.metrics.evaluate`.
    title : str

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    """
    figure = make_figure((6.4, 4.0))
    axes = figure.add_subplot()
    edges, counts, dead = metrics.histogram()
    axes.stairs(counts, edges, fill=True, color="#446688")
    axes.set_xscale("log")
    axes.set_xlabel(f"density: share of {metrics.rows:,} rows in which a unit is active")
    axes.set_ylabel("units")
    axes.set_xlim(edges[0], 1)
    axes.grid(visible=True, alpha=0.3)
    left_out = f"{dead:,} of {len(metrics.fired):,} units are dead" if dead else ""
    axes.set_title("; ".join(words for words in (title, left_out) if words), fontsize=9)
    figure.tight_layout()
    return figure


def plot_densities(path: str | os.PathLike[str], metrics: Densities, *, title: str = "") -> None:
    """Draw the densities into a .png, .svg or .pdf file, as `draw_densities` does.

    Raises
    ------
    ParameterError
        When the file has another ending.
    MissingExtraError
        When matplotlib is not installed.
    FileAccessError
        When the file cannot be written.
    """
    check_format(path)
    write_figure(path, draw_densities(metrics, title=title))
