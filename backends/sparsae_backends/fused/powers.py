"""Which function of NumPy the `fused` kernel computes sigmoids with: a = 1 / (1 + 2^z) or 1 / (1 + e^z), z scaled.

Which one is faster depends on the instructions that NumPy chose for this processor.  Nanoseconds an element:

| | float64 exp | exp2 | tanh | float32 exp | exp2 | tanh |
|---|---|---|---|---|---|---|
| Intel, AVX-512 | 0.60 | 0.55 | 0.78 | 0.36 | 0.19 | |
| AMD Zen 4, AVX-512 | 0.82 | 0.67 | 1.57 | 0.46 | 0.22 | 0.36 |
| AMD Zen 3, AVX2, busy | 10 | 9.7 | 20 | 2.3 | 4.7 | 3.3 |

So exp2 is best where NumPy has vector code for it, and for float64 in any case; else exp, which has vector code with
AVX2 in float32.  The rule depends on processor and NumPy alone: every worker and every process chooses the same, and
the last bits of a result, which depend on the choice, are those of one machine and set of libraries.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, final

import numpy as np

from sparsae_backends._memory import LOG2E

EXPONENT = {np.dtype(np.float32): 125.0, np.dtype(np.float64): 1021.0}  # 2^+-EXPONENT is a normal number


@final
@dataclass(frozen=True)
class PowerFunction:
    """A function of NumPy.

    Attributes
    ----------
    function : numpy.ufunc
        `numpy.exp2` or `numpy.exp`.
    factor : float
        e^z = function(factor z).
    limit : float
        function(+-limit) is a normal number.
    """

    function: np.ufunc
    factor: float
    limit: float


@cache
def power_function(dtype: np.dtype[Any]) -> PowerFunction:
    """Return the faster function for a dtype."""
    if dtype == np.float64 or has_vector_code("exp2", dtype):
        return PowerFunction(np.exp2, LOG2E, EXPONENT[dtype])
    return PowerFunction(np.exp, 1.0, EXPONENT[dtype] / LOG2E)


def has_vector_code(name: str, dtype: np.dtype[Any]) -> bool:
    """Whether NumPy dispatches a function to instructions beyond its baseline on this processor; False before 2.0."""
    try:
        from numpy.lib.introspect import opt_func_info
    except ImportError:
        return False
    found = opt_func_info(func_name=f"^{name}$").get(name, {})
    return any(
        "baseline" not in str(targets.get("current", "baseline"))
        for signature, targets in found.items()
        if signature[:1] == np.dtype(dtype).char
    )
