"""From parameters to sums over some rows: a mini-batch, cut into blocks that row workers share.

Blocks are cut by sizes alone and their sums are added in the order of the blocks, so that the number of workers never
changes a bit.  Sums of large models have the problem's dtype where the kernel has `direct_sums`: with 768 inputs and
4,096 units they take 25 MB instead of 50, and the products are written where they are needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sparsae._text import plural
from sparsae._types import Array
from sparsae.engine.batch_blocks import BatchBlocks, Promised, SharedSparsity
from sparsae.engine.batch_sums import BatchSums, batch_sum, put_together
from sparsae.engine.fold import Sparsity, cast_sparsity
from sparsae.engine.kernel_calls import backend_error, call_kernel, make_kernel, silent_products
from sparsae.engine.partition import Partition
from sparsae.engine.row_reader import RowNumbers, RowReader
from sparsae.engine.setup import choose_block_rows
from sparsae.engine.sources import DataSource
from sparsae.engine.workers import SegmentRun, WorkerPool
from sparsae.machine.allocator import give_back_freed_memory, keep_freed_memory
from sparsae.machine.threads import ThreadGrant
from sparsae.model import Parameters
from sparsae.plugins.contract import AnyKernel, Backend, Problem
from sparsae.plugins.sums import Sums, SumsLayout

LEAST_ROWS = 128  # in a block that is one of several: products of 64 rows run at three quarters of the speed of 256
LEAST_PRODUCTS = 2_000_000  # rows times weights of such a block: about 1 ms, when handing it to a worker takes 50 us
MOST_ROWS = 512  # in a block of a large model: more rows do not make its products faster
SMALL_ROWS, SMALL_BYTES = 2048, 4 << 20  # of a block of a small one, with its hidden activations; see `_most_rows`
BLOCKS = 4
IN_PLACE_BYTES = 4 << 20  # of a gradient: adding in place saves its memory, and takes 2 % more time at 784/196 (1.2 MB)
Given = Callable[[RowNumbers], Parameters]


@final
class BatchEngine:
    """Evaluates the sums of one backend over some of the rows, with kernels and row workers of its own.

    Parameters
    ----------
    x, target : DataSource
        The same object when there is no separate target.
    backend : Backend
    problem : Problem
        Its block size is the largest that is used, small models excepted.
    granted : ThreadGrant
    batch_rows : int
        Rows in an evaluation, at most.
    direct : bool
        Whether sums have the problem's dtype, where the kernel can; else they are float64.

    Attributes
    ----------
    partition : Partition
        Of a whole mini-batch.
    kernels : list of Kernel
    place : str
        Where mini-batches are evaluated, for the receipt.
    """

    def __init__(
        self,
        x: DataSource,
        target: DataSource,
        *,
        backend: Backend,
        problem: Problem,
        granted: ThreadGrant,
        batch_rows: int,
        direct: bool,
    ) -> None:
        keep_freed_memory()
        self.partition = Partition(batch_rows, choose_batch_blocks(batch_rows, backend, problem))
        self._problem = replace(problem, block_rows=self.partition.block_rows)
        self._name = backend.name
        workers = min(granted.workers, self.partition.n_blocks)
        self.kernels: list[AnyKernel] = [make_kernel(backend, self._problem) for _ in range(workers)]
        self._pool = WorkerPool(self.kernels)
        # A backend that gives its threads to BLAS has one kernel; `run_tasks` calls no kernel and uses all threads.
        self._threads = self._pool if granted.pool == 1 else WorkerPool(self.kernels[:1] * granted.pool)
        self._reader = RowReader(x, target, problem)
        self._direct = direct and self.kernels[0].direct_sums
        weights = 2 * problem.n_visible * problem.n_hidden
        large = self._direct and weights * problem.dtype.itemsize >= IN_PLACE_BYTES
        self._in_place = large and workers == 1 and self.kernels[0].adds_blocks
        self._sums_ahead = max(1, workers - 1) if large else workers  # blocks whose sums wait for those of one before
        self.place = plural(len(self.kernels), "row worker")
        self._sums = batch_sum(self._problem, direct=self._direct)

    def close(self) -> None:
        """End the threads and free the sums; the engine can be used again."""
        self._sums = batch_sum(self._problem, direct=self._direct)
        self._pool.close()
        self._threads.close()
        self._reader.close()
        give_back_freed_memory()

    def read_ahead(self, rows: RowNumbers) -> None:
        """Begin to read rows that the next evaluation needs."""
        self._reader.read_ahead(rows)

    def take(self, rows: RowNumbers) -> tuple[Array, Array]:
        """Return those rows of x and target; the same array where there is no separate target."""
        return self._reader.take(rows)

    def evaluate(self, parameters: Parameters, sparsity: Sparsity, rows: RowNumbers) -> BatchSums:
        """Return the sums over those rows, in one pass where the sparsity vector is known, else in two.

        Parameters
        ----------
        parameters : Parameters
            In the problem's dtype.
        sparsity : ndarray (p,) or callable
            The sparsity vector, or what gives it for the activations summed over these rows (p,).
        rows : ndarray (k,) of int
            Row numbers in ascending order, at most `batch_rows`.

        Raises
        ------
        DataError
            When rows cannot be read.
        BackendError
            When the kernel raised; names the block.
        """
        if len(rows) <= self.partition.block_rows:
            weights = self._begin(parameters)
            self._add_one_block(weights, sparsity, rows)
        else:
            weights = self._add_blocks(parameters, sparsity, rows)
        return put_together(self._sums.parts(), self._name, self.kernels[0], weights, direct=self._direct)

    def _begin(self, parameters: Parameters) -> Any:
        """Return the parameters as the kernels take them."""
        return call_kernel(self._name, self.kernels[0], "begin", parameters)

    def _add_one_block(self, weights: Any, sparsity: Sparsity, rows: RowNumbers) -> None:
        """Add the sums of rows that are one block, in this thread: nothing is shared, which takes 40 us a step."""
        kernel, hidden, error = self.kernels[0], None, None
        try:
            x, target = self._reader.take_ahead(rows) if self._reader.waits else self._reader.take(rows)
            with silent_products():
                block = kernel.prepare(x, target, False)  # the only one: it may be scratch between two passes too
                if callable(sparsity):
                    hidden, total = kernel.encode(weights, block)
                    sparsity = sparsity(total)
                sums = self._sums.only_buffer()
                kernel.accumulate(weights, block, hidden, cast_sparsity(sparsity, self._problem.dtype), sums)
                if self._direct:
                    kernel.finish(weights, sums)
        except BaseException as raised:  # noqa: BLE001 (a kernel may raise anything)
            error = backend_error(raised, self._describe(slice(0, len(rows))))
        if error is not None:
            raise error

    def _add_blocks(self, parameters: Parameters, sparsity: Sparsity, rows: RowNumbers) -> Any:
        """Add the sums of rows that are several blocks, on the workers; return the weights.

        This thread begins while the others wake up and read the first blocks: at 784/196 that takes a twentieth of a
        step of 256 rows.
        """
        two_passes, workers = callable(sparsity), len(self.kernels)
        ahead = workers if two_passes and workers > 1 else 0
        blocks = BatchBlocks(self._reader, rows, self.partition.block_rows, keep=two_passes, ahead=ahead)
        n_blocks, ahead = blocks.partition.n_blocks, blocks.ahead
        hidden: list[Any] = [None] * n_blocks
        begun: Promised[Any] = Promised()
        shared = SharedSparsity(sparsity, n_blocks, self._problem)
        self._sums.restart(n_blocks)
        whole: Sums | None = None  # of all blocks so far, where blocks are added in place, one after the other

        def encode(kernel: AnyKernel, index: int, run: SegmentRun) -> None:
            block = blocks.block(kernel, index, run)
            hidden[index], total = kernel.encode(begun.wait(run), block)
            shared.add(index, total)

        def accumulate(kernel: AnyKernel, index: int, run: SegmentRun) -> None:
            nonlocal whole
            s = shared.wait(run)
            if whole is None:
                self._sums.wait_until_near(index, self._sums_ahead, run.check)
            sums = self._sums.buffer() if whole is None else whole
            block, weights = blocks.block(kernel, index, run), begun.wait(run)
            kernel.accumulate(weights, block, hidden[index], s, sums)
            hidden[index] = None
            if whole is not None:
                return
            whole = sums if self._in_place else None
            if self._direct:
                kernel.finish(weights, sums)
            self._sums.add(index, sums)

        def work(kernel: AnyKernel, task: int, run: SegmentRun) -> None:
            if task < ahead:
                blocks.read(kernel, task)
            elif two_passes and task < ahead + n_blocks:
                encode(kernel, task - ahead, run)
            else:
                accumulate(kernel, (task - ahead) % n_blocks, run)

        def describe(task: int) -> str:
            return self._describe(blocks.partition.rows(task if task < ahead else (task - ahead) % n_blocks))

        # One run for both passes: to wake a worker takes 0.1 ms, where a block may take 1 ms.
        tasks = ahead + n_blocks * (2 if two_passes else 1)
        self._pool.run(work, tasks, describe, lambda: begun.put(self._begin(parameters)))
        return begun.value

    def _describe(self, rows: slice) -> str:
        """Say what failed."""
        return f"Backend {self._name!r} failed in rows {rows.start} to {rows.stop - 1} of a mini-batch"

    def figures(self, given: Given, rows: RowNumbers, k: int | None = None) -> NDArray[np.float64]:
        """Return what `Sums` holds before the gradient, over any number of rows, which are evaluated in mini-batches.

        Parameters
        ----------
        given : callable
            Returns what the kernel is given for the rows of a mini-batch.
        rows : ndarray (k,) of int
        k : int, optional
            Of batch top-k whose threshold is that of each mini-batch; `given` finds it.
        """
        n, p, step = self._problem.n_visible, self._problem.n_hidden, self.partition.n_samples
        stop, zeros = SumsLayout.of(n, p).W1, np.zeros(p)
        total = np.zeros(stop)
        pieces = [rows[start : start + step] for start in range(0, len(rows), step)]
        for piece, following in zip(pieces, [*pieces[1:], None], strict=True):
            parameters = given(piece)
            if following is not None:
                self.read_ahead(following)
            total += self.evaluate(parameters, zeros, piece).total.vector[:stop]
        return total

    def run_tasks(self, task: Callable[[int], None], count: int) -> None:
        """Call ``task(i)`` for i below `count`, in any order, on all threads."""
        self._threads.run_tasks(task, count, "an update")


def choose_batch_blocks(batch_rows: int, backend: Backend, problem: Problem) -> int:
    """Return the number of rows in a block of a mini-batch: a function of sizes alone, so that threads change no bit.

    Backends with row workers get one, two or four blocks, while each is worth a worker's time, and more, in fours,
    where blocks would be larger than the problem's; the others get one block.
    """
    if backend.threading != "workers":
        return batch_rows
    least = max(LEAST_ROWS, -(-LEAST_PRODUCTS // (problem.n_visible * problem.n_hidden)))
    most = _most_rows(backend, problem) if least > LEAST_ROWS else min(problem.block_rows, MOST_ROWS)
    worth, needed = min(batch_rows // least, BLOCKS), -(-batch_rows // most)
    blocks = max(worth - worth % 2, needed, 1)
    blocks = blocks if blocks <= 2 else -(-blocks // BLOCKS) * BLOCKS
    return -(-batch_rows // blocks)


def _most_rows(backend: Backend, problem: Problem) -> int:
    """Return the largest block of a small model: beyond the backend's own choice, unless the user wants fewer rows.

    A block takes less than 1 ms, and each of the four calls that it is made of ends with a wait for the GIL: with two
    threads 4,096 rows of 64/25 took `fused` 3.7 ms in blocks of 512 rows, 2.0 in two blocks (Zen 4).
    """
    chosen = choose_block_rows(None, backend, problem, SMALL_ROWS)
    if problem.block_rows < chosen:
        return problem.block_rows
    row_bytes = (problem.n_visible + problem.n_hidden) * problem.dtype.itemsize
    return max(problem.block_rows, min(SMALL_ROWS, SMALL_BYTES // row_bytes))
