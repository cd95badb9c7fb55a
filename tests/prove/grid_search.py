"""Evidence that a grid search in two processes does not ask for more CPUs than there are.

A grid over n_components and rho on the digits with n_jobs=2; the demand of the whole process tree is at most 2.25 CPUs,
as a mean and in every window of two seconds.  The worker processes are started before.
The control asks for two threads in each worker, and must be seen to exceed it.

Demand is time on a CPU plus time ready and waiting for one, over wall time.  Threads that use less than 2 % of a CPU
count with the first alone: joblib's main thread wakes up a hundred times a second, and where others use the machine
it waits for them each time.

python tests/prove/grid_search.py
"""

from __future__ import annotations

import select
import subprocess
import sys
import time
from pathlib import Path

from sparsae.machine.cpu_demand import Schedule, read_process

LIMIT = 2.25
WINDOW = 2.0  # seconds
BUSY = 0.02  # of a CPU: threads that use less do not compute
POLL = 0.01

SEARCH = """
import sys, warnings
warnings.simplefilter("ignore")
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
import sparsae
X = np.tile(load_digits().data / 16, (12, 1))  # enough rows for two row workers
X += np.random.default_rng(0).normal(0, 0.01, X.shape)
model = sparsae.SparseAutoencoder(max_iter=15, random_state=0, threads=THREADS)
search = GridSearchCV(model, {"n_components": [16, 32, 64], "rho": [0.02, 0.1]}, cv=3, n_jobs=2, refit=False)
GridSearchCV(model, {"rho": [0.1]}, cv=2, n_jobs=2, refit=False).fit(X[:50])
print("ready", flush=True)
sys.stdin.readline()
search.fit(X)
print(search.best_params_, search.best_score_, flush=True)
"""
Schedules = dict[tuple[int, str], Schedule]


def descendants(pid: int) -> set[int]:
    """The process and all that it started, directly or not."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
    found = {pid}
    while True:
        more = {child for child, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found |= more


def read_tree(pids: set[int]) -> Schedules:
    """Every thread of those processes."""
    return {(pid, task): schedule for pid in pids for task, schedule in read_process(pid).items()}


def watch(child: subprocess.Popen[str]) -> list[tuple[float, Schedules]]:
    """Read the tree until the process prints; each reading has its time, and threads that ended keep their last."""
    seen: Schedules = {}
    readings: list[tuple[float, Schedules]] = []
    tree, looked = descendants(child.pid), time.perf_counter()
    while True:
        now = time.perf_counter()
        if now - looked > 0.1:
            tree, looked = descendants(child.pid), now
        seen = seen | read_tree(tree)
        readings.append((now, seen))
        if select.select([child.stdout], [], [], POLL)[0]:
            print("  " + child.stdout.readline().strip())
            return readings


def demand_between(one: tuple[float, Schedules], two: tuple[float, Schedules]) -> float:
    """Demand in CPUs between two readings."""
    seconds, total = two[0] - one[0], 0.0
    for key, after in two[1].items():
        before = one[1].get(key, Schedule(0, 0))
        on_cpu, delay = (after.on_cpu - before.on_cpu) / 1e9, (after.delay - before.delay) / 1e9
        total += on_cpu + (delay if on_cpu > BUSY * seconds else 0.0)
    return total / seconds


def demand(threads: int | None) -> tuple[float, float]:
    """Run the search; return its mean demand in CPUs, and the largest in a window."""
    code = SEARCH.replace("THREADS", repr(threads))
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    child.stdin.write("\n")
    child.stdin.flush()
    readings = watch(child)
    child.stdin.close()
    child.wait()
    windows, i = [], 0
    for reading in readings:
        if reading[0] - readings[i][0] >= WINDOW:
            windows.append(demand_between(readings[i], reading))
            i = readings.index(reading)
    print(f"  {readings[-1][0] - readings[0][0]:.1f} s, {len(windows)} windows")
    return demand_between(readings[0], readings[-1]), max(windows)


def main() -> int:
    """Measure the search, and the control."""
    print("GridSearchCV(n_jobs=2) over n_components and rho, 6 settings, 3 folds, digits")
    mean, largest = demand(None)
    held = max(mean, largest) <= LIMIT
    print(f"  demand {mean:.2f} CPUs, at most {largest:.2f} in a window: {'held' if held else 'FAILED'} ({LIMIT})")
    print("the control, threads=2 in each of the two workers")
    control, most = demand(2)
    seen = most > LIMIT
    print(f"  demand {control:.2f} CPUs, at most {most:.2f} in a window: {'seen' if seen else 'NOT SEEN'}")
    return 0 if held and seen else 1


if __name__ == "__main__":
    sys.exit(main())
