"""Tables of numbers as text: .csv, .tsv, .txt, also compressed.

`numpy.loadtxt` reads the rows.  Where it fails, the rows are read again cell by cell with the `csv` module,
which accepts more and names the line and column of what is not a number.
"""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import numpy as np

from sparsae.data.readers.columns import choose_columns
from sparsae.data.readers.entries import LoadedArray, ReadRequest
from sparsae.data.readers.limits import check_memory
from sparsae.data.readers.missing import missing_error
from sparsae.data.readers.source_file import SourceFile, shorten
from sparsae.data.readers.table_layout import COMMA_NUMBER, TableLayout, find_layout, is_number, to_point
from sparsae.data.readers.text_lines import numbered_lines, split_cells
from sparsae.errors import DataError, DataWarning, SparsaeError
from sparsae.machine.caller_warning import warn_caller

BOOLEANS = {"true": 1.0, "false": 0.0}
MISSING = {"", "na", "n/a", "nan", "null", "none", "?", "-", "."}
CHECKED_ROWS = 1000  # rows between two looks at the memory
COUNTED_ROWS = 10  # a column that counts so many rows is pointed out


def read_table(file: SourceFile, request: ReadRequest) -> LoadedArray:
    """Read a table; lines above the numbers are taken for titles and column names."""
    layout = find_layout(file, request)
    names = layout.header.names
    if request.columns is not None:
        chosen = choose_columns(request.columns, names, layout.n_columns, file.label)
    else:
        chosen = list(range(1 if layout.header.row_names else 0, layout.n_columns))
    try:
        values = _read_fast(file, layout, chosen)
        complete = not np.isinf(values).any() and (request.drop_missing or not np.isnan(values).any())
    except SparsaeError:
        raise
    except (ValueError, csv.Error):
        complete = False
    if not complete:
        values = _read_cells(file, layout, chosen, drop_missing=request.drop_missing)
    chosen_names = tuple(names[i] for i in chosen) if names else None
    _point_out_counter(file, values, chosen, chosen_names, request)
    return LoadedArray(values, names=chosen_names, columns_chosen=True)


def _rows(file: SourceFile, layout: TableLayout, n_chosen: int) -> Iterator[tuple[int, str]]:
    """Yield the lines with numbers; raise when their numbers do not fit into the memory share."""
    count = 0
    for number, text in numbered_lines(file):
        if number <= layout.header.last_line:
            continue
        if count % CHECKED_ROWS == 0:
            check_memory(file.label, 8 * (count + 1) * n_chosen)
        count += 1
        if layout.trailing and text.rstrip().endswith(layout.delimiter):
            text = text.rstrip()[:-1]
        yield number, text


def _read_fast(file: SourceFile, layout: TableLayout, chosen: Sequence[int]) -> np.ndarray[Any, Any]:
    """Read all rows with `numpy.loadtxt`; ValueError when a row is not as expected."""
    n_columns, delimiter = layout.n_columns, layout.delimiter

    def lines() -> Iterator[str]:
        for _, text in _rows(file, layout, len(chosen)):
            if '"' in text:
                length = len(split_cells(text, delimiter))
            else:
                length = len(text.split()) if delimiter == " " else text.count(delimiter) + 1
            if length != n_columns:  # loadtxt does not look at columns that are not used
                raise ValueError("a row of another length")
            yield text.replace(",", ".") if layout.decimal_comma else text

    return np.loadtxt(
        lines(),
        delimiter=None if delimiter == " " else delimiter,
        comments=None,
        quotechar='"',
        usecols=tuple(chosen),
        ndmin=2,
    )


