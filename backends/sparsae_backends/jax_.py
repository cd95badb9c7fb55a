"""`jax`: XLA on the CPU, the closed form under `jax.jit`; as good as its users would write it.

Automatic differentiation of the cost gives the same sums in more time (docs/performance.md has both);
data is moved once, in `prepare`, and weights once an evaluation.
XLA's CPU threads obey nothing but the affinity of the process once they run, so `limit_threads` sets that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsae import Array, Backend, Kernel, Parameters, Problem, Sums, hookimpl

TASKS = Path("/proc/self/task")
XlaArray = Any  # jax.Array; JAX is imported with the first kernel


class JaxBlock(NamedTuple):
    """Rows that XLA has: one and the same array where there is no separate target."""

    x: XlaArray  # (m, n)
    target: XlaArray  # (m, n)


class JaxFunctions(NamedTuple):
    """The functions under `jax.jit`; shared by all kernels, since XLA compiles once for each function and shape."""

    encode: Callable[..., Any]
    accumulate: Callable[..., Any]
    accumulate_with_q_sums: Callable[..., Any]
    compute_gradient: Callable[..., Any]


def hidden_unit(activation: str, k: int | None) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the function of a hidden unit, and its slope from the activations."""
    import jax

    sigmoid = activation == "sigmoid"

    def activate(z2: XlaArray) -> XlaArray:
        if sigmoid:
            return jax.nn.sigmoid(z2)
        a2 = jax.nn.relu(z2)
        if k is None:
            return a2
        ranked = jax.numpy.where(jax.numpy.isnan(a2), jax.numpy.nan, a2)  # NaN with a sign would count as the smallest
        values, where = jax.lax.top_k(ranked, k)  # (m, k); of equal ones it takes the first
        rows = jax.numpy.arange(len(a2))[:, None]  # (m, 1)
        return jax.numpy.zeros_like(a2).at[rows, where].set(values)  # (m, p)

    def slope(a2: XlaArray) -> XlaArray:
        return a2 * (1 - a2) if sigmoid else (a2 != 0).astype(a2.dtype)  # (m, p)

    return activate, slope


@cache
def jitted(activation: str, k: int | None, sigmoid_output: bool) -> JaxFunctions:
    """Return the functions for one kind of hidden and output unit."""
    import jax

    sigmoid = activation == "sigmoid"
    activate, slope = hidden_unit(activation, k)

    def encode(weights: Parameters, x: XlaArray) -> Any:
        a2 = activate(x @ weights.W1.T + weights.b1)  # (m, p)
        return a2, a2.sum(axis=0)

    def compute_gradient(
        a1: XlaArray, a2: XlaArray, a3: XlaArray, W2: XlaArray, sparsity: XlaArray, target: XlaArray
    ) -> Any:
        error = a3 - target  # (m, n)
        delta3 = error * a3 * (1 - a3) if sigmoid_output else error  # (m, n)
        delta2 = delta3 @ W2 + sparsity  # (m, p)
        delta2 = delta2 * a2 * (1 - a2) if sigmoid else delta2 * slope(a2)  # (m, p)
        return delta2.T @ a1, delta2.sum(axis=0), delta3.T @ a2, delta3.sum(axis=0)

    def accumulate(weights: Parameters, block: JaxBlock, a2: XlaArray, sparsity: XlaArray) -> Any:
        z3 = a2 @ weights.W2.T + weights.b2  # (m, n)
        a3 = jax.nn.sigmoid(z3) if sigmoid_output else z3  # (m, n)
        error = a3 - block.target  # (m, n)
        gradient = compute_gradient(block.x, a2, a3, weights.W2, sparsity, block.target)
        return (error * error).sum(), a2.sum(axis=0), (a2 != 0).sum(axis=0), gradient

    def accumulate_with_q_sums(weights: Parameters, block: JaxBlock) -> Any:
        a2, _ = encode(weights, block.x)  # (m, p)
        q = slope(a2)  # (m, p)
        return *accumulate(weights, block, a2, 0), (q.T @ block.x, q.sum(axis=0))

    return JaxFunctions(*map(jax.jit, (encode, accumulate, accumulate_with_q_sums, compute_gradient)))


