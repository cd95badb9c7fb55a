"""How a table of numbers is laid out: delimiter, header, row names, decimal comma.

The guess rests on the rows of numbers: a title line, or a name that holds the delimiter, does not change it.
What can be read in two ways is refused, and the message says how to tell.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import final

from sparsae.data.readers.entries import ReadRequest
from sparsae.data.readers.source_file import SourceFile, shorten
from sparsae.data.readers.table_header import Header, find_header
from sparsae.data.readers.text_lines import numbered_lines, split_cells
from sparsae.errors import DataError, ParameterError

SAMPLE_LINES = 200
SAMPLE_CHARACTERS = 1 << 22
DELIMITERS = (";", "\t", "|", ",", " ")  # the comma late: it may be a decimal mark
DELIMITER_WORDS = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "space": " ", "pipe": "|"}
COMMA_NUMBER = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
COMMAS_ALONE = re.compile(r"[+-]?\d+(?:,\d+)+")  # digits and commas: decimal marks, delimiters, or both
ZERO_FIRST = re.compile(r"0\d")
WAY_OUT = "say --delimiter ';' for decimal commas in one column, --delimiter , for two columns (delimiter= in Python)."


@final
@dataclass(frozen=True)
class TableLayout:
    """How to read a table.

    Attributes
    ----------
    delimiter : str
        " " stands for any white space.
    header : Header
        Where the numbers begin, and what the columns are called.
    n_columns : int
        Cells in each row, without the empty one after a trailing delimiter.
    trailing : bool
        Whether lines end with a delimiter.
    decimal_comma : bool
        Whether 0,5 is a number.
    """

    delimiter: str
    header: Header
    n_columns: int
    trailing: bool
    decimal_comma: bool


def is_number(cell: str) -> bool:
    """Whether a cell is a number with a decimal point; a missing value and infinity count as numbers."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def find_layout(file: SourceFile, request: ReadRequest) -> TableLayout:
    """Find the layout from the first lines.

    Raises
    ------
    DataError
        When there are no numbers, or the layout can be read in two ways.
    """
    lines = _sample(file)
    if not lines:
        raise DataError(f"{file.label} is empty: there is no line with numbers in it.")
    delimiter = _find_delimiter(file, request, [text for _, text in lines])
    rows = [split_cells(text, delimiter) for _, text in lines]
    body = _body(rows)
    n_columns = _common_length(body, rows)
    trailing = n_columns > 1 and all(row[-1] == "" for row in body if len(row) == n_columns)
    if trailing:
        n_columns -= 1
        rows = [row[:-1] if len(row) > 1 and row[-1] == "" else row for row in rows]
    decimal_comma = _has_decimal_commas(_body(rows))
    if decimal_comma:
        rows = [[to_point(cell) for cell in row] for row in rows]
    if request.delimiter is None and delimiter == ",":
        _check_commas(file, [text for _, text in lines], rows)
    numbers = [number for number, _ in lines]
    header = find_header(file, request, numbers, rows, n_columns, is_number)
    return TableLayout(delimiter, header, n_columns, trailing, decimal_comma)


def to_point(cell: str) -> str:
    """Return a number with a decimal comma with a decimal point; anything else unchanged."""
    return cell.replace(",", ".") if COMMA_NUMBER.fullmatch(cell) else cell


def _sample(file: SourceFile) -> list[tuple[int, str]]:
    """Return the first lines, as many as a limited number of characters allows."""
    lines, left = [], SAMPLE_CHARACTERS
    for number, text in islice(numbered_lines(file), SAMPLE_LINES):
        lines.append((number, text))
        left -= len(text)
        if left < 0:
            break
    return lines


def _body(rows: Sequence[list[str]]) -> Sequence[list[str]]:
    """Return the rows that follow titles and header, as far as can be said before these are known."""
    return rows[min(10, len(rows) // 2) :]


def _common_length(body: Sequence[list[str]], rows: Sequence[list[str]] = ()) -> int:
    """Return the number of cells that most rows of the body have; all rows decide between equal counts."""
    counts, further = Counter(map(len, body)), Counter(map(len, rows))
    return max(counts, key=lambda length: (counts[length], further[length]))


def _find_delimiter(file: SourceFile, request: ReadRequest, lines: Sequence[str]) -> str:
    """Return the delimiter that was given, or the one with which most cells of the body are numbers."""
    if request.delimiter is not None:
        delimiter = DELIMITER_WORDS.get(request.delimiter.lower(), request.delimiter)
        if len(delimiter) != 1 or delimiter in '"\r\n#.' or delimiter.isalnum():
            raise ParameterError(
                f"The delimiter must be one character such as , ; | or a word of "
                f"{', '.join(word for word in DELIMITER_WORDS if word.isalpha())}; given {request.delimiter!r}."
            )
        return delimiter
    if file.suffix == ".tsv":
        return "\t"
    body = lines[min(10, len(lines) // 2) :]
    return max(DELIMITERS, key=lambda delimiter: _delimiter_score(body, delimiter))


def _delimiter_score(lines: Sequence[str], delimiter: str) -> tuple[float, bool, int]:
    """Rate a delimiter: the share of rows of one length times the share of numbers; then more than one column."""
    rows = [split_cells(line, delimiter) for line in lines]
    length = _common_length(rows)
    even = [row for row in rows if len(row) == length]
    cells = [cell for row in even for cell in row if cell]
    comma = delimiter != "," and any(COMMA_NUMBER.fullmatch(cell) for cell in cells)
    numbers = sum(is_number(cell) or (comma and bool(COMMA_NUMBER.fullmatch(cell))) for cell in cells)
    share = len(even) / len(rows) * numbers / max(1, len(cells))
    return round(share, 3), length > 1, length


def _has_decimal_commas(rows: Sequence[list[str]]) -> bool:
    """Whether cells have decimal commas, and none has a decimal point."""
    cells = [cell for row in rows for cell in row]
    return any(COMMA_NUMBER.fullmatch(cell) for cell in cells) and not any(
        is_number(cell) and "." in cell for cell in cells
    )


def _check_commas(file: SourceFile, lines: Sequence[str], rows: Sequence[list[str]]) -> None:
    """Raise `DataError` where commas that were taken for delimiters look like decimal marks."""
    numbers = [i for i, row in enumerate(rows) if any(is_number(cell) for cell in row)]
    if not numbers or not all(COMMAS_ALONE.fullmatch(lines[i]) for i in numbers):
        return
    n_columns = len(rows[numbers[0]])
    named = any(len(row) == n_columns for i, row in enumerate(rows) if i not in numbers)
    example = shorten(lines[numbers[0]], 40)
    if n_columns == 2 and not named:
        raise DataError(f"{file.label}: {example} is one number with a decimal comma, or two columns; {WAY_OUT}")
    zeros = [any(len(rows[i]) > c and ZERO_FIRST.match(rows[i][c]) for i in numbers) for c in range(n_columns)]
    if n_columns % 2 == 0 and not named and any(zeros[1::2]) and not any(zeros[::2]):
        raise DataError(
            f"{file.label}: the commas in {example} look like decimal marks and delimiters at once; write the table "
            f"with ; or tabs between the cells, or give --delimiter , (delimiter=',') to read {n_columns} columns."
        )
