"""The standings of a race as tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sparsae.bench.report.text import (
    HEADINGS,
    format_interval,
    format_number,
    format_percent,
    format_ratio,
    remarks,
    row_cells,
    row_class,
    session_notes,
    summary,
)
from sparsae.bench.scaling import scaling_series
from sparsae.cli.tables import StyledRow, print_line, print_titled_table, table_console

if TYPE_CHECKING:
    from rich.console import Console

    from sparsae.bench.compare import CellChange
    from sparsae.bench.record import RaceSession
    from sparsae.bench.standings import StandingsRow

_STYLES = {"": "", "bad": "yellow", "other": "dim"}
_WORDS = ("race", "backend", "verdict")  # columns that are not numbers
_OPTIONAL = ("demand", "kept", "GFLOP/s", "of peak", "tier")
_CHANGE_HEADINGS = ("race", "backend", "threads", "before", "after", "change", "95 %", "verdict", "tiers")


def print_session(session: RaceSession) -> None:
    """Print the standings of each workload at each number of threads, and the notes on them."""
    console = table_console()
    for standings in session.standings():
        rows = [StyledRow(row_cells(row), _STYLES[row_class(row)]) for row in standings.rows]
        print_titled_table(console, summary(standings), HEADINGS, rows, words=_WORDS, optional=_OPTIONAL)
        for remark in remarks(standings):
            print_line(console, remark, "yellow")
    _print_scaling(console, session)
    for note in session_notes(session.plan, session.notes):
        print_line(console, f"Note: {note}", "yellow")


def print_changes(changes: Iterable[CellChange]) -> None:
    """Print each cell's ratio before and after."""
    rows = []
    for one in changes:
        row = one.after
        ratios = map(format_ratio, (one.before.effect, row.effect, one.change))
        tiers = f"{_tier(one.before)} -> {_tier(row)}"
        interval = format_interval(one.change)
        rows.append(StyledRow((row.workload, row.label, str(row.threads), *ratios, interval, one.verdict, tiers)))
    print_titled_table(
        table_console(), "", _CHANGE_HEADINGS, rows, words=_WORDS, optional=("tiers", "before", "after", "threads")
    )


def _tier(row: StandingsRow) -> str:
    return str(row.tier or "-") if row.state == "ok" else row.state


def _print_scaling(console: Console, session: RaceSession) -> None:
    """Print time per row and share of peak against what varies, where sizes do."""
    found = scaling_series(session.standings())
    if all(one.axis == "threads" for one in found):
        return
    for one in found:
        rows = []
        for line in one.lines:
            at = {
                point.place: f"{format_number(point.seconds, 1e6)}, {format_percent(point.share)}"
                for point in line.points
            }
            rows.append(StyledRow((one.name(line), *(at.get(place, "-") for place in one.places))))
        headings = ("backend", *(f"{one.axis} {place}" for place in one.places))
        title = f"Microseconds per row, share of peak. {one.title}"
        print_titled_table(console, title, headings, rows, words=_WORDS)
