"""Correct kernels that rely on the contract and on nothing else: what it does not promise, they refuse."""

from __future__ import annotations

import numpy as np
from tests.support.mutants import Twin

from sparsae import Parameters


class Strict(Twin):
    """Refuses anything that the contract does not promise."""

    def prepare(self, x, target, keep):
        self.expect(x, None, self.problem.n_visible)
        self.expect(target, None, self.problem.n_visible)
        self.require(type(keep) is bool, f"keep is {keep!r}")
        return super().prepare(x, target, keep)

    def begin(self, parameters):
        n, p = self.problem.n_visible, self.problem.n_hidden
        shapes = [a.shape for a in parameters]
        self.require(shapes == [(p, n), (p,), (n, p), (n,)], f"shapes {shapes}")
        self.require(all(a.dtype == self.problem.dtype for a in parameters), "dtype of the parameters")
        return super().begin(parameters)

    def accumulate(self, weights, block, a2, sparsity, into):
        if sparsity is not None:
            self.require(sparsity.dtype == self.problem.dtype, f"sparsity is {sparsity.dtype}")
            self.require(sparsity.shape == (self.problem.n_hidden,), f"sparsity has shape {sparsity.shape}")
        self.require(into.vector.dtype == np.float64, "into")
        super().accumulate(weights, block, a2, sparsity, into)

    def backprop(self, a1, a2, a3, W2, sparsity, target):
        n, p = self.problem.n_visible, self.problem.n_hidden
        for a, width in ((a1, n), (a2, p), (a3, n), (target, n)):
            self.expect(a, len(a1), width)
        self.require(W2.shape == (n, p), f"W2 {W2.shape}")
        return super().backprop(a1, a2, a3, W2, sparsity, target)

    def expect(self, a, rows, width):
        self.require(type(a) in (np.ndarray, np.memmap), f"{type(a)}")
        self.require(a.dtype == self.problem.dtype, f"dtype {a.dtype}")
        self.require(a.ndim == 2 and a.shape[1] == width and 0 < len(a) <= self.problem.block_rows, f"{a.shape}")
        self.require(rows is None or len(a) == rows, f"{len(a)} rows")

    def require(self, promise, what):
        if not promise:
            raise TypeError(f"the contract does not allow this: {what}")


class ReadOnly(Twin):
    """Is given only read-only arrays, and gives only read-only arrays back."""

    def backprop(self, *arrays):
        seen = {id(a): self.seal(a) for a in arrays}
        return Parameters(*(self.seal(part) for part in super().backprop(*(seen[id(a)] for a in arrays))))

    def prepare(self, x, target, keep):
        sealed = self.seal(x)
        return super().prepare(sealed, sealed if target is x else self.seal(target), keep)

    def begin(self, parameters):
        return Parameters(*(self.seal(a) for a in parameters))

    def encode(self, weights, block):
        a2, total = super().encode(weights, block)
        return self.seal(a2), self.seal(total)

    @staticmethod
    def seal(a):
        view = a.view()
        view.flags.writeable = False
        return view
