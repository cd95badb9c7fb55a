"""The facts that the rules are applied to: CPUs, pools, variables, load, plugins, versions.  Read once."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import Any, final

from sparsae.machine.facts import THREAD_VARIABLES, cpu_flags, cpu_name, steal_and_load, thread_variables
from sparsae.machine.limits import pools
from sparsae.machine.resources import whole_cpus
from sparsae.machine.threads import CpuBudget, cpu_budget
from sparsae.plugins.registry import BackendRecord
from sparsae.plugins.selection import list_backends
from sparsae.receipt import versions

# Variables that change what is measured, and the effect of each.
BIASING = {
    "OPENBLAS_CORETYPE": "chooses OpenBLAS's kernels regardless of the CPU",
    "OPENBLAS_L2_SIZE": "sets a cache size for OpenBLAS regardless of the CPU",
    "MKL_ENABLE_INSTRUCTIONS": "keeps MKL from newer instructions",
    "MKL_DEBUG_CPU_TYPE": "chooses MKL's kernels regardless of the CPU",
    "MKL_CBWR": "makes MKL give the same bits on every CPU, and slower",
    "BLIS_ARCH_TYPE": "chooses BLIS's kernels regardless of the CPU",
    "NPY_DISABLE_CPU_FEATURES": "keeps NumPy's own loops from newer instructions",
    "OMP_PROC_BIND": "binds OpenMP threads to CPUs",
    "OMP_PLACES": "binds OpenMP threads to CPUs",
    "GOMP_CPU_AFFINITY": "binds OpenMP threads to CPUs",
    "KMP_AFFINITY": "binds OpenMP threads to CPUs",
    "OMP_WAIT_POLICY": "decides whether idle OpenMP threads spin and occupy a CPU",
    "PYTHONMALLOC": "changes Python's allocator; its debug forms are slow",
    "PYTHONDEVMODE": "turns on Python's development mode",
    "PYTHONTRACEMALLOC": "makes Python trace every allocation",
}
PRODUCT_VARIABLES = frozenset(name for name in BIASING if name.startswith(("OPENBLAS", "MKL", "BLIS")))
AVX512 = frozenset({"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"})
# OpenBLAS's names for kernels that use 128-bit or 256-bit vectors.
_KERNELS_128 = frozenset(
    ("Prescott", "Core2", "Penryn", "Dunnington", "Atom", "Nehalem", "Opteron", "Opteron_SSE3", "Barcelona", "Bobcat")
)
_KERNELS_256 = frozenset(("Sandybridge", "Bulldozer", "Piledriver", "Steamroller", "Excavator", "Haswell", "Zen"))
_POOL_VARIABLES = {"openblas": "OPENBLAS_NUM_THREADS", "mkl": "MKL_NUM_THREADS", "blis": "BLIS_NUM_THREADS"}


@final
@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything that the doctor's rules read; unknown values are None or empty.

    Attributes
    ----------
    cpu : str
        The CPU's name.
    machine : str
        "x86_64", "arm64", ...
    flags : frozenset of str
        The CPU's features as the system names them.
    cores : int or None
        CPUs of the machine, usable by this process or not.
    budget : CpuBudget
        Affinity, quota of the control group, limit on the pools.
    pools : tuple of mapping
        As `sparsae.machine.limits.pools` gives them.
    environment : mapping
        The variables of this process that affect speed.
    others : float or None
        CPUs, of those that this process may use, that other processes kept busy.
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
        """CPUs that this process could use if no variable limited it."""
        quota = whole_cpus(self.budget.cgroup)
        return max(1, self.budget.affinity if quota is None else min(self.budget.affinity, quota))

    @property
    def wider_kernels(self) -> str | None:
        """OpenBLAS's name for kernels with wider vectors than those in use, where the CPU has them."""
        if "OPENBLAS_CORETYPE" in self.environment:
            return None
        kernels = {pool["architecture"] for pool in self.pools if pool["internal_api"] == "openblas"}
        if self.flags >= AVX512 and kernels & (_KERNELS_128 | _KERNELS_256):
            return "SkylakeX"
        if {"avx2", "fma"} <= self.flags and kernels & _KERNELS_128:
            return "Haswell"
        return None

    @property
    def product_variables(self) -> list[str]:
        """The variables that are set and change how a BLAS computes products, sorted."""
        return sorted(PRODUCT_VARIABLES & self.environment.keys())

    @property
    def limiting_variables(self) -> list[str]:
        """The variables that limit the pools to fewer threads than there are CPUs."""
        limit = self.budget.pool_limit
        if limit is None or limit >= self.available:
            return []
        return [name for name in THREAD_VARIABLES if self.environment.get(name) == str(limit)]

    @property
    def requested_threads(self) -> int | None:
        """SPARSAE_THREADS, where it is a number other than the CPUs that are available."""
        word = self.environment.get("SPARSAE_THREADS", "")
        number = int(word) if word.isascii() and word.isdigit() and len(word) < 10 else None
        return None if number == self.available else number

    @property
    def oversubscribed_pools(self) -> list[Mapping[str, Any]]:
        """The pools with more threads than CPUs."""
        return [pool for pool in self.pools if (pool["num_threads"] or 0) > self.available]

    @property
    def pool_limits(self) -> dict[str, str | None]:
        """The variables that give the oversubscribed pools as many threads as there are CPUs."""
        names = {_POOL_VARIABLES.get(pool["internal_api"], "OMP_NUM_THREADS") for pool in self.oversubscribed_pools}
        return dict.fromkeys(sorted(names), str(self.available))

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
    """Read the facts of this machine, observing its CPUs for that long; what it does not report stays unknown."""
    with contextlib.suppress(ImportError):
        import_module("scipy.linalg")  # loads SciPy's own OpenBLAS, which any use of SciPy adds to the pools
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
