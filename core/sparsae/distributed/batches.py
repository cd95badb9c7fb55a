"""Mini-batches on the workers of a cluster, with the bits of `engine.batch_engine.BatchEngine`.

The rows of a step are cut into the blocks that they are cut into in one process; each worker sends the sums of its
blocks, and they are added here in the order of the blocks.  The update of the parameters is done here.
"""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sparsae._text import plural
from sparsae._types import Array
from sparsae.distributed.connection import Connection
from sparsae.distributed.placement import Subtree, balance, split_segments
from sparsae.distributed.process import forget
from sparsae.distributed.rounds import Round
from sparsae.distributed.rows import RemoteRows
from sparsae.distributed.tasks import FitDescription, Work
from sparsae.engine.batch_engine import Given, choose_batch_blocks
from sparsae.engine.batch_sums import BatchSums, batch_sum, put_together
from sparsae.engine.fold import Sparsity, cast_sparsity
from sparsae.engine.kernel_calls import call_kernel, make_kernel
from sparsae.engine.partition import Partition
from sparsae.engine.row_reader import RowNumbers
from sparsae.engine.workers import WorkerPool
from sparsae.machine.threads import ThreadGrant
from sparsae.model import Parameters
from sparsae.plugins.contract import AnyKernel, Backend
from sparsae.plugins.sums import SumsLayout


@final
class ClusterBatchEngine:
    """Evaluates the sums of one backend over some of the rows, on the workers of a cluster.

    Parameters
    ----------
    connection : Connection
    rows : RemoteRows
    description : FitDescription
        Of the fit.
    backend, granted, batch_rows, direct
        As in `BatchEngine`.
    n_workers : int
        How many there were at the start, for the receipt.

    Attributes
    ----------
    partition : Partition
        Of a whole mini-batch.
    place : str
    kernels : list of Kernel
        One, which does what is done once in an evaluation.
    """

    def __init__(
        self,
        connection: Connection,
        rows: RemoteRows,
        *,
        description: FitDescription,
        backend: Backend,
        granted: ThreadGrant,
        batch_rows: int,
        direct: bool,
        n_workers: int,
    ) -> None:
        self._connection, self._rows, self._name = connection, rows, backend.name
        self._search_rows = description.problem.block_rows
        self.partition = Partition(batch_rows, choose_batch_blocks(batch_rows, backend, description.problem))
        self._problem = replace(description.problem, block_rows=self.partition.block_rows)
        self._kernel: AnyKernel = make_kernel(backend, self._problem)
        self.kernels: list[AnyKernel] = [self._kernel]
        self._direct = direct and self._kernel.direct_sums
        self._description = pickle.dumps(replace(description, problem=self._problem, batches=True, direct=direct))
        self._fit = uuid.uuid4().hex
        self._evaluations = 0
        self._threads = WorkerPool([self._kernel] * max(granted.workers, granted.pool))  # of `run_tasks`; not called
        self._sums = batch_sum(self._problem, direct=self._direct)
        self.place = f"{plural(n_workers, 'worker')} of the cluster"

    def close(self) -> None:
        """End the threads, free the sums, and have the workers drop theirs; the engine can be used again."""
        self._sums = batch_sum(self._problem, direct=self._direct)
        self._threads.close()
        self._connection.broadcast(forget, self._fit)

    def read_ahead(self, rows: RowNumbers) -> None:
        """Workers read rows when they are asked for sums."""

    def take(self, rows: RowNumbers) -> tuple[Array, Array]:
        """Return those rows of x and target; the same array where there is no separate target."""
        parts = self._rows.take(rows, self._problem.dtype)
        return parts[0], parts[-1]

    def run_tasks(self, task: Callable[[int], None], count: int) -> None:
        """Call ``task(i)`` for i below `count`, in any order, on all threads of this process."""
        self._threads.run_tasks(task, count, "an update")

    def evaluate(self, parameters: Parameters, sparsity: Sparsity, rows: RowNumbers) -> BatchSums:
        """Return the sums over those rows; as `BatchEngine.evaluate`, in one round or two.

        Raises
        ------
        DataError, BackendError
            As `BatchEngine.evaluate`, from whichever worker.
        ClusterError
            When there is no worker left, or none answers within the deadline.
        """
        weights = call_kernel(self._name, self._kernel, "begin", parameters)
        partition, batch = cut_batch(rows, self.partition.block_rows)
        work = self._work("accumulate", partition, batch, two_rounds=callable(sparsity))
        shared = self._connection.share(parameters, f"{self._fit}-{work.evaluation}")
        placement = place_batch(self._connection, self._rows, work)
        if callable(sparsity):
            found = self._round(replace(work, round="encode"), shared, placement)
            totals = np.concatenate(found)
            sparsity = sparsity(totals.sum(axis=0) if len(totals) > 1 else totals[0])
        work = replace(work, sparsity=cast_sparsity(sparsity, self._problem.dtype))
        self._sums.restart(partition.n_blocks)
        blocks = (vector for part in self._round(work, shared, placement) for vector in part)
        for index, vector in enumerate(blocks):
            sums = self._sums.buffer()
            sums.head[:] = vector
            self._sums.add(index, sums)
        return put_together(self._sums.parts(), self._name, self._kernel, weights, direct=self._direct)

    def figures(self, given: Given, rows: RowNumbers, k: int | None = None) -> NDArray[np.float64]:
        """Return what `Sums` holds before the gradient, over any number of rows; as `BatchEngine.figures`.

        It takes one round.  Workers evaluate whole mini-batches, and find the threshold of each where `k` is given.
        """
        parameters = given(rows[: self.partition.n_samples])
        partition, batch = cut_batch(rows, self.partition.n_samples)
        work = self._work("figures", partition, batch, count=k or 0, block_rows=self._search_rows)
        shared = self._connection.share(parameters, f"{self._fit}-{work.evaluation}")
        total = np.zeros(SumsLayout.of(self._problem.n_visible, self._problem.n_hidden).W1)
        for part in self._round(work, shared, place_batch(self._connection, self._rows, work)):
            for figures in part:
                total += figures
        return total

    def _work(self, round_: Any, partition: Partition, batch: Mapping[int, RowNumbers], **options: Any) -> Work:
        self._evaluations += 1
        return Work(
            evaluation=self._evaluations, round=round_, partition=partition, subtrees=(), batch=batch, **options
        )

    def _round(self, work: Work, parameters: Any, placement: Mapping[str, tuple[Subtree, ...]]) -> list[Any]:
        """Return the results of the segments, in their order."""
        done = Round(self._connection, self._fit, self._description, self._rows, work, parameters).run(placement)
        return [done[Subtree(0, segment)] for segment in range(work.partition.n_segments)]


def cut_batch(rows: RowNumbers, block_rows: int) -> tuple[Partition, dict[int, RowNumbers]]:
    """Return how a mini-batch is cut, and the numbers of the rows of each segment."""
    partition = Partition(len(rows), min(block_rows, len(rows)))
    return partition, {s: rows[slice(*partition.segment_rows(s))] for s in range(partition.n_segments)}


def place_batch(connection: Connection, rows: RemoteRows, work: Work) -> dict[str, tuple[Subtree, ...]]:
    """Return which worker does which segments of a mini-batch: where their rows are, no worker more than its share."""
    shares, n_segments = connection.recent_shares(), work.partition.n_segments
    held = rows.held(work)
    placed = split_segments(n_segments, shares) if held is None else balance(held, shares)
    return {worker: tuple(Subtree(0, segment) for segment in segments) for worker, segments in placed.items()}
