"""What an optimiser sees of an objective: functions of all rows, and of some."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, final

import numpy as np
from numpy.typing import NDArray

from sparsae._types import Array
from sparsae.cost import Evaluation
from sparsae.model.settings import ModelSettings
from sparsae.optimize.update import BatchGradient
from sparsae.plugins.contract import AdamStep

Vector = NDArray[np.float64]
AdamPass = Callable[[tuple[Array, Array, Array], tuple[Array, ...], int, AdamStep], bool]
"""`Kernel.adam` of a kernel that has it."""


@final
class MiniBatchEvaluation(NamedTuple):
    """Cost and gradient over the rows of a mini-batch.

    Attributes
    ----------
    gradient : BatchGradient
        Valid until the next evaluation.
    squared_error : float
        The first term of the cost.
    sparsity : float
        Its third term, for sigmoid units that of the running mean activation.
    rho_hat : ndarray (n_hidden,)
        The running mean activation, this mini-batch included.
    fired : ndarray (n_hidden,)
        Number of rows in which each unit is active.
    smallest_kept : float
        The smallest pre-activation that batch top-k kept; 0 for other units.
    """

    gradient: BatchGradient
    squared_error: float
    sparsity: float
    rho_hat: Vector
    fired: Vector
    smallest_kept: float


class RowFunctions(Protocol):
    """Functions of some rows of the data; `sparsae.training.minibatch` implements them."""

    batch_rows: int

    def gradient(
        self,
        theta: Vector,
        rows: NDArray[np.intp],
        rho_hat: Vector,
        rho_decay: float,
        dead: NDArray[np.bool_] | None = None,
    ) -> MiniBatchEvaluation:
        """Cost and gradient, the sparsity vector being that of a running mean activation; with what revives units."""

    def evaluate(self, theta: Vector, rows: NDArray[np.intp], threshold: float | None = None) -> Evaluation:
        """Cost, with the mean activation of these rows, any number of them; its gradient is left out.

        `threshold` is that of batch top-k; when left out, that of each mini-batch.
        """

    def constrain(self, theta: Vector) -> None:
        """Put parameters back to where they have to stay, in place: after each update."""

    def read_ahead(self, rows: NDArray[np.intp]) -> None:
        """Begin to read rows that `gradient` is asked for next."""

    def run_tasks(self, task: Callable[[int], None], count: int) -> None:
        """Call ``task(i)`` for i below `count`, in any order, on all threads."""

    def adam(self, dtype: np.dtype[Any]) -> AdamPass | None:
        """Return the kernel's own update of Adam for parameters of that dtype, where it has one."""


class ObjectiveFunctions(Protocol):
    """What a method may ask of an objective."""

    size: int
    n_samples: int
    n_hidden: int
    dtype: np.dtype[Any]
    settings: ModelSettings
    epochs: int

    def evaluate(self, theta: Vector) -> Evaluation:
        """Cost and gradient over all rows."""

    def mini_batches(self, batch_rows: int) -> RowFunctions:
        """Cost and gradient over some rows, at most `batch_rows` at a time."""
