"""Processes that are started, checked, timed in turns, and checked again; of the question and the doctor.

The race reports more of each step and writes its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol, final

from sparsae.bench.timing import BATCH_SECONDS, Timed, TimedBatch, take_turns
from sparsae.errors import ProbeError


class Process(Timed, Protocol):
    """What takes part: a `TaskProcess`, or anything that answers like one."""

    def prepare(self) -> dict[str, Any]:
        """Do the work once; return what the process says of itself."""

    def check(self) -> float:
        """Return the error of the result, in units of what rounding explains; raise where it is more."""

    def close(self) -> None:
        """End the process."""


@final
class Contest:
    """One launch of several processes.

    Parameters
    ----------
    start : mapping of str to callable
        Starts the process of that name.

    Attributes
    ----------
    facts : dict
        What each process says of itself.
    errors : dict of str to tuple of float
        Errors before and after timing, in units of what rounding explains.
    dropped : dict of str to str
        Those that failed or were wrong, and why.
    """

    def __init__(self, start: Mapping[str, Callable[[], Process]]) -> None:
        self._start = start
        self.facts: dict[str, dict[str, Any]] = {}
        self.errors: dict[str, tuple[float, float]] = {}
        self.dropped: dict[str, str] = {}

    def turns(self, *, rounds: int, seed: int, batch_seconds: float = BATCH_SECONDS) -> Iterator[dict[str, TimedBatch]]:
        """Yield, round by round, the last batch of each; the processes live as long as this goes on."""
        with ExitStack() as running:
            processes = {name: start() for name, start in self._start.items()}
            for process in processes.values():
                running.callback(process.close)
            timed: dict[str, Timed] = {}
            for name, process in processes.items():
                with self._dropping(name):
                    self.facts[name] = process.prepare()
                    error = process.check()
                    self.errors[name] = error, error
                    timed[name] = process
            yield from take_turns(timed, rounds=rounds, seed=seed, batch_seconds=batch_seconds, dropped=self.dropped)
            for name in timed:
                with self._dropping(name):
                    self.errors[name] = self.errors[name][0], processes[name].check()

    @contextmanager
    def _dropping(self, name: str) -> Iterator[None]:
        """Whatever fails in the block takes no part any more."""
        try:
            yield
        except ProbeError as error:
            self.dropped[name] = str(error)
