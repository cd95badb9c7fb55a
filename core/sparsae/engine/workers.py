"""A pool of row workers: the calling thread and T - 1 more, each with its own kernel, sharing out segments."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from queue import SimpleQueue
from typing import final

from sparsae.engine.cpu_balance import CpuBalancer
from sparsae.engine.kernel_calls import backend_error
from sparsae.machine.limits import limit_this_worker
from sparsae.plugins.contract import AnyKernel

Task = Callable[[AnyKernel, int], None]


@final
class Stopped(Exception):  # noqa: N818 (a signal between our own threads, not an error)
    """Raised by a task to leave a segment because the run was called off."""


@final
class Run:
    """One call of `WorkerPool.run`: who takes which segment, and whether to go on."""

    def __init__(self, task: Task, n_segments: int, describe: Callable[[int], str], spread: CpuBalancer) -> None:
        self.task = task
        self.spread = spread
        self.n_segments = n_segments
        self.describe = describe
        self.next: Iterator[int] = count()  # next() on it is atomic
        self.stop = False
        self.error: BaseException | None = None
        self.left: list[None] = []  # one entry for each thread of the pool that is done with the run

    def work(self, kernel: AnyKernel, worker: int) -> None:
        """Take segments until there are none or the run was called off."""
        while not self.stop and (segment := next(self.next)) < self.n_segments:
            self.spread.look(worker)
            try:
                self.task(kernel, segment)
            except Stopped:
                return
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 (a kernel may raise anything; raised in the calling thread)
                self.fail(backend_error(error, self.describe(segment)))
        self.spread.leave(worker)

    def fail(self, error: BaseException) -> None:
        """Call the run off; the first error is the one that surfaces."""
        if self.error is None:
            self.error = error
        self.stop = True


@final
class WorkerPool:
    """T workers for T kernels.  Threads are started when first needed and end with `close`.

    Parameters
    ----------
    kernels : sequence of Kernel
        One instance each; the calling thread uses the first.
    """

    def __init__(self, kernels: Sequence[AnyKernel]) -> None:
        self._kernels = kernels
        self._jobs: list[SimpleQueue[Run | None]] = []
        self._done: SimpleQueue[None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self.current: Run | None = None

    def run(self, task: Task, n_segments: int, describe: Callable[[int], str]) -> None:
        """Call ``task(kernel, segment)`` once for each segment; returns, or raises, when no worker is at it any more.

        Raises
        ------
        BackendError
            When the task raised: once, with what `describe` says of the segment, the cause chained.
            A `SparsaeError` is passed on as it is.
        KeyboardInterrupt
            When it comes, after the other workers have left their block.
        """
        helpers = min(len(self._kernels), n_segments) - 1
        self._start(helpers)
        threads = [threading.get_native_id(), *(thread.native_id or 0 for thread in self._threads[:helpers])]
        run = self.current = Run(task, n_segments, describe, CpuBalancer(threads))
        given = 0
        try:
            for job in self._jobs[:helpers]:
                job.put(run)
                given += 1
            run.work(self._kernels[0], 0)
            self._wait(run, given)
        except BaseException:
            run.stop = True
            self._wait(run, given)  # at most one block's time: the tasks look at run.stop
            raise
        finally:
            self.current = None
        if run.error is not None:
            raise run.error

    def _wait(self, run: Run, given: int) -> None:
        """Return when that many workers have left the run, and not before; an interrupt is raised then.

        What counts is who has left, not how many wake-ups were read: an interrupt may swallow one.
        """
        interrupt = None
        while len(run.left) < given:
            try:
                self._done.get()
            except KeyboardInterrupt as error:
                run.stop, interrupt = True, error
        if interrupt is not None:
            raise interrupt

    def close(self) -> None:
        """End the threads; the pool may be used again, and starts new ones then."""
        for job in self._jobs:
            job.put(None)
        for thread in self._threads:
            thread.join()
        self._jobs, self._threads = [], []

    def _start(self, helpers: int) -> None:
        """Start threads up to that number."""
        for index in range(len(self._threads), helpers):
            job: SimpleQueue[Run | None] = SimpleQueue()
            thread = threading.Thread(
                target=_serve,
                args=(self._kernels[index + 1], index + 1, job, self._done),
                name=f"sparsae-worker-{index + 1}",
                daemon=True,
            )
            self._jobs.append(job)
            self._threads.append(thread)
            thread.start()


def _serve(kernel: AnyKernel, worker: int, job: SimpleQueue[Run | None], done: SimpleQueue[None]) -> None:
    """Do runs until told to end; what goes wrong in a run is the run's."""
    limit_this_worker(1)
    while (run := job.get()) is not None:
        try:
            run.work(kernel, worker)
        except BaseException as error:  # noqa: BLE001 (surfaces in the calling thread)
            run.fail(error)
        run.left.append(None)
        del run  # while it waits for the next, a worker keeps no data alive
        done.put(None)
