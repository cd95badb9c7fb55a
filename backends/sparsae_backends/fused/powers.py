"""How the `fused` kernel raises to a power for its sigmoids: a = 1 / (1 + 2^z) or 1 / (1 + e^z), z scaled.

Which way is fastest depends on the instructions that NumPy chose for this processor.  Nanoseconds an element:

| | float64 exp | exp2 | table | float32 exp | exp2 | tanh |
|---|---|---|---|---|---|---|
| Intel, AVX-512 | 0.60 | 0.55 | | 0.36 | 0.19 | |
| AMD Zen 4, AVX-512 | 0.82 | 0.67 | 2.3 | 0.46 | 0.22 | 0.36 |
| AMD Zen 4, held to AVX2 | 4.4 | 4.1 | 2.3 | 1.04 | 3.4 | 1.5 |
| AMD Zen 3, AVX2, busy | 10 | 9.7 | | 2.3 | 4.7 | 3.3 |

So exp2 is best where NumPy has vector code for it.  Else it is the table (`power_table.py`) in float64, and exp, which
has vector code with AVX2, in float32.
The rule depends on processor and NumPy alone: every worker and every process chooses the same, and the last bits of a
result, which depend on the choice, are those of one machine and set of libraries.  The receipt names the choice, and a
fit that is resumed elsewhere makes it again.  ``SPARSAE_FUSED_POWERS`` overrides both.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol, final

import numpy as np

from sparsae import Array, BackendError
from sparsae_backends._memory import LOG2E
from sparsae_backends.fused.power_table import TablePowers

VARIABLE = "SPARSAE_FUSED_POWERS"
CHOICE = "powers"  # its name in the receipt
Choices = tuple[tuple[str, str], ...]
EXPONENT = {np.dtype(np.float32): 125.0, np.dtype(np.float64): 1021.0}  # 2^+-EXPONENT is a normal number


class Powers(Protocol):
    """A way to replace exponents by powers.

    Attributes
    ----------
    name, key : str
        For the receipt, and as ``SPARSAE_FUSED_POWERS`` has it.
    factor : float
        What x is multiplied by to get e^x.
    off : float
        An exponent at which 1 / (1 + power) is exactly 1.
    """

    name: str
    key: str
    factor: float
    off: float

    def replace(self, z: Array, reach: float) -> None:
        """Replace exponents (m, n), in C order, by their powers.

        They are limited where the power could overflow, given that none is above `reach`.
        """


@final
class UfuncPowers:
    """`numpy.exp2` or `numpy.exp`.

    Attributes
    ----------
    limit : float
        function(+-limit) is a normal number.
    """

    off = -64.0

    def __init__(self, function: np.ufunc, dtype: np.dtype[Any]) -> None:
        self.function = function
        self.name, self.key = f"numpy.{function.__name__}", function.__name__
        self.factor = LOG2E if function is np.exp2 else 1.0
        self.limit = EXPONENT[dtype] / LOG2E * self.factor

    def replace(self, z: Array, reach: float) -> None:
        """Replace exponents by powers."""
        if not (reach < self.limit or z.max() < self.limit):  # to look takes half as long as to limit
            np.clip(z, -self.limit, self.limit, z)
        self.function(z, z)


def fastest_powers(dtype: np.dtype[Any], choices: Choices = ()) -> Powers:
    """Return the fastest way for a dtype on this processor, or the one that is asked for; one thread uses an instance.

    `choices` are those of the problem.

    Raises
    ------
    BackendError
        When ``SPARSAE_FUSED_POWERS`` names no way for the dtype.
    """
    ways: dict[str, Callable[[], Powers]] = {
        "exp2": lambda: UfuncPowers(np.exp2, dtype),
        "exp": lambda: UfuncPowers(np.exp, dtype),
    }
    if dtype == np.float64:
        ways["table"] = TablePowers
    if asked := os.environ.get(VARIABLE):
        if asked not in ways:
            raise BackendError(
                f"{VARIABLE}={asked} names no way to compute powers in {dtype}; possible are {', '.join(ways)}. "
                f"Unset it for the fastest."
            )
        return ways[asked]()
    if (recorded := dict(choices).get(CHOICE)) in ways:
        return ways[recorded]()
    if has_vector_code("exp2", dtype):
        return ways["exp2"]()
    return ways["table" if dtype == np.float64 else "exp"]()


def powers_note(powers: Powers, dtype: np.dtype[Any], choices: Choices = ()) -> str:
    """Return a sentence for the receipt on the choice, with the variable that repeats it elsewhere."""
    why = f"the fastest for {dtype} here"
    if os.environ.get(VARIABLE):
        why = "as asked"
    elif dict(choices).get(CHOICE) == powers.key:
        why = "as the fit that is resumed did"
    return f"Last bits: fused computes sigmoids with {powers.name}, {why} ({VARIABLE}={powers.key})."


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
