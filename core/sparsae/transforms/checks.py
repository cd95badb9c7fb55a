"""Checks of options, and of what a file holds for a transform: names, types, shapes, values that cannot be fitted."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def check_names(what: str, given: Collection[str], expected: Collection[str]) -> None:
    """Raise `ValueError` unless the names are those expected."""
    if set(given) != set(expected):
        raise ValueError(f"its {what} are {_listed(given)} and should be {_listed(expected)}")


def read_number(settings: Mapping[str, Any], name: str, *, positive: bool = False) -> float:
    """Return a finite number, or raise `ValueError`."""
    value = settings[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"its {name} is {value!r} and should be a number")
    if positive and not value > 0:
        raise ValueError(f"its {name} is {value!r} and should be positive")
    return float(value)


def read_size(settings: Mapping[str, Any], name: str) -> int:
    """Return a positive integer, or raise `ValueError`."""
    value = settings[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"its {name} is {value!r} and should be a positive integer")
    return value


def read_array(arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return a finite float64 array of that shape, or raise `ValueError`."""
    array = arrays[name]
    if array.dtype != np.float64 or array.shape != shape:
        raise ValueError(f"its {name} is {array.dtype} {array.shape} and should be float64 {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"its {name} has values that are not finite")
    return array


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(map(str, names))) or "none"
