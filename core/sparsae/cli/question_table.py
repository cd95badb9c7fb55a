"""The replayed question: tables on a terminal, Markdown into a file or a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsae.cli.report import say
from sparsae.cli.tables import StyledRow, print_line, print_titled_table, table_console

if TYPE_CHECKING:
    from rich.console import Console

    from sparsae.bench.question import QuestionReport

_WORDS = ("way", "scratch", "operands", "published in 2013")


def print_question(report: QuestionReport, console: Console | None = None) -> None:
    """Print the three tables and what a reader has to know."""
    console = console or table_console()
    if not console.is_terminal:
        for line in report.markdown().splitlines():
            say(line)
        return
    for part in report.tables():
        rows = [StyledRow(cells) for cells in part.rows]
        print_titled_table(
            console, part.title, part.columns, rows, words=_WORDS, optional=("published in 2013", "error")
        )
    for note in report.notes():
        print_line(console, f"- {note}")
