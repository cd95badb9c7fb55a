"""The race's worker: one cell in a process of its own, which works when it is asked to and sleeps otherwise.

The process is pinned and its variables are set before it starts (see `sparsae.bench.probe.Lines`).
It is asked in lines of JSON and answers in lines of JSON, through a copy of standard output:
whatever a library prints goes to standard error and disturbs nobody.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Mapping
from typing import Any, final

from sparsae.bench.batch import time_batch, warm_up
from sparsae.bench.settings import Heat
from sparsae.machine.facts import affinity, thread_variables


def serve(settings: str) -> None:
    """Run the worker until the pipe closes."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    worker: Worker | None = None
    for line in sys.stdin:
        try:
            request = json.loads(line)
            if worker is None:
                worker = Worker(**json.loads(settings))
            answer = getattr(worker, f"do_{request.pop('do')}")(**request)
        except Exception as error:  # noqa: BLE001  a backend may raise anything; the coordinator has to hear of it
            answer = {"failed": f"{type(error).__name__}: {error}", "kind": type(error).__name__}
        out.write(json.dumps(answer) + "\n")
        out.flush()


@final
class Worker:
    """What the worker does when it is asked to.

    Parameters
    ----------
    heat, backend, threads, seed
        The case to make; no backend: the peak product.
    """

    def __init__(self, heat: Mapping[str, Any], backend: str, threads: int, seed: int) -> None:
        self.heat = Heat(heat["case"], tuple(heat["size"]), heat["dtype"])
        self.backend, self.threads, self.seed = backend, threads, seed
        self.loops = 1

    def do_prepare(self) -> dict[str, Any]:
        """Make the case, run it once and compare with the reference; say what was found."""
        from sparsae.bench.cases import make
        from sparsae.machine.limits import pools

        found: dict[str, Any] = {"affinity": affinity(), "variables": thread_variables()}
        if self.backend:
            from sparsae.plugins.selection import select

            selected = select(self.backend)
            found |= {
                "distribution": selected.record.distribution,
                "version": selected.record.version,
                "threading": selected.backend.threading,
            }
        self.case = make(self.heat, self.backend, self.threads, self.seed)
        found["pools_after_import"] = pools()
        self.case.run()
        found["pools_after_call"] = pools()
        found["versions"] = library_versions()
        return found | self.case.facts() | self.do_check()

    def do_check(self) -> dict[str, Any]:
        """Compare a result with the reference."""
        error = self.case.error()
        return {"error": error if error < 1e300 else 1e300}  # JSON has no infinity

    def do_freeze(self, batch: float) -> dict[str, Any]:
        """Choose how many calls make a batch of about that many seconds; frozen from here on."""
        shortest = min(self._time(1) for _ in range(3))
        while shortest < batch / 50 and self.loops < 1 << 20:  # too short to tell from one call
            self.loops *= 8
            shortest = self._time(self.loops) / self.loops
            if shortest * self.loops > batch / 10:
                break
        self.loops = max(1, round(batch / max(shortest, 1e-9)))
        return {"loops": self.loops}

    def do_work(self, seconds: float) -> dict[str, Any]:
        """Call again and again for at least that long, while the coordinator looks at our threads."""
        cpu, start = time.process_time_ns(), time.perf_counter_ns()
        while time.perf_counter_ns() - start < seconds * 1e9:
            self.case.run()
        return {"wall": (time.perf_counter_ns() - start) / 1e9, "cpu": (time.process_time_ns() - cpu) / 1e9}

    def do_time(self) -> dict[str, Any]:
        """Warm up, then one timed batch, with what it cost and what disturbed it."""
        warm_up(self.case.run, self.threads)
        switches = _switches()
        batch = time_batch(self.case.run, self.loops)
        sample: dict[str, Any] = {"loops": self.loops} | batch._asdict()
        sample["switches"] = [b - a for a, b in zip(switches, _switches(), strict=True)]
        if batch.delay is None:
            reason = "waiting time is not known here"
        else:
            reason = "" if batch.clean else f"waited {batch.delay / batch.wall:.1%} of the time for a CPU"
        sample |= {"clean": batch.clean, "reason": reason}
        best = getattr(self.case, "best", None)
        if best is not None:
            sample |= {"rate": best[0], "shape": best[1]}
        return sample

    def _time(self, loops: int) -> float:
        """Seconds that so many calls take."""
        return time_batch(self.case.run, loops).wall


def library_versions() -> dict[str, str]:
    """Versions of Python, sparsae, and the numerical libraries that are loaded."""
    from sparsae.receipt import versions

    return versions(("numba", "llvmlite", "jax", "jaxlib", "torch", "threadpoolctl", "numexpr"))


def _switches() -> tuple[int, int]:
    """Voluntary and involuntary context switches so far."""
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_nvcsw, usage.ru_nivcsw
