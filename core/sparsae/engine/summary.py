"""What one pass over all values gives: a digest of the data, and its variance.

Rows are taken page by page, so that pages can be read in any order and on any machine: the digest is that of the
digests of the pages, and the moments of pages are merged in their order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from sparsae.engine.moments import ColumnMoments

PIECE_BYTES = 1 << 22  # data is read through in pieces of this size, so that no temporary grows with it
MOST_PAGES = 1 << 16  # a page is one piece, or several where there would be more pages
ReadRows = Callable[[slice], NDArray[Any]]


@final
class DataSummary(NamedTuple):
    """What one pass over all values gives.

    Attributes
    ----------
    digest : str
        SHA-256 of shape, dtype and the SHA-256 of the values of each page, whatever the memory order.
    variance_sum : float
        sum |t - mean t|^2 over all rows, the mean being that of each column.
    """

    digest: str
    variance_sum: float


@final
class PageSummary(NamedTuple):
    """Digest and moments of one page."""

    digest: bytes
    moments: ColumnMoments


@final
class Pages(NamedTuple):
    """How the rows of a matrix are cut into pages: by its shape alone.

    Attributes
    ----------
    shape : tuple of int
    piece_rows : int
        Rows that are read at a time.
    page_rows : int
    """

    shape: tuple[int, ...]
    piece_rows: int
    page_rows: int

    @property
    def n_pages(self) -> int:
        """Number of pages."""
        return -(-self.shape[0] // self.page_rows)

    def rows(self, page: int) -> slice:
        """Return the rows of a page."""
        return slice(page * self.page_rows, min((page + 1) * self.page_rows, self.shape[0]))


def cut_pages(shape: tuple[int, ...]) -> Pages:
    """Return the pages of a matrix of that shape."""
    m, n = shape
    piece = max(1, PIECE_BYTES // (8 * n))
    return Pages(shape, piece, piece * -(-m // (piece * MOST_PAGES)))


def summarise_page(pages: Pages, page: int, read: ReadRows) -> PageSummary:
    """Return digest and moments of one page, whose rows `read` gives C-contiguous, in the dtype of the data."""
    sha, moments, where = hashlib.sha256(), ColumnMoments(pages.shape[1]), pages.rows(page)
    for start in range(where.start, where.stop, pages.piece_rows):
        rows = read(slice(start, min(start + pages.piece_rows, where.stop)))
        sha.update(rows.data)
        moments.add(rows.astype(np.float64, copy=False))
    return PageSummary(sha.digest(), moments)


def join_pages(shape: tuple[int, ...], dtype: np.dtype[Any], found: Iterable[PageSummary]) -> DataSummary:
    """Return the summary of all data from those of its pages, in their order."""
    sha = hashlib.sha256(f"{tuple(shape)} {dtype.str}".encode())
    moments = ColumnMoments(shape[1])
    for page in found:
        sha.update(page.digest)
        moments.merge(page.moments)
    return DataSummary(sha.hexdigest(), float(moments.spread.sum()))


def data_digest(x: DataSummary, target: DataSummary | None) -> str:
    """SHA-256 of the data: that of x, or that of both digests where there is a separate target."""
    return x.digest if target is None else hashlib.sha256(f"{x.digest} {target.digest}".encode()).hexdigest()
