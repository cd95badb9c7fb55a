"""What every check works with: the backend under test, with its calls counted, inputs, and comparisons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NoReturn, final

import numpy as np
from numpy.typing import NDArray

from sparsae._types import Array, Output
from sparsae.engine.kernel_calls import make_kernel
from sparsae.model import Parameters
from sparsae.objective import Evaluation, Objective
from sparsae.plugins.contract import AnyKernel, Backend, Kernel, Problem
from sparsae.plugins.sums import Sums
from sparsae.reference import Comparison, compare, evaluate_reference
from sparsae.testing.snapshot import Snapshot

SETTINGS: dict[str, Any] = {"rho": 0.1, "beta": 2.0, "weight_decay": 0.01}
TIME_LIMIT = 120.0  # seconds for one check


@final
class CheckFailed(Exception):  # noqa: N818 (an outcome, not an error)
    """Raised by a check that found a fault; the message says which."""


@final
class CannotVerify(Exception):  # noqa: N818 (an outcome, not an error)
    """Raised by a check that cannot be made here; says why."""


@final
@dataclass(frozen=True)
class Loading:
    """What loading the backend's module did to this process.

    Attributes
    ----------
    before, after : Snapshot
        Before the module was loaded, and after.
    ready : Snapshot
        After the libraries were imported that the backend names in `requires`: what those change is not its doing.
    modules : frozenset of str
        Top-level modules that it imported.
    """

    before: Snapshot
    after: Snapshot
    ready: Snapshot
    modules: frozenset[str]


@final
class CountingKernel(Kernel[Any, Any, Any]):
    """Passes every call to the kernel under test, and counts it."""

    def __init__(self, inner: AnyKernel, calls: Counter[str]) -> None:
        super().__init__(inner.problem)
        self.inner, self.calls = inner, calls
        self.notes, self.splits_rows = inner.notes, inner.splits_rows

    def prepare(self, x: Array, target: Array, keep: bool) -> Any:
        """Count and call."""
        self.calls["prepare"] += 1
        return self.inner.prepare(x, target, keep)

    def begin(self, parameters: Parameters) -> Any:
        """Count and call."""
        self.calls["begin"] += 1
        return self.inner.begin(parameters)

    def encode(self, weights: Any, block: Any) -> tuple[Any, NDArray[np.float64]]:
        """Count and call."""
        self.calls["encode"] += 1
        return self.inner.encode(weights, block)

    def accumulate(self, weights: Any, block: Any, hidden: Any, sparsity: Array | None, into: Sums) -> None:
        """Count and call."""
        self.calls["accumulate"] += 1
        self.inner.accumulate(weights, block, hidden, sparsity, into)

    def finish(self, weights: Any, sums: Sums) -> None:
        """Count and call."""
        self.calls["finish"] += 1
        self.inner.finish(weights, sums)

    @property
    def has_backprop(self) -> bool:
        """Whether the kernel under test defines it."""
        return self.inner.has_backprop

    def backprop(self, a1: Array, a2: Array, a3: Array, W2: Array, sparsity: Array, target: Array) -> Parameters:
        """Count and call."""
        self.calls["backprop"] += 1
        return self.inner.backprop(a1, a2, a3, W2, sparsity, target)


@final
class Harness:
    """The backend under test in one dtype.

    Parameters
    ----------
    backend : Backend
    dtype : numpy.dtype
    quick : bool
        Fewer shapes and repetitions.
    time_limit : float
        Seconds after which the check is ended from outside.
    loading : Loading, optional
        What loading the backend's module did; None where the `Backend` was given as an object.

    Attributes
    ----------
    label : str
        The input at hand, for the verdict.
    calls : Counter
        How often each method of its kernels was called; "__init__" counts kernels that were made.
    """

    def __init__(
        self,
        backend: Backend,
        dtype: np.dtype[Any],
        *,
        quick: bool = False,
        time_limit: float = TIME_LIMIT,
        loading: Loading | None = None,
    ) -> None:
        self.original, self.dtype, self.quick, self.time_limit = backend, dtype, quick, time_limit
        self.loading = loading
        self.label = ""
        self.calls: Counter[str] = Counter()
        self.backend = replace(backend, kernel=self._build)
        self.outputs: tuple[Output, ...] = tuple(o for o in ("sigmoid", "linear") if o in backend.outputs)

    def _build(self, problem: Problem) -> CountingKernel:
        self.calls["__init__"] += 1
        return CountingKernel(make_kernel(self.original, problem), self.calls)

    def kernel(self, n: int, p: int, *, output: Output = "sigmoid", block_rows: int = 64) -> CountingKernel:
        """Make one kernel for a small problem."""
        return self._build(
            Problem(n_visible=n, n_hidden=p, dtype=self.dtype, output=output, block_rows=block_rows, threads=1)
        )

    def data(self, m: int, n: int, *, seed: int = 0) -> Array:
        """Rows in (0, 1)."""
        return np.random.default_rng(seed).random((m, n)).astype(self.dtype)

    def parameters(self, n: int, p: int, *, seed: int = 0) -> Parameters:
        """Weights and biases that are not zero and have no symmetry."""
        rng = np.random.default_rng([seed, n, p])
        made = Parameters.random(n, p, seed=rng)
        return Parameters(made.W1, rng.normal(-1, 0.3, p), made.W2, rng.normal(0, 0.3, n))

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
        n, p = parameters.n_visible, parameters.n_hidden
        self.agree(
            evaluate_reference(parameters.astype(self.dtype), X, **settings, **shared).errors(
                self.dtype,
                block_rows=options.get("block_rows"),
                cost=found.cost,
                gradient=Parameters.from_flat(found.gradient, n, p),
                rho_hat=found.rho_hat,
                squared_error=found.terms.squared_error,
            )
        )

    def agree(self, comparisons: Iterable[Comparison]) -> None:
        """Fail with the first comparison that rounding does not explain: by how much, and where."""
        for comparison in comparisons:
            if not comparison.agrees:
                self.fail(str(comparison))

    def close(self, what: str, got: Any, true: Any, bound: Any) -> None:
        """Fail unless |got - true| <= bound everywhere; NaN fails."""
        self.agree([compare(what, got, true, bound)])

    def same_bits(self, what: str, got: Any, before: Any) -> None:
        """Fail unless two arrays are identical, bit for bit."""
        got, before = np.asarray(got), np.asarray(before)
        if got.shape != before.shape or got.tobytes() != before.tobytes():
            count = int((got != before).sum()) if got.shape == before.shape else got.size
            self.fail(f"{what}: {count} of {got.size} values differ")

    def fail(self, message: str) -> NoReturn:
        """Raise the failure."""
        raise CheckFailed(message)
