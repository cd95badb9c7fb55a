"""A pool of row workers: the calling thread and T - 1 more, each with its own kernel, that share segments."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count, repeat
from queue import Empty, SimpleQueue
from typing import final

from sparsae._text import plural
from sparsae.engine.cpu_balance import CpuBalancer
from sparsae.engine.kernel_calls import backend_error, silent_products
from sparsae.errors import BackendError
from sparsae.files.deferred_signals import DeferredSignals
from sparsae.machine.limits import limit_this_worker
from sparsae.plugins.contract import AnyKernel

GRACE = 5.0  # seconds that an interrupted run waits for kernels to return from their block
IMPATIENCE = 1.0  # seconds after a further interrupt


@final
class RunCancelledError(Exception):
    """Raised by a task to leave a segment because the run was cancelled; never leaves the pool."""


@final
class SegmentRun:
    """One call of `WorkerPool.run`: which segment is next, and whether to go on."""

    def __init__(
        self, task: SegmentTask, n_segments: int, describe: Callable[[int], str], balancer: CpuBalancer
    ) -> None:
        self._task, self._n_segments, self._describe, self._balancer = task, n_segments, describe, balancer
        self._next: Iterator[int] = count()  # next() on it is atomic
        self.cancelled = False
        self.error: BaseException | None = None
        self.finished: list[None] = []  # one entry for each thread of the pool that has left the run
        self.wake_ups: SimpleQueue[None] = SimpleQueue()  # one after each of these

    def check(self) -> None:
        """Raise `RunCancelledError` when the run was cancelled; tasks call it before each block."""
        if self.cancelled:
            raise RunCancelledError

    def work(self, kernel: AnyKernel, worker: int) -> None:
        """Do segments until there are none or the run is cancelled; what goes wrong is kept in `error`."""
        with silent_products():
            while not self.cancelled and (segment := next(self._next)) < self._n_segments:
                self._balancer.update(worker)
                try:
                    self._task(kernel, segment, self)
                except RunCancelledError:
                    break
                except BaseException as error:  # noqa: BLE001 (a kernel may raise anything; raised again by `run`)
                    self.fail(backend_error(error, self._describe(segment)))
        self._balancer.finish(worker)

    def fail(self, error: BaseException) -> None:
        """Cancel the run; the first error is the one that is raised, but an interrupt comes before all others."""
        if self.error is None or isinstance(error, KeyboardInterrupt):
            self.error = error
        self.cancelled = True


SegmentTask = Callable[[AnyKernel, int, SegmentRun], None]
Jobs = list["SimpleQueue[SegmentRun | None]"]
_ALONE = CpuBalancer([0])  # for a run without helpers: it never moves anything


@final
class WorkerPool:
    """T workers for T kernels.  Threads are started when first needed, and end with `close` or when it is dropped.

    In the child after a fork the threads are started anew.

    Parameters
    ----------
    kernels : sequence of Kernel
        One instance each; the calling thread uses the first.

    Attributes
    ----------
    abandoned : bool
        Whether a kernel did not return after an interrupt: its thread still uses its kernel, so that the pool
        cannot be used again.
    """

    def __init__(self, kernels: Sequence[AnyKernel]) -> None:
        self._kernels = kernels
        self._jobs: Jobs = []
        self._threads: list[threading.Thread] = []
        self._pid = os.getpid()
        self.abandoned = False
        weakref.finalize(self, _end_threads, self._jobs)

    def run_tasks(self, task: Callable[[int], None], count: int, what: str) -> None:
        """Call ``task(i)`` for i below `count`, in any order, on all threads, one in this; `what` is for messages."""
        if count == 1:
            task(0)
        else:
            self.run(lambda kernel, i, run: task(i), count, lambda i: f"Part {i} of {what} failed")

    def run(
        self,
        task: SegmentTask,
        n_segments: int,
        describe: Callable[[int], str],
        first: Callable[[], object] | None = None,
    ) -> None:
        """Call ``task(kernel, segment, run)`` once for each segment; returns, or raises, when no worker is at it.

        `first` is called in this thread while the others wake up and begin.

        Raises
        ------
        BackendError
            When the task raised: once, with what `describe` says of the segment, the cause chained.
            A `SparsaeError` is passed on as it is.
        KeyboardInterrupt
            When it comes, after the other workers have left their block, or after `GRACE` seconds.
        """
        if self.abandoned:
            raise BackendError("A kernel did not return after an interrupt and may still run; prepare it anew.")
        helpers = min(len(self._kernels), n_segments) - 1
        if helpers == 0:
            run = SegmentRun(task, n_segments, describe, _ALONE)
            if first is not None:
                first()
            run.work(self._kernels[0], 0)
            if run.error is not None:
                raise run.error
            return
        self._start(helpers)
        threads = [threading.get_native_id(), *(thread.native_id or 0 for thread in self._threads[:helpers])]
        balancer = CpuBalancer(threads)
        run = SegmentRun(task, n_segments, describe, balancer)
        given = 0

        def put() -> None:
            nonlocal given
            puts = map(SimpleQueue.put, self._jobs[:helpers], repeat(run))
            given, _ = helpers, [*puts]  # no signal handler runs within a list display: all are put, and counted

        try:
            balancer.wake(put)
            if first is not None:
                first()
            run.work(self._kernels[0], 0)
            while len(run.finished) < given and not isinstance(run.error, KeyboardInterrupt):
                run.wake_ups.get()  # what counts is who has left, not how many wake-ups were read
        except BaseException as error:  # noqa: BLE001 (raised below, when the other workers are done)
            run.fail(error)
        if len(run.finished) < given:
            self._wait_after_interrupt(run, given)
        if run.error is not None:
            raise run.error

    def _wait_after_interrupt(self, run: SegmentRun, given: int) -> None:
        """Return when that many workers have left the run; after `GRACE` seconds abandon those that have not."""
        deadline = time.monotonic() + GRACE
        with DeferredSignals() as signals:
            while len(run.finished) < given:
                if signals.pending is not None:
                    deadline, signals.pending = min(deadline, time.monotonic() + IMPATIENCE), None
                if time.monotonic() >= deadline:
                    self._abandon()
                    return
                with suppress(Empty):
                    run.wake_ups.get(timeout=0.05)

    def _abandon(self) -> None:
        """Leave threads whose kernel does not return to themselves; they end if it ever does."""
        self.abandoned = True
        _end_threads(self._jobs)
        self._threads = []

    def close(self) -> None:
        """End the threads; the pool may be used again, and starts new ones then."""
        if not self._threads:  # to defer signals takes 20 us
            return
        with DeferredSignals():
            if self._pid != os.getpid():
                self._forget_threads()
            threads, self._threads = self._threads, []
            _end_threads(self._jobs)
            for thread in threads:
                if thread is not threading.current_thread():
                    thread.join(GRACE)

    def _forget_threads(self) -> None:
        """In the child after a fork: the threads and what they waited for stayed in the parent."""
        self._pid = os.getpid()
        self._jobs.clear()
        self._threads = []

    def _start(self, helpers: int) -> None:
        """Start threads up to that number."""
        if self._pid != os.getpid():
            self._forget_threads()
        if len(self._threads) >= helpers:
            return
        with DeferredSignals():
            for index in range(len(self._threads), helpers):
                job: SimpleQueue[SegmentRun | None] = SimpleQueue()
                thread = threading.Thread(
                    target=_serve,
                    args=(self._kernels[index + 1], index + 1, job),
                    name=f"sparsae-worker-{index + 1}",
                    daemon=True,
                )
                try:
                    thread.start()
                except RuntimeError as error:
                    raise BackendError(
                        f"The system allows no more threads ({error}); {plural(index + 1, 'worker')} would run. "
                        f"Ask for fewer with threads={index + 1}."
                    ) from error
                self._jobs.append(job)
                self._threads.append(thread)


def _end_threads(jobs: Jobs) -> None:
    """Tell threads to end, and forget them."""
    while jobs:
        jobs.pop().put(None)


def _serve(kernel: AnyKernel, worker: int, job: SimpleQueue[SegmentRun | None]) -> None:
    """Work on runs until told to end."""
    with suppress(Exception):
        limit_this_worker(1)
    while (run := job.get()) is not None:
        try:
            run.work(kernel, worker)
        except BaseException as error:  # noqa: BLE001 (raised in the calling thread)
            run.fail(error)
        run.finished.append(None)
        wake_ups = run.wake_ups
        del run  # while it waits for the next, a worker keeps no data alive
        wake_ups.put(None)
