"""The race: one process for each cell, which work one at a time, and an event for everything that happens.

Events are plain dicts; `sparsae.bench.record` keeps them and `sparsae.bench.standings` ranks the cells from them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sparsae.bench.contest import Contest, Progress, part_of
from sparsae.bench.plan import Cell, RacePlan
from sparsae.bench.process import choose_cpus, thread_environment
from sparsae.bench.schema import FORMAT, VERSION, check_event
from sparsae.bench.task_process import TaskProcess
from sparsae.bench.timing import WARM_UP
from sparsae.bench.worker import library_versions
from sparsae.bench.workload import RaceWorkload
from sparsae.errors import ProbeError
from sparsae.machine.cpu_demand import WINDOW, Demand, Watch, wait_until_quiet
from sparsae.machine.facts import machine_facts, steal_and_load

Emit = Callable[[dict[str, Any]], None]
_MODE = f"warm: one untimed call before each batch, or {WARM_UP * 1000:.0f} ms of them with more than one thread"


def run(plan: RacePlan, emit: Emit, progress: Progress = lambda what, share: None) -> None:
    """Run one session of the race.

    Parameters
    ----------
    plan : RacePlan
    emit : callable
        Receives each event when it happens.
    progress : callable
        Receives what is being done and which share of the whole is done.

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C, after the processes ended and the last event was emitted; what was measured has been emitted.
    """
    emit(
        {
            "kind": "header",
            "format": FORMAT,
            "version": VERSION,
            "plan": plan.to_dict(),
            "machine": machine_facts(),
            "versions": library_versions(),
            "cpus": {str(t): choose_cpus(t) for t in plan.threads},
            "mode": _MODE,
            "started": _now(),
        }
    )
    failed: set[tuple[str, str]] = set()
    finished = "interrupted"
    try:
        stages = [(launch, workload) for launch in range(plan.launches) for workload in plan.workloads()]
        for number, (launch, workload) in enumerate(stages):
            show = part_of(progress, number, len(stages), f"{workload.key}: launch {launch + 1}: ")
            run_launch(plan, workload, launch, emit, show, failed)
        finished = "complete"
    finally:
        emit({"kind": "end", "finished": finished, "ended": _now()})


def run_launch(
    plan: RacePlan, workload: RaceWorkload, launch: int, emit: Emit, progress: Progress, failed: set[tuple[str, str]]
) -> None:
    """Let all cells of one workload race once.

    `failed` holds the (workload, cell) that failed once and are not started again; those that fail are added.
    """
    cells = {cell.key: cell for cell in plan.cells() if (workload.key, cell.key) not in failed}

    def report(kind: str, name: str, values: Mapping[str, Any]) -> None:
        """Emit an event with its place and time, unless a process answered with values that a record cannot have."""
        place = {"kind": kind, "launch": launch, "workload": workload.key} | ({"cell": name} if name else {})
        event = {**place, **values, **place, "at": round(time.monotonic(), 4)}
        try:
            check_event(event)
        except ValueError as error:
            raise ProbeError(f"its answer cannot be recorded: {error}") from None
        if kind == "failure":
            failed.add((workload.key, name))
        emit(event)

    def measure(name: str, process: TaskProcess) -> float:
        """Let it work for a while: report how many CPUs it demands, and return the seconds of the shortest call."""
        with Watch(process.pid) as watch:
            wall, cpu, shortest = process.work(WINDOW)
        demand = Demand.measured(watch.spent, cpu, watch.wall if watch.spent else wall)
        report("demand", name, demand._asdict() | {"verdict": demand.verdict(cells[name].threads)})
        wait_until_quiet(process.pid)
        return shortest

    report("launch", "", {"busy": steal_and_load(0.2)._asdict()})
    start = {key: partial(_start, plan, workload, cell) for key, cell in cells.items()}
    rng = random.Random(f"{plan.seed} {workload.key} {launch}")  # noqa: S311  an order, not a secret
    with closing(Contest(start, report, rng=rng, batch_seconds=plan.batch, measure=measure)) as contest:
        contest.run(plan.rounds, progress)


def _start(plan: RacePlan, workload: RaceWorkload, cell: Cell) -> TaskProcess:
    return TaskProcess(
        "sparsae.bench.tasks:race_task",
        {"workload": asdict(workload), "backend": cell.backend, "threads": cell.threads, "seed": plan.seed},
        threads=cell.threads,
        environment=thread_environment(cell.threads),
        cpus=choose_cpus(cell.threads),
        name=cell.key,
        timeout=plan.timeout,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
