"""The standings of a race as tables."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sparsae.bench.scaling import series
from sparsae.bench.words import HEADINGS, cells, number, percent, remarks, summary
from sparsae.cli.tables import StyledRow, print_line, print_table, table_console

if TYPE_CHECKING:
    from rich.console import Console

    from sparsae.bench.compare import Change
    from sparsae.bench.record import Session

_WORDS = ("race", "backend", "verdict")  # columns that are not numbers
_OPTIONAL = ("demand", "kept", "GFLOP/s", "of peak", "tier")
_CHANGE_HEADINGS = ("race", "backend", "threads", "before", "after", "change", "95 %", "verdict", "tiers")


def print_session(session: Session) -> None:
    """Print the standings of each heat at each number of threads, and what is to be said of them."""
    console = table_console()
    for group in session.groups():
        rows = []
        for row in group.rows:
            style = "yellow" if row.state != "ok" else "" if row.kind == "backend" else "dim"
            rows.append(StyledRow(cells(row), style))
        print_table(console, summary(group), HEADINGS, rows, words=_WORDS, optional=_OPTIONAL)
        for remark in remarks(group):
            print_line(console, remark, "yellow")
    _print_scaling(console, session)
    for note in session.notes:
        print_line(console, f"Note: {note}", "yellow")
    if session.settings.preset == "quick":
        print_line(console, "A quick race is for a first look, not for publication.", "yellow")


def print_changes(changes: Iterable[Change]) -> None:
    """Print each cell's ratio before and after."""
    rows = []
    for one in changes:
        ratios = [f"{row.effect.ratio:.3f}" if row.effect else "-" for row in (one.before, one.after)]
        change = interval = "-"
        if one.change is not None:
            low, high = one.change.interval
            change = f"{one.change.ratio:.3f}"
            interval = f"{low:.3f} to {high:.3f}" if math.isfinite(high) else "one launch"
        tiers = " -> ".join(str(row.tier or "-") if row.state == "ok" else row.state for row in (one.before, one.after))
        rows.append(StyledRow((one.heat, one.label, str(one.threads), *ratios, change, interval, one.verdict, tiers)))
    print_table(
        table_console(), "", _CHANGE_HEADINGS, rows, words=_WORDS, optional=("tiers", "before", "after", "threads")
    )


def _print_scaling(console: Console, session: Session) -> None:
    """Print time per row and share of peak against what varies, where sizes do."""
    lines = series(session.groups())
    if all(one.axis == "threads" for one in lines):
        return
    for one in lines:
        rows = []
        for line in one.lines:
            at = {point.place: f"{number(point.seconds, 1e6)}, {percent(point.share)}" for point in line.points}
            rows.append(StyledRow((one.name(line), *(at.get(place, "-") for place in one.places))))
        headings = ("backend", *(f"{one.axis} {place}" for place in one.places))
        title = f"Microseconds per row, share of peak. {one.title}"
        print_table(console, title, headings, rows, words=_WORDS)
