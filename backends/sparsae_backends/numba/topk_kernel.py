"""The kernel of the `numba` backend for top-k units: lists of active units instead of a matrix of activations."""

from __future__ import annotations

from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from sparsae import AdamStep, Array, Kernel, Parameters, Problem, Sums
from sparsae_backends._memory import ALIGNMENT, aligned, uncollected
from sparsae_backends.numba.kernel import block_rows as dense_rows

BLOCK_ROWS = 1056  # whole panels of 24 and 48 rows; 2,048 and 4,096 rows make 2 and 4 blocks of about equal length
GROUPS_OF_K = 4  # groups of units for each of the k, at least: 37 candidates for k = 32 of 4,096 normal numbers
APART = 24  # places between lists of candidates, so that they do not compete for the same lines of a cache
STRIP_BYTES = 256  # of a row of a strip: half of what `sum_of_rows` keeps in registers


class SparseWeights(NamedTuple):
    """What `begin` makes of the parameters."""

    W1: Array  # flat, in the order of the product
    b1: Array  # (p,)
    W2_back: Array  # W2' flat, rows padded to whole registers
    b2: Array  # padded likewise


class SparseHidden(NamedTuple):
    """What `encode` leaves for `accumulate`."""

    units: NDArray[np.int32]  # (m k,) ascending in each row
    values: Array  # (m k,)
    counts: NDArray[np.int32]  # (m,) how many of the k places of a row are used
    total: NDArray[np.float64]  # (p,) activations summed over the rows


