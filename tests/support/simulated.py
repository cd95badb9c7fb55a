"""Sessions that were never raced: events as the coordinator would emit them, from times that the test chooses."""

from __future__ import annotations

import math

import numpy as np

from sparsae.bench.plan import RacePlan
from sparsae.bench.timing import TimedBatch

TIMES = {"numpy": 1.5e-6, "einsum": 1.5e-6, "dot": 0.8e-6}  # seconds per row
MACHINE = {
    "cpu": "Imaginary 9000 <script>",
    "machine": "x86_64",
    "system": "Linux",
    "cores": 2,
    "affinity": [0, 1],
    "affinity_cpus": 2,
    "cgroup_quota": None,
    "caches": {"L1 Data": "48K", "L2": "1024K"},
    "flags": ["avx2"],
    "variables": {"OPENBLAS_CORETYPE": "Haswell"},
}
POOL = {
    "user_api": "blas",
    "internal_api": "openblas",
    "prefix": "libopenblas",
    "version": "0.3.30",
    "architecture": "Haswell",
    "threading_layer": "pthreads",
    "num_threads": 1,
    "library": "libopenblas.so",
}


def session(times, *, plan=None, seed=0, cpu=None, kernels="Haswell", policy=None, between=0.002, demand=None):
    """Events of one session; `times` maps a backend to seconds per row at one thread."""
    plan = plan or RacePlan.checked(
        backends=list(times), threads=[1], sizes=["1000x64x25"], launches=4, rounds=12, preset="default"
    )
    rng = np.random.default_rng(seed)
    events = [
        {
            "kind": "header",
            "format": "sparsae-race",
            "version": 3,
            "plan": plan.to_dict(),
            "machine": MACHINE | ({"cpu": cpu} if cpu else {}),
            "versions": {"numpy": "2.0"},
            "cpus": {},
            "mode": "warm: one untimed call before each batch",
            "started": "2026-01-01T00:00:00+00:00",
        }
    ]
    variables = {"OMP_NUM_THREADS": "1"} | ({"OMP_WAIT_POLICY": policy} if policy else {})
    for launch in range(plan.launches):
        for workload in plan.workloads():
            place = {"launch": launch, "workload": workload.key}
            events.append({"kind": "launch", **place, "busy": {"used": 0.1, "steal": 0.0, "load": 0.5}})
            for cell in plan.cells():
                worker = {"error": 0.1, "variables": variables, "versions": {"numpy": "2.0"}, "threading": "workers"}
                pools = [POOL | {"architecture": kernels}]
                events.append({"kind": "worker", **place, "cell": cell.key, "pools_after_call": pools} | worker)
                wanted = (demand or {}).get(cell.label, float(cell.threads))
                demanded = "honoured" if wanted <= cell.threads + 0.25 else "breach"
                events.append(
                    {"kind": "demand", **place, "cell": cell.key, "verdict": demanded, "cpus": wanted, "used": wanted}
                )
            events += rounds(plan, workload, place, times, rng, between)
            events += [{"kind": "after", **place, "cell": cell.key, "error": 0.1} for cell in plan.cells()]
    events.append({"kind": "end", "finished": "complete", "ended": "2026-01-01T00:10:00+00:00"})
    return events


def rounds(plan, workload, place, times, rng, between):
    """Samples of one launch: what differs from launch to launch, from round to round, and from batch to batch."""
    shifts = {cell.key: rng.normal(0, between) for cell in plan.cells()}
    for turn in range(plan.rounds):
        common = rng.normal(0, 0.02)
        for position, cell in enumerate(plan.cells()):
            sample = {"kind": "sample", **place, "cell": cell.key, "round": turn, "position": position, "attempt": 0}
            if cell.kind == "peak":
                sample |= {"rate": 5e10 * cell.threads, "shape": [512, 512, 512]}
                seconds = 0.02
            else:
                rows = workload.size[0] / cell.threads**0.9
                noise = shifts[cell.key] + common + rng.normal(0, 0.01)
                seconds = times[cell.backend] * rows * math.exp(noise)
            batch = TimedBatch(1, seconds, seconds * cell.threads, 0.0, cell.threads, (0, 0), 0.0)
            yield sample | batch.to_dict()
