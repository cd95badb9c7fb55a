"""Adam and stochastic gradient descent with momentum: one update from one noisy gradient.

Which rows make a mini-batch is decided in `epochs.py`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, final

import numpy as np

from sparsae.errors import ParameterError
from sparsae.model import check_size
from sparsae.optimize.base import Method, ObjectiveFunctions, Vector, dataclass_settings

if TYPE_CHECKING:
    from sparsae.optimize.epochs import Epochs

# Adding and subtracting this much rounds smaller moments to multiples of 1e-46 and 1e-66 (1e-37 in float32), and
# changes none by more.  The moments of a unit that is always off would otherwise decay to
# denormal numbers, which are slow.
_FLUSH_FIRST = 1e-30
_FLUSH_SECOND = {np.dtype(np.float64): 1e-50, np.dtype(np.float32): 1e-30}
# An update goes through the parameters in chunks that stay in cache: with 768 inputs and 4,096 units it takes 60 ms in
# float64 and 34 in float32; whole arrays with their temporaries took 175 and 80 (CPU time, busy two-core machine).
_CHUNK = 16_384
FLOAT64_PARAMETERS = 100_000  # up to this many, the state is float64 whatever the kernel computes in


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
    state_dtype : {"float32", "float64"}, optional
        Of parameters and moments; when left out, float64 up to 100,000 parameters, else what the kernel computes in.
    """

    learning_rate: float
    batch_rows: int = 128
    rho_decay: float = 0.9
    held_out: float = 0.0
    patience: int = 10
    state_dtype: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < np.inf:
            raise ParameterError(f"learning_rate must be a positive number; given {self.learning_rate!r}.")
        check_size("batch_rows", self.batch_rows)
        check_size("patience", self.patience)
        check_share("rho_decay", self.rho_decay, below=1)
        if not 0 <= self.held_out <= 0.5:
            raise ParameterError(f"held_out must lie from 0 to 0.5; given {self.held_out!r}.")
        if self.state_dtype not in (None, "float32", "float64"):
            raise ParameterError(f'state_dtype must be "float32", "float64" or None; given {self.state_dtype!r}.')

    def dtype_for(self, size: int, kernel_dtype: np.dtype[Any]) -> np.dtype[Any]:
        """Return the dtype of parameters and moments for that many parameters."""
        if self.state_dtype is not None:
            return np.dtype(self.state_dtype)
        return np.dtype(np.float64) if size <= FLOAT64_PARAMETERS else kernel_dtype

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
        """Do one update, in place; the state that is returned has the same arrays."""


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
    batch_rows, rho_decay, held_out, patience, state_dtype
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
        """Step along first / (sqrt(second) + epsilon), both corrected for their bias; in place."""
        t = state.updates + 1
        unbias = 1 - self.beta2**t
        rate = self.learning_rate / (1 - self.beta1**t)
        flush = _FLUSH_SECOND[state.second.dtype]
        for theta, first, second, g, (a, b) in _chunks(gradient, state.theta, state.first, state.second):
            first *= self.beta1
            first += np.multiply(g, 1 - self.beta1, out=a)
            _flush(first, _FLUSH_FIRST)
            second *= self.beta2
            second += np.multiply(np.square(g, out=b), 1 - self.beta2, out=b)
            _flush(second, flush)
            np.sqrt(np.divide(second, unbias, out=b), out=b)
            b += self.epsilon
            theta -= np.multiply(np.divide(first, b, out=a), rate, out=a)
        return state._replace(updates=t)


@final
@dataclass(frozen=True, kw_only=True)
class SGD(StochasticMethod):
    """Stochastic gradient descent with momentum.

    Parameters
    ----------
    learning_rate : float
    momentum : float
        Share of the last step that is added to the next, in [0, 1).
    batch_rows, rho_decay, held_out, patience, state_dtype
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
        """Step along the decaying sum of gradients; in place."""
        for theta, first, g, (a, _) in _chunks(gradient, state.theta, state.first):
            first *= self.momentum
            first += g
            _flush(first, _FLUSH_FIRST)
            theta -= np.multiply(first, self.learning_rate, out=a)
        return state._replace(updates=state.updates + 1)


def check_share(name: str, value: float, *, below: float) -> None:
    """Raise `ParameterError` unless 0 <= value < below."""
    if not 0 <= value < below:
        raise ParameterError(f"{name} must be at least 0 and below {below:g}; given {value!r}.")


def _chunks(gradient: Vector, *arrays: Vector) -> Iterator[tuple[Any, ...]]:
    """Yield views of corresponding chunks of the arrays and of the gradient, and two scratch arrays of their dtype."""
    dtype = arrays[0].dtype
    scratch = np.empty((2, min(_CHUNK, len(gradient))), dtype)
    for start in range(0, len(gradient), _CHUNK):
        part = slice(start, start + _CHUNK)
        g = gradient[part].astype(dtype, copy=False)
        yield (*(array[part] for array in arrays), g, scratch[:, : len(g)])


def _flush(moment: Vector, limit: float) -> None:
    """Round away what is far below the limit."""
    moment += limit
    moment -= limit
