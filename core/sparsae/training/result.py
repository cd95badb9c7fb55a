"""What training returns: `TrainResult`, its `History` and its `Status`.  Records only, no behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from sparsae.model import Parameters
from sparsae.receipt import Receipt

Reason = Literal[
    "converged", "iteration limit", "evaluation limit", "time limit", "stalled", "stopped", "interrupted", "not finite"
]


@final
@dataclass(frozen=True)
class Status:
    """Why training ended: a value, not an exception.

    Attributes
    ----------
    reason : str
        "converged", "iteration limit", "evaluation limit", "time limit", "stalled" (the line search found no decrease),
        "stopped" (by an observer), "interrupted" (Ctrl-C or SIGTERM), "not finite" (the cost left the numbers).
    message : str
        One sentence for a person, with advice where there is any.
    """

    reason: Reason
    message: str

    @property
    def converged(self) -> bool:
        """Whether a stop rule of the optimiser was met."""
        return self.reason == "converged"


@final
@dataclass(frozen=True, kw_only=True)
class History:
    """The learning curve: one entry per iteration, the starting point included (iteration 0).

    Attributes
    ----------
    iteration, evaluations : ndarray of int64
        Iteration number, and evaluations of the objective so far.
    cost, squared_error, weight_decay, sparsity : ndarray of float64
        The cost and its three terms, which add up to it.
    gradient_max : ndarray of float64
        Largest absolute component of the gradient.
    seconds, evaluation_seconds : ndarray of float64
        Wall time since the start, and how much of it the evaluations took.
    """

    iteration: NDArray[np.int64]
    evaluations: NDArray[np.int64]
    cost: NDArray[np.float64]
    squared_error: NDArray[np.float64]
    weight_decay: NDArray[np.float64]
    sparsity: NDArray[np.float64]
    gradient_max: NDArray[np.float64]
    seconds: NDArray[np.float64]
    evaluation_seconds: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.iteration)


@final
@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """A trained model and how it came about.

    Attributes
    ----------
    parameters : Parameters
        float64.
    cost : float
        At these parameters.
    history : History
    receipt : Receipt
    status : Status
    settings : mapping
        Hyper-parameters and options of the fit: rho, beta, weight_decay, output, method, max_iter, ...
    preprocessing : mapping or None
        What was done to the data before, as recorded by `sparsae.data`; None: nothing that is known.
    metrics : mapping
        Figures of merit at the final parameters, such as explained variance.
    """

    parameters: Parameters
    cost: float
    history: History
    receipt: Receipt
    status: Status
    settings: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Mapping[str, Any] | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
