"""The choice of columns: by name, by number, or by a range of numbers.

As text (``--columns``), items are separated by commas:

- ``age``: the column of that name; a name wins over a number;
- ``3``: the third column, counted from 1 as in messages about tables;
- ``2-65``, ``2-``, ``-64``: a range of numbers, both ends included;
- ``!label``, ``!1``, ``!1-3``: not these; with nothing but exclusions all other columns are taken.

In Python a sequence holds names and positions counted from 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sparsae.data.readers.source_file import shorten
from sparsae.errors import ParameterError

RANGE = re.compile(r"(\d*)-(\d*)")


def choose_columns(
    wanted: str | Sequence[str | int], names: Sequence[str] | None, n_columns: int, label: str
) -> list[int]:
    """Return the positions of the columns that are wanted, counted from 0, in the order in which they are named.

    Raises
    ------
    ParameterError
        When there is no such column, a name stands for several, or a column is named twice.
    """
    if isinstance(wanted, str):
        items = [item.strip() for item in wanted.split(",") if item.strip()]
        taken = [i for item in items if not item.startswith("!") for i in _find(item, names, n_columns, label)]
        excluded = {i for item in items if item.startswith("!") for i in _find(item[1:], names, n_columns, label)}
        if items and all(item.startswith("!") for item in items):
            taken = list(range(n_columns))
        chosen = [i for i in taken if i not in excluded]
    else:
        chosen = [_position(item, names, n_columns, label) for item in wanted]
    if not chosen:
        raise ParameterError(f"No column of {label} is left by columns={wanted!r}.")
    if len(set(chosen)) != len(chosen):
        raise ParameterError(f"columns={wanted!r} names a column of {label} twice.")
    return chosen


def _position(item: str | int, names: Sequence[str] | None, n_columns: int, label: str) -> int:
    """Find a column by its name, or by its position counted from 0 (from the end where negative)."""
    if isinstance(item, str):
        return _named(item, names, label)
    try:
        return range(n_columns)[item]
    except (IndexError, TypeError) as error:
        raise ParameterError(
            f"{label} has {n_columns} columns, positions 0 to {n_columns - 1}; given {item!r}."
        ) from error


def _find(item: str, names: Sequence[str] | None, n_columns: int, label: str) -> list[int]:
    """Find the columns of one item of the text form."""
    if names and item in names:
        return [_named(item, names, label)]
    matched = RANGE.fullmatch(item)
    first = last = item
    if matched and item != "-":
        first, last = matched[1] or "1", matched[2] or str(n_columns)
    if not (_is_number(first) and _is_number(last)):
        return [_named(item, names, label)]
    if not 1 <= int(first) <= int(last) <= n_columns:
        raise ParameterError(f"{label} has columns 1 to {n_columns}; given {shorten(item)}.")
    return list(range(int(first) - 1, int(last)))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _named(name: str, names: Sequence[str] | None, label: str) -> int:
    """Return the position of the one column of that name."""
    count = names.count(name) if names else 0
    if names and count == 1:
        return names.index(name)
    if count > 1:
        raise ParameterError(f"{label} has {count} columns named {shorten(name)!r}; give their numbers.")
    have = "has no column names" if not names else f"has the columns {shorten(', '.join(names), 300)}"
    raise ParameterError(f"{label} has no column {shorten(name)!r}; it {have}. Numbers and ranges are counted from 1.")
