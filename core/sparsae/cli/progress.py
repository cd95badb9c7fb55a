"""Progress on standard error: of a fit, and of commands that know how much is done."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sparsae._text import printable
from sparsae.cli.report import make_console, say

if TYPE_CHECKING:
    from sparsae.training.observers import Progress as Iteration

EVERY_SECONDS = 10.0  # between two lines where there is no terminal


class ProgressReporter:
    """An observer that shows iteration, cost, rate and remaining time: one live line on a terminal, else lines.

    Parameters
    ----------
    show : bool
        False: print nothing.
    """

    def __init__(self, *, show: bool) -> None:
        self._console = make_console(stderr=True)
        self._live: Progress | None = None
        self._show = show
        self._task: Any = None
        self._last = -math.inf

    def __enter__(self) -> Self:
        """Begin; on a terminal a line appears that is kept up to date."""
        if self._show and self._console.is_terminal:
            self._live = Progress(
                TextColumn("iteration"),
                MofNCompleteColumn(),
                BarColumn(bar_width=None),
                TextColumn("cost {task.fields[cost]}"),
                TextColumn("{task.fields[rate]} it/s"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; the live line goes away, also after an exception."""
        if self._live is not None:
            self._live.stop()

    def __call__(self, progress: Iteration) -> None:
        """Show one iteration."""
        rate = f"{progress.iteration / progress.seconds:.0f}" if progress.seconds > 0 else "-"
        cost = f"{progress.cost:.6g}"
        if self._live is not None:
            if self._task is None:
                self._task = self._live.add_task("fit", total=progress.max_iter, cost=cost, rate=rate)
            self._live.update(self._task, completed=progress.iteration, cost=cost, rate=rate)
        elif self._show and time.monotonic() - self._last >= EVERY_SECONDS:
            self._last = time.monotonic()
            say(f"iteration {progress.iteration}/{progress.max_iter}  cost {cost}  {rate} it/s", err=True)


@contextmanager
def progress_bar() -> Iterator[Callable[[str, float], None]]:
    """Yield a function that shows what is done and which share of the whole; on a terminal only."""
    console = make_console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda what, share: bar.update(task, description=printable(what), completed=share)
