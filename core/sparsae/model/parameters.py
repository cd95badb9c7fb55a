"""Parameters of the sparse autoencoder, their starting values, and their checks.

Source: Ng, *Sparse autoencoder*, CS294A lecture notes, and the UFLDL tutorial.
Samples are rows: ``X`` is (n_samples, n_visible), abbreviated (m, n); there are p hidden units.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsae._facts import table_html
from sparsae._text import plural
from sparsae._types import FLOATS, OUTPUTS, Array, Output
from sparsae.errors import ParameterError

NAMES = ("W1", "b1", "W2", "b2", "threshold")


class _Fields:
    """Names of the items of `Parameters`: of all of them for the class, of those that there are for an instance.

    JAX, among others, knows a named tuple by them, and wants as many names as items.
    """

    def __get__(self, instance: Parameters | None, owner: type[Parameters]) -> tuple[str, ...]:
        return NAMES if instance is None else NAMES[: len(instance)]


class Parameters(tuple[Array, ...]):
    """Weights and biases of the autoencoder, or a gradient with respect to them: a named tuple of four or five arrays.

    A model has four arrays unless its hidden units have thresholds, so that ``W1, b1, W2, b2 = parameters`` works for
    all others.  Immutable; ``_replace``, ``_asdict`` and ``_fields`` as in `typing.NamedTuple`.

    Parameters
    ----------
    W1 : ndarray (n_hidden, n_visible)
        Encoder weights; row j belongs to hidden unit j.
    b1 : ndarray (n_hidden,)
        Encoder biases.
    W2 : ndarray (n_visible, n_hidden)
        Decoder weights.
    b2 : ndarray (n_visible,)
        Decoder biases.
    threshold : ndarray (n_hidden,), optional
        What the pre-activation of a JumpReLU unit must exceed; None, and no fifth item, where units have none.
    """

    __slots__ = ()
    _fields = _Fields()
    __match_args__ = ("W1", "b1", "W2", "b2", "threshold")

    def __new__(cls, W1: Array, b1: Array, W2: Array, b2: Array, threshold: Array | None = None) -> Self:
        """Make the tuple."""
        return super().__new__(cls, (W1, b1, W2, b2) if threshold is None else (W1, b1, W2, b2, threshold))

    @property
    def W1(self) -> Array:
        """Encoder weights (n_hidden, n_visible)."""
        return self[0]

    @property
    def b1(self) -> Array:
        """Encoder biases (n_hidden,)."""
        return self[1]

    @property
    def W2(self) -> Array:
        """Decoder weights (n_visible, n_hidden)."""
        return self[2]

    @property
    def b2(self) -> Array:
        """Decoder biases (n_visible,)."""
        return self[3]

    @property
    def threshold(self) -> Array | None:
        """Thresholds (n_hidden,), or None where hidden units have none."""
        return self[4] if len(self) == len(NAMES) else None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays that there are."""
        return self._fields

    def _asdict(self) -> dict[str, Array]:
        """Return the arrays by name; threshold only where there is one."""
        return dict(zip(self.names, self, strict=True))

    def _replace(self, **parts: Array | None) -> Self:
        """Return the same parameters with other arrays for those named."""
        return type(self)(**{**self._asdict(), **parts})  # type: ignore[arg-type]  # only threshold may be None

    def __getnewargs__(self) -> tuple[Array, ...]:
        return tuple(self)

    def __repr__(self) -> str:
        arrays = {name: np.asarray(part) for name, part in self._asdict().items()}
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        dtypes = " and ".join(sorted({str(array.dtype) for array in arrays.values()}))
        return f"{type(self).__name__}({shapes}, {dtypes})"

    def _repr_html_(self) -> str:
        headings = ("", "shape", "dtype", "least", "mean", "largest")
        arrays = [(name, np.asarray(part)) for name, part in self._asdict().items()]
        rows = [
            (name, array.shape, array.dtype, *(f"{f(array):.4g}" for f in (np.min, np.mean, np.max)))
            for name, array in arrays
        ]
        return f"<div><strong>Parameters</strong>{table_html(headings, rows)}</div>"

    @property
    def n_visible(self) -> int:
        """Number of inputs, n."""
        return int(self.W1.shape[1])

    @property
    def n_hidden(self) -> int:
        """Number of hidden units, p."""
        return int(self.W1.shape[0])

    @classmethod
    def random(
        cls,
        n_visible: int,
        n_hidden: int,
        *,
        seed: int | np.random.Generator = 0,
        init: Literal["uniform", "transpose"] = "uniform",
    ) -> Self:
        """Starting parameters: random weights, biases zero.

        Parameters
        ----------
        n_visible, n_hidden : int
            Number of inputs and of hidden units, at least 1.
        seed : int or numpy.random.Generator
            Source of randomness; the same integer gives the same parameters.
        init : {"uniform", "transpose"}
            Weights uniform in +-sqrt(6 / (n_visible + n_hidden + 1));
            or columns of W2 in random directions, of unit length, and W1 = W2'.

        Returns
        -------
        Parameters
            float64 arrays.

        Raises
        ------
        ParameterError
            When a size is not a positive integer, or there is no such `init`.

        Notes
        -----
        Sources: UFLDL exercise *Sparse Autoencoder*, ``initializeParameters``; Gao et al. 2024, arXiv 2406.04093.
        """
        n_visible, n_hidden = check_size("n_visible", n_visible), check_size("n_hidden", n_hidden)
        rng = make_generator(seed)
        if init == "transpose":
            W2 = rng.standard_normal((n_visible, n_hidden))
            W2 /= np.linalg.norm(W2, axis=0)
            return cls(W1=W2.T.copy(), b1=np.zeros(n_hidden), W2=W2, b2=np.zeros(n_visible))
        if init != "uniform":
            raise ParameterError(f"init must be one of uniform, transpose; given {init!r}.")
        r = np.sqrt(6.0 / (n_visible + n_hidden + 1))
        return cls(
            W1=rng.uniform(-r, r, (n_hidden, n_visible)),
            b1=np.zeros(n_hidden),
            W2=rng.uniform(-r, r, (n_visible, n_hidden)),
            b2=np.zeros(n_visible),
        )

    def flatten(self) -> NDArray[np.float64]:
        """One new float64 vector (2 n p + p + n,) in the order W1, W2, b1, b2, threshold, each row by row.

        It is longer by p where there are thresholds.
        """
        W1, b1, W2, b2, *threshold = self
        parts = (W1, W2, b1, b2, *threshold)
        return np.concatenate([np.asarray(part, dtype=np.float64).ravel() for part in parts])

    @classmethod
    def from_flat(cls, theta: ArrayLike, n_visible: int, n_hidden: int) -> Self:
        """Parameters from a flat vector in the order W1, W2, b1, b2, and threshold where it is longer by n_hidden.

        The arrays are views of `theta` where it is an array: they share its memory.

        Raises
        ------
        ParameterError
            When `theta` is not a vector of real numbers, 2 * n_visible * n_hidden + n_hidden + n_visible of them,
            or n_hidden more.
        """
        n, p = check_size("n_visible", n_visible), check_size("n_hidden", n_hidden)
        flat = as_theta(theta)
        size = 2 * n * p + p + n
        if flat.shape not in ((size,), (size + p,)):
            raise ParameterError(
                f"theta has shape {flat.shape}; n_visible={n} and n_hidden={p} need a vector of {size} numbers "
                f"(W1, W2, b1, b2), or of {size + p} with thresholds."
            )
        w = n * p
        return cls(
            W1=flat[:w].reshape(p, n),
            W2=flat[w : 2 * w].reshape(n, p),
            b1=flat[2 * w : 2 * w + p],
            b2=flat[2 * w + p : size],
            threshold=flat[size:] if flat.size > size else None,
        )

    def astype(self, dtype: Any) -> Self:
        """The same parameters in another dtype; arrays that have it already are not copied."""
        if all(type(part) is np.ndarray and part.dtype == dtype for part in self):
            return self
        return type(self)(*(np.asarray(part, dtype=dtype) for part in self))


