"""What every check works with: the backend under test, counted, inputs, and the comparison with the reference."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any, NoReturn, final

import numpy as np
from numpy.typing import NDArray

from sparsae._types import Array, Output
from sparsae.cost import sparsity_terms
from sparsae.engine.kernel_calls import make_kernel
from sparsae.model import Parameters
from sparsae.objective import Evaluation, Objective
from sparsae.plugins.contract import AnyKernel, Backend, Kernel, Problem
from sparsae.plugins.sums import Sums
from sparsae.reference import ERROR_CONSTANT, evaluate_reference

SETTINGS: dict[str, Any] = {"rho": 0.1, "beta": 2.0, "weight_decay": 0.01}


@final
class Unverified(Exception):  # noqa: N818 (an outcome, not an error)
    """Raised by a check that cannot be made here; says why."""


@final
class Watched(Kernel[Any, Any, Any]):
    """Hands every call on to the kernel under test, and counts."""

    def __init__(self, inner: AnyKernel, calls: Counter[str]) -> None:
        super().__init__(inner.problem)
        self.inner, self.calls = inner, calls

    def prepare(self, x: Array, target: Array, keep: bool) -> Any:
        """Count and hand on."""
        self.calls["prepare"] += 1
        return self.inner.prepare(x, target, keep)

    def begin(self, parameters: Parameters) -> Any:
        """Count and hand on."""
        self.calls["begin"] += 1
        return self.inner.begin(parameters)

    def encode(self, weights: Any, block: Any) -> tuple[Any, NDArray[np.float64]]:
        """Count and hand on."""
        self.calls["encode"] += 1
        return self.inner.encode(weights, block)

    def accumulate(self, weights: Any, block: Any, hidden: Any, sparsity: Array | None, into: Sums) -> None:
        """Count and hand on."""
        self.calls["accumulate"] += 1
        self.inner.accumulate(weights, block, hidden, sparsity, into)

    def finish(self, weights: Any, sums: Sums) -> None:
        """Count and hand on."""
        self.inner.finish(weights, sums)

    @property
    def has_backprop(self) -> bool:
        """Whether the kernel under test defines it."""
        return self.inner.has_backprop

    def backprop(self, a1: Array, a2: Array, a3: Array, W2: Array, sparsity: Array, target: Array) -> Parameters:
        """Count and hand on."""
        self.calls["backprop"] += 1
        return self.inner.backprop(a1, a2, a3, W2, sparsity, target)


@final
class Subject:
    """The backend under test.

    Parameters
    ----------
    backend : Backend
    dtype : numpy.dtype
    quick : bool
    registered : bool
        Whether it was given by name, so that another process finds it.

    Attributes
    ----------
    label : str
        The input at hand, for the verdict.
    calls : Counter
        How often each method of its kernels was called.
    """

    def __init__(self, backend: Backend, dtype: np.dtype[Any], *, quick: bool, registered: bool) -> None:
        self.original, self.dtype, self.quick, self.registered = backend, dtype, quick, registered
        self.label = ""
        self.calls: Counter[str] = Counter()
        self.backend = replace(backend, kernel=self._build)
        self.outputs: tuple[Output, ...] = tuple(o for o in ("sigmoid", "linear") if o in backend.outputs)

    def _build(self, problem: Problem) -> AnyKernel:
        return Watched(make_kernel(self.original, problem), self.calls)

    def kernel(self, n: int, p: int, *, output: Output = "sigmoid", block_rows: int = 64) -> AnyKernel:
        """Make one kernel for a small problem."""
        return self._build(
            Problem(n_visible=n, n_hidden=p, dtype=self.dtype, output=output, block_rows=block_rows, threads=1)
        )

    def data(self, m: int, n: int, *, seed: int = 0) -> Array:
        """Rows in (0, 1)."""
        return np.random.default_rng(seed).random((m, n)).astype(self.dtype)

    def parameters(self, n: int, p: int, *, seed: int = 0, scale: float = 1.0) -> Parameters:
        """Weights and biases that are not zero and have no symmetry."""
        rng = np.random.default_rng([seed, n, p])
        made = Parameters.random(n, p, seed=rng)
        return Parameters(
            made.W1 * scale, rng.normal(-1, 0.3, p) * scale, made.W2 * scale, rng.normal(0, 0.3, n) * scale
        )

    def evaluate(self, parameters: Parameters, X: Any, **options: Any) -> Evaluation:
        """Cost and gradient through the engine; fails when the kernel was not called for every block."""
        options = {"threads": 1, **SETTINGS, **options}
        objective = Objective(X, parameters.n_hidden, backend=self.backend, dtype=self.dtype, **options)
        before = self.calls["accumulate"]
        found = objective.evaluate(parameters.flatten())
        calls, expected = self.calls["accumulate"] - before, objective.engine.partition.n_blocks
        if calls != expected:
            self.fail(f"the kernel was called for {calls} of {expected} blocks")
        return found

    def agrees(self, parameters: Parameters, X: Any, *, of: Any = None, **options: Any) -> Evaluation:
        """Evaluate, and compare everything with the reference on `of` (default: the same rows)."""
        found = self.evaluate(parameters, X, **options)
        self.compare(found, parameters, X if of is None else of, **options)
        return found

    def compare(self, found: Evaluation, parameters: Parameters, X: Any, **options: Any) -> None:
        """Compare an evaluation with the reference; what rounding does not explain fails."""
        settings = {**SETTINGS, **{k: v for k, v in options.items() if k in SETTINGS}}
        shared = {k: v for k, v in options.items() if k in ("target", "output")}
        used = parameters.astype(self.dtype)
        judgement = evaluate_reference(used, X, **settings, **shared)
        plain = evaluate_reference(used, X, beta=0, weight_decay=0, **shared)
        rows = options.get("block_rows")
        cost_bound, bounds = judgement.bound(self.dtype, rows)
        p, n = used.W1.shape
        eps = float(np.finfo(self.dtype).eps)
        factor = ERROR_CONSTANT * eps * (np.sqrt(n) + np.sqrt(p) + np.sqrt(rows or 10_000))
        tiny = 4 * float(np.finfo(self.dtype).tiny)
        self.close("mean activation", found.rho_hat, judgement.rho_hat, factor * judgement.rho_hat_scale + tiny)
        self.close("squared error", found.terms.squared_error, plain.cost, plain.bound(self.dtype, rows)[0])
        self.close("cost", found.cost, judgement.cost, cost_bound + self._sparsity_slack(found, judgement, settings))
        gradient = Parameters.from_flat(found.gradient, n, p)
        for name, got, true, bound in zip(Parameters._fields, gradient, judgement.gradient, bounds, strict=True):
            self.close(f"gradient of {name}", got, true, bound)

    def _sparsity_slack(self, found: Evaluation, judgement: Any, settings: dict[str, float]) -> float:
        """What granted errors of the mean activations do to the cost."""
        s = sparsity_terms(judgement.rho_hat, settings["rho"], settings["beta"])[1]
        return float(4 * np.finfo(self.dtype).eps * (abs(s) * judgement.rho_hat_scale).sum())

    def close(self, what: str, got: Any, true: Any, bound: Any) -> None:
        """Fail unless |got - true| <= bound everywhere; NaN fails; says by how much and where."""
        got, true = np.asarray(got), np.asarray(true)
        if got.shape != true.shape:
            self.fail(f"{what} has shape {got.shape}; expected {true.shape}")
        error, bound = np.abs(got - true), np.broadcast_to(bound, true.shape)
        wrong = ~(error <= bound)
        if not wrong.any():
            return
        excess = np.where(np.isfinite(error), error, np.inf) / np.maximum(bound, np.finfo(np.float64).tiny)
        worst = np.unravel_index(int(np.argmax(np.where(wrong, excess, -1))), true.shape)
        where = f" at {[int(i) for i in worst]}" if true.ndim else ""
        self.fail(
            f"{what} is {float(got[worst]):.9g}{where} and should be {float(true[worst]):.9g}: off by "
            f"{float(error[worst]):.3g} where rounding explains {float(bound[worst]):.3g}"
            f" ({int(wrong.sum())} of {wrong.size} wrong)"
        )

    def same_bits(self, what: str, got: Any, before: Any) -> None:
        """Fail unless two arrays are identical, bit for bit."""
        got, before = np.asarray(got), np.asarray(before)
        if got.shape != before.shape or got.tobytes() != before.tobytes():
            count = int((got != before).sum()) if got.shape == before.shape else got.size
            self.fail(f"{what}: {count} of {got.size} values differ")

    def fail(self, message: str) -> NoReturn:
        """Raise the failure."""
        raise AssertionError(message)
