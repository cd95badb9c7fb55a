"""`backprop`: the gradient sums of a backend's kernel from given activations."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sparsae._types import ACTIVATIONS, Activation, Array, Output
from sparsae.engine.containers import without_mask
from sparsae.engine.fold import sum_blocks
from sparsae.engine.guard import check_backprop, is_third_party
from sparsae.engine.kernel_calls import make_kernel
from sparsae.engine.partition import SEGMENTS, Partition, TreeSum
from sparsae.engine.setup import limit_all_threads, resolve_problem
from sparsae.engine.sources import DataSource, common_dtype
from sparsae.engine.workers import WorkerPool
from sparsae.errors import BackendDeclinedError, DataError, ParameterError
from sparsae.model import Parameters, check_output
from sparsae.model.settings import DEFAULTS, IS_JUMPRELU, check_k, check_word, kernel_activation
from sparsae.plugins.contract import AnyKernel, Backend, Problem
from sparsae.plugins.kernel_checks import check_gradient_sums
from sparsae.plugins.selection import AUTO, requested_backend, select
from sparsae.plugins.sums import Sums

LEAST_ROWS = 1500  # of a call, whose fixed cost is 20 microseconds
_LOCAL = threading.local()  # kernels of the last call in this thread: making them costs more than a small call


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
    arrays = _checked_arrays(a1, a2, a3, W2, sparsity, target)
    (m, n), p, dtype = arrays["a1"].shape, arrays["sparsity"].size, arrays["a1"].dtype
    if requested_backend(backend)[1] == AUTO:
        raise ParameterError("auto times whole evaluations; for backprop name a backend, such as 'fused'.")
    selected = select(backend)
    chosen = selected.backend
    unit, kept = kernel_activation(activation), _checked_k(activation, k, arrays["a2"])
    draft = Problem(n_visible=n, n_hidden=p, dtype=dtype, activation=unit, k=kept, output=output)
    what = IS_JUMPRELU if activation == "batchtopk" else ""
    granted, problem = resolve_problem(chosen, draft, n_samples=m, threads=threads, block_rows=None, what=what)
    workers = min(granted.workers, -(-m // problem.block_rows))
    # kernels first: the library of one may be loaded where it is made, and is to be limited too
    with _kept_kernels(chosen, problem, workers) as kernels, limit_all_threads(chosen, granted):
        if not kernels[0].has_backprop:
            raise BackendDeclinedError(
                f"Backend {chosen.name!r} computes whole evaluations only: its kernel defines no backprop. "
                f"Name another backend, such as 'numpy', or define backprop in {type(kernels[0]).__name__}."
            )
        if is_third_party(selected.record) and getattr(_LOCAL, "compared", None) != (chosen, problem):
            _LOCAL.compared = (chosen, problem) if check_backprop(chosen, kernels[0], **arrays) else None
        rows = problem.block_rows
        if all(kernel.splits_rows for kernel in kernels):
            rows = max(rows, -(-m // _calls(m)))
        return _sum_rows(chosen.name, kernels, Partition(m, rows), arrays)


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


def _checked_arrays(a1: Any, a2: Any, a3: Any, W2: Any, sparsity: Any, target: Any) -> dict[str, Array]:
    """Return the arrays by name, in the dtype of a1 if that is float32 or float64, else float64."""
    source = DataSource(a1, "a1")
    dtype = common_dtype(source, None)
    given = {"a2": a2, "a3": a3, "W2": W2}
    if target is not None and target is not a1:
        given["target"] = target
    arrays = {"a1": source.values(dtype)}
    arrays |= {name: _as_float(name, value, dtype) for name, value in given.items()}
    none = np.zeros(arrays["a2"].shape[-1:], dtype) if sparsity is None else sparsity
    arrays["sparsity"] = _as_float("sparsity", none, dtype)
    arrays.setdefault("target", arrays["a1"])
    (m, n), p = arrays["a1"].shape, arrays["sparsity"].size
    expected = {"a1": (m, n), "a2": (m, p), "a3": (m, n), "W2": (n, p), "sparsity": (p,), "target": (m, n)}
    if p == 0 or any(arrays[name].shape != shape for name, shape in expected.items()):
        shapes = ", ".join(f"{name} {value.shape}" for name, value in arrays.items())
        raise DataError(
            f"Shapes do not fit together: given {shapes}; expected a1, a3 and target (n_samples, n_visible), "
            f"a2 (n_samples, n_hidden), W2 (n_visible, n_hidden), sparsity (n_hidden,)."
        )
    return arrays


def _sum_rows(backend: str, kernels: list[AnyKernel], partition: Partition, arrays: dict[str, Array]) -> Parameters:
    """Add the sums of all blocks in the engine's order, so that workers change no bit."""
    n, p = arrays["W2"].shape
    a1, a2, a3, W2, sparsity = (arrays[name] for name in ("a1", "a2", "a3", "W2", "sparsity"))
    target = arrays["target"]

    def add(kernel: AnyKernel, index: int, sums: Sums) -> None:
        r = partition.rows(index)
        x = a1[r]
        part = kernel.backprop(x, a2[r], a3[r], W2, sparsity, x if target is a1 else target[r])
        part = check_gradient_sums(kernel, part)
        for view, addend in zip((sums.W1, sums.b1, sums.W2, sums.b2), part, strict=True):
            view += addend

    pool = WorkerPool(kernels)
    try:
        tree = TreeSum(n, p, partition.n_segments, with_sparsity=False)
        total = sum_blocks(pool, partition, backend, tree, add)
    finally:
        pool.close()
    return Parameters(total.W1, total.b1, total.W2, total.b2)


@contextmanager
def _kept_kernels(backend: Backend, problem: Problem, workers: int) -> Iterator[list[AnyKernel]]:
    """Give kernels for the problem: those of the last call in this thread where they fit.

    They are taken out while they are used, so that a call within a call has its own, and kept after a success alone:
    a kernel that was interrupted may still run.
    """
    kernels: list[AnyKernel]
    key, kernels = getattr(_LOCAL, "kept", (None, []))
    _LOCAL.kept = None, []
    if key != (backend, problem):
        kernels = []
    while len(kernels) < workers:
        kernels.append(make_kernel(backend, problem))
    yield kernels[:workers]
    _LOCAL.kept = (backend, problem), kernels


def _calls(m: int) -> int:
    """Return in how many calls `m` rows are given to a kernel that splits them itself; depends on `m` alone."""
    return next((calls for calls in (SEGMENTS, 6, 4, 3, 2) if m >= calls * LEAST_ROWS), 1)


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
