"""Progress on standard error of commands that know how much is done; that of a fit is `ProgressDisplay`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from sparsae._text import printable
from sparsae.cli.report import make_console


@contextmanager
def progress_bar() -> Iterator[Callable[[str, float], None]]:
    """Yield a function that shows what is done and which share of the whole; on a terminal only."""
    console = make_console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda what, share: bar.update(task, description=printable(what), completed=share)
