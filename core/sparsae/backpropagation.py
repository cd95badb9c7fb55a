"""`backprop`: a backend's kernel on given activations, as in the question that started this project."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sparsae._types import Array, Output
from sparsae.engine.kernel_calls import make_kernel
from sparsae.engine.partition import SEGMENTS, Partition, TreeSum
from sparsae.engine.setup import hold, resolve_problem
from sparsae.engine.sources import DataSource, common_dtype
from sparsae.engine.workers import WorkerPool
from sparsae.errors import BackendDeclinedError, DataError, ParameterError
from sparsae.model import Parameters, check_output
from sparsae.plugins.contract import AnyKernel, Backend, Problem
from sparsae.plugins.kernel import check_gradient_sums
from sparsae.plugins.selection import AUTO, requested_backend, select

LEAST_PIECE = 1500  # rows that make a call worth its 20 microseconds
_LOCAL = threading.local()  # the kernels of the last call in this thread: making them costs more than small calls do


def backprop(
    a1: ArrayLike,
    a2: ArrayLike,
    a3: ArrayLike,
    W2: ArrayLike,
    sparsity: ArrayLike,
    *,
    target: ArrayLike | None = None,
    output: Output = "sigmoid",
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
    sparsity : array_like (n_hidden,)
        The sparsity vector beta (-rho / rho_hat + (1 - rho) / (1 - rho_hat)).
    target : array_like (n_samples, n_visible), optional
        What a3 should equal; a1 when left out.
    output : {"sigmoid", "linear"}
        Output unit.
    backend : str or Backend, optional
        As in `Objective`.
    threads : int, optional
        As in `Objective`.

    Returns
    -------
    Parameters
        float64 sums over the samples, not means, without weight decay:
        delta3 = (a3 - target) a3 (1 - a3); delta2 = (delta3 W2 + sparsity) a2 (1 - a2);
        W1 = delta2' a1, b1 = sum delta2, W2 = delta3' a2, b2 = sum delta3.

    Raises
    ------
    DataError
        When an array is empty, not of real numbers, or shapes do not fit together.
    BackendError
        When the backend cannot be used.

    Notes
    -----
    Computed in the dtype of `a1`, float32 or float64, else float64.  Values are not checked: NaN in gives NaN out.
    """
    check_output(output)
    source = DataSource(np.asarray(a1), "a1")
    dtype = common_dtype(source, None)
    given = {"a1": a1, "a2": a2, "a3": a3, "W2": W2, "sparsity": sparsity}
    if target is not None and target is not a1:
        given["target"] = target
    arrays = {name: _as_float(name, value, dtype) for name, value in given.items()}
    arrays.setdefault("target", arrays["a1"])
    (m, n), p = arrays["a1"].shape, arrays["sparsity"].size
    expected = {"a1": (m, n), "a2": (m, p), "a3": (m, n), "W2": (n, p), "sparsity": (p,), "target": (m, n)}
    if p == 0 or any(arrays[name].shape != shape for name, shape in expected.items()):
        shapes = ", ".join(f"{name} {value.shape}" for name, value in arrays.items())
        raise DataError(
            f"Shapes do not fit together: given {shapes}; expected a1, a3 and target (n_samples, n_visible), "
            f"a2 (n_samples, n_hidden), W2 (n_visible, n_hidden), sparsity (n_hidden,)."
        )

    if requested_backend(backend)[1] == AUTO:
        raise ParameterError("auto times whole evaluations; for backprop name a backend, such as 'fused'.")
    chosen = select(backend).backend
    draft = Problem(n_visible=n, n_hidden=p, dtype=dtype, output=output)
    share, problem = resolve_problem(chosen, draft, n_samples=m, threads=threads, block_rows=None)
    kernels = _kernels(chosen, problem, min(share.workers, -(-m // problem.block_rows)))
    if not kernels[0].has_backprop:
        raise BackendDeclinedError(
            f"Backend {chosen.name!r} computes whole evaluations only: its kernel defines no backprop. "
            f"Name another backend, such as 'numpy', or define backprop in {type(kernels[0]).__name__}."
        )
    rows = problem.block_rows
    if all(kernel.splits_rows for kernel in kernels):
        rows = max(rows, -(-m // _pieces(m)))
    plan = Partition(m, rows)
    with hold(chosen, share):
        return _fold(chosen, kernels, plan, arrays)


def _fold(backend: Backend, kernels: list[AnyKernel], plan: Partition, arrays: dict[str, Array]) -> Parameters:
    """Add the sums of all blocks in the engine's order, so that workers change no bit."""
    n, p = arrays["W2"].shape
    tree = TreeSum(n, p, plan.n_segments, with_sparsity=False)
    a1, a2, a3, W2, sparsity = (arrays[name] for name in ("a1", "a2", "a3", "W2", "sparsity"))
    target = arrays["target"]

    def segment_sums(kernel: AnyKernel, segment: int) -> None:
        sums = tree.take()
        for index in plan.blocks(segment):
            r = plan.rows(index)
            x = a1[r]
            part = kernel.backprop(x, a2[r], a3[r], W2, sparsity, x if target is a1 else target[r])
            part = check_gradient_sums(kernel, part)
            for view, addend in zip((sums.W1, sums.b1, sums.W2, sums.b2), part, strict=True):
                view += addend
        tree.give(segment, sums)

    def describe(segment: int) -> str:
        start, stop = plan.segment_rows(segment)
        return f"Backend {backend.name!r} failed on rows {start} to {stop - 1}"

    pool = WorkerPool(kernels)
    try:
        pool.run(segment_sums, plan.n_segments, describe)
    finally:
        pool.close()
    total = tree.total()
    return Parameters(total.W1, total.b1, total.W2, total.b2)


def _kernels(backend: Backend, problem: Problem, workers: int) -> list[AnyKernel]:
    """Return this thread's kernels for the problem, kept from the last call where they fit."""
    key = (backend, problem)
    if getattr(_LOCAL, "key", None) != key:
        _LOCAL.key, _LOCAL.kernels = key, []
    kernels: list[AnyKernel] = _LOCAL.kernels
    while len(kernels) < workers:
        kernels.append(make_kernel(backend, problem))
    return kernels[:workers]


def _pieces(m: int) -> int:
    """Into how many calls to cut `m` rows for a kernel that cuts them further itself; by their number alone."""
    return next((pieces for pieces in (SEGMENTS, 6, 4, 3, 2) if m >= pieces * LEAST_PIECE), 1)


def _as_float(name: str, value: Any, dtype: np.dtype[Any]) -> Array:
    """Return the array in that dtype, or raise `DataError`."""
    a = np.asarray(value)
    if a.dtype.kind not in "fiub":
        raise DataError(f"{name} has dtype {a.dtype}; expected real numbers.")
    return a if a.dtype == dtype else a.astype(dtype)
