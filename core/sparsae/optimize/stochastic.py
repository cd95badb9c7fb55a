"""Adam and stochastic gradient descent with momentum: one update from one noisy gradient.

Which rows make a mini-batch is decided in `epochs.py`.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, final

import numpy as np

from sparsae.errors import ParameterError
from sparsae.model import check_size
from sparsae.optimize.base import Method, ObjectiveFunctions, Vector, dataclass_settings

if TYPE_CHECKING:
    from sparsae.optimize.epochs import Epochs

# Adding and subtracting this much rounds smaller moments to multiples of 1e-46 and 1e-66, and changes none by more.
# The moments of a unit that is always off would otherwise decay to denormal numbers, whose arithmetic is slow.
_FLUSH_FIRST, _FLUSH_SECOND = 1e-30, 1e-50


@final
class Moments(NamedTuple):
    """Parameters, decaying sums over past gradients, and the number of updates.

    Attributes
    ----------
    theta, first, second : ndarray (size,)
        `second` is empty where the method has none.
    updates : int
    """

    theta: Vector
    first: Vector
    second: Vector
    updates: int


@dataclass(frozen=True, kw_only=True)
class StochasticMethod(Method):
    """Settings of every mini-batch method; meant for subclassing.

    Parameters
    ----------
    learning_rate : float
    batch_rows : int
        Rows in a mini-batch; the last one of an epoch may have fewer.
    rho_decay : float
        Share of the running mean activation that is kept at each mini-batch, in [0, 1).
    held_out : float
        Share of the rows that is only evaluated and never trained on, in [0, 0.5]; 0: none.
    patience : int
        Training stops after this many epochs without a new least held-out cost.
    """

    learning_rate: float
    batch_rows: int = 128
    rho_decay: float = 0.9
    held_out: float = 0.0
    patience: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < np.inf:
            raise ParameterError(f"learning_rate must be a positive number; given {self.learning_rate!r}.")
        check_size("batch_rows", self.batch_rows)
        check_size("patience", self.patience)
        check_share("rho_decay", self.rho_decay, below=1)
        if not 0 <= self.held_out <= 0.5:
            raise ParameterError(f"held_out must lie from 0 to 0.5; given {self.held_out!r}.")

    def settings(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return dataclass_settings(self)

    def bind(self, objective: ObjectiveFunctions, seed: int) -> Epochs:
        """Join with an objective; the seed decides which rows are held out, and the order of the others.

        Raises
        ------
        DataError
            When so few rows are held out, or left, that there is none.
        """
        from sparsae.optimize.epochs import Epochs

        return Epochs(self, objective, seed)

    @abstractmethod
    def start(self, theta: Vector) -> Moments:
        """Return the state before the first update."""

    @abstractmethod
    def update(self, state: Moments, gradient: Vector) -> Moments:
        """Do one update; returns new arrays."""


@final
@dataclass(frozen=True, kw_only=True)
class Adam(StochasticMethod):
    """Adam.

    Source: Kingma and Ba, *Adam: a method for stochastic optimization* (2015), algorithm 1.

    Parameters
    ----------
    learning_rate : float
    beta1, beta2 : float
        Decay of the moments, in [0, 1).
    epsilon : float
        Added to the root of the second moment.
    batch_rows, rho_decay, held_out, patience
        As in `StochasticMethod`.
    """

    name: ClassVar[str] = "adam"  # type: ignore[misc]
    learning_rate: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("beta1", self.beta1, below=1)
        check_share("beta2", self.beta2, below=1)
        if not self.epsilon > 0:
            raise ParameterError(f"epsilon must be positive; given {self.epsilon!r}.")

    def start(self, theta: Vector) -> Moments:
        """Return moments of zero."""
        return Moments(theta, np.zeros_like(theta), np.zeros_like(theta), 0)

    def update(self, state: Moments, gradient: Vector) -> Moments:
        """Step along first / (sqrt(second) + epsilon), both corrected for their bias."""
        t = state.updates + 1
        first = _decayed(state.first, self.beta1, gradient, _FLUSH_FIRST)
        second = _decayed(state.second, self.beta2, np.square(gradient), _FLUSH_SECOND)
        size = np.sqrt(second / (1 - self.beta2**t))
        size += self.epsilon
        step = first / size
        step *= self.learning_rate / (1 - self.beta1**t)
        return Moments(state.theta - step, first, second, t)


@final
@dataclass(frozen=True, kw_only=True)
class SGD(StochasticMethod):
    """Stochastic gradient descent with momentum.

    Parameters
    ----------
    learning_rate : float
    momentum : float
        Share of the last step that is added to the next, in [0, 1).
    batch_rows, rho_decay, held_out, patience
        As in `StochasticMethod`.
    """

    name: ClassVar[str] = "sgd"  # type: ignore[misc]
    learning_rate: float = 0.01
    momentum: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("momentum", self.momentum, below=1)

    def start(self, theta: Vector) -> Moments:
        """Return a momentum of zero."""
        return Moments(theta, np.zeros_like(theta), np.zeros(0), 0)

    def update(self, state: Moments, gradient: Vector) -> Moments:
        """Step along the decaying sum of gradients."""
        first = state.first * self.momentum
        first += gradient
        first += _FLUSH_FIRST
        first -= _FLUSH_FIRST
        return Moments(state.theta - self.learning_rate * first, first, state.second, state.updates + 1)


def check_share(name: str, value: float, *, below: float) -> None:
    """Raise `ParameterError` unless 0 <= value < below."""
    if not 0 <= value < below:
        raise ParameterError(f"{name} must be at least 0 and below {below:g}; given {value!r}.")


def _decayed(moment: Vector, decay: float, term: Vector, flush: float) -> Vector:
    """Return decay * moment + (1 - decay) * term, without denormal numbers."""
    new = moment * decay
    new += (1 - decay) * term
    new += flush
    new -= flush
    return new
