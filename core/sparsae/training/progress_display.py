"""Progress of a fit for a person: a live line in a terminal, a bar in a notebook, now and then a line elsewhere.

A notebook gets its bar through IPython's display handles, which every frontend updates in place.  The bars of rich and
of tqdm.auto need ipywidgets there; without it rich shows nothing, and tqdm falls back to text.
This is the only module below the command that uses rich.
"""

from __future__ import annotations

import math
import sys
import time
from abc import ABC, abstractmethod
from html import escape
from types import TracebackType
from typing import Any, Self, final

from sparsae.training.observers import Progress

EVERY_SECONDS = 10.0  # between two lines where there is no terminal
REFRESH_SECONDS = 0.1  # between two drawings of a line or a bar


@final
class ProgressDisplay:
    """An observer that shows iteration, cost, rate and remaining time; a context manager around the fit.

    Where it shows them is found out at the first iteration: a notebook, a terminal at standard error, or a file.

    Parameters
    ----------
    show : bool
        False: show nothing.
    keep : bool
        Whether the last line stays on a terminal at the end.
    """

    def __init__(self, *, show: bool = True, keep: bool = True) -> None:
        self._show, self._keep = show, keep
        self._line: ProgressLine | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the display, also after an exception."""
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def __call__(self, progress: Progress) -> None:
        """Show one iteration."""
        if not self._show:
            return
        if self._line is None:
            self._line = _make_line(progress.max_iter, keep=self._keep)
        self._line.update(progress)


class ProgressLine(ABC):
    """One way to show the progress of a fit."""

    @abstractmethod
    def update(self, progress: Progress) -> None:
        """Show an iteration."""

    @abstractmethod
    def close(self) -> None:
        """End the display."""


def _make_line(max_iter: int, *, keep: bool) -> ProgressLine:
    """Return the display for where this process shows things."""
    shell = notebook_shell()
    if shell is not None:
        return NotebookBar()
    from rich.console import Console

    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    return TerminalLine(console, max_iter, keep=keep) if console.is_terminal else LoggedLines(console)


def notebook_shell() -> Any:
    """Return IPython's shell where it belongs to a notebook's kernel, else None; imports nothing."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell if getattr(shell, "kernel", None) is not None else None


def describe_progress(progress: Progress) -> str:
    """Return an iteration in words: its number, the limit, the cost and the rate."""
    return (
        f"iteration {progress.iteration}/{progress.max_iter}  cost {progress.cost:.6g}{_activity(progress)}  "
        f"{_rate(progress)} it/s"
    )


def _activity(progress: Progress) -> str:
    """Return active units in a row and the share of dead ones, where units can be inactive."""
    if math.isnan(progress.l0):
        return ""
    return f"  L0 {progress.l0:.1f}  dead {progress.dead_share:.0%}"


def _rate(progress: Progress) -> str:
    return f"{progress.iteration / progress.seconds:.0f}" if progress.seconds > 0 else "-"


@final
class TerminalLine(ProgressLine):
    """A line that is redrawn in place."""

    def __init__(self, console: Any, max_iter: int, *, keep: bool) -> None:
        from rich import progress as rich

        self._live = rich.Progress(
            rich.TextColumn("iteration"),
            rich.MofNCompleteColumn(),
            rich.BarColumn(bar_width=None),
            rich.TextColumn("cost {task.fields[cost]}{task.fields[activity]}"),
            rich.TextColumn("{task.fields[rate]} it/s"),
            rich.TimeRemainingColumn(),
            console=console,
            transient=not keep,
            auto_refresh=False,  # a thread of rich's would do it, and outlive the fit
        )
        self._task = self._live.add_task("fit", total=max_iter, cost="-", activity="", rate="-")
        self._live.start()
        self._drawn = -math.inf

    def update(self, progress: Progress) -> None:
        """Redraw the line, ten times a second at most."""
        cost, activity = f"{progress.cost:.6g}", _activity(progress)
        self._live.update(self._task, completed=progress.iteration, cost=cost, activity=activity, rate=_rate(progress))
        if time.monotonic() - self._drawn >= REFRESH_SECONDS:
            self._live.refresh()
            self._drawn = time.monotonic()

    def close(self) -> None:
        """Draw it a last time, or take it away."""
        self._live.stop()


@final
class LoggedLines(ProgressLine):
    """A line every few seconds, without control characters."""

    def __init__(self, console: Any) -> None:
        self._console, self._last = console, -math.inf

    def update(self, progress: Progress) -> None:
        """Print a line when one is due."""
        if time.monotonic() - self._last >= EVERY_SECONDS:
            self._last = time.monotonic()
            self._console.print(describe_progress(progress), soft_wrap=True)

    def close(self) -> None:
        """Nothing is open."""


@final
class NotebookBar(ProgressLine):
    """A bar below the cell, updated in place."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._shown, self._drawn = -math.inf, -1
        self._latest: Progress | None = None

    def update(self, progress: Progress) -> None:
        """Draw it when the last drawing is old enough."""
        self._latest = progress
        if time.monotonic() - self._shown >= REFRESH_SECONDS:
            self._draw(progress)

    def close(self) -> None:
        """Draw the last iteration."""
        if self._latest is not None and self._latest.iteration != self._drawn:
            self._draw(self._latest)

    def _draw(self, progress: Progress) -> None:
        from IPython.display import display

        words = describe_progress(progress)
        bar = (
            f'<progress value="{progress.iteration}" max="{max(1, progress.max_iter)}" style="width: 20em"></progress>'
        )
        bundle = {"text/html": f"{bar} <code>{escape(words)}</code>", "text/plain": words}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)
        self._shown, self._drawn = time.monotonic(), progress.iteration
