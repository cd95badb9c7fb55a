"""The matrix that `encode` and `reconstruct` write, in the format that the name of the file says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from sparsae.errors import ParameterError

STREAM_FORMAT = ".csv"  # of what goes to another program, or nowhere
Writer = Callable[[BinaryIO, Any, str], None]


def _write_npy(file: BinaryIO, matrix: Any, column: str) -> None:
    import numpy as np

    np.save(file, matrix, allow_pickle=False)


def _write_npz(file: BinaryIO, matrix: Any, column: str) -> None:
    import numpy as np

    np.savez(file, **{column: matrix})


def _write_text(file: BinaryIO, matrix: Any, column: str, *, delimiter: str) -> None:
    """Write numbers with the fewest digits that give them back, under a header: hidden0, hidden1, ..."""
    import numpy as np

    header = delimiter.join(f"{column}{number}" for number in range(matrix.shape[1]))
    np.savetxt(file, matrix, fmt="%s", delimiter=delimiter, header=header, comments="", encoding="utf-8")


WRITERS: dict[str, Writer] = {
    ".npy": _write_npy,
    ".npz": _write_npz,
    ".csv": partial(_write_text, delimiter=","),
    ".tsv": partial(_write_text, delimiter="\t"),
}


def matrix_writer(output: Path) -> Writer:
    """Return the function that writes the format of a file; streams and devices get CSV.

    Raises
    ------
    ParameterError
        When the name has another ending; before any work.
    """
    from sparsae.files import is_written_through

    ending = STREAM_FORMAT if is_written_through(output) else output.suffix.lower()
    if ending not in WRITERS:
        raise ParameterError(f"{output} must end in one of {', '.join(WRITERS)}: the ending says the format.")
    return WRITERS[ending]
