"""What is to be judged: CPUs, pools, variables, load, plugins, versions.  Read once; the rules see nothing else."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import Any, final

from sparsae.machine.facts import cpu_flags, cpu_name, steal_and_load, thread_variables
from sparsae.machine.limits import pools
from sparsae.machine.resources import whole_cpus
from sparsae.machine.threads import CpuBudget, cpu_budget
from sparsae.plugins.registry import BackendRecord
from sparsae.plugins.selection import list_backends
from sparsae.receipt import versions

# Variables that bend what is measured, and what each of them does.
BIASING = {
    "OPENBLAS_CORETYPE": "picks OpenBLAS's kernels instead of looking at the CPU",
    "OPENBLAS_L2_SIZE": "tells OpenBLAS a cache size instead of asking the CPU",
    "MKL_ENABLE_INSTRUCTIONS": "keeps MKL from newer instructions",
    "MKL_DEBUG_CPU_TYPE": "picks MKL's kernels instead of looking at the CPU",
    "MKL_CBWR": "makes MKL give the same bits on every CPU, at the price of speed",
    "BLIS_ARCH_TYPE": "picks BLIS's kernels instead of looking at the CPU",
    "NPY_DISABLE_CPU_FEATURES": "keeps NumPy's own loops from newer instructions",
    "OMP_PROC_BIND": "ties OpenMP threads to CPUs",
    "OMP_PLACES": "ties OpenMP threads to CPUs",
    "GOMP_CPU_AFFINITY": "ties OpenMP threads to CPUs",
    "KMP_AFFINITY": "ties OpenMP threads to CPUs",
    "OMP_WAIT_POLICY": "decides whether idle OpenMP threads spin and take a CPU from others",
    "PYTHONMALLOC": "changes Python's allocator; its debug forms are slow",
    "PYTHONDEVMODE": "turns on Python's development mode",
    "PYTHONTRACEMALLOC": "makes Python trace every allocation",
}


@final
@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the doctor looks at; unknown things are None or empty.

    Attributes
    ----------
    cpu : str
        The CPU's name.
    machine : str
        "x86_64", "arm64", ...
    flags : frozenset of str
        The CPU's features as the system names them.
    cores : int or None
        CPUs of the machine, ours or not.
    budget : CpuBudget
        Affinity, quota of the control group, limit on the pools.
    pools : tuple of mapping
        As `sparsae.machine.limits.pools` gives them.
    environment : mapping
        The variables of this process that bear on speed.
    others : float or None
        CPUs, of those that we may use, that others kept busy while we looked.
    steal : float or None
        Share of the time that the hypervisor gave to other machines.
    load : float or None
        Load average of the last minute.
    backends : tuple of BackendRecord
    versions : mapping of str to str
    """

    cpu: str = ""
    machine: str = ""
    flags: frozenset[str] = frozenset()
    cores: int | None = None
    budget: CpuBudget
    pools: tuple[Mapping[str, Any], ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    others: float | None = None
    steal: float | None = None
    load: float | None = None
    backends: tuple[BackendRecord, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def available(self) -> int:
        """CPUs that this process could use if no variable held it back."""
        quota = whole_cpus(self.budget.cgroup)
        return max(1, self.budget.affinity if quota is None else min(self.budget.affinity, quota))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values that JSON can take."""
        values = asdict(self) | {"flags": sorted(self.flags), "available": self.available}
        values["budget"]["granted"] = self.budget.granted
        values["backends"] = [
            {"name": b.name, "state": b.state, "distribution": b.distribution, "version": b.version}
            for b in self.backends
        ]
        return values


def read_facts(*, seconds: float = 1.0) -> Facts:
    """Read the facts of this machine, watching its CPUs for that long; what it does not tell stays unknown."""
    with contextlib.suppress(ImportError):
        import_module("scipy.linalg")  # SciPy's own OpenBLAS is part of the picture once anything uses it
    busy = steal_and_load(seconds)
    return Facts(
        cpu=cpu_name(),
        machine=platform.machine(),
        flags=cpu_flags(),
        cores=os.cpu_count(),
        budget=cpu_budget(),
        pools=pools(),
        environment=thread_variables(),
        others=busy.used,
        steal=busy.steal,
        load=busy.load,
        backends=list_backends(),
        versions=versions(("scipy", "threadpoolctl", "pluggy")),
    )
