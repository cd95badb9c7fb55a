"""The lines above the numbers of a table: titles, column names, and a column of row names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

from sparsae.data.readers.entries import ReadRequest
from sparsae.data.readers.source_file import SourceFile, shorten
from sparsae.data.readers.text_lines import decode_names
from sparsae.errors import DataError, DataWarning
from sparsae.machine.caller_warning import warn_caller

MAX_LEADING = 20  # lines of titles and names that may stand above the numbers
UNNAMED = ("", "Unnamed: 0")  # how pandas writes an index, and how it names that column when it reads it again
SURE_NAMES = 8  # so many consecutive integers are column names, whatever stands below
WAY_OUT = "say --header or --no-header (header=True or False in Python)"


@final
@dataclass(frozen=True)
class Header:
    """What stands above the numbers.

    Attributes
    ----------
    last_line : int
        Number of the last line above the numbers; 0 when there is none.
    names : tuple of str, or None
        Column names, one for each column of the rows.
    row_names : bool
        Whether the first column has the names or numbers of the rows.
    """

    last_line: int
    names: tuple[str, ...] | None
    row_names: bool


IsNumber = Callable[[str], bool]


def find_header(
    file: SourceFile,
    request: ReadRequest,
    line_numbers: Sequence[int],
    rows: Sequence[list[str]],
    n_columns: int,
    is_number: IsNumber,
) -> Header:
    """Find titles, names and row names in the first rows.

    Raises
    ------
    DataError
        When there is no row below the header, or names cannot be told from numbers.
    """
    first = _first_data_row(rows, n_columns, is_number)
    at = _names_row(file, request, rows, first, n_columns, is_number)
    if at is None:
        if first == len(rows):
            first = 0  # text alone: the first cell is named when it is read
        return Header(line_numbers[first - 1] if first else 0, None, row_names=False)
    below = rows[at + 1 :]
    if not below:
        raise DataError(
            f"{file.label} has no rows under the header (line {line_numbers[at]}: {shorten(', '.join(rows[at]))})."
        )
    names = decode_names(rows[at], file)
    without_name = len(names) == n_columns - 1
    if without_name:
        names = ("", *names)
    row_names = names[0] in UNNAMED and n_columns > 1 and request.columns is None
    if row_names:
        _check_row_names(file, [row[0] for row in below if row], without_name)
    return Header(line_numbers[at], names, row_names)


def _first_data_row(rows: Sequence[list[str]], n_columns: int, is_number: IsNumber) -> int:
    """Return the position of the first row with numbers; the number of rows when there is none."""
    for index, row in enumerate(rows[:MAX_LEADING]):
        filled = [cell for cell in row if cell]
        n_numbers = sum(map(is_number, filled))
        if n_numbers and (len(row) == n_columns or n_numbers == len(filled)):
            return index
    return len(rows)


def _names_row(
    file: SourceFile,
    request: ReadRequest,
    rows: Sequence[list[str]],
    first: int,
    n_columns: int,
    is_number: IsNumber,
) -> int | None:
    """Return the position of the row with the column names, None when there is none."""
    if request.header is False:
        return None
    lengths = (n_columns, n_columns - 1) if n_columns > 1 else (1,)
    leading = [i for i in range(min(first, len(rows))) if len(rows[i]) == n_columns]
    if request.header:
        fitting = [i for i, row in enumerate(rows[: MAX_LEADING + 1]) if len(row) in lengths]
        return leading[0] if leading else fitting[0] if fitting else 0
    if leading:
        return leading[0]  # rows of text below it are data, whose first cell is named when it is read
    if 0 < first < len(rows) and len(rows[first - 1]) in lengths:
        return first - 1
    if first < len(rows) and _are_names(file, rows[first], rows[first + 1 :], is_number):
        return first
    return None


def _are_names(file: SourceFile, row: list[str], below: Sequence[list[str]], is_number: IsNumber) -> bool:
    """Whether a row of numbers has the names of columns, as pandas writes them: 0,1,2.

    Raises
    ------
    DataError
        When that cannot be told.
    """
    numbers = row
    if row[0] in UNNAMED or not is_number(row[0]):  # the name of an index column, then numbers
        numbers = row[1:]
    steps = _steps(numbers)
    if steps is None:
        return False
    if numbers is not row:
        return steps == 1 and len(numbers) > 1
    if not below:
        return False
    start, width = int(numbers[0]), len(numbers)
    following = _steps(below[0])
    if following == steps:  # the integers go on, or each row has the same step: numbers
        return False
    counted = steps == 1 and start in (0, 1)
    if counted and width >= SURE_NAMES:
        return True
    cells = [float(cell) for line in below for cell in line if is_number(cell)]
    apart = bool(cells) and (max(cells) < min(map(int, numbers)) or min(cells) > max(map(int, numbers)))
    if counted and width > 2 and cells and max(cells) < int(numbers[-1]) and any(cell % 1 for cell in cells):
        return True
    if counted or (apart and width > 2):
        raise DataError(
            f"{file.label}: the first line ({shorten(', '.join(row), 40)}) has column names or is a sample; {WAY_OUT}."
        )
    return False


def _steps(cells: Sequence[str]) -> int | None:
    """Return the common difference of at least two bare integers, None where there is none."""
    if len(cells) < 2 or not all(cell.isascii() and cell.isdigit() and len(cell) < 10 for cell in cells):
        return None
    values = [int(cell) for cell in cells]
    steps = {b - a for a, b in pairwise(values)}
    step = steps.pop()
    return step if not steps and step > 0 else None


def _check_row_names(file: SourceFile, cells: Sequence[str], shorter: bool) -> None:
    """Warn that the first column is left out; raise `DataError` unless it has text or counts the rows."""
    what = "the header has one name less than the rows have cells" if shorter else "column 1 has no name"
    shown = shorten(", ".join(cells[:3]), 40)
    counted = [str(i) for i in range(len(cells))], [str(i + 1) for i in range(len(cells))]
    is_text = any(not _float_like(cell) for cell in cells)
    if not is_text and list(cells) not in counted:
        raise DataError(
            f"{file.label}: {what}, and it is not clear whether column 1 ({shown}, ...) has data or numbers the rows; "
            f"choose with --columns, for example --columns 2- to leave it out or 1- to keep it (columns= in Python)."
        )
    warn_caller(
        DataWarning(
            f"{file.label}: {what}; column 1 ({shown}, ...) is taken for row names and left out. "
            f"To keep it: --columns 1- (columns='1-' in Python)."
        )
    )


def _float_like(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
