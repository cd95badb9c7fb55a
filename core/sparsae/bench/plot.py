"""The ratios of a race as a picture; needs matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from sparsae.bench.record import Session
from sparsae.bench.scaling import Series, series
from sparsae.bench.standings import Group
from sparsae.errors import DataError

_COLOURS = {"ok": "#3366aa"}
_OTHER = "#bb5500"
_DASHES = ("-", "--", ":")


def draw(sessions: Sequence[Session], path: Path) -> None:
    """Draw the last session.

    One size: time over time of the reference, with intervals; one panel for each table.
    Several sizes: time per row above share of peak, against what varies.

    Raises
    ------
    DataError
        When nothing could be compared.
    """
    lines = series(sessions[-1].groups())
    if any(one.axis != "threads" for one in lines):
        _draw_scaling(lines, path)
        return
    groups = [group for group in sessions[-1].groups() if any(row.effect for row in group.rows)]
    if not groups:
        raise DataError("There is nothing to draw: no backend has enough clean rounds to be compared.")
    heights = [1.4 + 0.32 * len(group.rows) for group in groups]
    figure = Figure(figsize=(7.5, sum(heights)), layout="constrained")
    for axes, group in zip(
        figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0], groups, strict=False
    ):
        _panel(axes, group)
    figure.savefig(path, dpi=150)


def _draw_scaling(lines: Sequence[Series], path: Path) -> None:
    """A column for each series: time per row above share of peak; a colour a backend, dashes for more threads."""
    figure = Figure(figsize=(3.1 * len(lines), 6.4), layout="constrained")
    axes = figure.subplots(2, len(lines), squeeze=False, sharex="col", sharey="row")
    names = list(dict.fromkeys(line.backend for one in lines for line in one.lines))
    counts = sorted({line.threads for one in lines for line in one.lines if line.threads})
    for column, one in enumerate(lines):
        above, below = axes[:, column]
        for line in one.lines:
            style = {
                "marker": "o",
                "color": f"C{names.index(line.backend)}",
                "linestyle": _DASHES[counts.index(line.threads) % len(_DASHES)] if line.threads else "-.",
                "label": one.name(line),
            }
            above.plot([p.place for p in line.points], [1e6 * p.seconds for p in line.points], **style)
            shown = [p for p in line.points if p.share is not None]
            below.plot([p.place for p in shown], [100 * (p.share or 0) for p in shown], **style)
        above.set_title(one.title.replace(": ", "\n"), fontsize=9)
        above.set(xscale="log", yscale="log")
        above.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        above.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        below.set_xlabel(one.axis)
        below.set_xticks(one.places, [f"{place:g}" for place in one.places])
        for ax in (above, below):
            ax.xaxis.set_minor_locator(NullLocator())
            ax.yaxis.set_minor_locator(NullLocator())
            ax.grid(axis="y", color="0.9")
    axes[1, 0].set_ylim(bottom=0)
    axes[0, 0].set_ylabel("microseconds per row")
    axes[1, 0].set_ylabel("% of the peak product")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=9)
    figure.savefig(path, dpi=150)


def _panel(axes: object, group: Group) -> None:
    """One group: a point and an interval for each row, the noise floor as a band around 1."""
    from typing import Any, cast

    ax = cast(Any, axes)
    rows = [row for row in group.rows if row.effect is not None]
    if group.floor is not None:
        ax.axvspan(math.exp(-group.floor), math.exp(group.floor), color="0.9", label="noise floor")
    ax.axvline(1, color="0.5", linewidth=0.8)
    for place, row in enumerate(rows):
        assert row.effect is not None
        low, high = row.effect.interval
        colour = _COLOURS.get(row.state, _OTHER)
        if math.isfinite(high):
            ax.plot([low, high], [place, place], color=colour, linewidth=2)
        ax.plot([row.effect.ratio], [place], "o", color=colour, markersize=5)
    names = [row.label if row.state == "ok" else f"{row.label} ({row.state})" for row in rows]
    ax.set(yticks=range(len(rows)), yticklabels=names, xscale="log", ylim=(len(rows) - 0.5, -0.5))
    ax.set_title(f"{group.heat}, {group.threads} thread{'s' if group.threads > 1 else ''}", fontsize=10, loc="left")
    ax.set_xlabel(f"time / time of {group.reference} (less is faster; 95 % intervals)", fontsize=9)
    ticks = [
        t
        for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
        if ax.get_xlim()[0] <= t <= ax.get_xlim()[1]
    ]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()
