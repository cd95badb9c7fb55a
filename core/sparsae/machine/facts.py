"""Facts about the machine and its load: reads only; what a system does not report is None or empty.

The race records these facts, and the doctor's rules use them.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sparsae.machine.resources import affinity_cpus, cgroup_cpus
from sparsae.machine.system_files import read_system_file

CPUINFO = Path("/proc/cpuinfo")
STAT = Path("/proc/stat")
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")

# Variables that set how many threads a library starts with.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "GOTO_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMEXPR_MAX_THREADS",
    "NUMBA_NUM_THREADS",
    "NPROC",
    "TBB_NUM_THREADS",
)
# Prefixes of variables that influence threads, kernels and times.
_PREFIXES = (
    *("OMP_", "GOMP_", "KMP_", "OPENBLAS_", "GOTO_", "MKL_", "BLIS_", "VECLIB_", "NUMEXPR_", "NUMBA_", "TBB_"),
    *("XLA_", "JAX_", "TORCH_", "NPY_", "SPARSAE_", "PYTHONMALLOC", "PYTHONDEVMODE", "PYTHONTRACEMALLOC"),
)


class Busy(NamedTuple):
    """Use of the CPUs of this process over a short time, and the load average.

    Attributes
    ----------
    used : float or None
        CPUs in use, of those that this process may run on; this process too, unless it slept.
    steal : float or None
        Share of their time that the hypervisor gave to other machines.
    load : float or None
        Load average of the last minute.
    """

    used: float | None
    steal: float | None
    load: float | None


def machine_facts() -> dict[str, Any]:
    """Return all facts but the load, as values that JSON can represent."""
    return {
        "cpu": cpu_name(),
        "machine": platform.machine(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "affinity": affinity(),
        "affinity_cpus": affinity_cpus(),
        "cgroup_quota": cgroup_quota(),
        "caches": caches(),
        "flags": sorted(cpu_flags()),
        "variables": thread_variables(),
    }


def cpu_name() -> str:
    """Name of the CPU."""
    names = [_field("model name"), platform.processor(), platform.machine()]
    return next((name for name in names if name), "")


def numpy_blas() -> str:
    """BLAS that NumPy was built with: "scipy-openblas" or "accelerate"; empty where NumPy does not say."""
    built: Mapping[str, Any] = np.show_config(mode="dicts")
    return str(built.get("Build Dependencies", {}).get("blas", {}).get("name", ""))


def cpu_flags() -> frozenset[str]:
    """Features of the CPU as the system names them ("avx2", on ARM "asimd"); empty where it does not report them."""
    return frozenset((_field("flags") or _field("Features")).split())


def caches() -> dict[str, str]:
    """Sizes of the first CPU's caches, such as ``{"L1 Data": "48K", "L2": "1024K"}``."""
    sizes = {}
    for index in sorted(CACHES.glob("index*")):
        level, kind, size = (read_system_file(index / name).strip() for name in ("level", "type", "size"))
        sizes[f"L{level}" if kind == "Unified" else f"L{level} {kind}"] = size
    return sizes


def affinity() -> list[int]:
    """CPUs that this process may run on; empty where the system does not report them."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def cgroup_quota() -> float | None:
    """CPU quota of the control group, in CPUs; None where there is none."""
    return cgroup_cpus()


def thread_variables(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables that are set and influence threads, kernels or times."""
    given = os.environ if environment is None else environment
    return {name: given[name] for name in sorted(given) if name in THREAD_VARIABLES or name.startswith(_PREFIXES)}


def steal_and_load(seconds: float = 0.5) -> Busy:
    """Sleep that long and return the use of this process's CPUs meanwhile."""
    before = _ticks()
    time.sleep(seconds)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return busy_between(before, _ticks(), load)


def busy_between(before: Mapping[int, list[int]], after: Mapping[int, list[int]], load: float | None) -> Busy:
    """Compute `Busy` from two readings of the ticks of each CPU."""
    used = stolen = 0.0
    seen = 0
    for cpu in before.keys() & after.keys():
        user, nice, system, idle, wait, irq, softirq, steal = (
            b - a for a, b in zip(before[cpu], after[cpu], strict=True)
        )
        total = user + nice + system + idle + wait + irq + softirq + steal
        if total > 0:
            used += (total - idle - wait - steal) / total
            stolen += steal / total
            seen += 1
    return Busy(used, stolen / seen, load) if seen else Busy(None, None, load)


def _ticks() -> dict[int, list[int]]:
    """Ticks of each CPU that this process may run on, in the eight classes that always exist."""
    ours = set(affinity())
    ticks = {}
    for line in read_system_file(STAT).splitlines():
        name, *words = line.split() or [""]
        if name[:3] == "cpu" and name[3:].isdigit() and (not ours or int(name[3:]) in ours) and len(words) >= 8:
            ticks[int(name[3:])] = [int(word) for word in words[:8]]
    return ticks


def _field(name: str) -> str:
    """Return the first value of that name in the system's description of its CPUs."""
    for line in read_system_file(CPUINFO).splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip() == name:
            return value.strip()
    return ""
