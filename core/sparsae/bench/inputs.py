"""Numbers to work on, the same for everyone: made from the seed and allocated in the same way in every process.

Arrays are 64-byte aligned and in C order, which alone makes `np.add` up to 15 % faster than what `np.empty` happens
to return.  Errors are given in units of what rounding explains; more than 1 is wrong, NaN too.

Rows in which rounding, and not the data, decides which hidden units are active have no right result.  The data has none
at the parameters where a race begins, so that what is timed is what is checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsae._types import Activation, Array, Output
from sparsae.errors import DataError
from sparsae.model import Parameters
from sparsae.model.settings import START_THRESHOLD, ModelOptions
from sparsae.model.units import HIDDEN_UNITS, sigmoid
from sparsae.plugins.sums import Sums
from sparsae.reference import Comparison, compare, compare_gradient_sums, undecided_rows

ALIGNMENT = 64
RHO, BETA, WEIGHT_DECAY = 0.01, 3.0, 1e-4
LOW, HIGH = 0.1, 0.9  # of the data
MEAN, SPREAD = (LOW + HIGH) / 2, (HIGH - LOW) / 12**0.5  # of the distribution that it is drawn from
MOST_DRAWS = 100  # of a row that rounding leaves undecided
CHUNK = 1024  # rows that are looked at together


class BackpropInputs(NamedTuple):
    """What a backpropagation from given activations needs; the target of the autoencoder is `a1` itself."""

    a1: Array  # (m, n)
    a2: Array  # (m, p)
    a3: Array  # (m, n)
    W2: Array  # (n, p)
    rho_hat: Array  # (p,)
    activation: Activation = "sigmoid"
    k: int | None = None
    rho: float = RHO
    beta: float = BETA

    @property
    def sparsity(self) -> Array:
        """The sparsity vector (p,), in the dtype of the activations."""
        vector = np.zeros_like(self.rho_hat)
        if self.activation == "sigmoid":
            vector = self.beta * (-self.rho / self.rho_hat + (1 - self.rho) / (1 - self.rho_hat))
        if self.activation == "relu":
            vector += 0.04 * SPREAD * np.sqrt(len(self.W2))
        return np.asarray(vector, self.a1.dtype)

    def error(self, sums: Iterable[Any]) -> float:
        """Largest error of gradient sums over the samples."""
        shapes = self.zeros()
        found = Parameters(*(np.reshape(part, zero.shape) for part, zero in zip(sums, shapes, strict=True)))
        output: Output = "sigmoid" if self.activation == "sigmoid" else "linear"
        given = self.a1, self.a2, self.a3, self.W2, self.sparsity, self.a1
        return largest_ratio(
            compare_gradient_sums(found, *given, output=output, dtype=self.a1.dtype, activation=self.activation)
        )

    def zeros(self) -> Parameters:
        """Zeros of the gradient's shapes."""
        sums = Sums(self.W2.shape[0], self.W2.shape[1])
        return Parameters(sums.W1, sums.b1, sums.W2, sums.b2)


def raced_options(activation: Any = "sigmoid", k: int | None = None) -> ModelOptions:
    """Return the keywords of the model that is raced; the others have the defaults of the activation."""
    if activation == "sigmoid":
        return ModelOptions(rho=RHO, beta=BETA, weight_decay=WEIGHT_DECAY, k=k)
    return ModelOptions(activation=activation, k=k, bandwidth=0.05 * SPREAD if activation == "jumprelu" else None)


