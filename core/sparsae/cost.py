"""The cost and its gradient from sums over rows, written once: full batches, mini-batches and held-out rows use it.

J = 1/(2m) sum |a3 - target|^2 + weight_decay/2 (|W1|^2 + |W2|^2) + the penalty of the hidden unit:

- sigmoid: beta sum_j KL(rho || rho_hat_j) (Ng, CS294A lecture notes; UFLDL)
- relu: l1/m sum_ij a2_ij w_j, where w_j is 1, or |W2[:, j]| (Conerly et al. 2024, Anthropic, April update)
- jumprelu: l0/m sum_ij [z_ij > threshold_j] (Rajamanoharan et al. 2024, arXiv 2407.14435)
- topk: none

Biases are not decayed.  With a pre-bias, z = W1 (x - b2) + b1: a kernel is given b1 - W1 b2 for b1, and its sums are
turned into those of the parameters here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple, Protocol, Self, final

import numpy as np
from numpy.typing import NDArray

from sparsae._types import ACTIVATIONS, Activation, Array, RunTasks, run_in_turn
from sparsae.errors import ParameterError
from sparsae.model import Parameters
from sparsae.model.checks import check_number, check_word
from sparsae.model.settings import ModelSettings

PIECE = 1 << 16  # numbers of a matrix that are worked on at a time: they stay in cache
KL_EDGE = 1e-6  # outside [KL_EDGE, 1 - KL_EDGE] the divergence continues along its tangent
_ONE, _LOW, _HIGH = map(np.array, (1.0, KL_EDGE, 1 - KL_EDGE))  # arrays: NumPy takes longer to look at a number


@final
class Terms(NamedTuple):
    """The three terms of the cost; they add up to it.  The penalty of every hidden unit is called sparsity."""

    squared_error: float
    weight_decay: float
    sparsity: float


@final
class Evaluation(NamedTuple):
    """Cost and gradient at one point, with what they are made of.

    Attributes
    ----------
    cost : float
    gradient : ndarray (size,) float64
        Flat, in the order of `Parameters.flatten`; a new array.
    terms : Terms
    rho_hat : ndarray (n_hidden,) float64
        Mean activation of each hidden unit.
    squared_error_sum : float
        sum |a3 - target|^2 over all rows.
    density : ndarray (n_hidden,) float64
        Share of the rows in which each hidden unit is active; they add up to the mean L0.
    """

    cost: float
    gradient: NDArray[np.float64]
    terms: Terms
    rho_hat: NDArray[np.float64]
    squared_error_sum: float
    density: NDArray[np.float64]


class GradientSums(Protocol):
    """The part of `sparsae.Sums` that the cost is computed from; the sparsity vector is already applied."""

    rows: float
    squared_error: float
    hidden: NDArray[np.float64]
    fired: NDArray[np.float64]
    near: NDArray[np.float64]
    gradient: NDArray[np.float64]
    W1: NDArray[np.float64]
    W2: NDArray[np.float64]
    b1: NDArray[np.float64]
    b2: NDArray[np.float64]
    threshold: NDArray[np.float64]


@final
@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost beside the data: its settings, checked.

    Attributes
    ----------
    activation : str
        The hidden unit; it decides which of the penalties is used.
    rho : float
        Sparsity target, in (0, 1); sigmoid only.
    beta, l1, l0, weight_decay : float
        Weights of the penalties of sigmoid, relu and jumprelu units, and of the weight decay, at least 0.
    l1_weighted : bool
        Whether activations are weighted by the length of their column of W2.
    bandwidth : float or None
        Width of the rectangle in which the gradient of a threshold is estimated, above 0; jumprelu needs it.
    pre_bias : bool
        Whether b2 is subtracted from the input.

    Raises
    ------
    ParameterError
        When a setting cannot be used; names it.
    """

    activation: Activation = "sigmoid"
    rho: float = 0.01
    beta: float = 3.0
    l1: float = 0.0
    l1_weighted: bool = True
    l0: float = 0.0
    bandwidth: float | None = None
    weight_decay: float = 1e-4
    pre_bias: bool = False

    def __post_init__(self) -> None:
        check_word("activation", self.activation, ACTIVATIONS)
        object.__setattr__(self, "rho", check_number("rho", self.rho))
        if not 0 < self.rho < 1:
            raise ParameterError(f"rho must lie strictly between 0 and 1 (it is a mean activation); given {self.rho}.")
        for name in ("beta", "l1", "l0", "weight_decay"):
            object.__setattr__(self, name, check_number(name, getattr(self, name), least=0))
        if self.bandwidth is not None:
            object.__setattr__(self, "bandwidth", check_number("bandwidth", self.bandwidth))
        if self.activation == "jumprelu" and not (self.bandwidth or 0) > 0:
            raise ParameterError(f"bandwidth must be above 0; given {self.bandwidth}.")

    @classmethod
    def of(cls, settings: ModelSettings) -> Self:
        """Return the cost that these settings describe."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in settings.to_dict().items() if name in names})

    def check_dtype(self, dtype: np.dtype[Any]) -> None:
        """Refuse a `beta` with which the sparsity vector overflows in that dtype.

        Raises
        ------
        ParameterError
            Names the largest `beta` that can be used.
        """
        largest = float(np.finfo(dtype).max) * KL_EDGE
        if self.beta > largest:
            raise ParameterError(
                f"beta={self.beta:g} overflows in {dtype}: the sparsity vector reaches beta / {KL_EDGE:g}. "
                f"Use a beta of at most {largest:.1g}."
            )

    def penalty(self, rho_hat: NDArray[np.float64]) -> float:
        """Return beta sum KL(rho || rho_hat) for mean activations (p,).

        Outside [1e-6, 1 - 1e-6] the divergence continues along its tangent,
        so that cost and gradient stay finite and consistent where a unit is always off or always on.
        """
        return self.penalty_and_sparsity(rho_hat)[0]

    def sparsity(self, rho_hat: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sparsity vector s (p,): the derivative of `penalty` by the mean activations (p,)."""
        return self.penalty_and_sparsity(rho_hat)[1]

    def penalty_and_sparsity(self, rho_hat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return both: a mini-batch of few rows takes 8 us for them together, and 11 for one after the other."""
        rho, rest, beta = self._numbers
        r = np.minimum(np.maximum(rho_hat, _LOW), _HIGH)  # (p,); `clip` is slower
        on, off = rho / r, rest / (_ONE - r)  # (p,), (p,)
        s: NDArray[np.float64] = beta * (off - on)  # (p,)
        divergence = rho * np.log(on) + rest * np.log(off)  # (p,)
        inside = self.beta * float(np.add.reduce(divergence))
        if r.tobytes() == rho_hat.tobytes():  # a quarter of the time of comparing numbers
            return inside, s
        return inside + float((s * (rho_hat - r)).sum()), s

    @cached_property
    def _numbers(self) -> tuple[NDArray[np.float64], ...]:
        """Return rho, 1 - rho and beta as arrays of one number: faster for NumPy."""
        return np.array(self.rho), np.array(1 - self.rho), np.array(self.beta)

    @property
    def needs_mean(self) -> bool:
        """Whether the sparsity vector depends on the mean activations, which need a pass over the data."""
        return self.activation == "sigmoid"

    def known_sparsity(self, parameters: Parameters) -> NDArray[np.float64] | None:
        """Return the sparsity vector s (p,) where parameters alone decide it, so that one pass is enough, else None."""
        if self.needs_mean:
            return None
        if self.activation == "relu":
            return self.l1 * self._l1_weights(parameters.W2)  # (p,)
        return np.zeros(parameters.n_hidden)

    def kernel_parameters(self, parameters: Parameters) -> Parameters:
        """Return what a kernel is given: b1 - W1 b2 for b1 where there is a pre-bias."""
        if not self.pre_bias:
            return parameters
        return parameters._replace(b1=parameters.b1 - parameters.W1 @ parameters.b2)

    def terms(
        self, sums: GradientSums, theta: NDArray[np.float64], rho_hat: NDArray[np.float64] | None = None
    ) -> Terms:
        """Return the three terms of the cost; of `sums` only rows, squared_error, hidden and fired are used.

        Parameters
        ----------
        sums : Sums
        theta : ndarray (size,) float64
            Flat parameters, in the order of `Parameters.flatten`.
        rho_hat : ndarray (p,), optional
            Mean activations for the sparsity term of sigmoid units; those of the rows when left out.
        """
        return self._terms(sums, theta, _parameters(sums, theta), rho_hat)

    def _terms(
        self,
        sums: GradientSums,
        theta: NDArray[np.float64],
        parameters: Parameters,
        rho_hat: NDArray[np.float64] | None,
    ) -> Terms:
        """As `terms`, for `theta` flat and as parameters."""
        weights = theta[: 2 * sums.W1.size]
        return Terms(
            squared_error=sums.squared_error / (2 * sums.rows),
            weight_decay=self.weight_decay / 2 * float(weights @ weights) if self.weight_decay > 0 else 0.0,
            sparsity=self.sparsity_term(sums, parameters, rho_hat),
        )

    def sparsity_term(
        self, sums: GradientSums, parameters: Parameters, rho_hat: NDArray[np.float64] | None = None
    ) -> float:
        """Return the third term of the cost; `sums` and `rho_hat` as in `terms`."""
        if self.activation == "sigmoid":
            return self.penalty(sums.hidden / sums.rows if rho_hat is None else rho_hat)
        if self.activation == "relu":
            return self.l1 * float((sums.hidden / sums.rows) @ self._l1_weights(parameters.W2))
        return self.l0 * float(sums.fired.sum() / sums.rows)  # l0 is 0 unless units are jumprelu

    def evaluate(
        self,
        sums: GradientSums,
        theta: NDArray[np.float64],
        rho_hat: NDArray[np.float64] | None = None,
        run_tasks: RunTasks = run_in_turn,
    ) -> Evaluation:
        """Return cost and gradient; the other parameters as in `terms`.  The sums stay as they are.

        The gradient is made piece by piece, on the threads of `run_tasks`: that of a large model takes as long as
        memory takes to be read and written.
        """
        if rho_hat is None:
            rho_hat = sums.hidden / sums.rows  # (p,)
        gradient, weights = np.empty(theta.size), 2 * sums.W1.size
        parameters = _parameters(sums, theta)
        decays_last = self.pre_bias or self._grows_with_lengths

        def decay(index: int) -> None:
            piece = slice(index * PIECE, min((index + 1) * PIECE, weights))
            gradient[piece] += self.weight_decay * theta[piece]

        def average(index: int) -> None:
            piece = slice(index * PIECE, min((index + 1) * PIECE, theta.size))
            np.divide(sums.gradient[piece], sums.rows, out=gradient[piece])
            if self.weight_decay > 0 and not decays_last:
                decay(index)

        run_tasks(average, -(-theta.size // PIECE))
        self.complete(_parameters(sums, gradient), parameters, sums, run_tasks)
        if self.weight_decay > 0 and decays_last:
            run_tasks(decay, -(-weights // PIECE))
        terms = self._terms(sums, theta, parameters, rho_hat)
        return Evaluation(sum(terms), gradient, terms, rho_hat, sums.squared_error, sums.fired / sums.rows)

    def complete(
        self, gradient: Parameters, parameters: Parameters, sums: GradientSums, run_tasks: RunTasks = run_in_turn
    ) -> None:
        """Turn the mean gradient of the kernel's parameters into that of the cost without weight decay, in place."""
        scale = None
        if self.pre_bias:
            gradient.b2[...] -= parameters.W1.T @ gradient.b1  # (n,)
        if self._grows_with_lengths:
            lengths = _column_lengths(parameters.W2)  # (p,)
            scale = self.l1 / sums.rows * sums.hidden / np.where(lengths > 0, lengths, np.inf)  # (p,)
        if gradient.threshold is not None and parameters.threshold is not None and self.bandwidth is not None:
            gradient.threshold[...] *= parameters.threshold  # (p,)
            gradient.threshold[...] += self.l0 / sums.rows * sums.near
            gradient.threshold[...] /= -self.bandwidth

        pieces = [(True, rows) for rows in _pieces(gradient.W1)] if self.pre_bias else []
        pieces += [(False, rows) for rows in _pieces(gradient.W2)] if scale is not None else []

        def work(index: int) -> None:
            first, rows = pieces[index]
            if first:
                gradient.W1[rows] -= np.outer(gradient.b1[rows], parameters.b2)
            elif scale is not None:
                gradient.W2[rows] += scale * parameters.W2[rows]

        if pieces:
            run_tasks(work, len(pieces))

    @property
    def _grows_with_lengths(self) -> bool:
        """Whether the penalty is weighted by the lengths of the columns of W2."""
        return self.activation == "relu" and self.l1_weighted and self.l1 > 0

    def _l1_weights(self, W2: Array) -> NDArray[np.float64]:
        """Return the weights (p,) of the activations in the L1 term."""
        return _column_lengths(W2) if self.l1_weighted else np.ones(W2.shape[1])


def _parameters(sums: GradientSums, flat: NDArray[np.float64]) -> Parameters:
    """Return views of a flat vector as parameters of the sizes of `sums`."""
    return Parameters.from_flat(flat, sums.b2.size, sums.b1.size)


def _pieces(matrix: Array) -> Iterator[slice]:
    """Yield slices of rows, of about `PIECE` numbers each."""
    rows, columns = matrix.shape
    step = max(1, PIECE // columns)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def _column_lengths(W2: Array) -> NDArray[np.float64]:
    """Euclidean lengths (p,) of the columns of W2 (n, p), in float64; rows are added one after the other."""
    total = np.zeros(W2.shape[1])
    for rows in _pieces(W2):
        squares = np.square(W2[rows], dtype=np.float64)
        squares[0] += total
        total = squares.sum(axis=0)
    return np.sqrt(total)
