"""How much memory a file may take, checked before anything is allocated for it."""

from __future__ import annotations

from sparsae.errors import FileFormatError
from sparsae.machine.resources import memory_limit

EXPANSION_RATIO = 200  # text of numbers compresses 3 to 20 times, sparse data 100 times, zeros 1,000 times
EXPANSION_FLOOR = 1 << 28  # what any compressed file may expand to, however small it is
MAX_LINE = 1 << 24  # characters; a line of one million columns with 16 characters each


def memory_share() -> int:
    """Bytes that one data set may take: half of what this process may use, so that the fit finds room too."""
    return memory_limit() // 2


def check_memory(label: str, n_bytes: int) -> None:
    """Raise `FileFormatError` when the numbers of a file need more than the memory share."""
    if n_bytes > memory_share():
        raise FileFormatError(
            f"{label} needs {format_bytes(n_bytes)} in memory; at most {format_bytes(memory_share())} are used, "
            f"half of the memory. A .npy, Parquet, Zarr or HDF5 file is read in blocks."
        )


def check_piece(label: str, piece_rows: int, row_bytes: int) -> None:
    """Raise `FileFormatError` when rows that are decoded at once take more than half of the memory share."""
    limit = memory_share() // 2
    if piece_rows > 1 and piece_rows * row_bytes > limit:
        fitting = max(1, min(limit, 1 << 22) // max(1, row_bytes))
        raise FileFormatError(
            f"{label} has chunks of {piece_rows:,} rows, which need {format_bytes(piece_rows * row_bytes)} in memory "
            f"at once; at most {format_bytes(limit)} are used. Write it in chunks of about {fitting:,} rows."
        )


def expansion_limit(compressed_bytes: int) -> int:
    """Bytes that compressed data of this size may expand to."""
    return min(memory_share(), max(EXPANSION_FLOOR, EXPANSION_RATIO * compressed_bytes))


def check_expansion(label: str, compressed_bytes: int, n_bytes: int) -> None:
    """Raise `FileFormatError` when compressed data would expand beyond `expansion_limit`."""
    if n_bytes > expansion_limit(compressed_bytes):
        raise expansion_error(label, compressed_bytes)


def expansion_error(label: str, compressed_bytes: int) -> FileFormatError:
    """Return the error that names the limit on compressed data."""
    return FileFormatError(
        f"{label} has {format_bytes(compressed_bytes)} that expand to more than "
        f"{format_bytes(expansion_limit(compressed_bytes))}, the limit for compressed data of this size "
        f"({EXPANSION_RATIO} times the size or {format_bytes(EXPANSION_FLOOR)}, and at most half of the memory). "
        f"If you trust the file, store it uncompressed."
    )


def format_bytes(n_bytes: int) -> str:
    """Return a number of bytes with a unit, for example "268 MB"."""
    value = float(n_bytes)
    for unit in ("bytes", "kB", "MB", "GB", "TB", "PB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} EB"
