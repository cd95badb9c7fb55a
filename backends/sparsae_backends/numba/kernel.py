"""The kernel of the `numba` backend for dense units: puts rows in panels, packs weights, calls compiled passes."""

from __future__ import annotations

from itertools import accumulate
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from sparsae import Array, Parameters, Problem, Sums
from sparsae_backends._memory import ALIGNMENT, LOG2E, InTurns, Loan, aligned, uncollected
from sparsae_backends.numba.base import CompiledKernel, is_large, is_wide, sums_are_float64

IN_TURNS = 4 << 20  # bytes of a packed matrix; larger ones have left the other core's cache by themselves
STRIP, LEAST_STRIP = 1 << 20, 8  # bytes of packed weights where a matrix is large; rows of the matrix, at least
LENT = 1 << 20  # bytes of hidden activations that are lent again: new memory takes 2 us, which shows in small blocks


@final
class PackedWeights:
    """The parameters as the passes take them."""

    __slots__ = ("arrays", "loan")

    def __init__(self, loan: Loan[tuple[Array, ...]], threshold: Array) -> None:
        self.loan = loan  # of the memory that `arrays` are in
        self.arrays = (*loan.what[1:], threshold)  # W1, b1, W2, b2, W2', flat, in the order of the products


class LargeWeights(NamedTuple):
    """The parameters as the passes of `large.py` take them."""

    arrays: tuple[tuple[Array, ...], tuple[Array, ...], tuple[Any, ...]]  # W1, W2 and W2'; b1 and b2, scaled; scales


Weights = PackedWeights | LargeWeights


@final
class PanelHidden:
    """What `encode` leaves for `accumulate`."""

    __slots__ = ("arrays", "loan")

    def __init__(self, loan: Loan[Array], size: int, n_hidden: int) -> None:
        self.loan = loan  # of the memory that panels are in
        # Panels of (m, p), of pre-activations for JumpReLU units, and (p,) activations summed over the rows.
        self.arrays: tuple[Array, NDArray[np.float64]] = loan.what[:size], np.empty(n_hidden)


@final
class PanelBlock:
    """A block in panels; a kept one has room for its hidden activations."""

    __slots__ = ("hidden", "keep", "m", "target", "x")

    def __init__(self, x: Array, target: Array, m: int, keep: bool) -> None:
        self.x, self.target, self.m, self.keep = x, target, m, keep
        self.hidden: PanelHidden | None = None


