"""Checks of values read from JSON against the form that they should have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, final

from numpy.typing import NDArray

from sparsae._text import printable
from sparsae._types import MOST_COUNTED

Schema = Mapping[str, Any]
"""Name -> type, tuple of types, `Each`, `Count`, `Number`, `OneOf`, `Null`, `Optional`, or a nested schema."""


SEED_BITS = 512
"""Bits of a seed, at most; no integer in a file has more, so that each can become a float."""


@final
class Each(NamedTuple):
    """A list or an object, of whose items each has this form, and how many items it may have."""

    form: Any
    kind: type | tuple[type, ...] = (list, dict)
    least: int = 0
    most: int | None = None


@final
class Count(NamedTuple):
    """An integer of at least so much, and at most so much; of at most 64 bits where that is not said."""

    least: int
    most: int | None = None


@final
class Number(NamedTuple):
    """A number between these two."""

    least: float
    most: float


@final
class OneOf(NamedTuple):
    """One of these values."""

    values: tuple[Any, ...]


@final
class Null(NamedTuple):
    """What may be null."""

    form: Any


@final
class Optional(NamedTuple):
    """What may be missing, or null unless that is excluded."""

    form: Any
    null: bool = True


SEED = Count(0, (1 << SEED_BITS) - 1)
RECEIPT: Schema = {
    **dict.fromkeys(("backend", "distribution", "distribution_version", "threading", "storage", "dtype"), str),
    **dict.fromkeys(("contract", "threads_granted", "workers", "passes", "block_rows", "n_blocks"), Count(0)),
    **dict.fromkeys(("n_segments", "n_samples", "n_visible", "n_hidden"), Count(0)),
    "threads_requested": Optional(int),
    "seed": Optional(SEED),
    "data_digest": str,
    "versions": Each(str, dict),
    "pools": Each(
        {
            "internal_api": str,
            "num_threads": int,
            **dict.fromkeys(("user_api", "version", "architecture", "library"), Optional(str)),
        },
        list,
    ),
    "cluster": Optional(Each(dict, list)),
    "choices": Optional(dict),
    "notes": Each(str, list),
}
"""A `Receipt` as JSON has it."""


def check_schema(value: Any, schema: Schema, where: str = "header") -> None:
    """Check names and types; names beyond those of the schema are allowed.

    Raises
    ------
    ValueError
        With the first name that is missing or whose value has another form.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} is {type(value).__name__} and not an object")
    for name, form in schema.items():
        if name in value:
            _check_value(value[name], form, f"{where}.{name}")
        elif not isinstance(form, Optional):
            raise ValueError(f"{where} has no {name!r}")


def _check_value(value: Any, form: Any, where: str) -> None:
    """Check one value."""
    match form:
        case Optional(null=False):
            _check_value(value, form.form, where)
        case Optional() | Null():
            if value is not None:
                _check_value(value, form.form, where)
        case Each():
            _check_type(value, form.kind, where)
            _check_range(len(value), form.least, form.most, f"the length of {where}")
            for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                _check_value(item, form.form, f"{where}.{printable(key)}")
        case Count():
            _check_type(value, int, where, 64 if form.most is None else form.most.bit_length())
            _check_range(value, form.least, form.most, where)
        case Number():
            _check_type(value, (int, float), where)
            _check_range(value, form.least, form.most, where)
        case OneOf():
            if isinstance(value, (dict, list)) or value not in form.values:
                raise ValueError(f"{where} is {printable(repr(value))}, not one of {', '.join(map(repr, form.values))}")
        case Mapping():
            check_schema(value, form, where)
        case _:
            _check_type(value, form, where)


def _check_range(value: float, least: float, most: float | None, where: str) -> None:
    """Check that a number lies between two others."""
    if not value >= least:
        raise ValueError(f"{where} is {value}, below {least:g}")
    if most is not None and not value <= most:
        raise ValueError(f"{where} is {value}, above {most:g}")


def _check_type(value: Any, expected: Any, where: str, bits: int = 64) -> None:
    """Check a type; a truth value is no number, and an integer takes no more than so many bits."""
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise ValueError(f"{where} is {type(value).__name__}")
    if isinstance(value, int) and value.bit_length() > bits:
        raise ValueError(f"{where} is an integer of {value.bit_length()} bits, above {bits}")


def parse_integer(digits: str) -> int:
    """Return an integer of JSON; `json.loads` takes it as `parse_int`.

    Raises
    ------
    ValueError
        When it is larger than any that a file can have.
    """
    number = int(digits)
    if number.bit_length() > SEED_BITS:
        raise ValueError(f"it has an integer of {number.bit_length()} bits, above {SEED_BITS}")
    return number


def check_counted(counts: NDArray[Any]) -> None:
    """Check that numbers are what counting gives.

    Raises
    ------
    ValueError
        When one is no integer, negative, or larger than anything that is counted.
    """
    wrong = counts[~((counts >= 0) & (counts < MOST_COUNTED) & (counts % 1 == 0))]
    if len(wrong):
        raise ValueError(f"{wrong[0]} is no count of iterations or evaluations")
