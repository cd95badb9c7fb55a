"""Why the race is designed as it is: the same code timed against itself in ways that mislead.

Unpinned processes, blocked designs and timing within one process exist here only, to show what they do.
Each trial starts afresh, times two identical contestants, and asks the naive question:
does the 95 % interval over rounds exclude "no difference"?  One trial in twenty may, by chance; more is a false alarm
that the design brings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, stdev
from typing import final

from sparsae.bench.process import choose_cpus, thread_environment
from sparsae.bench.statistics import student_quantile
from sparsae.bench.task_process import TaskProcess
from sparsae.bench.timing import choose_loops, time_batch, warm_up
from sparsae.bench.workload import RaceWorkload

Time = Callable[[], float]  # one batch, in seconds per call
BATCH = 0.01
ROUNDS = 15

MODES = {
    "race": "pinned processes, turns within each round",
    "blocked": "pinned processes, all rounds of one and then all of the other",
    "unpinned": "processes that share all CPUs, turns within each round",
    "in process": "one process, all rounds of one and then all of the other",
}


@final
@dataclass(frozen=True)
class Trial:
    """One comparison of identical code.

    Attributes
    ----------
    mode : str
        One of `MODES`.
    ratio : float
        Median over rounds of time / time of the other.
    alarm : bool
        Whether the naive interval over rounds excludes 1.
    """

    mode: str
    ratio: float
    alarm: bool


def study(
    *,
    trials: int = 20,
    modes: Sequence[str] = tuple(MODES),
    backend: str = "numpy",
    size: tuple[int, int, int] = (2_000, 64, 25),
    threads: int = 1,
    rounds: int = ROUNDS,
    progress: Callable[[Trial], None] = lambda trial: None,
) -> list[Trial]:
    """Time a backend against itself, so many times in each mode; the modes take turns."""
    workload = RaceWorkload("objective", size, "float64")
    found = []
    for number in range(trials):
        for mode in modes:
            logs = _differences(mode, workload, backend, threads, rounds, first=number % 2)
            half = student_quantile(len(logs) - 1) * stdev(logs) / math.sqrt(len(logs))
            trial = Trial(mode, math.exp(median(logs)), abs(fmean(logs)) > half)
            found.append(trial)
            progress(trial)
    return found


def draw(trials: Sequence[Trial], path: Path) -> None:
    """Draw every trial as a dot; needs matplotlib."""
    from matplotlib.figure import Figure

    modes = [mode for mode in MODES if any(trial.mode == mode for trial in trials)]
    figure = Figure(figsize=(7.5, 0.9 + 0.75 * len(modes)), layout="constrained")
    ax = figure.subplots()
    ax.axvline(1, color="0.5", linewidth=0.8)
    for place, mode in enumerate(modes):
        mine = [trial for trial in trials if trial.mode == mode]
        for index, trial in enumerate(mine):
            height = place + 0.5 * (index / max(1, len(mine) - 1) - 0.5)
            ax.plot(trial.ratio, height, "o", markersize=4, color="#bb5500" if trial.alarm else "#3366aa")
    alarms = [sum(t.alarm for t in trials if t.mode == mode) for mode in modes]
    counts = [sum(t.mode == mode for t in trials) for mode in modes]
    labels = [f"{mode}\n{a} of {n} called different" for mode, a, n in zip(modes, alarms, counts, strict=True)]
    ax.set(yticks=range(len(modes)), yticklabels=labels, ylim=(len(modes) - 0.5, -0.5))
    ax.set_xlabel("time / time of the same code under another name")
    figure.savefig(path, dpi=150)


def _differences(
    mode: str, workload: RaceWorkload, backend: str, threads: int, rounds: int, *, first: int
) -> list[float]:
    """Logarithms of time / time of the other, round by round."""
    with ExitStack() as stack:
        if mode == "in process":
            times = [_local(stack, workload, backend, threads) for _ in range(2)]
        else:
            times = [_remote(stack, workload, backend, threads, pinned=mode != "unpinned") for _ in range(2)]
        if mode in ("blocked", "in process"):
            seconds = [[time() for _ in range(rounds)] for time in times]
        else:
            seconds = [[], []]
            for turn in range(rounds):
                for which in (0, 1) if (turn + first) % 2 else (1, 0):
                    seconds[which].append(times[which]())
    return [math.log(a / b) for a, b in zip(*seconds, strict=True)]


def _settings(workload: RaceWorkload, backend: str, threads: int) -> dict[str, object]:
    return {"workload": vars(workload), "backend": backend, "threads": threads, "seed": 0}


def _remote(stack: ExitStack, workload: RaceWorkload, backend: str, threads: int, *, pinned: bool) -> Time:
    """Start a process and return what times one batch there."""
    process = TaskProcess(
        "sparsae.bench.tasks:race_task",
        _settings(workload, backend, threads),
        threads=threads,
        environment=thread_environment(threads),
        cpus=choose_cpus(threads) if pinned else (),
        name=backend,
    )
    stack.callback(process.close)
    process.prepare()
    loops = choose_loops(process.shortest_call(), BATCH)
    return lambda: process.time(loops).seconds


def _local(stack: ExitStack, workload: RaceWorkload, backend: str, threads: int) -> Time:
    """Make the task in this process and return what times one batch of it."""
    from sparsae.bench.tasks import race_task

    task = race_task(**_settings(workload, backend, threads))  # type: ignore[arg-type]
    stack.callback(task.objective.__exit__, None, None, None)  # type: ignore[attr-defined]

    def seconds(loops: int) -> float:
        warm_up(task.run, threads)
        return time_batch(task.run, loops).seconds

    loops = choose_loops(min(seconds(1) for _ in range(3)), BATCH)
    return lambda: seconds(loops)
