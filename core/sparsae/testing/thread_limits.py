"""Is a thread limit honoured?  Measured by the CPU time that the process asks for, not by what a library says."""

from __future__ import annotations

import os
import time
import warnings
from itertools import islice, product
from pathlib import Path

from numpy.typing import ArrayLike

from sparsae.errors import ThreadsWarning
from sparsae.machine.resources import affinity_cpus
from sparsae.objective import Objective
from sparsae.testing.harness import CannotVerify, Harness

TASKS = Path("/proc/self/task")
MARGIN = 0.35  # of a thread: what the interpreter, the clock and a spinning pool that goes to sleep may add


def thread_limit(kit: Harness) -> None:
    """With one thread granted it asks for no more than one CPU; with two, for no more than two."""
    m, n, p = 1500, 256, 128
    seconds = 0.1 if kit.quick else 0.5
    budgets = (1,) if kit.original.threading == "none" else (1, 2)
    units = islice(kit.each_unit(), 1 if kit.quick else None)
    for activation, threads in product(units, budgets):
        kit.label = f"{threads} thread(s), m={m} n={n} p={p} {activation}, {seconds} s"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ThreadsWarning)
            objective = Objective(
                kit.data(m, n), p, backend=kit.backend, dtype=kit.dtype, threads=threads, **kit.settings(p)
            )
            with objective:
                theta = kit.parameters(n, p).flatten()
                used = float("inf")
                for _ in range(3):  # a disturbance is not repeated; a second thread is
                    used = min(used, _demand(objective, theta, seconds))
                    if used <= threads + MARGIN:
                        break
        if used > threads + MARGIN:
            kit.fail(f"{threads} thread(s) were granted and {used:.2f} CPUs were asked for")
    if affinity_cpus() == 1:
        raise CannotVerify("this process has one CPU: a second thread would not show in CPU time")


def _demand(objective: Objective, theta: ArrayLike, seconds: float) -> float:
    """CPUs asked for, on average: time on a CPU and, where the system tells it, time spent waiting for one.

    Threads that may only run on k CPUs between them cannot use more than k, however many they are.
    """
    objective(theta)
    time.sleep(0.05)  # a pool that spins after its work goes to sleep
    wanted, cpu, begun = _schedule(), time.process_time(), time.perf_counter()
    while time.perf_counter() - begun < seconds:
        objective(theta)
    wall = time.perf_counter() - begun
    after = _schedule()
    used = (time.process_time() - cpu) / wall  # threads that have ended count here, waiting ones below
    if wanted is None or after is None:
        return used
    spent = {task: after[task] - wanted.get(task, 0.0) for task in after}
    allowed = {cpu for task, seconds in spent.items() if seconds > 0.01 * wall for cpu in _affinity(int(task))}
    return max(used, min(sum(spent.values()) / wall, len(allowed) or float("inf")))


def _affinity(task: int) -> set[int]:
    """CPUs that a thread may run on; none where it has ended or the system does not tell."""
    try:
        return os.sched_getaffinity(task)
    except (OSError, AttributeError):
        return set()


def _schedule() -> dict[str, float] | None:
    """Seconds that each thread of this process ran, or was ready to run; None where that cannot be read."""
    found = {}
    try:
        for task in TASKS.iterdir():
            try:
                ran, waited, _ = (task / "schedstat").read_text().split()
            except FileNotFoundError:
                if not (TASKS / task.name).exists():
                    continue  # the thread ended meanwhile
                raise
            found[task.name] = (int(ran) + int(waited)) / 1e9
    except (OSError, ValueError):
        return None
    return found if any(found.values()) else None
