"""Tables with a title that fit the terminal; a file or a pipe gets them as wide as they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from sparsae._text import printable
from sparsae.cli.report import make_console, terminal_width

_UNLIMITED = 10_000  # columns: of what is no terminal


class StyledRow(NamedTuple):
    """The cells of a row, and a style of rich."""

    cells: Sequence[str]
    style: str = ""


def table_console() -> Console:
    """Return a console as wide as the terminal; where there is none, as wide as any table."""
    return make_console(width=terminal_width() or _UNLIMITED)


def print_titled_table(
    console: Console,
    title: str,
    headings: Sequence[str],
    rows: Iterable[StyledRow],
    *,
    words: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> None:
    """Print a table.

    Parameters
    ----------
    console : Console
    title : str
    headings : sequence of str
    rows : iterable of StyledRow
    words : sequence of str
        Headings of the columns that are text; the others are numbers and stand to the right.
    optional : sequence of str
        Headings of columns that a narrow terminal does without, the first of them first; which, is said below.
    """
    clean = [StyledRow([printable(cell) for cell in row.cells], row.style) for row in rows]
    unwanted = list(optional)
    dropped: list[str] = []
    table = _make_table(title, headings, clean, words, dropped)
    while unwanted and _natural_width(console, table) > console.width:
        dropped.append(unwanted.pop(0))
        table = _make_table(title, headings, clean, words, dropped)
    console.print(table)
    if dropped:
        console.print(f"Without {', '.join(dropped)}, for which the terminal is too narrow.", style="dim")


def print_line(console: Console, text: object, style: str = "") -> None:
    """Print one line of text."""
    console.print(printable(text), style=style, soft_wrap=not console.is_terminal)


def _make_table(
    title: str, headings: Sequence[str], rows: Sequence[StyledRow], words: Sequence[str], dropped: Sequence[str]
) -> Table:
    """Return the table without some of its columns."""
    kept = [i for i, heading in enumerate(headings) if heading not in dropped]
    table = Table(
        title=printable(title),
        box=SIMPLE_HEAD,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        padding=(0, 1),
    )
    for i in kept:
        table.add_column(headings[i], justify="left" if headings[i] in words else "right", overflow="fold")
    for row in rows:
        table.add_row(*(row.cells[i] for i in kept), style=row.style)
    return table


def _natural_width(console: Console, table: Table) -> int:
    """Return the width at which no cell is wrapped."""
    return console.measure(table, options=console.options.update(max_width=_UNLIMITED)).maximum
