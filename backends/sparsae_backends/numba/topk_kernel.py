"""The kernel of the `numba` backend for top-k units: lists of active units instead of a matrix of activations."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from sparsae import Array, Parameters, Problem, Sums
from sparsae_backends._memory import ALIGNMENT, aligned, uncollected
from sparsae_backends.numba.base import CompiledKernel

BLOCK_ROWS = 1056  # whole panels of 24 and 48 rows; 2,048 and 4,096 rows make 2 and 4 blocks of about equal length
GROUPS_OF_K = 4  # groups of units for each of the k, at least: 37 candidates for k = 32 of 4,096 normal numbers
APART = 24  # places between lists of candidates, so that they do not compete for the same lines of a cache
CANDIDATES_OF_K, SHARE_OF_UNITS = 2, 32  # that may be looked at in a row: 2 k and a 32nd of them
STRIP_BYTES = 256  # of a row of a strip: half of what `sum_of_rows` keeps in registers
SCREENED = (
    "numba finds the units that may be among the k largest with products of bfloat16 numbers, and computes these in "
    "float32"
)


@final
class SparseWeights:
    """What `begin` makes of the parameters.

    Attributes
    ----------
    exact : tuple of array
        W1 (p, n), b1 (p,) and b2 (n,).
    decoder : tuple of array
        W2' flat, rows padded to whole registers, and b2, padded likewise.
    rho : float
        What `screen.round_weights` returned; NaN where the units are not screened.
    far : float
        What rounding adds to the uncertainty because of b2, for each length of weights.
    words : tuple of array
        What `round_weights` wrote.
    """

    def __init__(self, exact: tuple[Array, Array, Array], decoder: tuple[Array, Array]) -> None:
        self.exact, self.decoder = exact, decoder
        self.rho, self.far, self.words = math.nan, 0.0, ()
        self._packed: Array | None = None
        self._lock = threading.Lock()

    def packed(self, pack: Callable[..., None]) -> Array:
        """W1 in the order of the product, made when it is first needed: by any worker."""
        with self._lock:
            if self._packed is None:
                W1 = self.exact[0]
                self._packed = aligned((W1.size + ALIGNMENT,), W1.dtype)
                pack(W1, W1.dtype.type(1), self._packed)
            return self._packed


class SparseHidden(NamedTuple):
    """What `encode` leaves for `accumulate`."""

    units: NDArray[np.int32]  # (m k,) ascending in each row
    values: Array  # (m k,)
    counts: NDArray[np.int32]  # (m,) how many of the k places of a row are used
    total: NDArray[np.float64]  # (p,) activations summed over the rows


@final
class TopKKernel(CompiledKernel[tuple[Array, Array], SparseWeights, SparseHidden]):
    """Dense encoder on panels of rows, fast selection, sparse decoder and gradients.

    The constructor compiles what a fit calls, or loads what an earlier process compiled.

    Raises
    ------
    BackendError
        When numba is told not to compile, or to compile for a processor that this is not.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        with uncollected():
            from sparsae_backends.numba import emit, passes, screen, tiles, topk  # imports numba
            from sparsae_backends.numba.compilation import compile_for, describe
            from sparsae_backends.numba.target import TARGET

        n, p, dtype, k = problem.n_visible, problem.n_hidden, problem.dtype, problem.k
        assert k is not None
        self.passes, self.screen, self.pack, self.nothing = topk, screen, passes.pack, np.zeros(0, dtype)
        self.n, self.p, self.k, self.tall = n, p, k, tiles.TALL
        self.layout = tuple(Sums(n, p).layout)
        self.wide = -(-n // emit.lanes(dtype)) * emit.lanes(dtype)
        self.sizes = p, k, problem.output == "sigmoid"
        self.width = emit.width(dtype)
        self._reserve_selection(self.width)
        self.screens = TARGET.pairs and dtype == np.float32 and self.encode_sizes[2] < -(-p // self.tall)
        encode = (screen.round_weights, screen.encode_screened) if self.screens else (topk.encode_topk,)
        self.notes = (describe(compile_for((topk.transpose, passes.pack, *encode, topk.accumulate_topk), dtype)),)
        if self.screens:
            self._reserve_screen(self.width)
            self.notes += (SCREENED,)
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
        vectors = (np.zeros(width, integer) for _ in range(3))
        self.encode_scratch = z, z.view(integer), maxima, x_panel, *vectors
        room = (p + APART) * width
        self.lists = np.zeros(room, np.int32), np.zeros(room, integer)

    def _reserve_screen(self, width: int) -> None:
        """Make room for the words of a panel's rows; the panel of words is the first half of that of the rows."""
        half, dtype = -(-self.n // 2), self.problem.dtype
        z, bits, maxima, x_panel, *vectors = self.encode_scratch
        rows = aligned((width * half,), dtype).reshape(width, half)
        room = (np.zeros(size, dtype) for size in (width, self.n, 2))
        self.screen_scratch = z, bits, maxima, rows, x_panel, *room, *vectors
        lower = np.zeros(self.p, dtype)
        self.candidates = *self.lists, lower, lower.view(bits.dtype)
        most = CANDIDATES_OF_K * self.k + self.p // SHARE_OF_UNITS
        self.screen_sizes = *self.encode_sizes[:3], most, self.encode_sizes[3]

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
        """Transpose W2, pad it and b2, and round W1 where units are screened."""
        W1, b1, W2, b2 = parameters
        dtype, tiles = self.problem.dtype, -(-self.p // self.tall)
        W2_back = aligned((self.p * self.wide,), dtype).reshape(self.p, self.wide)
        self.passes.transpose(np.ascontiguousarray(W2), W2_back)
        padded = np.zeros(self.wide, dtype)
        padded[: self.n] = b2
        weights = SparseWeights((np.ascontiguousarray(W1), np.array(b1), np.array(b2)), (W2_back.ravel(), padded))
        if self.screens:
            half = -(-self.n // 2)
            out, word = aligned((self.p * half,), dtype), np.zeros(half, dtype)
            bounds, of_tiles = (np.zeros((2, size), dtype) for size in (self.p, tiles))
            weights.rho = self.screen.round_weights(
                *weights.exact, out, word, (*bounds, np.zeros(2, dtype)), tuple(of_tiles)
            )
            weights.far = self.screen.ROUNDING * self.n * float(np.linalg.norm(b2)) * self.screen.CAREFUL
            weights.words = out, *bounds, *of_tiles
        return weights

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
        vector = into.vector
        sums = vector.view(np.uint8), vector.itemsize == 8, bool(vector[self.layout[0]] > 0), self.layout
        self.passes.accumulate_topk(
            self.sizes, block, weights.decoder, tuple(hidden), self.s, self.scratch, self.pairs, sums
        )

    def finish(self, weights: SparseWeights, sums: Sums) -> None:
        """The compiled code leaves no scale in the sums."""

    def _encode(self, weights: SparseWeights, x: Array, hidden: SparseHidden) -> SparseHidden:
        """Fill in the lists and sums."""
        if self.screens:
            for screened in (True, False) if not math.isnan(weights.rho) else (False,):
                packed = self.nothing if screened else weights.packed(self.pack)
                if self.screen.encode_screened(
                    self.screen_sizes, (screened, weights.rho, weights.far), x, (*weights.exact, packed),
                    weights.words, tuple(hidden), self.screen_scratch, self.candidates,
                ):  # fmt: skip
                    break
            return hidden
        self.passes.encode_topk(
            self.encode_sizes, x, (weights.packed(self.pack), weights.exact[1]), tuple(hidden), self.encode_scratch,
            self.lists,
        )  # fmt: skip
        return hidden
