"""`backprop`: the gradient sums of a backend's kernel from given activations."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import ArrayLike

from sparsae._types import ACTIVATIONS, Activation, Array, Output
from sparsae.engine.backprop_engine import BackpropEngine, GivenActivations
from sparsae.engine.containers import check_matrix, without_mask
from sparsae.engine.guard import check_backprop, is_third_party
from sparsae.engine.setup import complete_problem, grant_threads, limit_all_threads
from sparsae.engine.sources import DataSource, common_dtype
from sparsae.errors import BackendDeclinedError, DataError, ParameterError
from sparsae.machine.threads import ThreadGrant
from sparsae.model import Parameters, check_output
from sparsae.model.checks import check_k, check_word
from sparsae.model.settings import DEFAULTS, kernel_activation, kernel_activation_note
from sparsae.plugins.contract import Backend, Problem
from sparsae.plugins.selection import AUTO, requested_backend, select

_LOCAL = threading.local()  # the engine of the last call in this thread: making it costs more than a small call


def backprop(
    a1: ArrayLike,
    a2: ArrayLike,
    a3: ArrayLike,
    W2: ArrayLike,
    sparsity: ArrayLike | None = None,
    *,
    target: ArrayLike | None = None,
    activation: Activation = "sigmoid",
    k: int | None = None,
    output: Output | None = None,
    backend: str | Backend | None = None,
    threads: int | None = None,
) -> Parameters:
    """Gradient sums of backpropagation through the autoencoder, from given activations.

    Parameters
    ----------
    a1 : array_like (n_samples, n_visible)
        Input activations.
    a2 : array_like (n_samples, n_hidden)
        Hidden activations.
    a3 : array_like (n_samples, n_visible)
        Output activations.
    W2 : array_like (n_visible, n_hidden)
        Decoder weights.
    sparsity : array_like (n_hidden,), optional
        The sparsity vector s, the derivative of the penalty by the mean activations; zeros when left out.
        For sigmoid units beta (-rho / rho_hat + (1 - rho) / (1 - rho_hat)); for relu units l1, times the lengths of
        the columns of W2 where the penalty is weighted by them; the others have no such penalty.
    target : array_like (n_samples, n_visible), optional
        What a3 should equal; a1 when left out.
    activation : {"sigmoid", "relu", "topk", "batchtopk", "jumprelu"}
        Hidden unit that a2 comes from.
    k : int, optional
        Activations kept in a row, at most; required of "topk", and accepted for "batchtopk".
    output : {"sigmoid", "linear"}, optional
        Output unit; when left out "sigmoid" where hidden units are sigmoids, else "linear".
    backend : str or Backend, optional
        As in `Objective`.
    threads : int, optional
        As in `Objective`.

    Returns
    -------
    Parameters
        float64 sums over the samples, not means, without weight decay:
        delta3 = (a3 - target) a3 (1 - a3), or a3 - target where outputs are linear;
        delta2 = (delta3 W2 + sparsity) a2 (1 - a2), or (delta3 W2 + sparsity) where a2 is not 0 if hidden units are no
        sigmoids; W1 = delta2' a1, b1 = sum delta2, W2 = delta3' a2, b2 = sum delta3.

    Raises
    ------
    DataError
        When an array is empty, not of real numbers, or shapes do not fit together; when a row has more than `k`
        activations of "topk" units that are not 0.
    ParameterError
        When an option cannot be used, or does not belong to the activation.
    BackendError
        When the backend cannot be used.

    Notes
    -----
    Computed in float32 where `a1` is float32 or float16, else in float64.
    Values are not checked: NaN in gives NaN out.
    Sums for thresholds of jumprelu units are not among those returned: they need pre-activations, see
    `cost_and_gradient`.  With a pre-bias a1 is the data less b2, target the data, and W1' b1 is to be taken from b2.
    """
    activation, output = _checked_units(activation, k, output)
    given = _checked_arrays(a1, a2, a3, W2, sparsity, target)
    if requested_backend(backend)[1] == AUTO:
        raise ParameterError("auto times whole evaluations; for backprop name a backend, such as 'fused'.")
    selected = select(backend)
    chosen = selected.backend
    (m, n), p = given.a1.shape, given.sparsity.size
    request = _BackpropRequest(activation, _checked_k(activation, k, given.a2), output, m, n, p, given.a1.dtype)
    granted = grant_threads(chosen, threads)
    key = chosen, request, granted
    engine = _take_engine(key)  # before limits: the library of a kernel may be loaded where it is made
    with limit_all_threads(chosen, granted):
        kernel, problem = engine.kernels[0], engine.problem
        if not kernel.has_backprop:
            raise BackendDeclinedError(
                f"Backend {chosen.name!r} computes whole evaluations only: its kernel defines no backprop. "
                f"Name another backend, such as 'numpy', or define backprop in {type(kernel).__name__}."
            )
        if is_third_party(selected.record) and getattr(_LOCAL, "compared", None) != (chosen, problem):
            _LOCAL.compared = (chosen, problem) if check_backprop(chosen, kernel, given) else None
        sums = engine.sum(given)
    _LOCAL.kept = key, engine  # after a success alone: a kernel that was interrupted may still run
    return sums


@final
class _BackpropRequest(NamedTuple):
    """What is asked for: units, sizes and dtype."""

    activation: Activation
    k: int | None
    output: Output
    n_samples: int
    n_visible: int
    n_hidden: int
    dtype: np.dtype[Any]

    def problem(self, backend: Backend, granted: ThreadGrant) -> Problem:
        """Return the problem that kernels are made for."""
        draft = Problem(
            n_visible=self.n_visible,
            n_hidden=self.n_hidden,
            dtype=self.dtype,
            activation=kernel_activation(self.activation),
            k=self.k,
            output=self.output,
        )
        what = kernel_activation_note(self.activation)
        return complete_problem(backend, draft, granted, n_samples=self.n_samples, block_rows=None, what=what)


def _checked_units(activation: object, k: object, output: object) -> tuple[Activation, Output]:
    """Return hidden and output unit, or raise `ParameterError`."""
    checked = check_word("activation", activation, ACTIVATIONS)
    if k is not None and "k" not in DEFAULTS[checked]:
        raise ParameterError(f"k does not belong to activation={checked!r}; it is for topk and batchtopk.")
    return checked, check_output(DEFAULTS[checked]["output"] if output is None else output)


def _checked_k(activation: Activation, k: object, a2: Array) -> int | None:
    """Return the k of top-k units, which is checked against the activations: a kernel may count on it."""
    if activation != "topk":
        if k is not None:
            check_k("k", k, activation, a2.shape[1])
        return None
    kept, counts = check_k("k", k, activation, a2.shape[1]), np.count_nonzero(a2, axis=1)  # (m,)
    worst = int(counts.argmax())
    if counts[worst] > kept:
        raise DataError(
            f"a2 has {counts[worst]} activations that are not 0 in row {worst}, and k={kept}: give the activations of "
            f"topk units with this k, a larger k, or activation='relu', whose slope is the same."
        )
    return kept


def _checked_arrays(a1: Any, a2: Any, a3: Any, W2: Any, sparsity: Any, target: Any) -> GivenActivations:
    """Return the arrays in the dtype of a1 if that is float32 or float64, else in float64."""
    x: Array
    if type(a1) is np.ndarray:
        check_matrix(a1, "a1")
        dtype = common_dtype(a1, None)
        x = a1 if a1.dtype == dtype else a1.astype(dtype)
    else:
        source = DataSource(a1, "a1")
        dtype = common_dtype(source, None)
        x = source.values(dtype)
    h, o, W = _as_float("a2", a2, dtype), _as_float("a3", a3, dtype), _as_float("W2", W2, dtype)
    s = np.zeros(h.shape[-1:], dtype) if sparsity is None else _as_float("sparsity", sparsity, dtype)
    y = x if target is None or target is a1 else _as_float("target", target, dtype)
    given = GivenActivations(x, h, o, W, s, y)
    (m, n), p = x.shape, s.size
    if p == 0 or tuple([a.shape for a in given]) != ((m, n), (m, p), (m, n), (n, p), (p,), (m, n)):
        shapes = ", ".join(f"{name} {value.shape}" for name, value in given._asdict().items())
        raise DataError(
            f"Shapes do not fit together: given {shapes}; expected a1, a3 and target (n_samples, n_visible), "
            f"a2 (n_samples, n_hidden), W2 (n_visible, n_hidden), sparsity (n_hidden,)."
        )
    return given


def _take_engine(key: tuple[Backend, _BackpropRequest, ThreadGrant]) -> BackpropEngine:
    """Return the engine of the last call in this thread where it fits, else a new one, with its kernels if they fit.

    It is taken out while it is used, so that a call within a call has its own.
    """
    kept: tuple[object, BackpropEngine | None] = getattr(_LOCAL, "kept", (None, None))
    _LOCAL.kept = None, None
    last = kept[1]
    if last is not None and kept[0] == key:
        return last
    backend, request, granted = key
    problem = request.problem(backend, granted)
    same = last is not None and (last.backend, last.problem) == (backend, problem)
    return BackpropEngine(backend, problem, granted, request.n_samples, last.kernels if last and same else ())


def _as_float(name: str, value: Any, dtype: np.dtype[Any]) -> Array:
    """Return the array in that dtype, or raise `DataError`."""
    value = without_mask(value, name)
    try:
        a = np.asarray(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{name} cannot be made an array: {error}") from error
    if a.dtype.kind not in "fiub":
        raise DataError(f"{name} has dtype {a.dtype}; expected real numbers.")
    return a if a.dtype == dtype else a.astype(dtype)
