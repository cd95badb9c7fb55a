"""Checks of values read from JSON against the form that they should have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]
"""Name -> type, tuple of types, or a nested schema."""


def check_schema(value: Any, schema: Schema, where: str = "header") -> None:
    """Check names and types; names beyond those of the schema are allowed.

    Raises
    ------
    ValueError
        With the first name that is missing or whose value has another type.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} is {type(value).__name__} and not an object")
    for name, expected in schema.items():
        if name not in value:
            raise ValueError(f"{where} has no {name!r}")
        item = value[name]
        if isinstance(expected, Mapping):
            check_schema(item, expected, f"{where}.{name}")
        elif not isinstance(item, expected) or (isinstance(item, bool) and expected is not bool):
            raise ValueError(f"{where}.{name} is {type(item).__name__}")
