"""The race: starts one process for each cell, lets them work one at a time, and reports everything that happens.

Events are plain dicts; `sparsae.bench.record` keeps them and `sparsae.bench.standings` ranks the cells from them.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any, final

from sparsae.bench.plan import Cell, RacePlan
from sparsae.bench.process import choose_cpus, thread_environment
from sparsae.bench.schema import FORMAT, VERSION, find_fault
from sparsae.bench.standings import CellState
from sparsae.bench.task_process import DeclinedError, TaskProcess, WrongResultError
from sparsae.bench.timing import WARM_UP, Attempt, choose_loops, interleave
from sparsae.bench.worker import library_versions
from sparsae.bench.workload import RaceWorkload
from sparsae.errors import ProbeError
from sparsae.machine.cpu_demand import WINDOW, Demand, Watch, wait_until_quiet
from sparsae.machine.facts import machine_facts, steal_and_load

Emit = Callable[[dict[str, Any]], None]
Progress = Callable[[str, float], None]
_MODE = f"warm: one untimed call before each batch, or {WARM_UP * 1000:.0f} ms of them with more than one thread"
_STATES: dict[type[ProbeError], CellState] = {WrongResultError: "wrong", DeclinedError: "declined"}
_CHECKED, _TIMED = 0.4, 0.95  # shares of a launch that are done after the first checks and after the last round


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

            def show(what: str, share: float, number: int = number) -> None:
                progress(what, (number + share) / len(stages))

            with contextlib.closing(LaunchRun(plan, workload, launch, emit, show, failed)) as stage:
                stage.run()
        finished = "complete"
    finally:
        emit({"kind": "end", "finished": finished, "ended": _now()})


@final
class LaunchRun:
    """All cells of one workload in one launch, from the start of their processes to their end.

    Parameters
    ----------
    plan, workload, launch
        What to run; the number of the launch.
    emit, progress
        As for `run`.
    failed : set of (workload, cell)
        Cells that failed once and are not started again; added to.
    """

    def __init__(
        self,
        plan: RacePlan,
        workload: RaceWorkload,
        launch: int,
        emit: Emit,
        progress: Progress,
        failed: set[tuple[str, str]],
    ) -> None:
        self._plan, self._workload, self._launch = plan, workload, launch
        self._emit, self._progress, self._failed = emit, progress, failed
        self._cells = {cell.key: cell for cell in plan.cells() if (workload.key, cell.key) not in failed}
        self._processes: dict[str, TaskProcess] = {}
        self._loops: dict[str, int] = {}
        self._rng = random.Random(f"{plan.seed} {workload.key} {launch}")  # noqa: S311  an order, not a secret

    def run(self) -> None:
        """Start the processes, check and calibrate each, time them in turns, and check them again."""
        name = self._workload.key
        self._report("launch", None, {"busy": steal_and_load(0.2)._asdict()})
        for key, cell in self._cells.items():
            self._processes[key] = self._start(cell)
        order = list(self._cells)
        self._rng.shuffle(order)
        for number, key in enumerate(order):
            self._progress(f"{name}: checking {key}", _CHECKED * number / len(order))
            self._attempt(key, self._prepare)
        rounds = self._plan.rounds
        for timed in interleave(self._processes, self._loops, rounds=rounds, rng=self._rng, drop=self._fail):
            share = _CHECKED + (_TIMED - _CHECKED) * timed.round / rounds
            self._progress(f"{name}: launch {self._launch + 1}", share)
            self._attempt(timed.name, partial(self._report_sample, timed))
        self._progress(f"{name}: checking again", _TIMED)
        for key in list(self._processes):
            self._attempt(key, self._check_again)

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

    def _start(self, cell: Cell) -> TaskProcess:
        return TaskProcess(
            "sparsae.bench.tasks:race_task",
            {**asdict(self._workload), "backend": cell.backend, "threads": cell.threads, "seed": self._plan.seed},
            threads=cell.threads,
            environment=thread_environment(cell.threads),
            cpus=choose_cpus(cell.threads),
            name=cell.key,
            timeout=self._plan.timeout,
        )

    def _prepare(self, key: str) -> None:
        """Make the task, compare its result with the reference, measure its demand, and with that choose the batch."""
        process = self._processes[key]
        facts = process.prepare()
        error = process.error()
        self._report("worker", key, facts | {"error": error})
        if not error <= 1:
            raise WrongResultError(f"its error is {error:.3g} times what rounding explains")
        with Watch(process.pid) as watch:
            wall, cpu, shortest = process.work(WINDOW)
        demand = Demand.measured(watch.spent, cpu, watch.wall if watch.spent else wall)
        self._report("demand", key, demand._asdict() | {"verdict": demand.verdict(self._cells[key].threads)})
        wait_until_quiet(process.pid)
        self._loops[key] = choose_loops(shortest, self._plan.batch)
        self._report("loops", key, {"loops": self._loops[key]})

    def _report_sample(self, timed: Attempt, key: str) -> None:
        place = {"round": timed.round, "position": timed.position, "attempt": timed.attempt}
        self._report("sample", key, timed.batch.to_dict() | place)

    def _check_again(self, key: str) -> None:
        self._report("after", key, {"error": self._processes[key].error()})

    def _attempt(self, key: str, action: Callable[[str], None]) -> None:
        """Do something with a cell; when it fails it does not race, and the others go on."""
        try:
            action(key)
        except ProbeError as error:
            self._fail(key, error)

    def _fail(self, key: str, error: ProbeError) -> None:
        state = _STATES.get(type(error), "failed")
        why = str(error).removeprefix(f"{key}: ")
        if state == "declined":
            why = why.partition(": ")[2]  # without the name of the exception
        self._report("failure", key, {"state": state, "why": why})
        self._failed.add((self._workload.key, key))
        self._processes.pop(key).kill()

    def _report(self, kind: str, cell: str | None, values: Mapping[str, Any]) -> None:
        """Emit an event with its place and time.

        Raises
        ------
        ProbeError
            When a process answered with values that a record cannot have.
        """
        place: dict[str, Any] = {"kind": kind, "launch": self._launch, "workload": self._workload.key}
        named = {} if cell is None else {"cell": cell}
        event = {**place, **named, **values, **place, **named, "at": round(time.monotonic(), 4)}
        fault = find_fault(event)
        if fault is not None:
            raise ProbeError(f"{cell}: its answer has no usable {fault!r}")
        self._emit(event)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
