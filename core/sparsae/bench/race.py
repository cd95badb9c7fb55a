"""The race's coordinator: starts the workers, passes the baton, writes everything down.

Exactly one worker works at a time.  What happens is emitted as events, plain dicts;
`sparsae.bench.record` keeps them and `sparsae.bench.standings` makes of them what a person sees.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

from sparsae.bench.batch import WARM
from sparsae.bench.probe import Lines
from sparsae.bench.settings import Cell, Heat, Settings
from sparsae.bench.worker import library_versions
from sparsae.errors import ProbeError
from sparsae.machine.cpu_demand import WINDOW, Demand, Watch, wait_until_quiet
from sparsae.machine.facts import THREAD_VARIABLES, affinity, machine_facts, steal_and_load

FORMAT, VERSION = "sparsae-race", 1
Emit = Callable[[dict[str, Any]], None]
_SERVE = "import sys; from sparsae.bench.worker import serve; serve(sys.argv[1])"
RETRIES = 2  # of a turn in which the worker had to wait for a CPU; decided by the waiting, never by the time
WARMTH = f"warm: one untimed call before each batch, or {WARM * 1000:.0f} ms of them with more than one thread"
_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def run(settings: Settings, emit: Emit, progress: Callable[[str, float], None] = lambda what, share: None) -> None:
    """Run one session of the race.

    Parameters
    ----------
    settings : Settings
    emit : callable
        Receives each event when it happens.
    progress : callable
        Receives what is being done and which share of the whole is done.

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C, after the workers ended and the last event was emitted; what was measured has been emitted.
    """
    emit(
        {
            "kind": "header",
            "format": FORMAT,
            "version": VERSION,
            "settings": settings.to_dict(),
            "machine": machine_facts(),
            "versions": library_versions(),
            "cpus": {str(t): choose_cpus(t) for t in settings.threads},
            "mode": WARMTH,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )
    out: set[tuple[str, str]] = set()  # cells that failed once and do not start again
    finished = "interrupted"
    try:
        stages = [(launch, heat) for launch in range(settings.launches) for heat in settings.heats()]
        for number, (launch, heat) in enumerate(stages):

            def show(what: str, share: float, number: int = number) -> None:
                progress(what, (number + share) / len(stages))

            with contextlib.closing(HeatRun(settings, heat, launch, emit, show, out)) as stage:
                stage.run()
        finished = "complete"
    finally:
        emit({"kind": "end", "finished": finished, "ended": datetime.now(UTC).isoformat(timespec="seconds")})


def choose_cpus(threads: int) -> list[int]:
    """The same CPUs for every cell with that many threads: on cores of their own first, away from CPU 0.

    Empty where the system knows no affinity.
    """
    mine = affinity()

    def place(cpu: int) -> tuple[int, int]:
        try:
            siblings = Path(_TOPOLOGY.format(cpu)).read_text(encoding="ascii").strip().replace("-", ",").split(",")
            return [s for s in siblings if int(s) in mine].index(str(cpu)), -cpu
        except (OSError, ValueError):
            return 0, -cpu

    return sorted(sorted(mine, key=place)[:threads])


def environment(threads: int) -> dict[str, str | None]:
    """Every variable that a library may read its number of threads from, set before it loads."""
    changes: dict[str, str | None] = dict.fromkeys(THREAD_VARIABLES, str(threads))
    changes["SPARSAE_THREADS"] = str(threads)
    if threads == 1:  # more than one follows the affinity
        flags = os.environ.get("XLA_FLAGS", "")
        changes["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
    return changes


@final
class HeatRun:
    """One heat in one launch: all its cells, from the start of their processes to their end."""

    def __init__(
        self,
        settings: Settings,
        heat: Heat,
        launch: int,
        emit: Emit,
        progress: Callable[[str, float], None],
        out: set[tuple[str, str]],
    ) -> None:
        self._settings, self._heat, self._launch = settings, heat, launch
        self._emit, self._progress, self._out = emit, progress, out
        self._cells = {cell.key: cell for cell in settings.cells() if (heat.key, cell.key) not in out}
        self._lines: dict[str, Lines] = {}
        self._random = random.Random(f"{settings.seed} {heat.key} {launch}")  # noqa: S311  an order, not a secret

    def run(self) -> None:
        """Start, verify, race, verify."""
        self._say({"kind": "launch", "busy": steal_and_load(0.2)._asdict()})
        for key, cell in self._cells.items():
            self._try(key, lambda key=key, cell=cell: self._start(key, cell))  # type: ignore[misc]
        steps = [self._prepare, self._measure_demand, self._freeze]
        todo = list(self._cells)
        self._random.shuffle(todo)
        for number, key in enumerate(todo):
            self._progress(f"{self._heat.key}: checking {key}", 0.4 * number / len(todo))
            for step in steps:
                self._try(key, lambda key=key, step=step: step(key))  # type: ignore[misc]
        for turn in range(self._settings.rounds):
            self._progress(f"{self._heat.key}: launch {self._launch + 1}", 0.4 + 0.55 * turn / self._settings.rounds)
            self._round(turn)
        self._progress(f"{self._heat.key}: checking again", 0.95)
        for key in list(self._lines):
            self._try(key, lambda key=key: self._say({"kind": "after", "cell": key} | self._ask(key, do="check")))  # type: ignore[misc]

    def close(self) -> None:
        """End every worker."""
        while self._lines:
            self._lines.popitem()[1].close()

    def _start(self, key: str, cell: Cell) -> None:
        settings = {
            "heat": {"case": self._heat.case, "size": self._heat.size, "dtype": self._heat.dtype},
            "backend": cell.backend,
            "threads": cell.threads,
            "seed": self._settings.seed,
        }
        self._lines[key] = Lines(
            [sys.executable, "-c", _SERVE, json.dumps(settings)],
            environment=environment(cell.threads),
            cpus=choose_cpus(cell.threads),
            name=key,
        )

    def _prepare(self, key: str) -> None:
        answer = self._ask(key, do="prepare")
        self._say({"kind": "worker", "cell": key} | answer)
        if not answer["error"] <= 1:
            raise WrongResult(f"its error is {answer['error']:.3g} times what rounding explains")

    def _measure_demand(self, key: str) -> None:
        threads = self._cells[key].threads
        with Watch(self._lines[key].pid) as watch:
            answer = self._ask(key, do="work", seconds=WINDOW)
        demand = Demand.measured(watch.spent, answer["cpu"], watch.wall if watch.spent else answer["wall"])
        honesty = demand.honesty(threads)
        self._say({"kind": "demand", "cell": key, "honesty": honesty} | demand._asdict())
        wait_until_quiet(self._lines[key].pid)

    def _freeze(self, key: str) -> None:
        self._say({"kind": "loops", "cell": key} | self._ask(key, do="freeze", batch=self._settings.batch))
        wait_until_quiet(self._lines[key].pid)

    def _round(self, turn: int) -> None:
        """Visit every cell once, in a fresh random order."""
        order = list(self._lines)
        self._random.shuffle(order)
        for position, key in enumerate(order):
            self._try(key, lambda key=key, position=position: self._turn(key, turn, position))  # type: ignore[misc]

    def _turn(self, key: str, turn: int, position: int) -> None:
        for attempt in range(1 + RETRIES):
            sample = self._ask(key, do="time")
            sample["waited"] = wait_until_quiet(self._lines[key].pid)
            place = {"cell": key, "round": turn, "position": position, "attempt": attempt}
            self._say({"kind": "sample"} | place | sample)
            if sample["clean"]:
                return

    def _ask(self, key: str, **request: Any) -> dict[str, Any]:
        """Hand the baton over and wait until it comes back."""
        slow = request["do"] == "prepare"  # imports and the reference count too
        timeout = max(self._settings.timeout, 120.0) if slow else self._settings.timeout
        line = self._lines[key].ask(json.dumps(request), timeout=timeout)
        try:
            answer = json.loads(line)
        except ValueError:
            raise ProbeError(f"printed something else than an answer: {line[:80]!r}") from None
        if not isinstance(answer, dict):
            raise ProbeError(f"printed something else than an answer: {line[:80]!r}")
        if "failed" in answer:
            raise (WrongResult if answer.get("kind") == "BackendWrongError" else ProbeError)(answer["failed"])
        return answer

    def _try(self, key: str, action: Callable[[], None]) -> None:
        """Do something with a cell that still races; when it fails it is out, and the others go on."""
        if key not in self._lines and (self._heat.key, key) in self._out:
            return
        try:
            action()
        except (ProbeError, KeyError, TypeError) as error:
            why = str(error).removeprefix(f"{key}: ") if isinstance(error, ProbeError) else f"answer lacks {error}"
            state = "wrong" if isinstance(error, WrongResult) else "failed"
            self._say({"kind": "failure", "cell": key, "state": state, "why": why})
            self._out.add((self._heat.key, key))
            lines = self._lines.pop(key, None)
            if lines is not None:
                lines.kill()

    def _say(self, event: Mapping[str, Any]) -> None:
        place = {"kind": event["kind"], "launch": self._launch, "heat": self._heat.key}
        self._emit(place | dict(event) | {"at": round(time.monotonic(), 4)})


class WrongResult(ProbeError):  # noqa: N818  a finding, not a mistake
    """A result that disagrees with the reference."""
