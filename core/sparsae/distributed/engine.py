"""The engine of a fit on a Dask cluster: the same sums as `engine.Engine`, made by workers.

An evaluation sends each worker one task and gets back one `Sums` for each complete subtree of the reduction tree that
the worker holds; the rest of the tree is added here.  So the bits are those of the local engine with the same passes,
for any number of workers and any placement of rows.
"""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sparsae._types import Array, run_in_turn
from sparsae.distributed.batches import ClusterBatchEngine, cut_batch, place_batch
from sparsae.distributed.connection import Connection
from sparsae.distributed.placement import Subtree, complete_subtrees, place_near, split_segments
from sparsae.distributed.process import forget
from sparsae.distributed.rounds import Round
from sparsae.distributed.rows import RemoteRows
from sparsae.distributed.summaries import summarise
from sparsae.distributed.tasks import FitDescription, Work
from sparsae.distributed.workers import check_workers
from sparsae.engine.batch_threshold import BatchThreshold
from sparsae.engine.engine import Engine
from sparsae.engine.engine_types import RowsEngine, SumsEngine
from sparsae.engine.fold import Sparsity, evaluate_sums
from sparsae.engine.kernel_calls import make_kernel
from sparsae.engine.partition import Partition, TreeSum
from sparsae.engine.sources import DataSource
from sparsae.engine.storage import Storage
from sparsae.engine.summary import DataSummary
from sparsae.machine.threads import ThreadGrant
from sparsae.model import Parameters
from sparsae.plugins.contract import AnyKernel, Backend, Problem
from sparsae.plugins.sums import Sums

BLOCK_ROWS = 1 << 14  # of backends that want all rows at once on one machine


