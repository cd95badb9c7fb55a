"""Timing: one batch of calls, its calibration, what counts as undisturbed, and turns in random order.

After a pause a system takes a while to give two threads two CPUs: on the virtual machine that this was measured on,
they took turns on one for 45 ms while the other slept.  What uses more than one thread is therefore called
for `WARM_UP` seconds before its batch; one thread needs a single call.
"""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, Self

from sparsae.errors import ProbeError
from sparsae.machine.cpu_demand import CLEAN_DELAY, read_process
from sparsae.machine.facts import affinity

WARM_UP = 0.06  # seconds
BATCH_SECONDS = 0.02  # of a batch: far above the clock's resolution and a scheduler's time slice
ATTEMPTS = 3  # at a batch in which the process had to wait for a CPU; decided by the waiting, never by the time
MOST_LOOPS = 1 << 20
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class TimedBatch(NamedTuple):
    """One timed batch of calls and what disturbed it.

    Attributes
    ----------
    loops : int
        Number of calls.
    wall : float
        Wall time of all of them in seconds.
    cpu : float or None
        CPU time of all threads in seconds; None: unknown.
    delay : float or None
        Seconds that threads were ready and waited for a CPU, added up; None: unknown, or not to be counted.
    cpus : int
        How many CPUs the process might use; 0: unknown.
    switches : tuple of int, or None
        Voluntary and involuntary context switches; None: unknown.
    quiet_after : float or None
        Seconds until no thread of the process ran any more.
    extra : mapping
        What the task says of the batch.
    """

    loops: int
    wall: float
    cpu: float | None = None
    delay: float | None = None
    cpus: int = 0
    switches: tuple[int, int] | None = None
    quiet_after: float | None = None
    extra: Mapping[str, Any] = _NOTHING

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
        KeyError, TypeError, ValueError
            When a value is missing or not a number of the right range.
        """
        derived = {"undisturbed", "reason"}
        extra = {key: value for key, value in values.items() if key not in cls._fields and key not in derived}
        cpu, delay, switches = values["cpu"], values["delay"], values["switches"]
        batch = cls(
            loops=int(values["loops"]),
            wall=float(values["wall"]),
            cpu=None if cpu is None else float(cpu),
            delay=None if delay is None else float(delay),
            cpus=int(values["cpus"]),
            switches=None if switches is None else (int(switches[0]), int(switches[1])),
            extra=extra,
        )
        if not (batch.loops >= 1 and batch.wall > 0 and math.isfinite(batch.wall)):
            raise ValueError(f"{batch.loops} calls in {batch.wall} s")
        return batch


class Timed(Protocol):
    """What can be timed in turns: a `TaskProcess`, or anything that answers like one."""

    def time(self, loops: int) -> TimedBatch:
        """Time one batch."""


class Attempt(NamedTuple):
    """One timed batch, and its place in the schedule."""

    name: str
    round: int
    position: int
    attempt: int
    batch: TimedBatch


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


def calibrate(timed: Timed, batch_seconds: float) -> int:
    """Choose how many calls make a batch of about that many seconds.

    The shortest of three single calls decides; where it is too short to be measured alone, batches of calls do.
    """
    loops, shortest = 1, min(timed.time(1).seconds for _ in range(3))
    while shortest < batch_seconds / 50 and loops < MOST_LOOPS:
        loops *= 8
        shortest = timed.time(loops).seconds
        if shortest * loops > batch_seconds / 10:
            break
    return choose_loops(shortest, batch_seconds)


def choose_loops(seconds: float, batch_seconds: float) -> int:
    """Return how many calls of so many seconds make a batch."""
    return min(MOST_LOOPS, max(1, round(batch_seconds / max(seconds, 1e-9))))


def interleave(
    timed: Mapping[str, Timed],
    loops: Mapping[str, int],
    *,
    rounds: int,
    rng: random.Random,
    drop: Callable[[str, ProbeError], object],
) -> Iterator[Attempt]:
    """Yield every attempt of randomised complete blocks.

    Every round visits everything that is timed once, in a fresh random order.
    A batch whose process had to wait for a CPU is repeated, twice at most; the last one counts.
    What fails is passed to `drop`, which removes it from `timed`; the caller may remove others.
    """
    for turn in range(rounds):
        order = list(timed)
        rng.shuffle(order)
        for position, name in enumerate(order):
            if name not in timed:
                continue
            try:
                for attempt in range(ATTEMPTS):
                    batch = timed[name].time(loops[name])
                    yield Attempt(name, turn, position, attempt, batch)
                    if batch.undisturbed or name not in timed:
                        break
            except ProbeError as error:
                drop(name, error)


def take_turns(
    timed: dict[str, Timed],
    *,
    rounds: int,
    seed: int,
    dropped: dict[str, str],
    batch_seconds: float = BATCH_SECONDS,
) -> Iterator[dict[str, TimedBatch]]:
    """Calibrate everything once, then yield, round by round, the last batch of each.

    What fails is removed from `timed`, and the reason goes into `dropped`.
    """
    rng = random.Random(seed)  # noqa: S311  an order, not a secret
    loops: dict[str, int] = {}

    def drop(name: str, error: ProbeError) -> None:
        dropped[name] = str(error)
        del timed[name]

    names = list(timed)
    rng.shuffle(names)
    for name in names:
        try:
            loops[name] = calibrate(timed[name], batch_seconds)
        except ProbeError as error:
            drop(name, error)
    attempts = interleave(timed, loops, rounds=rounds, rng=rng, drop=drop)
    for _, visits in groupby(attempts, key=lambda attempt: attempt.round):
        yield {attempt.name: attempt.batch for attempt in visits}


def _context_switches() -> tuple[int, int] | None:
    """Voluntary and involuntary context switches so far; None where the system does not count them."""
    try:
        import resource
    except ImportError:
        return None
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_nvcsw, usage.ru_nivcsw
