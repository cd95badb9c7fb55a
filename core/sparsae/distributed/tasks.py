"""What travels between client and workers: a description of the fit, and what one task asks for.

Everything here is small, immutable and picklable, and a task is a pure function of it: it may run twice, or on a
worker that has never seen the fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from sparsae._types import Array
from sparsae.distributed.placement import Subtree
from sparsae.engine.partition import Partition
from sparsae.plugins.contract import Problem

Pieces = list[tuple[Array, NDArray[np.intp] | None, NDArray[np.intp] | slice]]
"""Where rows come from: of each array which rows (all where None), and at which places they are put."""

Rows = list[Pieces]
"""The rows of a task in the order of its segments: of x, and of the target where it is separate."""


@final
@dataclass(frozen=True, kw_only=True)
class FitDescription:
    """What a worker needs to know to take part in a fit.

    Attributes
    ----------
    backend : str
        Name of the backend, which each worker loads for itself.
    problem : Problem
    x, target : object
        Container that each worker can open for itself (it pickles as a path); None where rows travel with the tasks.
    separate_target : bool
    threads : int or None
        Of a worker; None: its number of Dask threads, within its CPU budget.
    batches : bool
        Whether its tasks are about mini-batches.
    direct : bool
        Whether sums of mini-batches have the problem's dtype, where the kernel can.
    memory_share : int
        Prepared rows are kept while they take at most one part in this many of the worker's memory limit.
    """

    backend: str
    problem: Problem
    x: Any
    target: Any
    separate_target: bool
    threads: int | None
    batches: bool = False
    direct: bool = False
    memory_share: int = 4


@final
@dataclass(frozen=True, kw_only=True)
class Work:
    """One task: sums of some subtrees; the parameters are sent beside it.

    Attributes
    ----------
    evaluation : int
        Number of the evaluation: activations of the first round are found again by it.
    round : {"encode", "accumulate", "largest", "figures"}
        First of two rounds; the second or only one; the largest pre-activations, for batch top-k; or what `Sums` holds
        before the gradient, of many mini-batches.
    count : int
        How many of these are kept: of a row where there are many mini-batches, else of all.
    subtrees : tuple of Subtree
        For a mini-batch these are segments.
    partition : Partition
        Of all rows, or of a mini-batch; for "figures" its blocks are the mini-batches.
    two_rounds : bool
        Whether the sums of a mini-batch have a first round.
    block_rows : int
        For "figures", the blocks in which the largest pre-activations are looked for.
    batch : mapping of int to ndarray of int, or None
        For a mini-batch, the numbers of the rows of each segment.
    sparsity : ndarray (p,) or None
        None in the only round of an evaluation whose sparsity vector needs all rows.
    """

    evaluation: int
    round: Literal["encode", "accumulate", "largest", "figures"]
    subtrees: tuple[Subtree, ...]
    partition: Partition
    batch: Mapping[int, NDArray[np.intp]] | None = None
    sparsity: Array | None = None
    count: int = 0
    two_rounds: bool = False
    block_rows: int = 0

    @property
    def segments(self) -> list[int]:
        """Segments of the subtrees, in their order."""
        return [segment for subtree in self.subtrees for segment in subtree.segments(self.partition.n_segments)]

    @property
    def row_counts(self) -> list[int]:
        """Number of rows of each segment of `segments`."""
        bounds = (self.partition.segment_rows(segment) for segment in self.segments)
        return [stop - start for start, stop in bounds]


def split_rows(work: Work, rows: Rows | None, dtype: np.dtype[Any]) -> dict[int, list[Array]]:
    """Return the rows of each segment of a task, of x and where it is separate of the target; empty without `rows`.

    Parameters
    ----------
    work : Work
    rows : list, optional
        As they travel with the task.
    dtype : numpy.dtype
        Of the result, where rows have to be put together.
    """
    if rows is None:
        return {}
    if work.batch is None:  # whole segments, in order
        return {segment: [pieces[i][0] for pieces in rows] for i, segment in enumerate(work.segments)}
    ends = np.cumsum(work.row_counts)
    joined = [_put_together(pieces, int(ends[-1]), dtype) for pieces in rows]
    parts = [np.split(values, ends[:-1]) for values in joined]
    return {segment: [values[i] for values in parts] for i, segment in enumerate(work.segments)}


def _put_together(pieces: Pieces, count: int, dtype: np.dtype[Any]) -> Array:
    """Return `count` rows from the arrays that hold them."""
    made: Array = np.empty((count, pieces[0][0].shape[1]), dtype)
    with np.errstate(over="ignore"):  # found by the check of the values
        for array, which, places in pieces:
            made[places] = array if which is None else array[which]
    return made
