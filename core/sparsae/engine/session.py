"""When an objective may compute: thread limits in force, worker threads ready, one evaluation at a time."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, final

from sparsae.engine.engine_types import SumsEngine
from sparsae.engine.setup import limit_backend_threads
from sparsae.errors import UsageError
from sparsae.files.deferred_signals import DeferredSignals
from sparsae.machine.limits import limit, pools
from sparsae.machine.threads import ThreadGrant
from sparsae.plugins.contract import Backend


@final
class Session:
    """Opens and closes what an engine needs to compute, and serialises evaluations.

    An engine has one set of scratch arrays, so that two evaluations at a time would return wrong numbers: threads that
    share an objective take turns.  In the child after a fork, locks and worker threads are made anew.
    A session that is dropped without `close`, or is open when the interpreter exits, ends its threads and restores
    the thread limits.

    Attributes
    ----------
    pools : tuple of dict
        BLAS and OpenMP pools as read back while the limits were in force; empty before.
    missed : tuple of str
        Limits that were not honoured.
    """

    def __init__(self, engine: SumsEngine, backend: Backend, granted: ThreadGrant) -> None:
        self._engine, self._backend, self._granted = engine, backend, granted
        self._renew()
        self._open: ExitStack | None = None
        self._thread = 0  # the one that opened it
        self._finalizer: weakref.finalize[Any, Any] | None = None
        self.pools: tuple[dict[str, Any], ...] = ()
        self.missed: tuple[str, ...] = ()

    def _renew(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._owner = 0  # thread that holds the lock

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait until no other thread uses the session."""
        if self._pid != os.getpid():
            self._renew()
            self._engine.renew_after_fork()
        me = threading.get_ident()
        if self._owner == me:
            raise UsageError("This Objective is in the middle of an evaluation in this thread; it cannot be nested.")
        with self._lock:
            try:
                self._owner = me
                yield
            finally:
                self._owner = 0

    def open(self) -> None:
        """Limit the threads of all pools, for the calling thread and what it computes.

        Raises
        ------
        UsageError
            When it is open already.
        """
        with self._turn():
            if self._open is not None:
                raise UsageError("This Objective is in use already: a with block of it is open, and cannot be nested.")
            self._acquire()

    def close(self) -> None:
        """Restore the limits and end the worker threads; does nothing when it is closed."""
        with self._turn():
            self._release()

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """The turn of this thread: opened for its duration where the session is closed."""
        with self._turn():
            if self._open is None:
                try:
                    self._acquire()
                    yield
                finally:
                    self._release()
            else:
                with self._limit_this_thread():
                    yield

    def _limit_this_thread(self) -> AbstractContextManager[object]:
        """OpenMP pools are per thread: a thread that did not open the session needs a limit of its own."""
        same = self._thread == threading.get_ident()
        return nullcontext() if same else limit(self._granted.pool)

    def _acquire(self) -> None:
        resources = ExitStack()
        try:
            with DeferredSignals():  # registered before anything is changed
                self._open, self._thread = resources, threading.get_ident()
                self._finalizer = weakref.finalize(self, resources.close)
                resources.callback(self._engine.close)
            self.missed = resources.enter_context(limit(self._granted.pool))
            resources.enter_context(limit_backend_threads(self._backend, self._granted.pool))
            self.pools = self.pools or pools()
        except BaseException:
            self._release()
            raise

    def _release(self) -> None:
        with DeferredSignals():
            resources, self._open = self._open, None
            if self._finalizer is not None:
                self._finalizer.detach()
            if resources is not None:
                resources.close()
