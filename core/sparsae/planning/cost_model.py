"""The time of an evaluation on a cluster: compute + broadcast + tree reduction + scheduler overhead.

    compute    the longest that any worker takes for its segments, each done by one of its threads
    broadcast  parameters: inside each task while they are small, else once through the scheduler, then from worker to
               worker, which doubles those that have them each time
    reduction  one `Sums` for each complete subtree that a worker holds, received and added by the client
    scheduler  one fixed time a round, and one time a task or call

The constants are measured (`planning.calibration`); the placement of segments is the engine's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2
from typing import final

from sparsae.distributed.connection import INLINE_BYTES
from sparsae.distributed.placement import complete_subtrees, split_segments
from sparsae.engine.partition import Partition

KEPT = 8  # a worker keeps prepared rows within a quarter of its limit, and counts them twice


@final
@dataclass(frozen=True, kw_only=True)
class Workload:
    """What an evaluation has to do.

    Attributes
    ----------
    n_samples, n_visible, n_hidden : int
    itemsize : int
        Bytes of a number that kernels compute with.
    block_rows : int
    rounds : int
        Tasks that a worker does one after the other in an evaluation.
    with_sparsity : bool
        Whether sums of slopes are sent too, since the sparsity vector is known only when all rows were seen.
    separate_target : bool
    """

    n_samples: int
    n_visible: int
    n_hidden: int
    itemsize: int
    block_rows: int
    rounds: int = 1
    with_sparsity: bool = True
    separate_target: bool = False

    @property
    def parameter_bytes(self) -> int:
        """Bytes of the parameters."""
        n, p = self.n_visible, self.n_hidden
        return self.itemsize * (2 * n * p + n + p)

    @property
    def sums_bytes(self) -> int:
        """Bytes of the `Sums` of a subtree."""
        n, p = self.n_visible, self.n_hidden
        slopes = n * p + p if self.with_sparsity else 0
        return 8 * (2 * n * p + n + 5 * p + 2 + slopes)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row as kernels compute with it."""
        return self.n_visible * self.itemsize * (2 if self.separate_target else 1)


@final
@dataclass(frozen=True, kw_only=True)
class Constants:
    """What was measured.

    Attributes
    ----------
    row_seconds : float
        Time of one thread for one row, while all threads of its machine work.
    round_seconds : float
        Fixed time of a round.
    task_seconds : float
        Time that a round takes longer for each worker: for its call, or its task where parameters are too large.
    send_seconds : float
        Per byte, from the client through the scheduler to a worker.
    receive_seconds : float
        Per byte, from a worker through the scheduler to the client.
    add_seconds : float
        Per byte of sums, added by the client.
    process_bytes : int
        Memory of a worker process before it has any rows.
    """

    row_seconds: float
    round_seconds: float
    task_seconds: float
    send_seconds: float
    receive_seconds: float
    add_seconds: float
    process_bytes: int


@final
@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Seconds of an evaluation, and bytes of a worker.

    Attributes
    ----------
    workers, threads : int
        Threads are those of each worker.
    compute, broadcast, reduction, scheduler : float
        Seconds.
    rows_bytes : int
        Rows of the worker that has most of them.
    least_bytes, keeping_bytes : int
        Memory limit of a worker that reads its rows from a file in each evaluation; and of one that keeps them.
    """

    workers: int
    threads: int
    compute: float
    broadcast: float
    reduction: float
    scheduler: float
    rows_bytes: int
    least_bytes: int
    keeping_bytes: int

    @property
    def seconds(self) -> float:
        """Seconds of an evaluation."""
        return self.compute + self.broadcast + self.reduction + self.scheduler

    @property
    def efficiency(self) -> float:
        """Share of the time in which workers compute."""
        return self.compute / self.seconds


def predict(workload: Workload, constants: Constants, workers: int, threads: int) -> Prediction:
    """Return what the model says of a cluster.

    Parameters
    ----------
    workload : Workload
    constants : Constants
    workers : int
    threads : int
        Of each worker.
    """
    partition = Partition(workload.n_samples, workload.block_rows)
    segments = partition.n_segments
    placed = split_segments(segments, dict.fromkeys(map(str, range(workers)), 1.0))
    segment_rows = workload.n_samples / segments
    most = max(len(held) for held in placed.values())
    subtrees = sum(len(complete_subtrees(held, segments)) for held in placed.values())
    rows_bytes = ceil(most * segment_rows) * workload.row_bytes
    sums = (min(threads, most) + ceil(log2(most + 1)) + 1) * workload.sums_bytes
    blocks = threads * workload.block_rows * (2 * workload.row_bytes + 3 * workload.n_hidden * workload.itemsize)
    least = constants.process_bytes + sums + 2 * workload.parameter_bytes + blocks
    received = subtrees * workload.sums_bytes
    return Prediction(
        workers=workers,
        threads=threads,
        compute=ceil(most / threads) * segment_rows * constants.row_seconds,
        broadcast=workload.rounds * _broadcast_seconds(workload.parameter_bytes, constants, len(placed)),
        reduction=received * (constants.receive_seconds + constants.add_seconds),
        scheduler=workload.rounds * (constants.round_seconds + constants.task_seconds * len(placed)),
        rows_bytes=rows_bytes,
        least_bytes=least,
        keeping_bytes=least + KEPT * rows_bytes,
    )


def _broadcast_seconds(n_bytes: int, constants: Constants, workers: int) -> float:
    """Return the time that parameters take to be on all workers."""
    if n_bytes <= INLINE_BYTES:
        return n_bytes * constants.send_seconds * workers
    return n_bytes * (constants.send_seconds + constants.receive_seconds * ceil(log2(workers)))


def best_workers(workload: Workload, constants: Constants, threads: int, most: int) -> int:
    """Return the number of workers, at most `most`, with which an evaluation is fastest."""
    powers = (1 << i for i in range(most.bit_length()))
    counts: list[int] = sorted({1, most, *powers, *range(1, min(most, 64) + 1)})
    return min(counts, key=lambda count: predict(workload, constants, count, threads).seconds)


def rows_for_efficiency(workload: Workload, constants: Constants, workers: int, threads: int, share: float) -> int:
    """Return how many rows an evaluation, or a mini-batch, needs so that workers compute for that share of its time."""
    found = predict(workload, constants, workers, threads)
    rest = found.broadcast + found.reduction + found.scheduler
    return ceil(rest * share / (1 - share) / constants.row_seconds * workers * threads)
