"""The child's side of `sparsae.bench.task_process.TaskProcess`: makes one task and works when it is asked to.

Requests and answers are lines of JSON.  Answers go through a copy of standard output;
what a library prints goes to standard error.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
import warnings
from collections.abc import Mapping
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, final

from sparsae.bench.timing import time_batch
from sparsae.machine.facts import affinity, thread_variables

if TYPE_CHECKING:
    from sparsae.bench.tasks import Task

LARGEST_ERROR = 1e300  # JSON has no infinity


def serve(configuration: str) -> None:
    """Answer requests until the pipe closes."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    worker: Worker | None = None
    for line in sys.stdin:
        try:
            request = json.loads(line)
            if worker is None:
                worker = Worker(**json.loads(configuration))
            answer = getattr(worker, f"do_{request.pop('do')}")(**request)
        except Exception as error:  # noqa: BLE001  a backend may raise anything; the parent has to hear of it
            answer = {"failed": f"{type(error).__name__}: {error}", "kind": type(error).__name__}
        out.write(json.dumps(answer) + "\n")
        out.flush()
    os._exit(0)  # nothing is left to save, and an orderly end takes Python 0.1 s, with numba 0.5 s


@final
class Worker:
    """One task and the requests that it can be given; see `TaskProcess` for the parameters."""

    def __init__(self, factory: str, settings: Mapping[str, Any], threads: int) -> None:
        self.factory, self.settings, self.threads = factory, settings, threads

    def do_prepare(self) -> dict[str, Any]:
        """Make the task and run it once; return what it and this process are."""
        from sparsae.machine.limits import pools

        self.task: Task = resolve_name(self.factory)(**self.settings)
        answer: dict[str, Any] = {
            "affinity": affinity(),
            "variables": thread_variables(),
            "pools_after_import": pools(),
        }
        self.task.run()
        answer |= {"pools_after_call": pools(), "versions": library_versions()}
        answer |= self.task.facts()
        return answer

    def do_error(self) -> dict[str, Any]:
        """Compare a result with the reference."""
        error = self.task.error()
        return {"error": error if error < LARGEST_ERROR else LARGEST_ERROR}

    def do_work(self, seconds: float) -> dict[str, Any]:
        """Call again and again for at least that long; also return how long the shortest call took."""
        cpu, start = time.process_time_ns(), time.perf_counter_ns()
        shortest, now = math.inf, start
        while now - start < seconds * 1e9:
            self.task.run()
            before, now = now, time.perf_counter_ns()
            shortest = min(shortest, now - before)
        cpu = time.process_time_ns() - cpu
        return {"wall": (now - start) / 1e9, "cpu": cpu / 1e9, "shortest": shortest / 1e9}

    def do_time(self, loops: int) -> dict[str, Any]:
        """Warm up and time one batch."""
        self.task.warm_up(self.threads)
        batch = time_batch(self.task.run, loops)
        return batch.to_dict() | self.task.batch_facts()


def library_versions() -> dict[str, str]:
    """Versions of Python, sparsae, and the numerical libraries that are loaded."""
    from sparsae.receipt import versions

    return versions(("numba", "llvmlite", "jax", "jaxlib", "torch", "threadpoolctl", "numexpr"))
