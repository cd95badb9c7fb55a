"""One update of all parameters from the gradient of a mini-batch: in chunks that stay in cache, by several threads.

The gradient is never made whole: sums of parts of the mini-batch are added up, divided and completed chunk by chunk.
With 768 inputs and 4,096 units in float32, Adam takes 14 ms so, and 80 on whole arrays with their temporaries
(one thread of a Zen 4 processor).  What belongs to which chunk depends on sizes alone: threads change no bit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import isfinite
from typing import Any, NamedTuple, final

import numpy as np

from sparsae._types import Array, RunTasks, run_in_turn

# NumPy needs the GIL between two operations.  Where two threads work, each operation takes 11 us longer (Zen 4).
# So chunks are large for a second-level cache: at 6.3 million parameters 1 MB took 8.0 ms, 0.5 MB 8.2, 2 MB 8.5 (one
# thread: 12.8, 13.1, 13.4).
CHUNK_BYTES = 1 << 20  # of one array
ALONE = 200_000  # fewer parameters are updated by one thread: handing over chunks takes as long
FEW_CHUNKS, LEAST_CHUNK = 4, 1 << 14  # of fewer parameters, which stay in that cache
LINE = 16  # parameters: chunks begin with a cache line

Step = Callable[[tuple[Array, ...], Array, Array], None]
"""Changes corresponding chunks of the state's arrays in place, from that of the gradient; the last one is scratch."""

CompiledStep = Callable[[tuple[Array, ...], tuple[Array, ...], int], bool]
"""As `Step`, from the parts of the gradient, and how many parameters of the chunk are decayed; whether g is finite."""


@final
class BatchGradient(NamedTuple):
    """Gradient of the cost over a mini-batch: sum(parts) scale, and decay theta for weights.

    Attributes
    ----------
    parts : tuple of ndarray (size,)
        Sums over rows.
    scale : float
        What they are multiplied by: 1 / rows.
    decay : float
        Weight decay.
    n_weights : int
        So many parameters at the beginning are decayed.
    undecayed : float
        Sum of the squares of weights that the decay leaves alone, since their length is fixed.
    """

    parts: tuple[Array, ...]
    scale: float = 1.0
    decay: float = 0.0
    n_weights: int = 0
    undecayed: float = 0.0

    def chunk(self, start: int, theta: Array, out: Array, scratch: Array) -> Array:
        """Return the part from `start` on, in `out`; `theta` and `scratch` are of its length."""
        part = slice(start, start + len(theta))
        if len(self.parts) == 1:
            np.multiply(self.parts[0][part], self.scale, out=out, casting="same_kind")
        else:
            np.add(self.parts[0][part], self.parts[1][part], out=out, casting="same_kind")
            np.multiply(out, self.scale, out=out)
        decayed = min(max(self.n_weights - start, 0), len(theta))
        if decayed and self.decay:
            np.multiply(theta[:decayed], self.decay, out=scratch[:decayed])
            np.add(out[:decayed], scratch[:decayed], out=out[:decayed])
        return out

    def vector(self, theta: Array) -> Array:
        """Return all of it (size,) at parameters `theta`, in their dtype."""
        return self.chunk(0, theta, np.empty_like(theta), np.empty_like(theta))


@final
class UpdateReport(NamedTuple):
    """What an update has seen on its way.

    Attributes
    ----------
    weight_squares : float
        Sum of the squares of the weights, before.
    gradient_max : float
        Largest absolute component of the gradient; 0 where it was not asked for.
    finite : bool
        Whether all components of the gradient are finite.  Chunks in which one is not were left as they were.
    """

    weight_squares: float
    gradient_max: float
    finite: bool


@final
class _Scratch(threading.local):
    """Two arrays of each thread."""

    arrays: Array = np.empty((2, 0))

    def of(self, size: int, dtype: np.dtype[Any]) -> Array:
        """Return two arrays of that size, without values."""
        if self.arrays.dtype != dtype or self.arrays.shape[1] < size:
            self.arrays = np.empty((2, size), dtype)
        return self.arrays[:, :size]