@final
class NumbaKernel(CompiledKernel[PanelBlock, Weights, PanelHidden]):
    """Forward and backward pass on panels of rows.

    The constructor compiles what a fit calls, or loads what an earlier process compiled.  `accumulate` of large float32
    models, whose sums are of either dtype, is compiled when it is first called.

    Attributes
    ----------
    compile_seconds : float
        What the constructor spent on that.

    Raises
    ------
    BackendError
        When numba is told not to compile, or to compile for a processor that this is not.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        with uncollected():
            from sparsae_backends.numba import emit, passes, tiles  # imports numba
            from sparsae_backends.numba.compilation import compile_for, describe

        n, p, dtype = problem.n_visible, problem.n_hidden, problem.dtype
        self.passes, self.compile_for = passes, compile_for
        self.encode_pass, self.accumulate_pass = passes_of(problem)
        at_once = (self.accumulate_pass,) if sums_are_float64(problem) else ()
        self.large = is_large(problem)
        packing = () if self.large else (passes.pack_weights,)
        self.compile_seconds = compile_for((passes.to_panels, *packing, self.encode_pass, *at_once), dtype)
        self.notes = (describe(self.compile_seconds),)
        self.width = emit.width(dtype)
        self.sizes = n, p, problem.output == "sigmoid", dtype.type((problem.bandwidth or 0) / 2)
        scales = -LOG2E if problem.activation == "sigmoid" else 1.0, -LOG2E if self.sizes[2] else 1.0, 1.0
        self.scales = tuple(map(dtype.type, scales))
        self.layout = tuple(Sums(n, p).layout)
        self.zeros, self.s = np.zeros(p, dtype), np.empty(p, dtype)
        self.rows = -(-problem.block_rows // self.width) * self.width
        self.strip = tiles.BROAD * emit.lanes(dtype) * (is_wide(problem) or problem.activation != "sigmoid")
        self.totals = aligned(((n + p) * emit.lanes(dtype),), dtype)
        self.scratch: dict[str, Array] = {}
        self.accumulate_scratch: dict[bool, tuple[Array, ...]] = {}  # by whether it is for one pass
        self.places, self.packed = reserve_packed(problem)
        size = max(STRIP // dtype.itemsize, LEAST_STRIP * max(n, p)) + ALIGNMENT
        self.strips = (aligned((size,), dtype),) if self.large else ()  # room for packed weights
        self.into_dtype: np.dtype[Any] | None = None  # of sums that `accumulate_pass` was made ready for
        hidden_size = self.rows * p
        self.hidden_size = hidden_size if hidden_size * dtype.itemsize <= LENT else 0  # that is lent again
        self.lent: InTurns[Array] = InTurns(lambda: aligned((hidden_size,), dtype), 1)
        self.adds_blocks = problem.bandwidth is None

    def prepare(self, x: Array, target: Array, keep: bool) -> PanelBlock:
        """Put rows in panels: in arrays of their own when they are kept, else in scratch."""
        m, n = x.shape
        size = -(-m // self.width) * self.width * n
        panels = []
        for name, rows in (("x", x), ("target", target))[: 1 if target is x else 2]:
            panels.append(aligned((size,), x.dtype) if keep else self._room(name, n)[:size])
            self.passes.to_panels(rows, panels[-1])
        return PanelBlock(panels[0], panels[-1], m, keep)

    def begin(self, parameters: Parameters) -> Weights:
        """Pack W1, b1, W2, b2 and W2' in the order of the products, scales of the exponents folded in."""
        W1, b1, W2, b2 = parameters[:4]
        if self.large:
            return LargeWeights(((W1, W2, W2.T), (b1 * self.scales[0], b2 * self.scales[1]), self.scales))
        threshold = self.zeros if parameters.threshold is None else np.array(parameters.threshold)
        weights = PackedWeights(self.packed.take(), threshold)
        self.passes.pack_weights((W1, W2, W2.T), (b1, b2), self.scales, weights.loan.what[0], self.places)
        return weights

    def encode(self, weights: Weights, block: PanelBlock) -> tuple[PanelHidden, NDArray[np.float64]]:
        """Hidden activations, in the block's own room where it is kept."""
        hidden = block.hidden
        if hidden is None:
            n, p = self.sizes[:2]
            size = block.x.size // n * p
            lend = size <= self.hidden_size and not block.keep
            hidden = PanelHidden(self.lent.take() if lend else Loan(aligned((size,), self.problem.dtype)), size, p)
            block.hidden = hidden if block.keep else None
        arrays = hidden.arrays
        self.encode_pass(self.sizes, block.x, block.m, weights.arrays, arrays, *self.strips)
        return hidden, arrays[1]

    def accumulate(
        self, weights: Weights, block: PanelBlock, hidden: PanelHidden | None, sparsity: Array | None, into: Sums
    ) -> None:
        """Add this block's sums."""
        p = self.sizes[1]
        if hidden is None:
            hidden = PanelHidden(Loan(self._room("a2", p)), self.rows * p, p)
            self.encode_pass(self.sizes, block.x, block.m, weights.arrays, hidden.arrays, *self.strips)
        s, one_pass = self.zeros, sparsity is None
        if sparsity is not None:
            s = self.s
            s[:] = sparsity
        vector = into.vector
        if self.into_dtype is None or vector.dtype != self.into_dtype:  # NumPy takes None for float64
            self.compile_for((self.accumulate_pass,), self.problem.dtype, vector.dtype)
            self.into_dtype = vector.dtype
        self.accumulate_pass(
            self.sizes, (block.x, block.target, block.m), weights.arrays, hidden.arrays, s, one_pass,
            self._accumulate_scratch(one_pass), (vector, self.layout),
        )  # fmt: skip

    def finish(self, weights: Weights, sums: Sums) -> None:
        """The compiled code leaves no scale in the sums."""

    def _accumulate_scratch(self, one_pass: bool) -> tuple[Array, ...]:
        """Return room for delta3, delta2, q or the activations of JumpReLU units, a strip, and sums of columns."""
        if one_pass not in self.accumulate_scratch:
            n, p = self.sizes[:2]
            third = p if one_pass or self.problem.activation == "jumprelu" else 0
            columns = {"d": n, "delta2": p, "third": third, "strip": self.strip}
            rooms = [self._room(name, many) for name, many in columns.items()]
            self.accumulate_scratch[one_pass] = (*rooms, self.totals, *self.strips)
        return self.accumulate_scratch[one_pass]

    def _room(self, name: str, columns: int) -> Array:
        """Return scratch for the rows of a block, made when it is first asked for."""
        room = self.scratch.get(name)
        if room is None or room.size < columns * self.rows:
            room = self.scratch[name] = aligned((columns * self.rows,), self.problem.dtype)
        return room


def reserve_packed(problem: Problem) -> tuple[tuple[int, ...], InTurns[tuple[Array, ...]]]:
    """Return where W1, W2, W2', b1 and b2 begin in packed weights, and what lends memory for them.

    That is the whole and its parts in the order of `PackedWeights.arrays`; two in turns where matrices are small.
    """
    n, p, dtype = problem.n_visible, problem.n_hidden, problem.dtype
    line, sizes = ALIGNMENT // dtype.itemsize, (*[n * p + ALIGNMENT] * 3, p, n)
    *places, size = accumulate((-(-size // line) * line for size in sizes), initial=0)

    def make() -> tuple[Array, ...]:
        whole = aligned((size,), dtype)
        W1, W2, W2_back, b1, b2 = (whole[at : at + many] for at, many in zip(places, sizes, strict=True))
        return whole, W1, b1, W2, b2, W2_back

    return tuple(places), InTurns(make, 2 if sizes[0] * dtype.itemsize <= IN_TURNS else 0)


def passes_of(problem: Problem) -> tuple[Any, Any]:
    """Return the compiled passes `encode` and `accumulate` for the problem's units and shape."""
    if problem.activation == "sigmoid":
        from sparsae_backends.numba import passes

        if is_large(problem):
            from sparsae_backends.numba import large

            return large.encode_large, large.accumulate_large
        if is_wide(problem):
            from sparsae_backends.numba import wide

            return passes.encode, wide.accumulate_wide
        return passes.encode, passes.accumulate
    from sparsae_backends.numba import rectified

    if problem.activation == "relu":
        return rectified.encode_relu, rectified.accumulate_relu
    return rectified.encode_jumprelu, rectified.accumulate_jumprelu
