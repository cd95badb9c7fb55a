"""The learning curve: the cost and its terms against the iterations."""

from __future__ import annotations

import os
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sparsae.plots.files import check_format, make_figure, write_figure

TERMS = ("squared_error", "weight_decay", "sparsity")


class CostCurve(Protocol):
    """What is drawn of a `History`; it also has a column for each of `TERMS`."""

    @property
    def iteration(self) -> NDArray[np.int64]:
        """Iteration numbers."""

    @property
    def cost(self) -> NDArray[np.float64]:
        """Cost at each."""


def draw_history(history: CostCurve, *, title: str = "") -> Any:
    """Draw the cost and its terms against the iterations, logarithmically.

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
    axes.semilogy(history.iteration, history.cost, color="black", label="cost")
    for name in TERMS:
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
    return figure


def plot_history(path: str | os.PathLike[str], history: CostCurve, *, title: str = "") -> None:
    """Draw the cost and its terms into a .png, .svg or .pdf file, as `draw_history` does.

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
    write_figure(path, draw_history(history, title=title))
