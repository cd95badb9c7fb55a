"""Adam's update as one compiled loop, with the bits of NumPy's: each operation is rounded for itself.

NumPy reads and writes its operands in 14 passes.  Here a piece of the gradient is put together in the first-level
cache; where all of it is finite, moments and parameters are read and written once.

Imported when a kernel first updates, since it imports numba.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from sparsae import AdamStep, Array
from sparsae_backends.numba.compilation import EXACT, compile_for, entry_point
from sparsae_backends.numba.emit import part
from sparsae_backends.numba.lanes import add_in_any_order

PIECE = 512  # parameters: six arrays of them stay in the first-level cache; 2,048 took 1.4 times as long (Zen 4)


def update(state: tuple[Array, Array, Array], parts: tuple[Array, ...], decayed: int, step: AdamStep) -> bool:
    """As `Kernel.adam`; threads may call it at the same time."""
    dtype = state[0].dtype
    compile_for((adam,), dtype)
    numbers = tuple(step) if dtype == np.float64 else tuple(map(dtype.type, step))
    return bool(adam(state, (parts[0], parts[-1]), len(parts) > 1, decayed, numbers, np.empty(PIECE, dtype)))


@partial(entry_point, options=EXACT)
def adam(state: Any, parts: Any, two: Any, decayed: Any, step: Any, room: Any) -> bool:
    """Update in pieces of the size of `room`; pieces whose gradient is not finite are left, and False is returned."""
    scale, decay, beta1, beta2, rate, epsilon, flush_first, flush_second = step
    zero, size, all_finite = room.dtype.type(0), len(state[0]), True
    for start in range(0, size, len(room)):
        many = min(len(room), size - start)
        theta, first, second = part(state[0], start, many), part(state[1], start, many), part(state[2], start, many)
        a, b, g = part(parts[0], start, many), part(parts[1], start, many), part(room, 0, many)
        if two:
            for i in range(len(g)):
                g[i] = (a[i] + b[i]) * scale
        else:
            for i in range(len(g)):
                g[i] = a[i] * scale
        for i in range(min(max(decayed - start, 0), len(g))):
            g[i] = g[i] + theta[i] * decay
        nothing = zero  # 0 where all are finite, else NaN
        for i in range(len(g)):
            nothing = add_in_any_order(nothing, g[i] * zero)
        if nothing != zero:
            all_finite = False
            continue
        if flush_first > zero:
            for i in range(len(g)):
                m = first[i] * beta1 + g[i] + flush_first - flush_first
                v = second[i] * beta2 + g[i] * g[i] + flush_second - flush_second
                first[i], second[i] = m, v
                theta[i] = theta[i] - m / (np.sqrt(v) + epsilon) * rate
        else:
            for i in range(len(g)):
                m, v = first[i] * beta1 + g[i], second[i] * beta2 + g[i] * g[i]
                first[i], second[i] = m, v
                theta[i] = theta[i] - m / (np.sqrt(v) + epsilon) * rate
    return all_finite
