"""What the doctor times in child processes."""

from __future__ import annotations

from typing import final

import numpy as np

from sparsae._types import Array
from sparsae.bench.tasks import ObjectiveTask, ProductsTask, Task
from sparsae.bench.workload import RaceWorkload
from sparsae.reference import compare

CHECKED_ROWS = 32  # of each product: all of them in extended precision would take longer than the experiment


@final
class PowersTask(Task):
    """The powers of a layer's sigmoids: e^z as in `sparsae.sigmoid`, 2^z as in the backend `fused`."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.z = np.random.default_rng(0).standard_normal(shape)
        self._out = np.empty_like(self.z), np.empty_like(self.z)

    def run(self) -> tuple[Array, Array]:
        """Compute both."""
        np.exp(self.z, out=self._out[0])
        np.exp2(self.z, out=self._out[1])
        return self._out

    def error(self) -> float:
        """Compare both with extended precision."""
        self.run()
        return self.compare()

    def compare(self) -> float:
        """Compare what was computed last."""
        z = self.z.astype(np.longdouble)
        bound = 8 * np.finfo(self.z.dtype).eps
        return max(
            compare("powers", f, e, bound * e).ratio for f, e in zip(self._out, (np.exp(z), np.exp2(z)), strict=True)
        )


def block_products_task(*, rows: int, n_visible: int, n_hidden: int) -> ProductsTask:
    """Make the five matrix products of one block: two forward, three backward."""
    rng = np.random.default_rng(0)
    x, delta3 = rng.standard_normal((2, rows, n_visible))
    a2, delta2 = rng.standard_normal((2, rows, n_hidden))
    W1T, W2 = rng.standard_normal((2, n_visible, n_hidden))
    W2T = np.ascontiguousarray(W2.T)
    pairs = ((x, W1T), (a2, W2T), (delta3, W2), (delta2.T, x), (delta3.T, a2))
    return ProductsTask(*pairs, keep_results=True, checked_rows=CHECKED_ROWS)


def powers_task(*, rows: int, n_visible: int, n_hidden: int) -> PowersTask:
    """Make the powers of one block, for its output layer."""
    return PowersTask((rows, n_visible))


def evaluation_task(*, rows: int, n_visible: int, n_hidden: int) -> ObjectiveTask:
    """Make an evaluation of several blocks, with the backend and the threads that sparsae chooses by itself."""
    return ObjectiveTask(RaceWorkload("objective", (rows * _blocks(n_visible), n_visible, n_hidden), "float64"))


def pool_task(*, rows: int, n_visible: int, n_hidden: int) -> ProductsTask:
    """Make one product of whole arrays, with as many threads as the BLAS pool started with."""
    rng = np.random.default_rng(0)
    x, W1T = rng.standard_normal((rows * _blocks(n_visible), n_visible)), rng.standard_normal((n_visible, n_hidden))
    return ProductsTask((x, W1T), keep_results=True, checked_rows=CHECKED_ROWS)


def _blocks(n_visible: int) -> int:
    """Blocks of whole arrays: 10,000 rows of 64 as in the question, fewer where rows are longer."""
    return max(4, 20 * 64 // n_visible)
