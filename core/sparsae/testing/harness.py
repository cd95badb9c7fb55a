"""What every check works with: the backend under test, with its calls counted, inputs, and comparisons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NoReturn, final

import numpy as np
from numpy.typing import NDArray

from sparsae._types import ACTIVATIONS, OUTPUTS, Activation, Array, Output
from sparsae.engine.kernel_calls import make_kernel
from sparsae.engine.storage import Passes
from sparsae.model import Parameters
from sparsae.model.settings import kernel_activation
from sparsae.objective import Evaluation, Objective
from sparsae.plugins.contract import AnyKernel, Backend, Kernel, Problem
from sparsae.plugins.sums import Sums
from sparsae.reference import Comparison, Reference, compare, evaluate_reference
from sparsae.testing import cases
from sparsae.testing.snapshot import Snapshot

COMPARED = ("activation", "k", "rho", "beta", "l1", "l1_weighted", "l0", "bandwidth", "weight_decay", "pre_bias",
            "target", "output")  # fmt: skip
TIME_LIMIT = 120.0  # seconds for one check


@final
class CheckFailed(Exception):  # noqa: N818 (an outcome, not an error)
    """Raised by a check that found a fault; the message says which."""


@final
class CannotVerify(Exception):  # noqa: N818 (an outcome, not an error)
    """Raised by a check that cannot be made here; says why."""


@final
class NotOffered(Exception):  # noqa: N818 (an outcome, not an error)
    """Raised by a check of something that the contract leaves to the backend, and that it leaves out; says what."""


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
        self.direct_sums, self.adds_blocks = inner.direct_sums, inner.adds_blocks

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
    """The backend under test in one dtype and with one hidden unit.

    Parameters
    ----------
    backend : Backend
    dtype : numpy.dtype
    activations : tuple of str
        Hidden units that are asked about; those that the backend does not declare are left out.
    quick : bool
        Fewer shapes and repetitions.
    time_limit : float
        Seconds after which the check is ended from outside.
    loading : Loading, optional
        What loading the backend's module did; None where the `Backend` was given as an object.

    Attributes
    ----------
    activation : str
        The hidden unit at hand; the first one at the beginning.
    activations : tuple of str
        Those that are declared.
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
        activations: tuple[Activation, ...] = ACTIVATIONS,
        quick: bool = False,
        time_limit: float = TIME_LIMIT,
        loading: Loading | None = None,
    ) -> None:
        self.original, self.dtype, self.quick, self.time_limit = backend, dtype, quick, time_limit
        self.loading = loading
        self.label = ""
        self.calls: Counter[str] = Counter()
        self.backend = replace(backend, kernel=self._build)
        self.activations = tuple(a for a in activations if a in declared(backend))
        self.activation: Activation = self.activations[0] if self.activations else "sigmoid"
        self.outputs: tuple[Output, ...] = tuple(output for output in OUTPUTS if output in backend.outputs)

    def each_unit(self) -> Iterator[Activation]:
        """Go through the hidden units that kernels are built for, for a check of the whole backend."""
        for activation in self.activations:
            if activation != "batchtopk" or "jumprelu" not in self.activations:
                self.activation = activation
                yield activation

    @property
    def passes(self) -> tuple[Passes, ...]:
        """Numbers of passes to evaluate in, the usual one first; without a need for two a quick check makes one."""
        if self.activation == "sigmoid":
            return 2, 1
        return (1,) if self.quick else (1, 2)

    def settings(self, p: int) -> dict[str, Any]:
        """Keywords of `Objective` for p units; the output is the first that the backend has."""
        return cases.settings(self.activation, p) | {"output": self.outputs[0]}

    def _build(self, problem: Problem) -> CountingKernel:
        self.calls["__init__"] += 1
        return CountingKernel(make_kernel(self.original, problem), self.calls)

    def problem(self, n: int, p: int, *, output: Output | None = None, block_rows: int = 64) -> Problem:
        """Return a small problem."""
        unit = kernel_activation(self.activation)
        settings = self.settings(p)
        return Problem(
            n_visible=n,
            n_hidden=p,
            dtype=self.dtype,
            activation=unit,
            k=settings["k"] if unit == "topk" else None,
            bandwidth=settings.get("bandwidth"),
            output=output or self.outputs[0],
            block_rows=block_rows,
        )

    def kernel(self, n: int, p: int, *, output: Output | None = None, block_rows: int = 64) -> CountingKernel:
        """Make one kernel for a small problem."""
        return self._build(self.problem(n, p, output=output, block_rows=block_rows))

    def data(self, m: int, n: int, *, seed: int = 0) -> Array:
        """Rows in (0, 1)."""
        return np.random.default_rng(seed).random((m, n)).astype(self.dtype)

    def rows(self, parameters: Parameters, m: int, *, seed: int = 0, k: int | None = None, margin: Any = None) -> Array:
        """Rows in (0, 1) in which rounding does not decide which units are active."""
        return cases.draw_decided_rows(self.activation, parameters, m, dtype=self.dtype, seed=seed, k=k, margin=margin)

    def activations_of(self, m: int, p: int, *, seed: int = 0) -> Array:
        """Hidden activations (m, p) such as the unit has."""
        return cases.hidden(self.activation, m, p, dtype=self.dtype, seed=seed)

    def parameters(self, n: int, p: int, *, seed: int = 0) -> Parameters:
        """Weights and biases that are not zero and have no symmetry."""
        return cases.parameters(self.activation, n, p, seed=seed)

    def given(self, parameters: Parameters) -> Parameters:
        """Parameters as a kernel is given them."""
        return cases.kernel_parameters(self.activation, parameters, self.dtype)

    def evaluate(self, parameters: Parameters, X: Any, **options: Any) -> Evaluation:
        """Cost and gradient through the engine; fails when the kernel was not called for every block."""
        options = {"threads": 1, **self.settings(parameters.n_hidden), **options}
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

    def reference(self, parameters: Parameters, X: Any, **options: Any) -> Reference:
        """Evaluate the reference with the settings of the hidden unit, and others."""
        options = {**self.settings(parameters.n_hidden), **options}
        compared = {name: value for name, value in options.items() if name in COMPARED}
        return evaluate_reference(parameters.astype(self.dtype), X, **compared)

    def compare(self, found: Evaluation, parameters: Parameters, X: Any, **options: Any) -> None:
        """Compare an evaluation with the reference; what rounding does not explain fails."""
        n, p = parameters.n_visible, parameters.n_hidden
        self.agree(
            self.reference(parameters, X, **options).errors(
                self.dtype,
                block_rows=options.get("block_rows"),
                cost=found.cost,
                gradient=Parameters.from_flat(found.gradient, n, p),
                rho_hat=found.rho_hat,
                density=None if self.activation == "sigmoid" else found.density,
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


def declared(backend: Backend) -> tuple[Activation, ...]:
    """Hidden units that a backend declares: batchtopk comes with jumprelu, whose kernel computes it."""
    return tuple(a for a in ACTIVATIONS if kernel_activation(a) in backend.activations)
