"""Thread limits of BLAS and OpenMP pools; the only file that imports threadpoolctl.

A limit on a BLAS pool is global state of the process, changed for a fit and restored after it.
threadpoolctl 3.8 lets one thread at a time control a pthreads OpenBLAS and ignores the others silently,
and it restores what it read when a limit began, which may be another thread's limit.
So the active limits of this process are registered here: the first one remembers what was in force, the last one
restores it, the least of them is in force between, and every limit reads back what it got.
OpenMP pools are per thread: they are limited in the thread that enters the limit and, by `limit_this_worker`,
in each row worker.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import threadpoolctl

from sparsae._text import plural
from sparsae.errors import ThreadsWarning
from sparsae.files.deferred_signals import DeferredSignals
from sparsae.machine.caller_warning import warn_caller


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
        for info in _REGISTRY.controller().info()
    )


def pool_limit() -> int | None:
    """Return the least limit in force on the BLAS pools, ours not counted; None where there is no pool."""
    return _REGISTRY.pool_limit()


def limit_this_worker(n: int) -> None:
    """Limit the OpenMP pools of the calling thread, which is a row worker that ends with the fit."""
    for library in _REGISTRY.controller().lib_controllers:
        if library.user_api == "openmp":
            library.set_num_threads(n)


@final
class limit:  # noqa: N801  (a verb: `with limit(1):`)
    """Context manager: every BLAS pool, and the OpenMP pools of this thread, have at most `n` threads inside.

    Enter it after the libraries are loaded, in the thread that runs the work.
    The pools are restored on exit, also after an exception; limits may nest and may overlap between threads.
    ``with limit(n) as missed`` gives a tuple of str: what was not honoured, one sentence a pool,
    also given as a `ThreadsWarning`.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self._key = object()

    def __enter__(self) -> tuple[str, ...]:
        try:
            with DeferredSignals():
                missed = _REGISTRY.acquire(self._key, self._n)
            for sentence in missed:
                warn_caller(ThreadsWarning(sentence))
        except BaseException:
            self.__exit__()
            raise
        return missed

    def __exit__(self, *_: object) -> None:
        with DeferredSignals():
            _REGISTRY.release(self._key)

    def __del__(self) -> None:
        """End a limit whose exit a signal has interrupted: Python runs handlers where functions begin."""
        _REGISTRY.release(self._key)


@final
@dataclass
class _Entry:
    """One active limit: its size, the thread that entered it, and what that thread's OpenMP pools had before."""

    n: int
    thread: int = field(default_factory=threading.get_ident)
    openmp: list[tuple[Any, int]] = field(default_factory=list)


@final
class LimitRegistry:
    """The limits that are active in this process."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._owner = 0  # thread that changes limits at the moment
        self._late: list[object] = []  # released by a finalizer in the middle of a change
        self._controller: Any = None
        self._modules = 0
        self._active: dict[object, _Entry] = {}
        self._before: dict[str, int] = {}

    def renew_after_fork(self) -> None:
        """In the child after a fork: other threads, which may hold the lock or a limit, are not there any more."""
        self._lock, self._owner = threading.RLock(), 0
        me = threading.get_ident()
        self._active = {key: entry for key, entry in self._active.items() if entry.thread == me}

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the lock; what a finalizer releases meanwhile is released at the end."""
        with self._lock:
            self._owner = threading.get_ident()
            try:
                yield
                while self._late:
                    self._release(self._late.pop())
            finally:
                self._owner = 0

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

    def acquire(self, key: object, n: int) -> tuple[str, ...]:
        """Register a limit, put it in force, and return what `missed` does."""
        with self._changing():
            libraries = self.controller().lib_controllers
            openmp = []
            for library in libraries:
                if library.user_api == "openmp":
                    openmp.append((library, library.num_threads))
                elif library.user_api == "blas" and library.filepath not in self._before:  # remembered when first seen
                    self._before[library.filepath] = library.num_threads
            self._active[key] = _Entry(n, openmp=openmp)
            for library, _ in openmp:
                library.set_num_threads(n)
            self._apply()
            return self.missed(n)

    def release(self, key: object) -> None:
        """End a limit; one that is not registered is ignored."""
        if self._owner == threading.get_ident():
            self._late.append(key)
            return
        with self._changing():
            self._release(key)

    def _release(self, key: object) -> None:
        entry = self._active.pop(key, None)
        if entry is None:
            return
        self._apply()
        if entry.thread == threading.get_ident():
            for library, n in entry.openmp:
                library.set_num_threads(n)

    def missed(self, n: int) -> tuple[str, ...]:
        """Return what did not follow, one sentence a pool."""
        return tuple(
            f"{library.prefix} uses {plural(library.num_threads, 'thread')} where {n} were asked for: "
            f"another thread of this process controls the pool."
            for library in self.controller().lib_controllers
            if library.num_threads is not None and library.num_threads > n
        )

    def _apply(self) -> None:
        """Put the least of the active limits in force on BLAS pools, or what was before the first."""
        least = min((entry.n for entry in self._active.values()), default=None)
        libraries = self.controller().lib_controllers
        for library in libraries:
            if library.user_api == "blas":
                n = self._before.get(library.filepath) if least is None else least
                if n is not None:
                    library.set_num_threads(n)
        if least is None:
            self._before.clear()
        # Control is released at once, unless this thread holds a limit of its own through threadpoolctl,
        # so that whichever of our threads ends last can restore.
        ownership = getattr(threadpoolctl, "CONTROLLING_THREAD_OWNERSHIP", None)
        if getattr(ownership, "count", 0) == 0:
            for kind in {type(library) for library in libraries}:
                getattr(kind, "clear_controlling_thread", lambda: None)()


_REGISTRY = LimitRegistry()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_REGISTRY.renew_after_fork)
