"""What an objective needs of an engine, and what mini-batches need: of this process, or of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sparsae._types import Array
from sparsae.engine.batch_engine import Given
from sparsae.engine.batch_sums import BatchSums
from sparsae.engine.batch_threshold import BatchThreshold
from sparsae.engine.fold import Sparsity
from sparsae.engine.partition import Partition
from sparsae.engine.row_reader import RowNumbers
from sparsae.engine.sources import DataSource
from sparsae.engine.storage import Storage
from sparsae.engine.summary import DataSummary
from sparsae.machine.threads import ThreadGrant
from sparsae.model import Parameters
from sparsae.plugins.contract import AnyKernel, Backend, Problem
from sparsae.plugins.sums import Sums


class RowsEngine(Protocol):
    """What mini-batches need of an engine: `BatchEngine`, or the workers of a cluster.

    Attributes
    ----------
    partition : Partition
        Of a whole mini-batch.
    place : str
        Where mini-batches are evaluated, for the receipt.
    kernels : list of Kernel
        Those of this process, at least one.
    """

    partition: Partition
    place: str
    kernels: list[AnyKernel]

    def evaluate(self, parameters: Parameters, sparsity: Sparsity, rows: RowNumbers) -> BatchSums:
        """Return the sums over those rows."""
        ...

    def figures(self, given: Given, rows: RowNumbers, k: int | None = None) -> NDArray[np.float64]:
        """Return what `Sums` holds before the gradient, over any number of rows."""
        ...

    def take(self, rows: RowNumbers) -> tuple[Array, Array]:
        """Return those rows of x and target."""
        ...

    def read_ahead(self, rows: RowNumbers) -> None:
        """Begin to read rows that the next evaluation needs."""
        ...

    def run_tasks(self, task: Callable[[int], None], count: int) -> None:
        """Call ``task(i)`` for i below `count`, in any order, on all threads of this process."""
        ...

    def close(self) -> None:
        """Release what it holds; it can be used again."""
        ...


class SumsEngine(Protocol):
    """What an objective needs of an engine: that of this process, or that of a cluster.

    Attributes
    ----------
    partition : Partition
        Of all rows.
    problem : Problem
    storage : Storage
    kernels : list of Kernel
        Those of this process, at least one.
    sources : tuple of DataSource
        x and target.
    cluster : tuple of dict
        What each worker of a cluster is; empty where this process computes.
    """

    partition: Partition
    problem: Problem
    storage: Storage
    kernels: list[AnyKernel]
    sources: tuple[DataSource, DataSource]
    cluster: tuple[dict[str, Any], ...]

    @property
    def notes(self) -> Sequence[str]:
        """For the receipt."""
        ...

    def evaluate(self, parameters: Parameters, sparsity: Sparsity) -> Sums:
        """Return the sums over all rows."""
        ...

    def batch_threshold(self, parameters: Parameters, k: int, rows: NDArray[np.intp] | None = None) -> BatchThreshold:
        """Return what batch top-k keeps of some rows, or of all."""
        ...

    def run_tasks(self, task: Callable[[int], None], count: int) -> None:
        """Call ``task(i)`` for i below `count`, in any order, on the row workers of this process."""

    def summaries(self) -> tuple[DataSummary, DataSummary]:
        """Return the summaries of x and target; reads the data through, the first time."""
        ...

    def batch_engine(self, *, backend: Backend, granted: ThreadGrant, batch_rows: int, direct: bool) -> RowsEngine:
        """Return an engine for mini-batches of the same rows, as `BatchEngine` is made."""
        ...

    def close(self) -> None:
        """Release what it holds; it can be used again."""
        ...

    def renew_after_fork(self) -> None:
        """Make locks anew in the child after a fork."""
        ...
