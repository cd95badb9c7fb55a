"""The learning curve: the cost and its terms, and what the hidden units do, against the iterations."""

from __future__ import annotations

import os
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sparsae.plots.files import check_format, make_figure, write_figure

SHARES = ("explained_variance", "dead_share")
TERMS = ("squared_error", "weight_decay", "sparsity")


class CostCurve(Protocol):
    """What is drawn of a `History`; it also has a column for each of `TERMS`, `SHARES` and for l0."""

    @property
    def iteration(self) -> NDArray[np.int64]:
        """Iteration numbers."""

    @property
    def cost(self) -> NDArray[np.float64]:
        """Cost at each."""

    @property
    def l0(self) -> NDArray[np.float64]:
        """Active units in a row at each."""


def draw_history(history: CostCurve, *, title: str = "") -> Any:
    """Draw the cost and its terms against the iterations, and below them explained variance, dead units and L0.

    Costs are on a logarithmic axis.  What is not known is left out, and so is the lower part where nothing is.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    """
    known = [name for name in (*SHARES, "l0") if np.isfinite(getattr(history, name)).any()]
    figure = make_figure((6.4, 5.6 if known else 4.0))
    if known:
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(5, 3))
        _draw_units(below, history, known)
    else:
        axes = figure.add_subplot()
        axes.set_xlabel("iteration")
    axes.semilogy(history.iteration, history.cost, color="black", label="cost")
    for name in TERMS:
        term = np.asarray(getattr(history, name))
        if (term > 0).any():
            axes.semilogy(history.iteration, np.where(term > 0, term, np.nan), label=name.replace("_", " "), lw=1)
    axes.set_ylabel("cost")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(frameon=False)
    if title:
        axes.set_title(title, fontsize=9)
    figure.tight_layout()
    return figure


def _draw_units(axes: Any, history: CostCurve, known: list[str]) -> None:
    """Draw shares on the left axis, and the active units in a row on the right one."""
    for name, colour in zip(SHARES, ("C0", "C3"), strict=True):
        if name in known:
            axes.plot(history.iteration, getattr(history, name), color=colour, label=name.replace("_", " "))
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("iteration")
    axes.set_ylabel("share")
    axes.grid(visible=True, alpha=0.3)
    lines = list(axes.get_lines())
    if "l0" in known:
        right = axes.twinx()
        lines += right.plot(history.iteration, history.l0, color="C2", label="L0")
        right.set_ylabel("active units in a row")
        right.set_ylim(bottom=0)
    names = [line.get_label() for line in lines]
    axes.legend(lines, names, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)


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
