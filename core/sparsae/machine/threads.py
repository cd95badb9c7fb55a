"""How many threads this process should use, and how a fit spends them."""

from __future__ import annotations

import os
from dataclasses import dataclass

from sparsae._text import plural
from sparsae._types import Threading
from sparsae.errors import ThreadsWarning
from sparsae.machine.caller_warning import warn_caller
from sparsae.machine.facts import THREAD_VARIABLES
from sparsae.machine.limits import pool_limit
from sparsae.machine.resources import affinity_cpus, cgroup_cpus, whole_cpus
from sparsae.model import check_size


@dataclass(frozen=True)
class CpuBudget:
    """How many threads this process should use, and why.

    Attributes
    ----------
    affinity : int
        CPUs that the process may run on.
    cgroup : float or None
        CPU quota of the control group.
    pool_limit : int or None
        The limit already in force on the BLAS pools: inside a joblib worker that is 1.
    """

    affinity: int
    cgroup: float | None
    pool_limit: int | None

    @property
    def granted(self) -> int:
        """Return the least of them, the quota rounded up."""
        limits = (self.affinity, whole_cpus(self.cgroup), self.pool_limit)
        return max(1, min(limit for limit in limits if limit is not None))

    @property
    def reason(self) -> str:
        """Say which of them is the least, and where it comes from."""
        if self.granted == self.affinity:
            return f"this process may run on {plural(self.affinity, 'CPU')}"
        if self.cgroup is not None and self.granted == whole_cpus(self.cgroup):
            return f"the control group's quota is {self.cgroup:g} CPUs"
        named = [f"{name}={os.environ[name]}" for name in THREAD_VARIABLES if name in os.environ]
        setting = [text for text in named if text.endswith(f"={self.granted}")]
        if setting:
            return f"the environment variable {setting[0]} set it when the library was loaded"
        return f"the BLAS pools are limited to {plural(self.granted, 'thread')} by the caller, as joblib's workers are"


@dataclass(frozen=True)
class ThreadGrant:
    """What a fit is given: `workers` row workers, or `pool` threads for BLAS or the backend's own pool."""

    requested: int | None
    granted: int
    workers: int
    pool: int
    notes: tuple[str, ...] = ()


def cpu_budget() -> CpuBudget:
    """Read the CPU budget of this process; our own limits in force do not count."""
    return CpuBudget(affinity_cpus(), cgroup_cpus(), pool_limit())


def clamp_threads(requested: int | None) -> int | None:
    """Return what is asked for, at most the CPU budget: threads of this process where others do the work."""
    return None if requested is None else min(check_size("threads", requested), cpu_budget().granted)


def grant(requested: int | None, threading: Threading, *, warn: bool = True) -> ThreadGrant:
    """Spend a thread budget as the backend's `threading` says.

    Parameters
    ----------
    requested : int or None
        What the user asked for; None: the CPU budget.
    threading : {"workers", "blas", "own", "none"}
    warn : bool
        Whether nobody else passes the notes on.

    Warns
    -----
    ThreadsWarning
        When more is asked for than the budget: honoured for row workers, clamped for BLAS and own pools.
    """
    if requested is not None:
        requested = check_size("threads", requested)
    if threading == "none":
        return ThreadGrant(requested, 1, 1, 1)
    budget = cpu_budget()
    most = budget.granted
    granted, notes = requested or most, []
    if granted > most:
        what = "honoured: more workers than CPUs are slower, and change no result"
        if threading != "workers":
            what, granted = f"clamped to {most}", most
        notes.append(
            f"{plural(requested or 0, 'thread')} were asked for and the CPU budget is {most} ({budget.reason}); {what}."
        )
        if warn:
            warn_caller(ThreadsWarning(notes[-1]))
    workers = granted if threading == "workers" else 1
    return ThreadGrant(requested, granted, workers, 1 if threading == "workers" else granted, tuple(notes))
