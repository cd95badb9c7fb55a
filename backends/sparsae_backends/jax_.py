"""`jax`: XLA on the CPU, the closed form under `jax.jit`; as good as its users would write it.

Automatic differentiation of the cost gives the same sums in more time (docs/performance.md has both);
data is moved once, in `prepare`, and weights once an evaluation.
XLA's CPU threads obey nothing but the affinity of the process once they run, so that is what `limit_threads` sets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsae import Array, Backend, Kernel, Parameters, Problem, Sums, hookimpl

TASKS = Path("/proc/self/task")


class Compiled(NamedTuple):
    """The functions under `jax.jit`; shared by all kernels, for XLA compiles once for each function and shape."""

    encode: Any
    accumulate: Any
    only_pass: Any
    gradients: Any


@cache
def compiled(sigmoid: bool) -> Compiled:
    """Return the functions for one kind of output unit."""
    import jax

    def encode(weights: Any, x: Any) -> Any:
        W1, b1, _, _ = weights
        a2 = jax.nn.sigmoid(x @ W1.T + b1)  # (m, p)
        return a2, a2.sum(axis=0)

    def gradients(a1: Any, a2: Any, a3: Any, W2: Any, sparsity: Any, target: Any) -> Any:
        error = a3 - target  # (m, n)
        delta3 = error * a3 * (1 - a3) if sigmoid else error  # (m, n)
        delta2 = (delta3 @ W2 + sparsity) * a2 * (1 - a2)  # (m, p)
        return delta2.T @ a1, delta2.sum(axis=0), delta3.T @ a2, delta3.sum(axis=0)

    def accumulate(weights: Any, x: Any, target: Any, a2: Any, sparsity: Any) -> Any:
        _, _, W2, b2 = weights
        z3 = a2 @ W2.T + b2  # (m, n)
        a3 = jax.nn.sigmoid(z3) if sigmoid else z3
        error = a3 - target  # (m, n)
        return (error * error).sum(), a2.sum(axis=0), gradients(x, a2, a3, W2, sparsity, target)

    def only_pass(weights: Any, x: Any, target: Any) -> Any:
        a2, _ = encode(weights, x)
        q = a2 * (1 - a2)  # (m, p)
        return *accumulate(weights, x, target, a2, 0), (q.T @ x, q.sum(axis=0))

    return Compiled(*(jax.jit(function) for function in (encode, accumulate, only_pass, gradients)))


class JaxKernel(Kernel):
    """Whole blocks under `jax.jit`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        import jax

        jax.devices("cpu")  # XLA's threads start here, on all CPUs of the process, and not under a limit
        self.jax = jax
        self.compiled = compiled(problem.output == "sigmoid")

    def prepare(self, x: Array, target: Array, keep: bool) -> tuple[Any, Any]:
        """Move the rows to XLA."""
        with self._precision():
            moved = self.jax.numpy.asarray(np.ascontiguousarray(x))
            return moved, moved if target is x else self.jax.numpy.asarray(np.ascontiguousarray(target))

    def begin(self, parameters: Parameters) -> tuple[Any, ...]:
        """Move the parameters to XLA."""
        with self._precision():
            return tuple(self.jax.numpy.asarray(part) for part in parameters)

    def encode(self, weights: Any, block: Any) -> tuple[Any, NDArray[np.float64]]:
        """Hidden activations, which stay with XLA."""
        with self._precision():
            a2, hidden = self.compiled.encode(weights, block[0])
            return a2, np.asarray(hidden, dtype=np.float64)

    def accumulate(self, weights: Any, block: Any, a2: Any, sparsity: Array | None, into: Sums) -> None:
        """Add this block's sums."""
        x, target = block
        with self._precision():
            if sparsity is None:
                squares, hidden, sums, q_sums = self.compiled.only_pass(weights, x, target)
                into.W1_sparsity += np.asarray(q_sums[0])
                into.b1_sparsity += np.asarray(q_sums[1])
            else:
                squares, hidden, sums = self.compiled.accumulate(weights, x, target, a2, sparsity)
            into.hidden += np.asarray(hidden)
            into.rows += len(x)
            into.squared_error += float(squares)
            for view, part in zip((into.W1, into.b1, into.W2, into.b2), sums, strict=True):
                view += np.asarray(part)

    def backprop(self, a1: Array, a2: Array, a3: Array, W2: Array, sparsity: Array, target: Array) -> Parameters:
        """Gradient sums over the rows given."""
        with self._precision():
            sums = self.compiled.gradients(a1, a2, a3, W2, sparsity, target)
            return Parameters(*(np.array(part) for part in sums))

    def _precision(self) -> AbstractContextManager[Any]:
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
        outputs=("sigmoid", "linear"),
        requires=("jax",),
        install="pip install 'sparsae[jax]'",
    )
