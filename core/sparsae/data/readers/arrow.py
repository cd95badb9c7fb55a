"""What Parquet and Feather files have in common: the choice of columns by an Arrow schema."""

from __future__ import annotations

from typing import Any

from sparsae.data.readers.columns import choose_columns
from sparsae.data.readers.entries import ReadRequest
from sparsae.errors import DataError

COLUMN_ADVICE = "Leave them out with --columns '{columns}' (columns= in Python), or convert them first."


def choose_fields(schema: Any, request: ReadRequest, label: str) -> list[Any]:
    """Return the fields of the columns that are wanted; the index of a pandas frame is not one unless it is named.

    Raises
    ------
    DataError
        When there is no column.
    ParameterError
        When a column that is wanted is not there.
    """
    if request.columns is not None:
        return [schema.field(i) for i in choose_columns(request.columns, schema.names, len(schema.names), label)]
    index = {name for name in _pandas(schema).get("index_columns", ()) if isinstance(name, str)}
    fields = [field for field in schema if field.name not in index]
    if not fields:
        raise DataError(f"{label} has no columns.")
    return fields


def _pandas(schema: Any) -> dict[str, Any]:
    """Return what pandas wrote into the schema."""
    try:
        found = schema.pandas_metadata
    except Exception:  # noqa: BLE001 (a damaged file has anything there)
        return {}
    return found if isinstance(found, dict) else {}
