"""One launch of processes that are timed against each other: started, checked, timed in turns, checked again.

The race, the question and the doctor differ in what they start and in what they do with what is reported.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar, final

from sparsae.bench.task_process import DeclinedError, WrongResultError
from sparsae.bench.timing import BATCH_SECONDS, TimedBatch, choose_loops
from sparsae.errors import ProbeError

ATTEMPTS = 3  # at a batch in which the process had to wait for a CPU; decided by the waiting, never by the time
_CHECKED, _TIMED = 0.4, 0.95  # shares of a launch that are done after the first checks and after the last round
_STATES: dict[type[ProbeError], str] = {WrongResultError: "wrong", DeclinedError: "declined"}


class Process(Protocol):
    """What takes part: a `TaskProcess`, or anything that answers like one."""

    name: str

    def prepare(self) -> dict[str, Any]:
        """Do the work once; return what the process says of itself."""

    def error(self) -> float:
        """Return the error of the result, in units of what rounding explains; more than 1 is wrong."""

    def shortest_call(self) -> float:
        """Call a few times; return the seconds of the shortest call."""

    def time(self, loops: int) -> TimedBatch:
        """Time one batch of calls."""

    def kill(self, *, wait: bool = True) -> None:
        """End the process at once."""

    def close(self) -> None:
        """End the process."""


ProcessT = TypeVar("ProcessT", bound=Process)
Report = Callable[[str, str, Mapping[str, Any]], None]
"""Receives the kind of an event, the process that it is about, and the values, as the record of a race has them."""
Progress = Callable[[str, float], None]
"""Receives what is being done and which share of the whole is done."""


def part_of(progress: Progress, number: int, count: int, title: str = "") -> Progress:
    """Return the progress of one of several equal parts."""
    return lambda what, share: progress(f"{title}{what}", (number + share) / count)


@final
class Contest(Generic[ProcessT]):
    """The processes of one launch; `close` ends them.

    What fails, or is wrong, takes no part any more: an event says why, and the others go on.

    Parameters
    ----------
    start : mapping of str to callable
        Starts the process of that name.
    report : callable
        Receives "worker", "loops", "sample", "after" and "failure" events; may refuse one by a `ProbeError`.
    rng : random.Random
        Shuffles the order of turns.
    batch_seconds : float
        How long a batch is, about.
    measure : callable, optional
        Gives the seconds of the shortest call of a process that was checked; `Process.shortest_call` when left out.
    """

    def __init__(
        self,
        start: Mapping[str, Callable[[], ProcessT]],
        report: Report,
        *,
        rng: random.Random,
        batch_seconds: float = BATCH_SECONDS,
        measure: Callable[[str, ProcessT], float] = lambda name, process: process.shortest_call(),
    ) -> None:
        self._start, self._report, self._rng = start, report, rng
        self._batch_seconds, self._measure = batch_seconds, measure
        self._processes: dict[str, ProcessT] = {}
        self._loops: dict[str, int] = {}

    def run(self, rounds: int, progress: Progress) -> None:
        """Start and check everything, time it in randomised complete blocks, and check it again.

        Each round visits each process once, in a fresh random order.  A batch whose process had to wait for a CPU is
        repeated, twice at most; the last one counts.
        """
        for name, start in self._start.items():
            self._processes[name] = start()
        order = self._shuffled()
        for number, name in enumerate(order):
            progress(f"checking {name}", _CHECKED * number / len(order))
            with self._dropping(name):
                self._prepare(name)
        for turn in range(rounds):
            order = self._shuffled()
            for position, name in enumerate(order):
                with self._dropping(name):
                    self._time(name, {"round": turn, "position": position})
                done = (turn + (position + 1) / len(order)) / rounds
                progress("timing", _CHECKED + (_TIMED - _CHECKED) * done)
        progress("checking again", _TIMED)
        for name in list(self._processes):
            with self._dropping(name):
                self._check("after", name, {})
        progress("done", 1.0)

    def close(self) -> None:
        """End every process; a second Ctrl-C ends them at once."""
        processes = list(self._processes.values())
        self._processes.clear()
        try:
            for process in processes:
                process.close()
        except BaseException:
            for process in processes:
                process.kill(wait=False)
            raise

    def _prepare(self, name: str) -> None:
        """Do the work once, compare the result with the reference, and choose how many calls make a batch."""
        process = self._processes[name]
        facts = process.prepare()
        self._check("worker", name, facts)
        self._loops[name] = choose_loops(self._measure(name, process), self._batch_seconds)
        self._report("loops", name, {"loops": self._loops[name]})

    def _check(self, kind: str, name: str, facts: Mapping[str, Any]) -> None:
        """Report the facts with the error of the result, and refuse what is wrong."""
        error = self._processes[name].error()
        self._report(kind, name, {**facts, "error": error})
        if not error <= 1:
            raise WrongResultError(f"wrong result: {error:.3g} times the error that rounding explains")

    def _time(self, name: str, place: Mapping[str, int]) -> None:
        """Time a batch, again where it was disturbed."""
        for attempt in range(ATTEMPTS):
            batch = self._processes[name].time(self._loops[name])
            self._report("sample", name, {**batch.to_dict(), **place, "attempt": attempt})
            if batch.undisturbed:
                return

    def _shuffled(self) -> list[str]:
        names = list(self._processes)
        self._rng.shuffle(names)
        return names

    @contextmanager
    def _dropping(self, name: str) -> Iterator[None]:
        """End the process that fails in the block."""
        try:
            yield
        except ProbeError as error:
            process = self._processes.pop(name)
            process.kill()
            state, why = _STATES.get(type(error), "failed"), str(error).removeprefix(f"{process.name}: ")
            if state == "declined":
                why = why.partition(": ")[2]  # without the name of the exception
            self._report("failure", name, {"state": state, "why": why})


@final
class ContestResults:
    """What a contest reported, by name; an instance is the `report` of a `Contest`."""

    def __init__(self) -> None:
        self.facts: dict[str, Mapping[str, Any]] = {}  # what each process says of itself
        self.errors: dict[str, list[float]] = defaultdict(list)  # before and after timing; 1 is what rounding explains
        self.rounds: dict[int, dict[str, TimedBatch]] = defaultdict(dict)  # the last batch of each in each round
        self.dropped: dict[str, str] = {}  # those that failed or were wrong, and why

    def __call__(self, kind: str, name: str, values: Mapping[str, Any]) -> None:
        """Keep what an event says."""
        if kind == "worker":
            self.facts[name] = values
        if kind in ("worker", "after"):
            self.errors[name].append(values["error"])
        elif kind == "sample":
            self.rounds[values["round"]][name] = TimedBatch.from_dict(values)
        elif kind == "failure":
            self.dropped[name] = values["why"]

    def pairs(self, one: str, other: str) -> list[tuple[TimedBatch, TimedBatch]]:
        """Return the batches of two processes in the rounds that both have finished."""
        return [(turn[one], turn[other]) for turn in self.rounds.values() if {one, other} <= turn.keys()]
