"""One timed batch of calls, in the process that does the work: warmed up, undisturbed or known not to be.

After a pause a system takes a while to give two threads two CPUs: on the virtual machine that this was measured on,
they took turns on one for 45 ms while the other slept.  What uses more than one thread is therefore called
for `WARM` seconds before its batch; one thread needs a single call.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import NamedTuple

from sparsae.machine.cpu_demand import CLEAN_DELAY, read_process
from sparsae.machine.facts import affinity

WARM = 0.06  # seconds


class Batch(NamedTuple):
    """What a batch took.

    Attributes
    ----------
    wall, cpu : float
        Seconds of wall time, and of CPU time of all threads.
    delay : float or None
        Seconds that threads were ready and waited for a CPU, added up; None where the system does not tell.
    cpus : int
        How many CPUs the process might use; 0 where the system does not tell.
    """

    wall: float
    cpu: float
    delay: float | None
    cpus: int = 0

    @property
    def clean(self) -> bool:
        """Whether nothing is known to have disturbed it.

        Threads that share one CPU and had it all the time waited for nobody but each other.
        """
        had_it_all = self.cpus == 1 and self.cpu >= (1 - CLEAN_DELAY) * self.wall
        return had_it_all or undisturbed(self.delay, self.wall)


def undisturbed(delay: float | None, wall: float) -> bool:
    """Whether threads waited for no more than a hundredth of the time, as far as is known."""
    return delay is None or delay <= CLEAN_DELAY * wall


def warm_up(run: Callable[[], object], threads: int) -> None:
    """Call once, and again for a while where more than one thread is at work."""
    start = time.perf_counter()
    run()
    while threads > 1 and time.perf_counter() - start < WARM:
        run()


def time_batch(run: Callable[[], object], loops: int) -> Batch:
    """Call so many times, the garbage collector off, and read what it cost and what disturbed it."""
    was_on = gc.isenabled()
    gc.collect(0)
    gc.disable()
    try:
        before, cpu = read_process(), time.process_time_ns()
        start = time.perf_counter_ns()
        for _ in range(loops):
            run()
        wall = (time.perf_counter_ns() - start) / 1e9
        cpu = time.process_time_ns() - cpu
        after = read_process()
    finally:
        if was_on:
            gc.enable()
    if not before or not after:
        return Batch(wall, cpu / 1e9, None, len(affinity()))
    # A thread that came since began at zero; one that ended took its count with it.
    delay = sum(s.delay - (before[name].delay if name in before else 0) for name, s in after.items())
    return Batch(wall, cpu / 1e9, delay / 1e9, len(affinity()))
