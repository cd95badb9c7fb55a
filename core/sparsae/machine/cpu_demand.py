"""CPU demand of a process: how many of its threads were running or ready to run, to verify thread limits.

Linux counts, for every thread, the time on a CPU and the time that it was ready and waited for one.
Their sum over wall time is the number of threads that could have run, whatever CPUs they got:
a process that is pinned to one CPU and runs two busy threads uses one CPU and demands two.
CPU time over wall time alone can prove that a limit was exceeded, not that it was kept.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Literal, NamedTuple, Self, final

PROC = Path("/proc")
TOLERANCE = 0.25  # CPUs above the limit that are attributed to housekeeping
IDLE = 0.5  # a worker that demands less of one CPU than this was idle
CLEAN_DELAY = 0.01  # of wall time that a sample may have spent waiting for a CPU
POLL = 0.004  # seconds between two readings of the threads of a process
WINDOW = 0.2  # seconds over which a demand is measured, at least

DemandVerdict = Literal["honoured", "breach", "sleeps", "unverified"]


class Schedule(NamedTuple):
    """Nanoseconds on a CPU and nanoseconds spent ready and waiting for one."""

    on_cpu: int
    delay: int


def read_schedule(task: Path) -> Schedule | None:
    """Read one thread's ``schedstat``; None where there is none."""
    try:
        words = (task / "schedstat").read_bytes().split()
        return Schedule(int(words[0]), int(words[1]))
    except (OSError, ValueError, IndexError):
        return None


def read_process(pid: int | str = "self") -> dict[str, Schedule]:
    """Read every thread of a process: thread id -> schedule; empty where the system does not report it."""
    try:
        tasks = list((PROC / str(pid) / "task").iterdir())
    except OSError:
        return {}
    found = {task.name: read_schedule(task) for task in tasks}
    return {name: schedule for name, schedule in found.items() if schedule is not None}


def total(schedules: dict[str, Schedule]) -> Schedule | None:
    """Add up the threads; None where there are none."""
    if not schedules:
        return None
    return Schedule(sum(s.on_cpu for s in schedules.values()), sum(s.delay for s in schedules.values()))


@final
class Watch:
    """Reads the threads of another process every few milliseconds, so that short-lived ones count too.

    A context manager around the work.  Afterwards `spent` is the time used and waited for, and `wall` the seconds that
    the block took.  The readings are made by a thread of the observing process: they cost the other process nothing
    but a few microseconds of a CPU that both may use.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._first: dict[str, Schedule] = {}
        self._last: dict[str, Schedule] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_often, name="sparsae-watch", daemon=True)
        self.spent: Schedule | None = None
        self.wall = 0.0

    def __enter__(self) -> Self:
        self._start = time.perf_counter_ns()
        self._first = read_process(self._pid)
        self._last = dict(self._first)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._last |= read_process(self._pid)
        self.wall = (time.perf_counter_ns() - self._start) / 1e9
        if self._first:  # a thread that came later began at zero
            self.spent = Schedule(
                sum(s.on_cpu - self._first.get(name, Schedule(0, 0)).on_cpu for name, s in self._last.items()),
                sum(s.delay - self._first.get(name, Schedule(0, 0)).delay for name, s in self._last.items()),
            )

    def _look_often(self) -> None:
        while not self._stop.wait(POLL):
            self._last |= read_process(self._pid)


@final
class Demand(NamedTuple):
    """CPU demand of a process while it worked.

    Attributes
    ----------
    cpus : float or None
        (time on a CPU + time waiting for one) / wall time; None where the system does not report the second.
    used : float
        CPU time / wall time.
    wall : float
        Seconds over which it was measured.
    """

    cpus: float | None
    used: float
    wall: float

    @classmethod
    def measured(cls, spent: Schedule | None, cpu: float, wall: float) -> Self:
        """Combine the readings of a `Watch` with the CPU time of the whole process, threads that ended included."""
        if spent is None:
            return cls(None, cpu / wall, wall)
        return cls((max(spent.on_cpu / 1e9, cpu) + spent.delay / 1e9) / wall, cpu / wall, wall)

    def verdict(self, threads: int) -> DemandVerdict:
        """Whether a limit of `threads` was honoured."""
        seen = self.used if self.cpus is None else max(self.cpus, self.used)
        if seen > threads + TOLERANCE:
            return "breach"
        if self.cpus is None:
            return "unverified"
        return "sleeps" if self.cpus < IDLE else "honoured"


def wait_until_quiet(pid: int, *, longest: float = 0.25, look: float = 0.001) -> float | None:
    """Wait until no thread of a process runs or is ready to run; return the seconds waited.

    OpenBLAS's helpers spin for 0.1 s after a call and libgomp's for 0.02 s, and slow down the next process.
    Where the system does not report the states of threads, wait the longest and return None.
    """
    pause = threading.Event()
    waited, quiet = 0.0, 0
    while waited < longest and quiet < 2:
        running = is_running(pid)
        if running is None:
            pause.wait(longest)
            return None
        quiet = 0 if running else quiet + 1
        pause.wait(look)
        waited += look
    return waited


def is_running(pid: int) -> bool | None:
    """Whether any thread of a process runs or waits for a CPU; None where the system does not report it."""
    try:
        tasks = list((PROC / str(pid) / "task").iterdir())
    except OSError:
        return False if (PROC / "self" / "stat").exists() else None  # the process ended
    states = []
    for task in tasks:
        try:
            states.append((task / "stat").read_bytes().rpartition(b")")[2].split()[0])
        except (OSError, IndexError):  # the thread ended
            continue
    return b"R" in states
