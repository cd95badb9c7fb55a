"""Timing: one batch of calls, how many of them it takes, and what counts as undisturbed.

After a pause a system takes a while to give two threads two CPUs: on the virtual machine that this was measured on,
they took turns on one for 45 ms while the other slept.  What uses more than one thread is therefore called
for `WARM_UP` seconds before its batch; one thread needs a single call.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from sparsae.machine.cpu_demand import CLEAN_DELAY, read_process
from sparsae.machine.facts import affinity
from sparsae.training.schema import Count, Each, Null, Number, Schema, check_schema

WARM_UP = 0.06  # seconds
BATCH_SECONDS = 0.02  # of a batch: far above the clock's resolution and a scheduler's time slice
MOST_LOOPS = 1 << 20
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_SECONDS = Number(0, 1e9)
BATCH: Schema = {
    "loops": Count(1, 10**12),
    "wall": Number(1e-9, 1e9),
    "cpu": Null(_SECONDS),
    "delay": Null(_SECONDS),
    "cpus": Count(0),
    "switches": Null(Each(int, (list, tuple), 2, 2)),
}
"""What a process says of a batch."""


class TimedBatch(NamedTuple):
    """One timed batch of calls and what disturbed it; times in seconds, None is unknown."""

    loops: int  # number of calls
    wall: float  # of all of them
    cpu: float | None = None  # of all threads
    delay: float | None = None  # that threads were ready and waited for a CPU, added up; None also: not to be counted
    cpus: int = 0  # that the process might use; 0: unknown
    switches: tuple[int, int] | None = None  # voluntary and involuntary context switches
    quiet_after: float | None = None  # until no thread of the process ran any more
    extra: Mapping[str, Any] = _NOTHING  # what the task says of the batch

    @property
    def seconds(self) -> float:
        """Seconds per call."""
        return self.wall / self.loops

    @property
    def undisturbed(self) -> bool:
        """Whether nothing is known to have disturbed it: threads waited for at most a hundredth of the time.

        Threads that share one CPU and had it all the time waited only for each other.
        """
        had_the_cpu = self.cpus == 1 and self.cpu is not None and self.cpu >= (1 - CLEAN_DELAY) * self.wall
        return had_the_cpu or self.delay is None or self.delay <= CLEAN_DELAY * self.wall

    @property
    def reason(self) -> str:
        """Why it does not count, or what is unknown of it."""
        if self.delay is None:
            return "waiting time is unknown here"
        return "" if self.undisturbed else f"waited {self.delay / self.wall:.1%} of the time for a CPU"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as values that JSON can take, with the verdict and its reason."""
        values = self._asdict()
        extra = values.pop("extra")
        return values | {"undisturbed": self.undisturbed, "reason": self.reason} | dict(extra)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build it from what `to_dict` gave, also after JSON.

        Raises
        ------
        ValueError
            When a value is missing or not a number of the right range.
        """
        check_schema(values, BATCH, "batch")
        known = {name: values[name] for name in BATCH}
        switches = None if known["switches"] is None else tuple(known["switches"])
        others = values.keys() - {*cls._fields, "undisturbed", "reason"}
        return cls(**known | {"switches": switches, "extra": {name: values[name] for name in others}})


def warm_up(run: Callable[[], object], threads: int) -> None:
    """Call once, and again for a while where more than one thread is at work."""
    start = time.perf_counter()
    run()
    while threads > 1 and time.perf_counter() - start < WARM_UP:
        run()


def time_batch(run: Callable[[], object], loops: int) -> TimedBatch:
    """Call so many times with the garbage collector off, and read what it cost and what disturbed it."""
    was_on = gc.isenabled()
    gc.collect(0)
    gc.disable()
    try:
        switches, before, cpu = _context_switches(), read_process(), time.process_time_ns()
        start = time.perf_counter_ns()
        for _ in range(loops):
            run()
        wall = (time.perf_counter_ns() - start) / 1e9
        cpu = time.process_time_ns() - cpu
        after, switches_after = read_process(), _context_switches()
    finally:
        if was_on:
            gc.enable()
    delay = None
    if before and after:
        # A thread that started in between began at zero; one that ended took its count with it.
        delay = sum(s.delay - (before[name].delay if name in before else 0) for name, s in after.items()) / 1e9
    counts = None
    if switches is not None and switches_after is not None:
        counts = (switches_after[0] - switches[0], switches_after[1] - switches[1])
    return TimedBatch(loops, max(wall, 1e-9), cpu / 1e9, delay, len(affinity()), counts)


def choose_loops(seconds: float, batch_seconds: float) -> int:
    """Return how many calls of so many seconds make a batch."""
    return min(MOST_LOOPS, max(1, round(batch_seconds / max(seconds, 1e-9))))


def _context_switches() -> tuple[int, int] | None:
    """Voluntary and involuntary context switches so far; None where the system does not count them."""
    try:
        import resource
    except ImportError:
        return None
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_nvcsw, usage.ru_nivcsw
