"""The replayed question: tables on a terminal, Markdown into a file or a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from sparsae.bench.question import QuestionReport


def print_question(report: QuestionReport, console: Console | None = None) -> None:
    """Print the three tables and what a reader has to know."""
    console = console or Console()
    if not console.is_terminal:
        console.print(report.markdown(), markup=False, highlight=False, soft_wrap=True, end="")
        return
    for part in report.tables():
        table = Table(title=part.title, box=SIMPLE_HEAD, title_justify="left")
        for column in part.columns:
            table.add_column(column, overflow="fold")
        for cells in part.rows:
            table.add_row(*cells)
        console.print(table)
    for note in report.notes():
        console.print(f"- {note}", markup=False, highlight=False)
