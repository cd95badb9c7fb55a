"""The figures of a race; needs matplotlib.  The page embeds the same figures that ``--plot`` writes."""

from __future__ import annotations

import base64
import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from sparsae._text import plural, printable
from sparsae.bench.record import RaceSession
from sparsae.bench.scaling import ScalingSeries, scaling_series
from sparsae.bench.standings import Standings
from sparsae.errors import DataError
from sparsae.files import atomic_write

_GOOD, _BAD = "#3366aa", "#bb5500"  # a sound cell, and one that is not ranked
_DASHES = ("-", "--", ":")
_WIDEST = 30.0  # an interval is cut at so many times the ratio: the rest stays readable
_STABLE = {"svg.hashsalt": "sparsae"}  # the same figure gives the same bytes


def draw(sessions: Sequence[RaceSession], path: Path) -> None:
    """Draw the last session into a file, whole or not at all; its suffix chooses the format, PNG without one.

    One size: time over time of the reference, with intervals; one panel for each table.
    Several sizes: time per row above share of peak, against what varies.

    Raises
    ------
    DataError
        When nothing could be compared, or matplotlib does not know the format.
    FileAccessError
        When the file cannot be written.
    """
    tables = sessions[-1].standings()
    series = scaling_series(tables)
    if any(one.axis != "threads" for one in series):
        figure = scaling_figure(series)
    else:
        compared = [table for table in tables if any(row.effect for row in table.rows)]
        if not compared:
            raise DataError("There is nothing to draw: no backend has enough undisturbed rounds to be compared.")
        figure = ratio_figure(compared)
    data = _render(figure, picture_format(path))
    atomic_write(path, lambda file: file.write(data))


def picture_format(path: Path) -> str:
    """Return the format that the suffix of a picture stands for; PNG without one.

    Raises
    ------
    DataError
        When matplotlib does not know it.
    """
    kind = path.suffix.lstrip(".").lower() or "png"
    known = Figure().canvas.get_supported_filetypes()
    if kind not in known:
        raise DataError(f"matplotlib cannot write {path.suffix} files; choose from {', '.join(sorted(known))}.")
    return kind


def data_uri(figure: Figure) -> str:
    """Return a figure as the address of an image that needs no file."""
    return f"data:image/svg+xml;base64,{base64.b64encode(_render(figure, 'svg')).decode()}"


def ratio_figure(tables: Sequence[Standings]) -> Figure:
    """A panel for each table: a point and an interval for each row, the noise floor as a band around 1."""
    heights = [1.4 + 0.32 * len(table.rows) for table in tables]
    figure = Figure(figsize=(7.5, sum(heights)), layout="constrained")
    panels = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for ax, table in zip(panels, tables, strict=True):
        _draw_ratios(ax, table)
    return figure


def share_figure(table: Standings) -> Figure | None:
    """A bar for each backend: useful work as a share of the peak product's; None where there is nothing to show."""
    rows = [row for row in table.rows if row.share is not None and row.kind == "backend"]
    if not rows:
        return None
    figure = Figure(figsize=(7.5, 0.9 + 0.32 * len(rows)), layout="constrained")
    ax = figure.subplots()
    shares = [100 * min(row.share or 0.0, 10.0) for row in rows]
    bars = ax.barh(range(len(rows)), shares, color=[_GOOD if row.state == "ok" else _BAD for row in rows])
    ax.bar_label(bars, [f"{row.share:.0%}" for row in rows], padding=3)
    ax.set(yticks=range(len(rows)), yticklabels=[_label(row.label) for row in rows], ylim=(len(rows) - 0.5, -0.5))
    ax.set_xlim(0, 1.15 * max(*shares, 1))
    ax.set_xlabel("% of the peak product", fontsize=9)
    return figure


def scaling_figure(series: Sequence[ScalingSeries]) -> Figure:
    """A column for each series: time per row above share of peak; a colour a backend, dashes for more threads."""
    figure = Figure(figsize=(max(3.1 * len(series), 5.0), 6.4), layout="constrained")
    axes = figure.subplots(2, len(series), squeeze=False, sharex="col", sharey="row")
    names = list(dict.fromkeys(line.backend for one in series for line in one.lines))
    counts = sorted({line.threads for one in series for line in one.lines if line.threads})
    for column, one in enumerate(series):
        above, below = axes[:, column]
        for line in one.lines:
            style = {
                "marker": "o",
                "color": f"C{names.index(line.backend)}",
                "linestyle": _DASHES[counts.index(line.threads) % len(_DASHES)] if line.threads else "-.",
                "label": _label(one.name(line)),
            }
            above.plot([p.place for p in line.points], [1e6 * p.seconds for p in line.points], **style)
            shown = [p for p in line.points if p.share is not None]
            below.plot([p.place for p in shown], [100 * (p.share or 0) for p in shown], **style)
        above.set_title(_label(one.title).replace(": ", "\n"), fontsize=9)
        above.set(xscale="log", yscale="log")
        _label_logarithmic(above.yaxis)
        below.set_xlabel(one.axis)
        below.set_xticks(one.places, [f"{place:g}" for place in one.places])
        for ax in (above, below):
            ax.xaxis.set_minor_locator(NullLocator())
            ax.grid(axis="y", color="0.9")
    axes[1, 0].set_ylim(bottom=0)
    axes[0, 0].set_ylabel("microseconds per row")
    axes[1, 0].set_ylabel("% of the peak product")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=9)
    return figure


def _draw_ratios(ax: Any, table: Standings) -> None:
    rows = [row for row in table.rows if row.effect is not None]
    if table.floor is not None:
        ax.axvspan(math.exp(-table.floor), math.exp(table.floor), color="0.9", label="noise floor")
    ax.axvline(1, color="0.5", linewidth=0.8)
    for place, row in enumerate(rows):
        assert row.effect is not None
        ratio = row.effect.ratio
        low, high = row.effect.interval
        colour = _GOOD if row.state == "ok" else _BAD
        if math.isfinite(high):
            ax.plot([max(low, ratio / _WIDEST), min(high, ratio * _WIDEST)], [place, place], color=colour, linewidth=2)
        ax.plot([ratio], [place], "o", color=colour, markersize=5)
    names = [row.label if row.state == "ok" else f"{row.label} ({row.state})" for row in rows]
    ax.set(yticks=range(len(rows)), yticklabels=map(_label, names), xscale="log", ylim=(len(rows) - 0.5, -0.5))
    ax.set_title(_label(f"{table.workload}, {plural(table.threads, 'thread')}"), fontsize=10, loc="left")
    ax.set_xlabel(_label(f"time / time of {table.reference} (less is faster; 95 % intervals)"), fontsize=9)
    _label_logarithmic(ax.xaxis)
    ax.yaxis.set_minor_locator(NullLocator())


def _label_logarithmic(axis: Any) -> None:
    """Place ticks at 1, 2 and 5 in each decade, as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_locator(NullLocator())


def _render(figure: Figure, kind: str) -> bytes:
    """Return the bytes of a figure in a format of matplotlib's."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), mpl.rc_context(_STABLE):
        warnings.simplefilter("ignore")  # a name with characters that the font lacks
        figure.savefig(buffer, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


def _label(text: str) -> str:
    """Return a text that matplotlib shows as it is: a dollar sign would begin a formula."""
    return printable(text).replace("$", r"\$")
