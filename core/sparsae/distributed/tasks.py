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
    memory_share : int
        Prepared rows are kept while they take at most one part in this many of the worker's memory limit.
    """

    backend: str
    problem: Problem
    x: Any
    target: Any
    separate_target: bool
    threads: int | None
    memory_share: int = 4


@final
@dataclass(frozen=True, kw_only=True)
class Work:
    """One task: sums of some subtrees; the parameters are sent beside it.

    Attributes
    ----------
    evaluation : int
        Number of the evaluation: activations of the first round are found again by it.
    round : {"encode", "accumulate", "largest"}
        First of two rounds; the second or only one; or the largest pre-activations, for batch top-k.
    count : int
        How many of these.
    subtrees : tuple of Subtree
    partition : Partition
        Of all rows, or of a mini-batch.
    batch : mapping of int to ndarray of int, or None
        For a mini-batch, the numbers of the rows of each segment.
    sparsity : ndarray (p,) or None
        None in the only round of an evaluation whose sparsity vector needs all rows.
    """

    evaluation: int
    round: Literal["encode", "accumulate", "largest"]
    subtrees: tuple[Subtree, ...]
    partition: Partition
    batch: Mapping[int, NDArray[np.intp]] | None = None
    sparsity: Array | None = None
    count: int = 0

    @property
    def segments(self) -> list[int]:
        """Segments of the subtrees, in their order."""
        return [segment for subtree in self.subtrees for segment in subtree.segments(self.partition.n_segments)]
