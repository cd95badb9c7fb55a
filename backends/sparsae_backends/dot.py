"""`dot`: blocks that stay in cache, C-contiguous operands, scratch made once, every result written in place."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsae import Array, Backend, Kernel, Parameters, Problem, Sums, hookimpl, sigmoid


class DotWeights(NamedTuple):
    """Each matrix in the order in which its product reads it row by row."""

    W1T: Array  # (n, p)
    b1: Array  # (p,)
    W2: Array  # (n, p)
    W2T: Array  # (p, n)
    b2: Array  # (n,)


class DotBlock(NamedTuple):
    """Rows in C order, and memory for their hidden activations when the block is kept."""

    x: Array  # (m, n)
    target: Array  # (m, n)
    a2: Array | None  # (m, p)


class DotKernel(Kernel[DotBlock, DotWeights, Array]):
    """Backpropagation by `numpy.dot` on C-contiguous operands; no array is allocated for a block."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        m, n, p = problem.block_rows, problem.n_visible, problem.n_hidden
        self.sigmoid = problem.activation == "sigmoid"
        self.x, self.target, self.a3, self.delta3, self.slope3 = np.empty((5, m, n), problem.dtype)
        self.a2, self.delta2, self.slope2 = np.empty((3, m, p), problem.dtype)
        self.dW1, self.dW2 = np.empty((p, n), problem.dtype), np.empty((n, p), problem.dtype)

    def prepare(self, x: Array, target: Array, keep: bool) -> DotBlock:
        """Put rows in C order: in arrays of their own when they are kept, else in scratch."""
        m = len(x)
        rows = c_contiguous(x, None if keep else self.x[:m])  # (m, n)
        goal = rows if target is x else c_contiguous(target, None if keep else self.target[:m])  # (m, n)
        a2 = np.empty((m, self.problem.n_hidden), self.problem.dtype) if keep else None  # (m, p)
        return DotBlock(rows, goal, a2)

    def begin(self, parameters: Parameters) -> DotWeights:
        """Transpose once per evaluation."""
        W1, b1, W2, b2 = parameters
        return DotWeights(np.ascontiguousarray(W1.T), b1, np.ascontiguousarray(W2), np.ascontiguousarray(W2.T), b2)

    def encode(self, weights: DotWeights, block: DotBlock) -> tuple[Array, NDArray[np.float64]]:
        """Hidden activations, in the block's own memory where it is kept, and their sums."""
        a2 = np.empty((len(block.x), len(weights.b1)), self.problem.dtype) if block.a2 is None else block.a2
        self.compute_hidden(weights, block.x, a2)  # (m, p)
        return a2, a2.sum(axis=0, dtype=np.float64)  # (m, p), (p,)

    def accumulate(
        self, weights: DotWeights, block: DotBlock, hidden: Array | None, sparsity: Array | None, into: Sums
    ) -> None:
        """Add this block's sums."""
        x, target, _ = block
        m = len(x)
        a2 = self.compute_hidden(weights, x, self.a2[:m]) if hidden is None else hidden  # (m, p)
        a3, error = self.a3[:m], self.delta3[:m]
        np.dot(a2, weights.W2T, out=a3)  # (m, n)
        a3 += weights.b2  # (m, n)
        if self.problem.output == "sigmoid":
            sigmoid(a3, out=a3)  # (m, n)
        np.subtract(a3, target, out=error)  # (m, n)
        into.rows += m
        into.squared_error += float(np.vdot(error, error))
        into.hidden += a2.sum(axis=0, dtype=np.float64)  # (p,)
        if not self.sigmoid:
            into.fired += np.count_nonzero(a2, axis=0)  # (p,)
        self.add_gradient(x, a2, a3, error, weights.W2, sparsity, into)

    def finish(self, weights: DotWeights, sums: Sums) -> None:
        """Nothing was scaled."""

    def backprop(self, a1: Array, a2: Array, a3: Array, W2: Array, sparsity: Array, target: Array) -> Parameters:
        """Gradient sums over the rows given, block by block."""
        n, p = W2.shape
        W2 = np.ascontiguousarray(W2)  # (n, p)
        sums = Sums(n, p)
        for start in range(0, len(a1), self.problem.block_rows):
            rows = slice(start, start + self.problem.block_rows)
            m = len(a1[rows])
            error = np.subtract(a3[rows], target[rows], out=self.delta3[:m])  # (m, n)
            x, h = c_contiguous(a1[rows], self.x[:m]), c_contiguous(a2[rows], self.a2[:m])  # (m, n), (m, p)
            self.add_gradient(x, h, a3[rows], error, W2, sparsity, sums)
        return Parameters(sums.W1, sums.b1, sums.W2, sums.b2)

    def compute_hidden(self, weights: DotWeights, x: Array, out: Array) -> Array:
        """a2 = f(x W1' + b1), in place; f is sigmoid, relu or top-k."""
        np.dot(x, weights.W1T, out=out)  # (m, p)
        out += weights.b1  # (m, p)
        if self.sigmoid:
            return sigmoid(out, out=out)
        if self.problem.activation == "relu":
            return np.maximum(out, 0, out=out)
        np.copyto(out, self.problem.activate(out))
        return out

    def add_gradient(
        self, x: Array, a2: Array, a3: Array, error: Array, W2: Array, sparsity: Array | None, into: Sums
    ) -> None:
        """Add the gradient sums; `error` is a3 - target and is overwritten with delta3."""
        m, delta3 = len(x), error
        if self.problem.output == "sigmoid":
            slope3 = np.subtract(1, a3, out=self.slope3[:m])  # (m, n)
            slope3 *= a3  # (m, n)
            delta3 *= slope3  # (m, n)
        delta2, slope2 = self.delta2[:m], self.slope2[:m]
        if self.sigmoid:
            np.subtract(1, a2, out=slope2)  # (m, p)
            slope2 *= a2  # (m, p)
        else:
            np.not_equal(a2, 0, out=slope2)  # (m, p)
        np.dot(delta3, W2, out=delta2)  # (m, p)
        if sparsity is not None:
            delta2 += sparsity  # (m, p)
        delta2 *= slope2  # (m, p)
        into.W1 += np.dot(delta2.T, x, out=self.dW1)  # (p, n)
        into.b1 += delta2.sum(axis=0, dtype=np.float64)  # (p,)
        into.W2 += np.dot(delta3.T, a2, out=self.dW2)  # (n, p)
        into.b2 += delta3.sum(axis=0, dtype=np.float64)  # (n,)
        if sparsity is None:
            into.W1_sparsity += np.dot(slope2.T, x, out=self.dW1)  # (p, n)
            into.b1_sparsity += slope2.sum(axis=0, dtype=np.float64)  # (p,)


def c_contiguous(a: Array, scratch: Array | None) -> Array:
    """Return `a` itself where it is C-contiguous, else a copy: in `scratch`, or new where there is none."""
    if a.flags.c_contiguous:
        return a
    if scratch is None:
        return np.ascontiguousarray(a)
    np.copyto(scratch, a)
    return scratch


@hookimpl
def sparsae_backend() -> Backend:
    """Register the backend."""
    return Backend(
        "dot",
        DotKernel,
        summary="cache-sized blocks, C order, scratch made once, results in place; row workers",
        threading="workers",
        activations=("sigmoid", "relu", "topk"),
        outputs=("sigmoid", "linear"),
    )
