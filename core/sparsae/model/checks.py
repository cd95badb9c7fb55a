"""Checks of single settings: numbers, truth values, words, counts of activations."""

from __future__ import annotations

from typing import SupportsFloat, SupportsIndex, TypeVar

import numpy as np

from sparsae.errors import ParameterError
from sparsae.model.parameters import check_size

Word = TypeVar("Word", bound=str)


def as_number(name: str, value: object) -> float:
    """Return a real number as a float, which may be infinite or NaN, or raise `ParameterError`.

    Text and truth values are no numbers, although Python makes floats of them.
    """
    is_number = isinstance(value, (SupportsFloat, SupportsIndex)) and not isinstance(value, (bool, np.bool_, str))
    if is_number and getattr(value, "ndim", 0) == 0:
        try:
            return float(value)  # type: ignore[arg-type]  # it has the method
        except (TypeError, ValueError, OverflowError):
            pass
    raise ParameterError(f"{name} must be a number; given {value!r}.") from None


def make_floats(record: object, *names: str) -> None:
    """Replace fields of a frozen dataclass that is being built by floats, or raise `ParameterError`."""
    for name in names:
        object.__setattr__(record, name, as_number(name, getattr(record, name)))


def check_number(name: str, value: object, *, least: float | None = None) -> float:
    """Return a finite number as a float, or raise `ParameterError`."""
    number = as_number(name, value)
    if not np.isfinite(number):
        raise ParameterError(f"{name} must be finite; given {value!r}.")
    if least is not None and number < least:
        raise ParameterError(f"{name} must be at least {least:g}; given {value!r}.")
    return number


def check_bool(name: str, value: object) -> bool:
    """Return a truth value, or raise `ParameterError`."""
    if not isinstance(value, (bool, np.bool_)):
        raise ParameterError(f"{name} must be True or False; given {value!r}.")
    return bool(value)


def check_word(name: str, value: object, words: tuple[Word, ...]) -> Word:
    """Return `value` if it is one of those words, or raise `ParameterError`."""
    for word in words:
        if isinstance(value, str) and value == word:
            return word
    raise ParameterError(f"{name} must be one of {', '.join(words)}; given {value!r}.")


def check_k(name: str, value: object, activation: str, n_hidden: int) -> int:
    """Return a number of activations, from 1 to `n_hidden`, or raise `ParameterError`."""
    if value is None:
        raise ParameterError(f"activation={activation!r} needs {name}, the number of activations kept in a row.")
    number = check_size(name, value)
    if number > n_hidden:
        raise ParameterError(f"{name}={number} exceeds n_hidden={n_hidden}: no row has so many activations.")
    return number