@final
class ClusterEngine:
    """Evaluates the sums of one backend over rows that live on the workers of a cluster.

    Parameters
    ----------
    connection : Connection
    x, target : DataSource
        The same object when there is no separate target.
    backend : Backend
        Workers load it by its name.
    problem, partition, storage
        As in `Engine`; `storage.passes` is the number of rounds.
    threads : int, optional
        Of each worker; else those of the connection, else its number of Dask threads.

    Attributes
    ----------
    kernels : list of Kernel
        One, for what is done once in an evaluation.
    sources : tuple of DataSource
    cluster : tuple of dict
        What each worker is, for the receipt.
    """

    def __init__(
        self,
        connection: Connection,
        x: DataSource,
        target: DataSource,
        *,
        backend: Backend,
        problem: Problem,
        partition: Partition,
        storage: Storage,
        threads: int | None = None,
    ) -> None:
        self.partition, self.storage, self.problem = partition, storage, problem
        self.sources = x, target
        self.kernels: list[AnyKernel] = [make_kernel(backend, problem)]
        self._name, self._connection = backend.name, connection
        self._rows = RemoteRows(connection, x, target, partition)
        threads = threads or connection.threads
        facts, self._notes = check_workers(connection, backend.name, strict=connection.strict, threads=threads)
        self._rows.spilling.look(connection.last_seen)  # what others have written before
        self.cluster: tuple[dict[str, Any], ...] = tuple(
            {"worker": name, **found.to_dict()} for name, found in sorted(facts.items())
        )
        self._fit = uuid.uuid4().hex  # workers keep rows and kernels under this name
        self._fit_description = FitDescription(
            backend=backend.name,
            problem=problem,
            x=self._rows.containers[0],
            target=self._rows.containers[-1],
            separate_target=target is not x,
            threads=threads,
        )
        self._description = pickle.dumps(self._fit_description)
        self._evaluations = 0
        self._summaries: tuple[DataSummary, DataSummary] | None = None
        self._placement: tuple[tuple[str, ...], dict[str, tuple[Subtree, ...]]] = ((), {})
        self._trees: dict[bool, TreeSum] = {}  # with the q-sums, and without

    @property
    def notes(self) -> Sequence[str]:
        """What the receipt should say: known from the start, or seen since then."""
        return [*self._notes, *self._rows.spilling.notes]

    def run_tasks(self, task: Callable[[int], None], count: int) -> None:
        """Call ``task(i)`` for i below `count`, in this thread."""
        run_in_turn(task, count)

    def close(self) -> None:
        """Have the workers drop what they hold of this fit; it is read again if the engine is used again."""
        self._connection.broadcast(forget, self._fit)

    def renew_after_fork(self) -> None:
        """In the child after a fork: nothing is held by another thread here."""

    def evaluate(self, parameters: Parameters, sparsity: Sparsity) -> Sums:
        """Return the sums over all rows at `parameters`, sparsity included; as `Engine.evaluate`.

        Raises
        ------
        DataError, BackendError
            As `Engine.evaluate`, from whichever worker.
        ClusterError
            When there is no worker left, or none answers within the deadline.
        """
        m = self.partition.n_samples
        of_total = (lambda total: sparsity(total / m)) if callable(sparsity) else sparsity
        self._evaluations += 1
        n_segments = self.partition.n_segments
        work = Work(evaluation=self._evaluations, round="accumulate", partition=self.partition, subtrees=())

        def totals(weights: Any) -> NDArray[np.float64]:
            found = np.zeros((n_segments, self.problem.n_hidden))
            for subtree, part in self._round(replace(work, round="encode"), shared).items():
                found[list(subtree.segments(n_segments))] = part
            return found

        def sums(weights: Any, s: Array | None) -> Sums:
            return self._sum(self._round(replace(work, sparsity=s), shared), whole=s is None)

        shared = self._share(parameters)
        both = totals if self.storage.passes == 2 else None
        return evaluate_sums(self._name, self.kernels[0], parameters, of_total, totals=both, sums=sums)

    def batch_threshold(self, parameters: Parameters, k: int, rows: NDArray[np.intp] | None = None) -> BatchThreshold:
        """Return what batch top-k keeps of some rows, or of all; as `Engine.batch_threshold`."""
        self._evaluations += 1
        partition, batch = (self.partition, None) if rows is None else cut_batch(rows, self.problem.block_rows)
        work = Work(
            evaluation=self._evaluations,
            round="largest",
            partition=partition,
            subtrees=(),
            batch=batch,
            count=k * partition.n_samples,
        )
        first, *others = self._round(work, self._share(parameters)).values()
        for other in others:
            first.merge(other)
        found: BatchThreshold = first.threshold()
        return found

    def summaries(self) -> tuple[DataSummary, DataSummary]:
        """Return the summaries of x and target, made where the rows are, the first time."""
        if self._summaries is None:
            x, target = self.sources
            apart = [x] if target is x else [x, target]
            found = summarise(self._connection, self._rows, self.partition, apart)
            self._summaries = found[0], found[-1]
        return self._summaries

    def batch_engine(self, *, backend: Backend, granted: ThreadGrant, batch_rows: int, direct: bool) -> RowsEngine:
        """Return an engine for mini-batches of the same rows, on the same workers."""
        return ClusterBatchEngine(
            self._connection,
            self._rows,
            description=self._fit_description,
            backend=backend,
            granted=granted,
            batch_rows=batch_rows,
            direct=direct,
            n_workers=len(self.cluster),
        )

    def _share(self, parameters: Parameters) -> Any:
        return self._connection.share(parameters, f"{self._fit}-{self._evaluations}")

    def _round(self, work: Work, parameters: Any) -> dict[Subtree, Any]:
        """Send the work to the workers and return the result of each subtree."""
        done = Round(self._connection, self._fit, self._description, self._rows, work, parameters)
        if work.batch is not None:
            return done.run(place_batch(self._connection, self._rows, work))
        return done.run(self._place(work.partition.n_segments))

    def _place(self, n_segments: int) -> Mapping[str, tuple[Subtree, ...]]:
        """Return which worker does which subtrees of all rows; made anew when workers have come or gone."""
        shares = self._connection.recent_shares()
        workers, placement = self._placement
        if workers != tuple(shares):
            locations = self._rows.locations()
            held: Mapping[str, Sequence[int]] = split_segments(n_segments, shares)
            if locations is not None:
                held = place_near(locations, shares)
                self._rows.move(held)
            placement = {worker: complete_subtrees(segments, n_segments) for worker, segments in held.items()}
            self._placement = tuple(shares), placement
        return placement

    def _sum(self, parts: Mapping[Subtree, NDArray[np.float64]], *, whole: bool) -> Sums:
        """Add the subtrees of all rows in the order of the tree."""
        n, p, n_segments = self.problem.n_visible, self.problem.n_hidden, self.partition.n_segments
        if whole not in self._trees:
            self._trees[whole] = TreeSum(n, p, n_segments, with_sparsity=whole)
        tree = self._trees[whole]
        tree.restart()
        for subtree, part in parts.items():
            sums = tree.cleared_sums()
            (sums.vector if whole else sums.head)[:] = part
            tree.add(subtree.index, sums, level=subtree.level)
        return tree.total()


def cluster_block_rows(asked: int | None, backend: Backend) -> int | None:
    """Return the rows of a block: those asked for; a fixed number for a backend that would take all rows at once."""
    if asked is None and backend.threading in ("blas", "own"):
        return BLOCK_ROWS
    return asked


def make_engine(
    connection: Connection | None,
    backend: Backend,
    problem: Problem,
    sources: tuple[DataSource, DataSource],
    *,
    storage: Storage,
    workers: int,
    threads: int | None,
) -> SumsEngine:
    """Return the engine of this process with so many workers, or that of a cluster, whose have so many threads."""
    x, target = sources
    partition = Partition(x.shape[0], problem.block_rows)
    if connection is None:
        return Engine(
            x, target, backend=backend, problem=problem, partition=partition, storage=storage, workers=workers
        )
    return ClusterEngine(
        connection,
        x,
        target,
        backend=backend,
        problem=problem,
        partition=partition,
        storage=storage,
        threads=threads,
    )