@final
class TopKKernel(Kernel[tuple[Array, Array], SparseWeights, SparseHidden]):
    """Dense encoder on panels of rows, fast selection, sparse decoder and gradients.

    The constructor compiles what a fit calls, or loads what an earlier process compiled.

    Raises
    ------
    BackendError
        When numba is told not to compile, or to compile for a processor that this is not.
    """

    direct_sums = True

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        with uncollected():
            from sparsae_backends.numba import emit, passes, tiles, topk  # imports numba
            from sparsae_backends.numba.compilation import compile_for, describe

        n, p, dtype, k = problem.n_visible, problem.n_hidden, problem.dtype, problem.k
        assert k is not None
        self.passes, self.pack, self.compile_for = topk, passes.pack, compile_for
        needed = passes.pack, topk.transpose, topk.encode_topk, topk.accumulate_topk
        self.notes = (describe(compile_for(needed, dtype)),)
        self.n, self.p, self.k, self.tall = n, p, k, tiles.TALL
        self.layout = tuple(Sums(n, p).layout)
        self.wide = -(-n // emit.lanes(dtype)) * emit.lanes(dtype)
        self.sizes = p, k, problem.output == "sigmoid"
        self.width = emit.width(dtype)
        self.given: tuple[int, Array, Array] | None = None  # of `backprop`: rows of a piece, scratch, packed W2
        self._reserve_selection(self.width)
        rows, broad = problem.block_rows, min(STRIP_BYTES // dtype.itemsize, self.wide)
        D = aligned((rows * self.wide,), dtype).reshape(rows, self.wide)
        strip, found = aligned((rows * broad,), dtype), aligned((p * broad,), dtype)
        self.scratch = D, np.zeros(rows * k, dtype), strip, found, np.zeros(broad, dtype), np.zeros(self.wide, dtype)
        values, delta2 = np.zeros(rows * k, dtype), np.zeros(rows * k, dtype)
        self.pairs = np.zeros(p + 2, np.intp), np.zeros(rows * k, np.int32), values, delta2
        self.hidden = self._new_hidden(rows)
        self.x, self.target = (np.zeros((0, n), dtype) for _ in range(2))
        self.s = np.zeros(p, dtype)

    def _reserve_selection(self, width: int) -> None:
        """Choose the groups of units whose maxima are looked at first, and make room for one panel."""
        p, k, dtype = self.p, self.k, self.problem.dtype
        integer = np.dtype(f"i{dtype.itemsize}")
        tiles = -(-p // self.tall)
        grouped = max(1, tiles // (GROUPS_OF_K * k))
        if tiles // grouped < k + k // 2:
            grouped = tiles  # the units themselves are looked at
        self.encode_sizes = p, k, grouped, int(np.array(-np.inf, dtype).view(integer))
        z, x_panel = aligned((p * width,), dtype), aligned((self.n * width,), dtype)
        maxima = np.zeros(-(-tiles // grouped) * width, integer)
        vectors = (np.zeros(width, integer) for _ in range(5))
        self.encode_scratch = z, z.view(integer), maxima, x_panel, *vectors
        room = (p + APART) * width
        self.lists = np.zeros(room, np.int32), np.zeros(room, integer)

    def _new_hidden(self, rows: int) -> SparseHidden:
        dtype, pairs = self.problem.dtype, rows * self.k
        return SparseHidden(
            np.zeros(pairs, np.int32), np.zeros(pairs, dtype), np.zeros(rows, np.int32), np.zeros(self.p)
        )

    def prepare(self, x: Array, target: Array, keep: bool) -> tuple[Array, Array]:
        """Use rows in C order as they are; others are copied, to scratch where they are not kept."""
        rows = self._in_order(x, "x", keep)
        return rows, rows if target is x else self._in_order(target, "target", keep)

    def _in_order(self, rows: Array, name: str, keep: bool) -> Array:
        if rows.flags.c_contiguous or keep:
            return np.ascontiguousarray(rows)
        scratch: Array = getattr(self, name)
        if len(scratch) < len(rows):
            scratch = np.empty_like(rows, order="C")
            setattr(self, name, scratch)
        scratch[: len(rows)] = rows
        return scratch[: len(rows)]

    def begin(self, parameters: Parameters) -> SparseWeights:
        """Pack W1 in the order of the product, transpose W2, and pad it and b2."""
        W1, b1, W2, b2 = parameters
        W2_back = aligned((self.p * self.wide,), self.problem.dtype).reshape(self.p, self.wide)
        self.passes.transpose(np.ascontiguousarray(W2), W2_back)
        padded = np.zeros(self.wide, self.problem.dtype)
        padded[: self.n] = b2
        packed = aligned((W1.size + ALIGNMENT,), self.problem.dtype)
        self.pack(W1, self.problem.dtype.type(1), packed)
        return SparseWeights(packed, np.array(b1), W2_back.ravel(), padded)

    def encode(self, weights: SparseWeights, block: tuple[Array, Array]) -> tuple[SparseHidden, NDArray[np.float64]]:
        """Lists of the active units, and the activations summed over the rows."""
        hidden = self._encode(weights, block[0], self._new_hidden(len(block[0])))
        return hidden, hidden.total

    def accumulate(
        self,
        weights: SparseWeights,
        block: tuple[Array, Array],
        hidden: SparseHidden | None,
        sparsity: Array | None,
        into: Sums,
    ) -> None:
        """Add this block's sums."""
        if hidden is None:
            hidden = self._encode(weights, block[0], self.hidden)
        self.s[:] = 0 if sparsity is None else sparsity
        if into.vector.dtype != np.float64:
            self.compile_for((self.passes.accumulate_topk,), self.problem.dtype, into.vector.dtype)
        self.passes.accumulate_topk(
            self.sizes, block, tuple(weights[2:]), tuple(hidden), self.s, self.scratch, self.pairs,
            (into.vector, self.layout),
        )  # fmt: skip

    def finish(self, weights: SparseWeights, sums: Sums) -> None:
        """The compiled code leaves no scale in the sums."""

    def backprop(self, a1: Array, a2: Array, a3: Array, W2: Array, sparsity: Array, target: Array) -> Parameters:
        """Gradient sums over the rows given, whose activations are dense: their slope is that of relu units."""
        from sparsae_backends.numba.passes import backprop

        self.compile_for((backprop,), self.problem.dtype)
        n, p, dtype = self.n, self.p, self.problem.dtype
        if self.given is None:
            rows = -(-dense_rows(self.problem) // self.width) * self.width
            self.given = rows, aligned(((2 * n + 2 * p) * rows,), dtype), aligned((p * n + ALIGNMENT,), dtype)
        rows, room, packed = self.given
        self.pack(W2.T, dtype.type(1), packed)
        self.s[:] = sparsity
        sums = Sums(n, p)
        sizes = n, p, self.problem.output == "sigmoid", dtype.type(0)
        backprop(sizes, (a1, a2, a3, target), packed, self.s, False, rows, room, (sums.vector, self.layout))
        return Parameters(sums.W1, sums.b1, sums.W2, sums.b2)

    def adam(self, state: tuple[Array, Array, Array], parts: tuple[Array, ...], decayed: int, step: AdamStep) -> bool:
        """Update in one compiled loop."""
        from sparsae_backends.numba.adam import update

        return update(state, parts, decayed, step)

    def _encode(self, weights: SparseWeights, x: Array, hidden: SparseHidden) -> SparseHidden:
        """Fill in the lists and sums."""
        self.passes.encode_topk(
            self.encode_sizes, x, tuple(weights[:2]), tuple(hidden), self.encode_scratch, self.lists
        )
        return hidden
