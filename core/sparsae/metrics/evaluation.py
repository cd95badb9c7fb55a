"""`evaluate`: the figures of a model on data, block by block, on the thread budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from sparsae._types import Array
from sparsae.encoding import Decoder, Encoder
from sparsae.engine.partition import Partition
from sparsae.engine.sources import DataSource, common_dtype
from sparsae.engine.workers import SegmentRun, WorkerPool
from sparsae.errors import DataError, ParameterError
from sparsae.machine.limits import limit
from sparsae.machine.threads import grant
from sparsae.metrics.figures import Metrics
from sparsae.metrics.sums import MetricSums
from sparsae.model import Parameters
from sparsae.plugins.selection import requested_threads
from sparsae.transforms import Transform

BLOCK_BYTES = 1 << 22  # of the activations and outputs of a block in float64, between
LEAST_ROWS, MOST_ROWS = 256, 1024  # of a block: products of fewer rows are slow; temporaries of more leave the cache
SIGMOID_ACTIVE = 0.1  # a sigmoid unit is never 0; its usual mean activation is 0.01 to 0.05


class TrainedModel(Protocol):
    """What is evaluated, such as a `sparsae.TrainResult`."""

    @property
    def parameters(self) -> Parameters:
        """Weights and biases."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """Activation, output and what else the model was trained with."""
        ...

    @property
    def transform(self) -> Transform | None:
        """What is done to samples first."""
        ...


def evaluate(
    model: TrainedModel,
    X: Any,
    *,
    target: Any = None,
    active_above: float | None = None,
    threads: int | None = None,
) -> Metrics:
    """Return the figures of merit of a model on raw data.

    The model's own transform is applied first, and the figures are of the transformed samples.  Rows are read and
    computed block by block: any number of rows.  The number of threads never changes a bit.

    Parameters
    ----------
    model : TrainResult
    X : array_like (n_samples, n_visible)
        As `sparsae.train` takes it.
    target : array_like (n_samples, n_visible), optional
        What the outputs should equal; X itself when left out.
    active_above : float, optional
        A unit is active where its activation is above this; when left out 0.1 for sigmoid units, which are never 0,
        and 0 for all others.
    threads : int, optional
        Row workers; else `use_backend`, ``SPARSAE_THREADS``, the CPU budget.

    Returns
    -------
    Metrics

    Raises
    ------
    DataError
        When X is no matrix of finite real numbers with n_visible columns, or has no variance to explain.
    ParameterError
        When `model` is none, or `threads` cannot be used.
    """
    if not isinstance(getattr(model, "parameters", None), Parameters):
        raise ParameterError(
            f"model must be a TrainResult, such as train and load return; given {type(model).__name__}."
        )
    x = _source(model, X, "X")
    t = x if target is None or target is X else _source(model, target, "target")
    if t.shape != x.shape:
        raise DataError(f"target has shape {t.shape} and X has {x.shape}; they must be the same.")
    dtype = common_dtype(x, None)
    encode, decode = Encoder(model).in_dtype(dtype), Decoder(model).in_dtype(dtype)
    p, n = model.parameters.n_hidden, model.parameters.n_visible
    if active_above is None:
        active_above = SIGMOID_ACTIVE if model.settings.get("activation", "sigmoid") == "sigmoid" else 0.0
    block_rows = min(max(BLOCK_BYTES // (8 * (n + p)), LEAST_ROWS), MOST_ROWS, x.shape[0])
    partition = Partition(x.shape[0], block_rows)
    granted = grant(requested_threads() if threads is None else threads, "workers")
    parts = [MetricSums(n, p, active_above=active_above) for _ in range(partition.n_segments)]

    def work(_: Any, segment: int, run: SegmentRun) -> None:
        for index in partition.blocks(segment):
            run.check()
            where = partition.rows(index)
            rows = _checked_rows(x, where, dtype)
            a2 = encode(rows)  # (rows, p)
            parts[segment].add(a2, decode(a2), rows if t is x else _checked_rows(t, where, dtype))

    pool = WorkerPool([None] * min(granted.workers, partition.n_segments))  # type: ignore[list-item]  # no kernels
    try:
        with limit(granted.pool):
            pool.run(work, partition.n_segments, lambda segment: _describe(partition, segment))
    finally:
        pool.close()
    for part in parts[1:]:
        parts[0].merge(part)
    return parts[0].metrics("X" if t is x else "target")


def _source(model: TrainedModel, data: Any, name: str) -> DataSource:
    """Return the samples that the model sees."""
    if model.transform is not None:
        return DataSource(model.transform.view(data, name=name), name)
    source, n = DataSource(data, name), model.parameters.n_visible
    if source.shape[1] != n:
        raise DataError(f"{name} has {source.shape[1]} columns and the model takes {n}.")
    return source


def _checked_rows(source: DataSource, where: slice, dtype: np.dtype[Any]) -> Array:
    rows = source.rows(where, dtype, scratch=True)
    source.check_block(rows, where, unit_range=False)
    return rows


def _describe(partition: Partition, segment: int) -> str:
    start, stop = partition.segment_rows(segment)
    return f"The evaluation failed in rows {start} to {stop - 1}"
