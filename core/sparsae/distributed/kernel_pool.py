"""Kernels and worker threads of one fit in a worker process, within the threads that it may use."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, final

from sparsae._types import Array
from sparsae.distributed.tasks import FitDescription
from sparsae.engine.kernel_calls import call_kernel, make_kernel
from sparsae.engine.setup import limit_all_threads
from sparsae.engine.sources import DataSource
from sparsae.engine.value_check import ValueCheck
from sparsae.engine.workers import WorkerPool
from sparsae.machine.threads import grant
from sparsae.model import Parameters
from sparsae.plugins.contract import AnyKernel
from sparsae.plugins.selection import select


@final
class KernelPool:
    """Kernels of one fit in this process, one a thread, and what the process reads for itself.

    Parameters
    ----------
    description : FitDescription
    threads : int
        Number of Dask threads of this worker.

    Attributes
    ----------
    backend : Backend
    kernels : list of Kernel
    pool : WorkerPool
    sources : tuple of DataSource
        Empty where rows travel with the tasks.
    """

    def __init__(self, description: FitDescription, threads: int) -> None:
        self.backend = select(description.backend).backend
        self._grant = grant(description.threads or threads, self.backend.threading, warn=False)
        self._problem = description.problem
        self.kernels: list[AnyKernel] = [make_kernel(self.backend, self._problem) for _ in range(self._grant.workers)]
        self.pool = WorkerPool(self.kernels)
        self.sources = _open_sources(description)
        self._lock = threading.Lock()
        self._begun: tuple[int, Any] = (-1, None)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """One task at a time, with the threads that were granted."""
        with self._lock, limit_all_threads(self.backend, self._grant):
            yield

    def begin(self, evaluation: int, parameters: Parameters) -> Any:
        """Return the weights of an evaluation; made once, whatever its rounds."""
        if self._begun[0] != evaluation:
            self._begun = evaluation, call_kernel(self.backend.name, self.kernels[0], "begin", parameters)
        return self._begun[1]

    def check(self, parts: Sequence[Array], start: int) -> None:
        """Raise `DataError` where a value of x, or of the target, cannot be used; `start` is the number of row 0."""
        dtype, unit = self._problem.dtype, self._problem.output == "sigmoid"
        for name, part in zip(("X", "target"), parts, strict=False):
            values = ValueCheck(name, dtype, dtype, unit_range=unit and part is parts[-1])
            values.add(part, start)
            values.finish()


def _open_sources(description: FitDescription) -> tuple[DataSource, ...]:
    """Open what the worker reads for itself, with the message of a worker where it cannot."""
    if description.x is None:
        return ()
    containers = [(description.x, "X")] + ([(description.target, "target")] if description.separate_target else [])
    return tuple(DataSource(container, name) for container, name in containers)
