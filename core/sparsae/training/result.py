"""What training returns: `TrainResult`, with its `History` and its `Status`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsae._types import Array
from sparsae.model import Parameters, decode, encode
from sparsae.receipt import Receipt
from sparsae.transforms import Transform

Reason = Literal[
    "converged",
    "iteration limit",
    "evaluation limit",
    "time limit",
    "stalled",
    "stopped",
    "interrupted",
    "cost rose",
    "not finite",
]


@final
@dataclass(frozen=True)
class Status:
    """Why training ended: a value, not an exception.

    Attributes
    ----------
    reason : str
        "converged", "iteration limit", "evaluation limit", "time limit", "stalled" (the line search found no decrease),
        "stopped" (by an observer), "interrupted" (Ctrl-C or SIGTERM), "cost rose" (it ended above its start, as with a
        learning rate that is too large), "not finite" (the cost became NaN or infinite).
    summary : str
        What happened, in one sentence.
    advice : str
        What to do about it, in terms of the Python interface; empty where there is nothing to do.
    """

    reason: Reason
    summary: str
    advice: str = ""

    @property
    def converged(self) -> bool:
        """Whether a stop rule of the optimiser was met."""
        return self.reason == "converged"

    @property
    def message(self) -> str:
        """Summary and advice."""
        return f"{self.summary} {self.advice}".strip()


@final
@dataclass(frozen=True, kw_only=True, eq=False)
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
@dataclass(frozen=True, kw_only=True, eq=False)
class TrainResult:
    """A trained model and how it came about.

    Two results are equal only when they are one object; compare their fields to compare models.

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
    transform : Transform or None
        What was done to the samples before, which `encode` and `reconstruct` do to raw ones; None: nothing.
    data : mapping
        What the training data was, as far as it is known: source, image_shape.
    metrics : mapping
        Figures of merit at the final parameters, such as explained variance.
    """

    parameters: Parameters
    cost: float
    history: History
    receipt: Receipt
    status: Status
    settings: Mapping[str, Any] = field(default_factory=dict)
    transform: Transform | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def success(self) -> bool:
        """Whether training converged, as in the results of `scipy.optimize`."""
        return self.status.converged

    @property
    def message(self) -> str:
        """Why training ended, for a person, as in the results of `scipy.optimize`."""
        return self.status.message

    @property
    def n_iter(self) -> int:
        """Number of iterations done; epochs for mini-batch methods."""
        return int(self.history.iteration[-1])

    def encode(self, X: ArrayLike) -> Array:
        """Return the hidden activations (n_samples, n_hidden) of raw data (n_samples, n_visible).

        The model's own transform is applied first.  Where the training data had been prepared without the knowledge of
        `train` (`transform` is None), X must be prepared in the same way.

        Raises
        ------
        DataError
            When X is not a matrix of finite real numbers with n_visible columns.
        """
        return encode(self.parameters, X if self.transform is None else self.transform.apply(X))

    def decode(self, A: ArrayLike) -> Array:
        """Return the outputs (n_samples, n_visible) for hidden activations (n_samples, n_hidden).

        They are in the units of the raw data where the model's transform has an inverse (``transform.invertible``),
        else they are transformed samples.

        Raises
        ------
        DataError
            When A is not a matrix of finite real numbers with n_hidden columns.
        """
        outputs = decode(self.parameters, A, output=self.settings.get("output", "sigmoid"))
        if self.transform is None or not self.transform.invertible:
            return outputs
        return self.transform.inverse(outputs, name="the outputs")

    def reconstruct(self, X: ArrayLike) -> Array:
        """Return what the model makes of raw data (n_samples, n_visible): ``decode(encode(X))``.

        Raises
        ------
        DataError
            As `encode`.
        """
        return self.decode(self.encode(X))
