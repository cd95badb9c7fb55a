"""Thread budgets and thread limits; the only file that imports threadpoolctl.

A limit on a BLAS pool is global state of the process, borrowed by a fit and given back.
threadpoolctl 3.8 lets one thread at a time control a pthreads OpenBLAS and ignores the others without a word,
and it restores what it read when a limit began, which may be somebody else's limit.
So the holds of this process are counted here: the first one remembers what was in force, the last one restores it,
the least of them is in force between, and every hold reads back what it got.
OpenMP pools are per thread: they are limited in the thread that holds and, by `limit_this_worker`, in each row worker.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import threadpoolctl

from sparsae._types import Threading
from sparsae.errors import ThreadsWarning
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
    return CpuBudget(affinity_cpus(), cgroup_cpus(), _HOLDS.pool_limit())


def grant(requested: int | None, threading: Threading) -> ThreadGrant:
    """Spend a thread budget as the backend's `threading` says.

    Parameters
    ----------
    requested : int or None
        The user's wish; None: the CPU budget.
    threading : {"workers", "blas", "own", "none"}

    Warns
    -----
    ThreadsWarning
        When more is asked for than the budget: honoured for row workers, clamped for BLAS and own pools.
    """
    if requested is not None:
        requested = check_size("threads", requested)
    if threading == "none":
        return ThreadGrant(requested, 1, 1, 1)
    budget = cpu_budget().granted
    granted, notes = requested or budget, []
    if granted > budget:
        what = "honoured: more workers than CPUs are slower, and change no result"
        if threading != "workers":
            what, granted = f"clamped to {budget}", budget
        notes.append(f"{requested} threads were asked for and the CPU budget is {budget}; {what}.")
        warnings.warn(notes[-1], ThreadsWarning, stacklevel=4)  # whoever called what calls `resolve_problem`
    workers = granted if threading == "workers" else 1
    return ThreadGrant(requested, granted, workers, 1 if threading == "workers" else granted, tuple(notes))


def pools() -> tuple[dict[str, Any], ...]:
    """Read every BLAS and OpenMP pool that is loaded, as this thread sees it.

    Returns
    -------
    tuple of dict
        user_api, internal_api, prefix, version, architecture, threading_layer, num_threads,
        and library, the file's name without its folder.
    """
    keys = ("user_api", "internal_api", "prefix", "version", "architecture", "threading_layer", "num_threads")
    return tuple(
        {key: info.get(key) for key in keys} | {"library": Path(info["filepath"]).name}
        for info in _HOLDS.controller().info()
    )


@contextmanager
def limit(n: int) -> Iterator[tuple[str, ...]]:
    """Hold every BLAS pool, and the OpenMP pools of this thread, at `n` threads.

    Enter it after the libraries are loaded, in the thread that runs the work.
    Restored on exit, also after an exception; holds may nest and may overlap between threads.

    Yields
    ------
    tuple of str
        What was not honoured, one sentence a pool; also given as a `ThreadsWarning`.
    """
    token = _HOLDS.acquire(n)
    try:
        missed = _HOLDS.missed(n)
        for sentence in missed:
            warnings.warn(sentence, ThreadsWarning, stacklevel=3)
        yield missed
    finally:
        _HOLDS.release(token)


def limit_this_worker(n: int) -> None:
    """Limit the OpenMP pools of the calling thread, which is a row worker that ends with the fit."""
    for library in _HOLDS.controller().lib_controllers:
        if library.user_api == "openmp":
            library.set_num_threads(n)


class _Holds:
    """The limits that this process holds at the moment."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._controller: Any = None
        self._modules = 0
        self._active: dict[object, int] = {}
        self._before: dict[str, int] = {}

    def controller(self) -> Any:
        """Return the kept controller; scan again when modules were imported since, for they may have brought a pool."""
        with self._lock:
            if self._controller is None or len(sys.modules) != self._modules:
                self._controller = threadpoolctl.ThreadpoolController()
                self._modules = len(sys.modules)
            return self._controller

    def pool_limit(self) -> int | None:
        """Return the limit in force on the BLAS pools, ours not counted."""
        with self._lock:
            limits = [
                self._before.get(library.filepath, library.num_threads)
                for library in self.controller().lib_controllers
                if library.user_api == "blas"
            ]
        return min((n for n in limits if n), default=None)

    def acquire(self, n: int) -> object:
        with self._lock:
            libraries = self.controller().lib_controllers
            for library in libraries:
                if library.user_api == "blas":  # a pool that came late is remembered when it is first seen
                    self._before.setdefault(library.filepath, library.num_threads)
            token = (object(), [(lib, lib.num_threads) for lib in libraries if lib.user_api == "openmp"])
            self._active[token[0]] = n
            self._apply(openmp=n)
            return token

    def release(self, token: Any) -> None:
        with self._lock:
            key, openmp = token
            del self._active[key]
            self._apply()
            for library, n in openmp:
                library.set_num_threads(n)

    def missed(self, n: int) -> tuple[str, ...]:
        """Return what did not follow, one sentence a pool."""
        return tuple(
            f"{library.prefix} uses {library.num_threads} threads where {n} were asked for: "
            f"another thread of this process controls the pool."
            for library in self.controller().lib_controllers
            if library.num_threads is not None and library.num_threads > n
        )

    def _apply(self, *, openmp: int | None = None) -> None:
        """Put the least of the holds in force, or what was before the first."""
        least = min(self._active.values(), default=None)
        for library in self.controller().lib_controllers:
            if library.user_api == "blas":
                n = self._before.get(library.filepath) if least is None else least
            else:
                n = openmp
            if n is not None:
                library.set_num_threads(n)
        if least is None:
            self._before.clear()
        # Control is given back at once, unless this thread holds a limit of its own through threadpoolctl,
        # so that whichever of our threads ends last can restore.
        ownership = getattr(threadpoolctl, "CONTROLLING_THREAD_OWNERSHIP", None)
        if getattr(ownership, "count", 0) == 0:
            for kind in {type(library) for library in self.controller().lib_controllers}:
                getattr(kind, "clear_controlling_thread", lambda: None)()


_HOLDS = _Holds()