def make_data(
    size: Iterable[int], dtype: str, seed: int, options: ModelOptions | None = None
) -> tuple[Array, Parameters]:
    """Make data in [0.1, 0.9] in that dtype, and float64 starting parameters.

    Raises
    ------
    DataError
        When rounding decides in nearly every row which units are active.
    """
    m, n, p = size
    options = raced_options() if options is None else options
    activation = options.get("activation", "sigmoid")
    parameters = Parameters.random(n, p, seed=seed, init="uniform" if activation == "sigmoid" else "transpose")
    if activation != "sigmoid":
        parameters = parameters._replace(b2=np.full(n, MEAN))
    if activation == "jumprelu":
        parameters = parameters._replace(threshold=np.full(p, START_THRESHOLD * SPREAD))
    rng = np.random.default_rng(seed)
    X = aligned_copy(rng.uniform(LOW, HIGH, (m, n)), dtype)
    again = np.arange(m)
    for _ in range(MOST_DRAWS):
        again = again[~decided_rows(parameters, X[again], options)]
        if not again.size:
            return X, parameters
        X[again] = rng.uniform(LOW, HIGH, (again.size, n))
    raise DataError(
        f"Rounding in {dtype} decides in nearly every row which of {p} {activation} units are active, so that results "
        f"could not be checked; race fewer hidden units, or float64."
    )


def decided_rows(parameters: Parameters, X: Array, options: ModelOptions) -> NDArray[np.bool_]:
    """Say of each row (m,) whether the data, and not rounding, decides which hidden units are active."""
    given = parameters.astype(X.dtype)
    settings: dict[str, Any] = {"pre_bias": options.get("activation", "sigmoid") != "sigmoid", **options}
    undecided = [
        undecided_rows(given, X[start : start + CHUNK], dtype=X.dtype, **settings) for start in range(0, len(X), CHUNK)
    ]
    return ~np.concatenate(undecided or [np.zeros(0, bool)])


def make_backprop_inputs(
    size: Iterable[int],
    *,
    dtype: str = "float64",
    seed: int = 0,
    activation: Activation = "sigmoid",
    k: int | None = None,
) -> BackpropInputs:
    """Make the activations of a random autoencoder."""
    options = raced_options(activation, k)
    x, parameters = make_data(size, dtype, seed, options)
    W1, b1, W2, b2 = (aligned_copy(part, dtype) for part in parameters[:4])
    a1 = x.astype(np.float64) - (0 if activation == "sigmoid" else b2)  # (m, n)
    z2 = a1 @ W1.T + b1  # (m, p)
    a2 = HIDDEN_UNITS[activation].function(z2, k, parameters.threshold)  # (m, p)
    z3 = a2 @ W2.T + b2  # (m, n)
    a3 = sigmoid(z3) if activation == "sigmoid" else z3  # (m, n)
    return BackpropInputs(x, aligned_copy(a2, dtype), aligned_copy(a3, dtype), W2, a2.mean(axis=0), activation, k)


def aligned_copy(a: NDArray[Any], dtype: Any = None) -> Array:
    """Copy an array to C order and an address that is a multiple of 64."""
    source = np.ascontiguousarray(a, dtype=dtype)
    raw = np.empty(source.nbytes + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    copy: Array = raw[start : start + source.nbytes].view(source.dtype).reshape(source.shape)
    copy[...] = source
    return copy


def describe_arrays(arrays: Mapping[str, Array]) -> dict[str, Any]:
    """Shape, dtype, order, alignment and digest of each array."""
    return {
        name: {
            "shape": list(a.shape),
            "dtype": str(a.dtype),
            "order": "C" if a.flags.c_contiguous else "F" if a.flags.f_contiguous else "strided",
            "alignment": next(b for b in (64, 32, 16, 8, 4) if a.ctypes.data % b == 0),
            "digest": hashlib.sha256(np.ascontiguousarray(a).data).hexdigest(),
        }
        for name, a in arrays.items()
    }


def largest_ratio(comparisons: Iterable[Comparison]) -> float:
    """Largest error in units of what rounding explains; infinite where a number is not finite."""
    return max(comparison.ratio for comparison in comparisons)


def product_error(left: Array, right: Array, found: Array) -> float:
    """Largest error of a matrix product, against sums in extended precision by NumPy's own loops."""
    exact = np.einsum("ik,kj->ij", left, right, dtype=np.longdouble)
    scale = np.einsum("ik,kj->ij", abs(left), abs(right))
    bound = 8 * np.sqrt(left.shape[1]) * np.finfo(found.dtype).eps * scale
    return compare("product", found, exact, bound).ratio