class JaxKernel(Kernel[JaxBlock, Parameters, XlaArray]):
    """Whole blocks under `jax.jit`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        import jax

        jax.devices("cpu")  # XLA's threads start here, on all CPUs of the process, and not under a limit
        self.jax = jax
        self.jitted = jitted(problem.activation, problem.k, problem.output == "sigmoid")
        if not hasattr(os, "sched_setaffinity"):
            self.notes = ("Threads of XLA: not limited. This system cannot confine threads to CPUs.",)

    def prepare(self, x: Array, target: Array, keep: bool) -> JaxBlock:
        """Move the rows to XLA."""
        with self.precision():
            rows = self.jax.numpy.asarray(np.ascontiguousarray(x))  # (m, n)
            return JaxBlock(rows, rows if target is x else self.jax.numpy.asarray(np.ascontiguousarray(target)))

    def begin(self, parameters: Parameters) -> Parameters:
        """Move the parameters to XLA."""
        with self.precision():
            return Parameters(*(self.jax.numpy.asarray(part) for part in parameters))

    def encode(self, weights: Parameters, block: JaxBlock) -> tuple[XlaArray, NDArray[np.float64]]:
        """Hidden activations, which stay with XLA, and their sums."""
        with self.precision():
            a2, total = self.jitted.encode(weights, block.x)  # (m, p), (p,)
            return a2, np.asarray(total, dtype=np.float64)

    def accumulate(
        self, weights: Parameters, block: JaxBlock, hidden: XlaArray | None, sparsity: Array | None, into: Sums
    ) -> None:
        """Add this block's sums."""
        with self.precision():
            if sparsity is None:
                squares, total, fired, gradient, q_sums = self.jitted.accumulate_with_q_sums(weights, block)
                into.W1_sparsity += np.asarray(q_sums[0])  # (p, n)
                into.b1_sparsity += np.asarray(q_sums[1])  # (p,)
            else:
                a2 = self.jitted.encode(weights, block.x)[0] if hidden is None else hidden  # (m, p)
                squares, total, fired, gradient = self.jitted.accumulate(weights, block, a2, sparsity)
            into.hidden += np.asarray(total)  # (p,)
            if self.problem.activation != "sigmoid":
                into.fired += np.asarray(fired)  # (p,)
            into.rows += len(block.x)
            into.squared_error += float(squares)
            for view, part in zip((into.W1, into.b1, into.W2, into.b2), gradient, strict=True):
                view += np.asarray(part)

    def finish(self, weights: Parameters, sums: Sums) -> None:
        """Nothing was scaled."""

    def backprop(self, a1: Array, a2: Array, a3: Array, W2: Array, sparsity: Array, target: Array) -> Parameters:
        """Gradient sums over the rows given."""
        with self.precision():
            sums = self.jitted.compute_gradient(a1, a2, a3, W2, sparsity, target)
            return Parameters(*(np.array(part) for part in sums))

    def precision(self) -> AbstractContextManager[Any]:
        """Let XLA work in the problem's precision, in this thread and for this call."""
        enable = self.jax.enable_x64 if hasattr(self.jax, "enable_x64") else self.jax.experimental.enable_x64
        scope: AbstractContextManager[Any] = enable(self.problem.dtype == np.float64)
        return scope


@contextmanager
def limit_threads(n: int) -> Iterator[None]:
    """Keep the threads of this process on `n` of its CPUs; each gets its own affinity back.

    All of them, since XLA's cannot be told from others by their names.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    mine = os.sched_getaffinity(0)
    before = {thread: _affinity(thread) for thread in _threads()}
    allowed = set(sorted(mine)[:n])
    try:
        for thread in before:
            _confine(thread, allowed)
        yield
    finally:
        for thread in _threads():  # those that were born meanwhile inherited the limit
            _confine(thread, before.get(thread) or mine)


def _threads() -> list[int]:
    """Return the threads of this process; this one alone where the system does not tell."""
    return [int(task.name) for task in TASKS.iterdir()] if TASKS.is_dir() else [0]


def _affinity(thread: int) -> set[int]:
    try:
        return os.sched_getaffinity(thread)
    except ProcessLookupError:  # it has ended
        return set()


def _confine(thread: int, cpus: set[int]) -> None:
    with suppress(ProcessLookupError, PermissionError):  # it has ended
        os.sched_setaffinity(thread, cpus)


@hookimpl
def sparsae_backend() -> Backend:
    """Register the backend."""
    return Backend(
        "jax",
        JaxKernel,
        summary="XLA on the CPU: closed form under jax.jit",
        threading="own",
        limit_threads=limit_threads,
        activations=("sigmoid", "relu", "topk"),
        outputs=("sigmoid", "linear"),
        requires=("jax",),
        install="pip install 'sparsae[jax]'",
    )
