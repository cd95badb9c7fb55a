"""What the replayed question times in child processes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from sparsae.bench.inputs import make_backprop_inputs
from sparsae.bench.question.variants import VARIANTS
from sparsae.bench.tasks import BackpropTask, ProductsTask, backprop_task
from sparsae.errors import ThreadsWarning


def variant_task(*, size: Sequence[int], seed: int, name: str) -> BackpropTask:
    """Make a way of writing the backpropagation, by its key in `VARIANTS`."""
    inputs = make_backprop_inputs(size, seed=seed)
    return BackpropTask(inputs, VARIANTS[name].make(inputs))


def backend_task(*, size: Sequence[int], seed: int, name: str, threads: int) -> BackpropTask:
    """Make a call of `sparsae.backprop` with that backend; a thread limit that is not honoured is an error."""
    task = backprop_task(make_backprop_inputs(size, seed=seed), name, threads)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ThreadsWarning)
        task.run()
    return task


def product_task(*, size: Sequence[int], seed: int, left: str, right: str) -> ProductsTask:
    """Make the product of W1's gradient, delta2' a1, with its operands in C or F order."""
    inputs = make_backprop_inputs(size, seed=seed)
    operands = (np.array(inputs.a2.T, order=left), np.array(inputs.a1, order=right))  # type: ignore[call-overload]
    return ProductsTask(operands, keep_results=False)
