"""The standings of a race as a table on a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from sparsae.bench.scaling import series
from sparsae.bench.words import HEADINGS, cells, number, percent, remarks, summary

if TYPE_CHECKING:
    from sparsae.bench.compare import Change
    from sparsae.bench.record import Session

_WORDS = ("race", "backend", "verdict")  # columns that are not numbers


def print_session(session: Session) -> None:
    """Print the standings of each heat at each number of threads, and what is to be said of them."""
    console = _console()
    for group in session.groups():
        table = _table(HEADINGS)
        table.title = summary(group)
        for row in group.rows:
            style = "yellow" if row.state != "ok" else "" if row.kind == "backend" else "dim"
            table.add_row(*cells(row), style=style)
        console.print(table)
        for remark in remarks(group):
            console.print(remark, style="yellow")
    _print_scaling(console, session)
    for note in session.notes:
        console.print(f"Note: {note}", style="yellow")
    if session.settings.preset == "quick":
        console.print("A quick race is for a first look, not for publication.", style="yellow")


def print_changes(changes: Iterable[Change]) -> None:
    """Print each cell's ratio before and after."""
    table = _table(("race", "backend", "threads", "before", "after", "change", "95 %", "verdict", "tiers"))
    for one in changes:
        ratios = [f"{row.effect.ratio:.3f}" if row.effect else "-" for row in (one.before, one.after)]
        change = interval = "-"
        if one.change is not None:
            low, high = one.change.interval
            change = f"{one.change.ratio:.3f}"
            interval = f"{low:.3f} to {high:.3f}" if math.isfinite(high) else "one launch"
        tiers = " -> ".join(str(row.tier or "-") if row.state == "ok" else row.state for row in (one.before, one.after))
        table.add_row(one.heat, one.label, str(one.threads), *ratios, change, interval, one.verdict, tiers)
    _console().print(table)


def _print_scaling(console: Console, session: Session) -> None:
    """Print time per row and share of peak against what varies, where sizes do."""
    lines = series(session.groups())
    if all(one.axis == "threads" for one in lines):
        return
    for one in lines:
        table = _table(("backend", *(f"{one.axis} {place}" for place in one.places)))
        table.title = f"Microseconds per row, share of peak. {one.title}"
        for line in one.lines:
            at = {point.place: f"{number(point.seconds, 1e6)}, {percent(point.share)}" for point in line.points}
            table.add_row(one.name(line), *(at.get(place, "-") for place in one.places))
        console.print(table)


def _console() -> Console:
    """A console that is wide enough for the table: a terminal that is not wraps it, and a file holds it whole."""
    return Console(highlight=False, soft_wrap=True, width=max(Console().width, 132))


def _table(headings: Iterable[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in _WORDS else "right", no_wrap=True)
    return table