def _read_cells(
    file: SourceFile, layout: TableLayout, chosen: Sequence[int], *, drop_missing: bool
) -> np.ndarray[Any, Any]:
    """Read all rows cell by cell; name the first cell or line that cannot be read, and count missing values."""
    values = array("d")  # a list of rows would take fifteen times the memory of one column
    counts, first = [0] * layout.n_columns, ""
    for number, text in _rows(file, layout, len(chosen)):
        cells = split_cells(text, layout.delimiter)
        if len(cells) != layout.n_columns:
            raise DataError(
                f"{file.label}: line {number} has {len(cells)} columns where the others have {layout.n_columns} "
                f"(delimiter {_show_delimiter(layout.delimiter)})."
            )
        for i in chosen:
            if cells[i].lower() in MISSING:
                values.append(math.nan)
                counts[i] += 1
                first = first or _describe_missing(layout, number, i, cells[i])
            else:
                values.append(_parse_cell(file, layout, number, i, cells[i]))
    if not values:
        raise DataError(f"{file.label} has no rows of numbers.")
    if first and not drop_missing:
        raise missing_error(f"{file.label}: {first}. It", counts, layout.header.names)
    return np.frombuffer(values, np.float64).reshape(-1, len(chosen))


def _parse_cell(file: SourceFile, layout: TableLayout, line: int, column: int, cell: str) -> float:
    """Return the number in a cell, 1 or 0 for true and false."""
    if layout.decimal_comma:
        cell = to_point(cell)
    if cell.lower() in BOOLEANS:
        return BOOLEANS[cell.lower()]
    if is_number(cell) and math.isfinite(float(cell)):
        return float(cell)
    return _refuse_cell(file, layout, line, column, cell)


def _refuse_cell(file: SourceFile, layout: TableLayout, line: int, column: int, cell: str) -> NoReturn:
    """Raise `DataError` that names the cell and what can be done."""
    advice = f" Leave a column out with --columns '!{column + 1}' (columns='!{column + 1}' in Python)."
    if is_number(cell):
        what = f"is {shorten(cell, 40)!r}, which is not finite"
    else:
        what = f"is {shorten(cell, 40)!r}, which is not a number"
        if COMMA_NUMBER.fullmatch(cell) or ("," in cell and is_number(cell.replace(",", ""))):
            advice = " It has a comma: write all numbers with a decimal point and without separators of thousands."
        elif layout.n_columns == 1 and len(cell) > 1 and not cell[:1].isalpha():
            advice = " If it is several cells, give what stands between them with --delimiter (delimiter= in Python)."
    raise DataError(f"{file.label}: {_place(layout, line, column)} {what}.{advice}")


def _describe_missing(layout: TableLayout, line: int, column: int, cell: str) -> str:
    """Say where a missing value is and what stands there."""
    return f"{_place(layout, line, column)} is {f'{cell!r}, a missing value' if cell else 'empty'}"


def _place(layout: TableLayout, line: int, column: int) -> str:
    names = layout.header.names
    name = f" ({shorten(names[column], 40)})" if names and names[column] else ""
    return f"the cell in line {line}, column {column + 1}{name}"


def _show_delimiter(delimiter: str) -> str:
    return {"\t": "tab", " ": "white space"}.get(delimiter, delimiter)


def _point_out_counter(
    file: SourceFile,
    values: np.ndarray[Any, Any],
    chosen: Sequence[int],
    names: tuple[str, ...] | None,
    request: ReadRequest,
) -> None:
    """Warn when the first column counts the rows: it is likely an index and not an input."""
    n_rows, n_columns = values.shape
    if request.columns is not None or n_rows < COUNTED_ROWS or n_columns < 2 or values[0, 0] not in (0, 1):
        return
    if np.array_equal(values[:, 0], np.arange(n_rows) + values[0, 0]):
        name = f" ({shorten(names[0], 40)})" if names else ""
        rest = chosen[0] + 2
        warn_caller(
            DataWarning(
                f"{file.label}: column {chosen[0] + 1}{name} counts the rows and is used as an input; "
                f"leave it out with --columns {rest}- (columns='{rest}-' in Python)."
            )
        )
