"""The matrix that `encode` and `reconstruct` write, in the format that the name of the file says, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from sparsae.cli.streams import refuse_binary_on_terminal
from sparsae.errors import ParameterError

STREAM_FORMAT = ".csv"  # of what goes to another program, or nowhere
Writer = Callable[[BinaryIO, Iterator[Any], tuple[int, int], Any, str], None]


def _write_npy(file: Any, pieces: Iterator[Any], shape: tuple[int, int], dtype: Any, column: str) -> None:
    """Write the header for the whole matrix, then the rows as they come."""
    import numpy as np

    description = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, description)
    for rows in pieces:
        file.write(np.ascontiguousarray(rows).data)


def _write_npz(file: BinaryIO, pieces: Iterator[Any], shape: tuple[int, int], dtype: Any, column: str) -> None:
    from zipfile import ZipFile

    with ZipFile(file, "w") as archive, archive.open(f"{column}.npy", "w", force_zip64=True) as member:
        _write_npy(member, pieces, shape, dtype, column)


def _write_text(
    file: BinaryIO, pieces: Iterator[Any], shape: tuple[int, int], dtype: Any, column: str, *, delimiter: str
) -> None:
    """Write numbers with the fewest digits that give them back, under a header: hidden0, hidden1, ..."""
    import numpy as np

    header = delimiter.join(f"{column}{number}" for number in range(shape[1]))
    file.write(f"{header}\n".encode())
    for rows in pieces:
        np.savetxt(file, rows, fmt="%s", delimiter=delimiter)


def _write_parquet(file: BinaryIO, pieces: Iterator[Any], shape: tuple[int, int], dtype: Any, column: str) -> None:
    """Write one group of rows for each piece, under the names hidden0, hidden1, ..."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([(f"{column}{number}", pa.from_numpy_dtype(dtype)) for number in range(shape[1])])
    with parquet.ParquetWriter(file, schema) as writer:
        for rows in pieces:
            writer.write_table(pa.table(list(np.ascontiguousarray(rows.T)), schema=schema))


WRITERS: dict[str, Writer] = {
    ".npy": _write_npy,
    ".npz": _write_npz,
    ".csv": partial(_write_text, delimiter=","),
    ".tsv": partial(_write_text, delimiter="\t"),
    ".parquet": _write_parquet,
}
ENDINGS = tuple(WRITERS)
TEXT = (".csv", ".tsv")


def matrix_writer(output: Path, format_name: str | None = None) -> Writer:
    """Return the function that writes the format of a file; streams and devices get CSV where no format is named.

    Raises
    ------
    ParameterError
        When the name has another ending, or the format is binary and the output a terminal; before any work.
    MissingExtraError
        When the format needs a library that is not installed.
    """
    from sparsae.files import is_written_through

    stream = is_written_through(output)
    ending = f".{format_name}" if format_name else STREAM_FORMAT if stream else output.suffix.lower()
    if format_name and not stream and output.suffix.lower() in WRITERS and output.suffix.lower() != ending:
        raise ParameterError(f"{output} would hold --format {format_name}; leave --format out, or rename the file.")
    if ending not in WRITERS:
        raise ParameterError(f"{output} must end in one of {', '.join(WRITERS)}: the ending says the format.")
    if ending == ".parquet":
        from sparsae.data.readers.extra import require

        require("pyarrow.parquet", str(output), "a Parquet file", package="pyarrow")
    if ending not in TEXT:
        refuse_binary_on_terminal(output, f"A {ending} file", hint=" or --format csv")
    return WRITERS[ending]
