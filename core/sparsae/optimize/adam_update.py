"""Adam's update of a chunk with NumPy, and the comparison of a kernel's own with it."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from sparsae._types import Array
from sparsae.errors import BackendWrongError
from sparsae.optimize.update import BatchGradient
from sparsae.plugins.contract import AdamStep, AnyKernel

# Adding and subtracting this much rounds smaller moments to multiples of 1e-46 and 1e-66 (1e-31 in float32), and
# changes none by more.  The moments of a unit that is always off would otherwise decay to denormal numbers, which are
# slow.  It is done before they can have decayed by more than `_DECAY` since the last time.
FLUSH_FIRST = {np.dtype(np.float64): 1e-30, np.dtype(np.float32): 1e-24}
FLUSH_SECOND = {np.dtype(np.float64): 1e-50, np.dtype(np.float32): 1e-24}
TINY = {np.dtype(kind): float(np.finfo(kind).tiny) for kind in (np.float64, np.float32)}
_DECAY, _FLUSH_INTERVAL = 1e-3, 16
_SIZE = 4099  # numbers on which a kernel's update is compared: more than a register, a cache line or a page of them


@cache
def flush_interval(decay: float) -> int:
    """Return how many updates may pass before moments that decay so are flushed."""
    return max(1, min(_FLUSH_INTERVAL, int(np.log(_DECAY) / np.log(decay)))) if decay > 0 else 1


def flush(moment: Array, limit: float) -> None:
    """Round away what is far below the limit."""
    moment += limit
    moment -= limit


def update_chunk(state: tuple[Array, ...], g: Array, scratch: Array, step: AdamStep) -> None:
    """Change theta and both moments in place, from the gradient `g`; all of one size."""
    theta, first, second = state
    np.multiply(first, step.beta1, out=first)
    np.add(first, g, out=first)
    np.multiply(second, step.beta2, out=second)
    np.add(second, np.square(g, out=scratch), out=second)
    if step.flush_first:
        flush(first, step.flush_first)
        flush(second, step.flush_second)
    np.add(np.sqrt(second, out=scratch), step.epsilon, out=scratch)
    np.multiply(np.divide(first, scratch, out=scratch), step.rate, out=scratch)
    np.subtract(theta, scratch, out=theta)


def check_adam(kernel: AnyKernel, dtype: np.dtype[Any]) -> None:
    """Compare a kernel's `adam` with NumPy on some numbers, with one part and with two, flushed and not.

    Raises
    ------
    BackendWrongError
        When a bit differs, or a gradient that is not finite is not noticed.
    """
    rng = np.random.default_rng(0)
    theta, first, second, a, b = rng.standard_normal((5, _SIZE)).astype(dtype)
    name, decayed = type(kernel).__name__, _SIZE // 2
    for parts, tiny in (((a, b), 0.0), ((a,), 1e-24)):
        step = AdamStep(1 / 3, 0.1, 0.9, 0.999, 1e-3, 1e-8, tiny, tiny)
        plain, given = ((theta.copy(), first.copy(), np.square(second)) for _ in range(2))
        gradient = BatchGradient(parts, step.scale, step.decay, decayed)
        update_chunk(plain, gradient.vector(plain[0]), np.empty_like(theta), step)
        finite = kernel.adam(given, parts, decayed, step)
        for what, one, other in zip(("theta", "m", "v"), given, plain, strict=True):
            if not finite or not np.array_equal(one, other):
                raise BackendWrongError(
                    f"{name}.adam: {what} is not what NumPy computes, bit for bit, in {dtype}; numbers of an update "
                    f"must be rounded after each operation. Delete the method, and the core updates with NumPy."
                )
    spoilt = a.copy()
    spoilt[-1] = np.inf
    if kernel.adam((theta, first, second), (spoilt,), 0, step):
        raise BackendWrongError(f"{name}.adam returned True for a gradient that is not finite; it must return False.")