_SCRATCH = _Scratch()
_NOTHING = UpdateReport(0.0, 0.0, True)


def update_in_chunks(
    arrays: tuple[Array, ...],
    gradient: BatchGradient,
    step: Step,
    run_tasks: RunTasks,
    *,
    measure: bool,
    compiled: CompiledStep | None = None,
) -> UpdateReport:
    """Call `step` with every chunk of the arrays, parameters first, and of the gradient.

    Parameters
    ----------
    arrays : tuple of ndarray (size,)
        Changed in place.
    gradient : BatchGradient
    step : callable
    run_tasks : callable
    measure : bool
        Whether the largest component of the gradient is looked for.
    compiled : callable, optional
        Called instead of `step` where parts have the dtype of the arrays, and nothing is measured.
    """
    theta = arrays[0]
    if measure or gradient.parts[0].dtype != theta.dtype:
        compiled = None
    size = chunk_size(len(theta), theta.dtype)
    count = -(-len(theta) // size)
    if count == 1:
        return _update_chunk(arrays, gradient, 0, step, compiled, measure=measure)
    reports: list[UpdateReport] = [_NOTHING] * count

    def update(number: int) -> None:
        here = slice(number * size, (number + 1) * size)
        chunks = tuple([array[here] for array in arrays])
        reports[number] = _update_chunk(chunks, gradient, here.start, step, compiled, measure=measure)

    (run_tasks if len(theta) >= ALONE else run_in_turn)(update, count)
    squares, largest, finite = zip(*reports, strict=True)
    return UpdateReport(float(np.sum(squares)), max(largest), all(finite))


def _update_chunk(
    chunks: tuple[Array, ...],
    gradient: BatchGradient,
    start: int,
    step: Step,
    compiled: CompiledStep | None,
    *,
    measure: bool,
) -> UpdateReport:
    """Update the part of all arrays that begins at `start`."""
    here = chunks[0]
    weights = here[: max(gradient.n_weights - start, 0)]
    squares = float(np.dot(weights, weights))
    if compiled is not None:
        parts = gradient.parts
        if len(here) < len(parts[0]):
            parts = tuple([part[start : start + len(here)] for part in parts])
        return UpdateReport(squares, 0.0, compiled(chunks, parts, len(weights) if gradient.decay else 0))
    a, b = _SCRATCH.of(len(here), here.dtype)
    g = gradient.chunk(start, here, a, b)
    largest = max(float(g.max()), -float(g.min())) if measure else 0.0
    finite = bool(isfinite(_squared_length(g)) or np.isfinite(g).all())
    if finite:
        step(chunks, g, b)
    return UpdateReport(squares, largest, finite)


def square_sum(gradient: BatchGradient, theta: Array, run_tasks: RunTasks) -> float:
    """Return the sum of the squares of the gradient's components."""
    size = chunk_size(len(theta), theta.dtype)
    count = -(-len(theta) // size)
    squares = np.zeros(count)

    def add(number: int) -> None:
        here = theta[number * size : (number + 1) * size]
        a, b = _SCRATCH.of(len(here), theta.dtype)
        g = gradient.chunk(number * size, here, a, b)
        squares[number] = _squared_length(g)

    (run_tasks if len(theta) >= ALONE else run_in_turn)(add, count)
    return float(squares.sum())


def _squared_length(g: Array) -> float:
    """Return the sum of the squares, in float64 where it overflows in float32; infinite or NaN where it does there."""
    with np.errstate(over="ignore", invalid="ignore"):
        square = float(np.dot(g, g))
        if isfinite(square) or g.dtype == np.float64:
            return square
        return float(np.square(g, dtype=np.float64).sum())


def chunk_size(size: int, dtype: np.dtype[Any]) -> int:
    """Return the number of parameters in a chunk, of so many in all: a function of sizes alone."""
    if size < ALONE:
        return max(-(-size // FEW_CHUNKS), LEAST_CHUNK)
    pairs = -(-size * dtype.itemsize // (2 * CHUNK_BYTES))
    return -(-size // (2 * pairs * LINE)) * LINE  # an even number of chunks, of about one length
