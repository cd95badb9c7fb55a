"""Adam and stochastic gradient descent with momentum: one update from one noisy gradient.

Which rows make a mini-batch is decided in `epochs.py`.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, final

import numpy as np

from sparsae._types import Array, RunTasks, run_in_turn
from sparsae.errors import ParameterError
from sparsae.model import check_size
from sparsae.model.checks import make_floats
from sparsae.optimize.adam_update import FLUSH_FIRST, FLUSH_SECOND, TINY, flush, flush_interval, update_chunk
from sparsae.optimize.base import Method, dataclass_settings
from sparsae.optimize.objective_functions import AdamPass, ObjectiveFunctions, Vector
from sparsae.optimize.update import (
    BatchGradient,
    CompiledStep,
    Step,
    UpdateReport,
    square_sum,
    update_in_chunks,
)
from sparsae.plugins.contract import AdamStep

if TYPE_CHECKING:
    from sparsae.optimize.epochs import Epochs

_LARGEST = float(np.finfo(np.float64).max)  # larger integers cannot become floats
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

    @property
    def arrays(self) -> tuple[Vector, ...]:
        """What an update changes; parameters first."""
        return self[:3] if len(self.second) else self[:2]


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
    evaluate_start : bool
        Whether the learning curve begins with the cost of all rows; else with that of the first mini-batch.
    warm_up : int
        Updates over which the learning rate rises linearly to its value.
    decay : float
        Share of the planned updates, at the end, over which it falls linearly to 0; in [0, 1].
    clip : float, optional
        Longer gradients are shortened to this length.
    """

    learning_rate: float
    batch_rows: int = 128
    rho_decay: float = 0.9
    held_out: float = 0.0
    patience: int = 10
    state_dtype: str | None = None
    evaluate_start: bool = False
    warm_up: int = 0
    decay: float = 0.0
    clip: float | None = None

    def __post_init__(self) -> None:
        make_floats(self, "learning_rate", "rho_decay", "held_out", "decay", *(() if self.clip is None else ("clip",)))
        if not 0 < self.learning_rate <= _LARGEST:
            raise ParameterError(f"learning_rate must be a positive number; given {self.learning_rate!r}.")
        check_size("batch_rows", self.batch_rows)
        check_size("patience", self.patience)
        check_share("rho_decay", self.rho_decay, below=1)
        if not 0 <= self.held_out <= 0.5:
            raise ParameterError(f"held_out must lie from 0 to 0.5; given {self.held_out!r}.")
        if self.state_dtype not in (None, "float32", "float64"):
            raise ParameterError(f'state_dtype must be "float32", "float64" or None; given {self.state_dtype!r}.')
        if not isinstance(self.evaluate_start, bool):
            raise ParameterError(f"evaluate_start must be True or False; given {self.evaluate_start!r}.")
        check_size("warm_up", self.warm_up, least=0)
        if not 0 <= self.decay <= 1:
            raise ParameterError(f"decay must lie from 0 to 1; given {self.decay!r}.")
        if self.clip is not None and not 0 < self.clip <= _LARGEST:
            raise ParameterError(f"clip must be a positive number or None; given {self.clip!r}.")

    def rate_factor(self, updates: int, planned: int) -> float:
        """Return what the learning rate is multiplied by after so many updates of those planned."""
        rise = (updates + 1) / self.warm_up if updates < self.warm_up else 1.0
        falling = self.decay * planned
        left = planned - updates
        return rise * (max(left, 0) / falling if falling > 0 and left < falling else 1.0)

    def clipped(self, gradient: BatchGradient, theta: Vector, run_tasks: RunTasks) -> BatchGradient:
        """Return the gradient, shortened to the length `clip` where it is longer."""
        if self.clip is None:
            return gradient
        length = float(np.sqrt(square_sum(gradient, theta, run_tasks)))
        if length <= self.clip or not np.isfinite(length):
            return gradient
        share = self.clip / length
        return gradient._replace(scale=gradient.scale * share, decay=gradient.decay * share)

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
    def steps(
        self, number: int, gradient: BatchGradient, dtype: np.dtype[Any], factor: float, adam: AdamPass | None
    ) -> tuple[Step, CompiledStep | None]:
        """Return how one chunk is updated, and the same compiled where a kernel can.

        Parameters
        ----------
        number : int
            Of the update, from 1.
        gradient : BatchGradient
        dtype : dtype
            Of parameters and moments.
        factor : float
            That the learning rate is multiplied by.
        adam : callable, optional
            The kernel's own update of Adam, which has the bits of NumPy's.
        """

    def update(
        self,
        state: Moments,
        gradient: BatchGradient,
        run_tasks: RunTasks = run_in_turn,
        *,
        measure: bool = False,
        factor: float = 1.0,
        adam: AdamPass | None = None,
    ) -> tuple[Moments, UpdateReport]:
        """Do one update, in place; the state that is returned has the same arrays.

        The other parameters are those of `steps`; `measure` asks for the largest component of the gradient.
        Where the gradient is not finite, which the report says, some parameters may have been updated and others not.
        """
        number = state.updates + 1
        step, compiled = self.steps(number, gradient, state.theta.dtype, factor, adam)
        report = update_in_chunks(state.arrays, gradient, step, run_tasks, measure=measure, compiled=compiled)
        return Moments(state.theta, state.first, state.second, number), report  # `_replace` takes four times as long


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
    batch_rows, rho_decay, held_out, patience, state_dtype, evaluate_start, warm_up, decay, clip
        As in `StochasticMethod`.
    """

    name: ClassVar[str] = "adam"  # type: ignore[misc]
    learning_rate: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        make_floats(self, "beta1", "beta2", "epsilon")
        check_share("beta1", self.beta1, below=1)
        check_share("beta2", self.beta2, below=1)
        if not 0 < self.epsilon <= _LARGEST:
            raise ParameterError(f"epsilon must be a positive number; given {self.epsilon!r}.")

    def start(self, theta: Vector) -> Moments:
        """Return moments of zero."""
        return Moments(theta, np.zeros_like(theta), np.zeros_like(theta), 0)

    def steps(
        self, number: int, gradient: BatchGradient, dtype: np.dtype[Any], factor: float, adam: AdamPass | None
    ) -> tuple[Step, CompiledStep | None]:
        """Step along first / (sqrt(second) + epsilon), both corrected for their bias.

        The moments are kept without the factors 1 - beta1 and 1 - beta2, which go into rate and epsilon.
        """
        beta1, beta2 = self.beta1, self.beta2
        unbias = sqrt((1 - beta2**number) / (1 - beta2))
        due = number % flush_interval(min(beta1, beta2)) == 0
        step = AdamStep(
            scale=gradient.scale,
            decay=gradient.decay,
            beta1=beta1,
            beta2=beta2,
            rate=factor * self.learning_rate * unbias * (1 - beta1) / (1 - beta1**number),
            epsilon=max(self.epsilon * unbias, TINY[dtype]),
            flush_first=FLUSH_FIRST[dtype] if due else 0.0,
            flush_second=FLUSH_SECOND[dtype] if due else 0.0,
        )
        compiled = None
        if adam is not None:

            def compiled(chunks: tuple[Array, ...], parts: tuple[Array, ...], decayed: int) -> bool:
                theta, first, second = chunks
                return adam((theta, first, second), parts, decayed, step)

        def plain(chunks: tuple[Array, ...], g: Array, scratch: Array) -> None:
            update_chunk(chunks, g, scratch, step)

        return plain, compiled


@final
@dataclass(frozen=True, kw_only=True)
class SGD(StochasticMethod):
    """Stochastic gradient descent with momentum.

    Parameters
    ----------
    learning_rate : float
    momentum : float
        Share of the last step that is added to the next, in [0, 1).
    batch_rows, rho_decay, held_out, patience, state_dtype, evaluate_start, warm_up, decay, clip
        As in `StochasticMethod`.
    """

    name: ClassVar[str] = "sgd"  # type: ignore[misc]
    learning_rate: float = 0.01
    momentum: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        make_floats(self, "momentum")
        check_share("momentum", self.momentum, below=1)

    def start(self, theta: Vector) -> Moments:
        """Return a momentum of zero."""
        return Moments(theta, np.zeros_like(theta), np.zeros(0), 0)

    def steps(
        self, number: int, gradient: BatchGradient, dtype: np.dtype[Any], factor: float, adam: AdamPass | None
    ) -> tuple[Step, CompiledStep | None]:
        """Step along the decaying sum of gradients."""
        rate = self.learning_rate * factor
        due = number % flush_interval(self.momentum) == 0

        def step(chunks: tuple[Array, ...], g: Array, scratch: Array) -> None:
            theta, first = chunks
            np.multiply(first, self.momentum, out=first)
            np.add(first, g, out=first)
            if due:
                flush(first, FLUSH_FIRST[first.dtype])
            np.subtract(theta, np.multiply(first, rate, out=scratch), out=theta)

        return step, None


def check_share(name: str, value: float, *, below: float) -> None:
    """Raise `ParameterError` unless 0 <= value < below."""
    if not 0 <= value < below:
        raise ParameterError(f"{name} must be at least 0 and below {below:g}; given {value!r}.")