def check_size(name: str, value: object, *, least: int = 1, bits: int | None = None) -> int:
    """Return `value` as an int of at least `least` and at most so many bits, or raise `ParameterError`."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < least:
        raise ParameterError(f"{name} must be an integer of at least {least}, not {value!r}.")
    if bits is not None and int(value).bit_length() > bits:
        raise ParameterError(f"{name} must be an integer below 2**{bits}; given one of {int(value).bit_length()} bits.")
    return int(value)


def make_generator(seed: object) -> np.random.Generator:
    """Return a generator itself, or one with that seed, or raise `ParameterError`."""
    try:
        return np.random.default_rng(seed)  # type: ignore[arg-type]  # anything else is caught
    except (TypeError, ValueError):
        raise ParameterError(
            f"seed must be an integer of at least 0 or a numpy.random.Generator; given {seed!r}."
        ) from None


def as_theta(theta: object) -> Array:
    """Return flat parameters as an array of real numbers, or raise `ParameterError`."""
    try:
        flat = np.asarray(theta)
    except (TypeError, ValueError, OverflowError) as error:
        raise ParameterError(f"theta cannot be made an array: {error}") from error
    if flat.dtype.kind not in "fiu":
        raise ParameterError(f"theta has dtype {flat.dtype}; expected a vector of real numbers.")
    return flat


def check_parameters(parameters: object) -> Parameters:
    """Return consistent, finite `Parameters` of real numbers, or raise `ParameterError` with the shapes given."""
    try:
        W1, b1, W2, b2, *more = (np.asarray(part) for part in parameters)  # type: ignore[attr-defined]  # what is no sequence is caught
        made = Parameters(W1, b1, W2, b2, *more)
    except (TypeError, ValueError) as error:
        hint = " Use its attribute parameters." if hasattr(parameters, "parameters") else ""
        raise ParameterError(
            f"Expected sparsae.Parameters(W1, b1, W2, b2), not {type(parameters).__name__}.{hint}"
        ) from error
    given = ", ".join(f"{name} {part.shape}" for name, part in made._asdict().items())
    if W1.ndim != 2 or 0 in W1.shape:
        raise ParameterError(f"W1 must be a non-empty matrix (n_hidden, n_visible); given {given}.")
    p, n = W1.shape
    if tuple(part.shape for part in made[1:]) != ((p,), (n, p), (n,), (p,))[: len(made) - 1]:
        threshold = f", threshold ({p},)" if more else ""
        raise ParameterError(
            f"Shapes do not fit together: given {given}; "
            f"a W1 of {W1.shape} needs b1 ({p},), W2 ({n}, {p}), b2 ({n},){threshold}."
        )
    for name, part in made._asdict().items():
        if part.dtype.kind not in "fiu":
            raise ParameterError(f"{name} has dtype {part.dtype}; expected an array of real numbers.")
    checked = Parameters(*(part if part.dtype in FLOATS else _cast(part, np.dtype(np.float64)) for part in made))
    _check_finite(checked, "")
    return checked


def cast_parameters(parameters: Parameters, dtype: np.dtype[Any]) -> Parameters:
    """Return finite parameters in another dtype, or raise `ParameterError` where they overflow in it."""
    cast = Parameters(*(_cast(part, dtype) for part in parameters))
    _check_finite(cast, f" in {dtype}")
    return cast


def _cast(a: Array, dtype: np.dtype[Any]) -> Array:
    """Cast without a warning: what overflows becomes infinite."""
    with np.errstate(over="ignore"):
        return a.astype(dtype, copy=False)


def _check_finite(parameters: Parameters, where: str) -> None:
    for name, part in parameters._asdict().items():
        if not np.isfinite(part).all():
            raise ParameterError(f"{name} contains {_count_not_finite(part)}{where}.")


def _count_not_finite(a: Array) -> str:
    count = int(np.count_nonzero(~np.isfinite(a)))
    return f"{plural(count, 'value')} that {'is' if count == 1 else 'are'} not finite"


def check_output(output: object) -> Output:
    """Return `output` if it names an output unit, else raise `ParameterError`."""
    if output not in OUTPUTS:
        raise ParameterError(f"output must be one of {', '.join(OUTPUTS)}; given {output!r}.")
    return output
