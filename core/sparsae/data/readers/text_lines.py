"""Lines of a text file: decoding, line ends, quoted line breaks, comments."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator

from sparsae.data.readers.limits import MAX_LINE
from sparsae.data.readers.source_file import SourceFile, shorten
from sparsae.errors import DataWarning, FileFormatError
from sparsae.machine.caller_warning import warn_caller

MAX_JOINED = 100  # lines that one quoted cell may span
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark begins this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def find_encoding(file: SourceFile) -> str:
    """Return the encoding that the first bytes show; UTF-8 where they show none.

    Raises
    ------
    FileFormatError
        When the file is not text.
    """
    for mark, encoding in MARKS:
        if file.head.startswith(mark):
            return encoding
    if 0 not in file.head:
        return "utf-8"
    half = len(file.head) // 2
    for start, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):  # every second byte of ASCII in UTF-16 is zero
        if half and file.head[start::2].count(0) > 0.9 * half and file.head[1 - start :: 2].count(0) == 0:
            return encoding
    raise FileFormatError(
        f"{file.label} is not a text file: it has bytes that are zero. Export the table as CSV with UTF-8."
    )


def numbered_lines(file: SourceFile) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line that is neither empty nor a comment.

    Line ends may be LF, CRLF or CR.  A quoted cell may hold line breaks, which become blanks.
    Bytes that are not UTF-8 are kept as surrogates.
    """
    encoding = find_encoding(file)
    errors = "surrogateescape" if encoding.startswith("utf-8") else "replace"
    with file.open() as binary, io.TextIOWrapper(binary, encoding=encoding, errors=errors) as stream:
        number = 0
        while line := _read_line(stream, file, number + 1):
            number += 1
            start = number
            while line.count('"') % 2:
                following = _read_line(stream, file, number + 1)
                number += 1
                if not following or number - start > MAX_JOINED or len(line) > MAX_LINE:
                    raise FileFormatError(f"{file.label}: a quotation mark in line {start} is not closed.")
                line = f"{line.rstrip()} {following}"
            text = without_comment(line)
            if text:
                yield start, text


def _read_line(stream: io.TextIOWrapper, file: SourceFile, number: int) -> str:
    """Read one line of limited length."""
    line = stream.readline(MAX_LINE)
    if len(line) == MAX_LINE and not line.endswith("\n"):
        raise FileFormatError(f"{file.label}: line {number} is longer than {MAX_LINE} characters, the limit.")
    return line


def without_comment(line: str) -> str:
    """Return a line without line end, outer blanks and the comment after #; a # in a quoted cell is kept."""
    text = line.strip(" \r\n\v\f\0")
    if text.startswith("#") or ("#" in text and '"' not in text):
        text = text.split("#")[0].rstrip(" ")
    return text if text.strip() else ""


def split_cells(line: str, delimiter: str) -> list[str]:
    """Split a line at a delimiter that is not inside quotation marks; the delimiter " " is any white space."""
    if '"' not in line:  # as csv does, at a fifth of the time
        return line.split() if delimiter == " " else [cell.strip() for cell in line.split(delimiter)]
    if delimiter == " ":
        line = " ".join(line.split())
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))]


def decode_names(names: list[str], file: SourceFile) -> tuple[str, ...]:
    """Return column names; those that are not UTF-8 are read as Windows-1252 or Latin-1, and a warning says so."""
    encoded = [name.encode("utf-8", "surrogateescape") for name in names]
    try:
        return tuple(name.decode() for name in encoded)
    except UnicodeDecodeError:
        pass
    encoding = "cp1252"
    try:
        decoded = tuple(name.decode(encoding) for name in encoded)
    except UnicodeDecodeError:
        encoding = "latin-1"  # which has a character for every byte
        decoded = tuple(name.decode(encoding) for name in encoded)
    warn_caller(
        DataWarning(
            f"{file.label}: the column names are not UTF-8; read as {encoding}: {shorten(', '.join(decoded), 120)}."
        )
    )
    return decoded
