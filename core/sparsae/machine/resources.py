"""What this process may use of the machine: CPUs, memory, caches.  Reads only; nothing is changed."""

from __future__ import annotations

import math
import os
import sys
from functools import cache
from pathlib import Path

from sparsae.machine.system_files import read_system_file

CGROUP = Path("/sys/fs/cgroup")
PROC_CGROUP = Path("/proc/self/cgroup")
CPU0_CACHE = Path("/sys/devices/system/cpu/cpu0/cache")
ASSUMED_L2 = 1 << 20


def affinity_cpus() -> int:
    """Number of CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def cgroup_cpus() -> float | None:
    """CPU quota of the control group, in CPUs; None when there is none.  Read once a process."""
    quotas = []
    for folder in _cgroup_folders("cpu"):
        words = read_system_file(folder / "cpu.max").split()  # version 2: "QUOTA PERIOD" or "max PERIOD"
        if not words:  # version 1
            words = [
                read_system_file(folder / "cpu.cfs_quota_us").strip(),
                read_system_file(folder / "cpu.cfs_period_us").strip(),
            ]
        try:
            quota, period = float(words[0]), float(words[1])
        except (ValueError, IndexError):
            continue
        if quota > 0 and period > 0:
            quotas.append(quota / period)
    return min(quotas, default=None)


@cache
def memory_limit() -> int:
    """Bytes of memory that this process may use: the machine's, or a lower limit of its control group or its own.

    Read once a process.
    """
    total = 8 << 30
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for folder in _cgroup_folders("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            word = read_system_file(folder / name).strip()
            if word.isdigit():
                total = min(total, int(word))
    return max(min(total, *process_limits()), 1)


def process_limits() -> tuple[int, ...]:
    """Limits in bytes that were set for this process (``ulimit -v``, ``ulimit -d``), and one that none exceeds."""
    try:
        import resource
    except ImportError:  # Windows
        return (sys.maxsize,)
    soft = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    return (sys.maxsize, *(limit for limit in soft if limit != resource.RLIM_INFINITY))


def gibibytes(count: int) -> str:
    """Return a number of bytes in GiB, or in MiB where it is less than one."""
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.1f} MiB"


@cache
def l2_bytes() -> int:
    """Size of the second-level cache of one core; 1 MiB where the system does not report it."""
    for index in sorted(CPU0_CACHE.glob("index*")):
        if read_system_file(index / "level").strip() == "2":
            size = read_system_file(index / "size").strip()
            if size[:-1].isdigit() and size[-1:] in "KM":
                return int(size[:-1]) << (10 if size.endswith("K") else 20)
    return ASSUMED_L2


def whole_cpus(quota: float | None) -> int | None:
    """Round a quota up to whole CPUs, at least one."""
    return None if quota is None else max(1, math.ceil(quota))


def _cgroup_folders(controller: str) -> list[Path]:
    """The control group of this process and the groups above it, for either version of control groups."""
    folders = []
    for line in read_system_file(PROC_CGROUP).splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if names and controller not in names.split(","):
            continue
        root = CGROUP / names if names else CGROUP
        inner = root / path.lstrip("/")
        folders += [inner, *(parent for parent in inner.parents if root in (parent, *parent.parents))]
    return folders
