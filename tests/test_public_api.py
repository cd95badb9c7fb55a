"""The public names, their signatures and the fields of records: a change here is a decision, not an accident."""

from __future__ import annotations

import dataclasses
import inspect
import json
import types
import typing
from pathlib import Path
from typing import Any

import numpy as np

import sparsae

RECORD = Path(__file__).parent / "golden" / "public_api.json"


def describe(value: Any) -> Any:
    """Return what a user of the name relies on: signature, fields, public methods."""
    if isinstance(value, str):
        return "str"
    if isinstance(value, types.GenericAlias):
        kind = typing.get_args(value)[-1]  # NumPy 2.5 spells NDArray[T] in another way
        return f"array of {typing.get_args(kind)[0] if typing.get_origin(kind) is np.dtype else kind}"
    if value is sparsae.errors:
        return {name: describe(kind) for name, kind in vars(value).items() if inspect.isclass(kind)}
    if typing.is_typeddict(value):
        return {name: str(kind) for name, kind in value.__annotations__.items()}
    if not inspect.isclass(value):
        return str(inspect.signature(value)) if callable(value) else type(value).__name__
    if issubclass(value, BaseException):
        return [base.__name__ for base in value.__mro__ if base is not object]
    methods = {
        name: str(inspect.signature(member)) if callable(member := getattr(value, name)) else "property"
        for name in vars(value)
        if not name.startswith("_")
        and name not in getattr(value, "_fields", ())
        and (callable(getattr(value, name)) or isinstance(vars(value)[name], property))
    }
    fields: list[str] = []
    if dataclasses.is_dataclass(value):
        fields = [field.name for field in dataclasses.fields(value)]
    elif hasattr(value, "_fields"):
        fields = list(value._fields)
    return {"signature": str(inspect.signature(value)), "fields": fields, "methods": dict(sorted(methods.items()))}


def public_api() -> dict[str, Any]:
    """Return all of it."""
    return {name: describe(getattr(sparsae, name)) for name in sorted(sparsae.__all__)}


def test_public_api_is_what_was_agreed() -> None:
    """Names, signatures and fields equal the record; `python -m tests.test_public_api` writes a new one."""
    assert public_api() == json.loads(RECORD.read_text(encoding="utf-8"))


if __name__ == "__main__":
    RECORD.write_text(json.dumps(public_api(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
