"""What a fitted transform is: fitted in a stream, applied block by block, inverted where it can be, stored as data.

A transform takes samples (rows) and gives samples of the same number of columns.  It is immutable: `fit` makes one from
any number of rows, `apply` and `inverse` do not change it, `settings` and `arrays` are all that a file needs to keep.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, Self, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsae._types import Array
from sparsae.engine.dask_rows import as_dask_array, is_dask
from sparsae.engine.sources import DataSource
from sparsae.engine.value_check import ValueCheck
from sparsae.errors import DataError, ParameterError
from sparsae.machine.resources import gibibytes, memory_limit

Rows = NDArray[np.float64]
EXACT_INTEGERS = 2**53  # not all larger integers are float64


class Fitter(Protocol):
    """Takes in rows, as many and as often as there are, and makes a transform of what it has seen."""

    def add(self, rows: Rows) -> None:
        """Take in rows (k, n_visible) of finite float64; they are not changed and not kept."""
        ...

    def finish(self, name: str = "X") -> Transform:
        """Return the transform for all rows so far, which messages call `name`; more may be added afterwards.

        Raises
        ------
        DataError, ParameterError
            When these rows cannot be transformed so.
        """
        ...


class Affine(NamedTuple):
    """A transform as ``X @ diag(linear) + offset``, or ``X @ linear + offset`` where `linear` is a matrix.

    Attributes
    ----------
    linear : ndarray (n_visible,) or (n_visible, n_visible)
    offset : ndarray (n_visible,)
    """

    linear: Rows
    offset: Rows


class Transform(ABC):
    """A fitted transform of samples.

    Attributes
    ----------
    name : str
        As in ``sparsae train --transform NAME`` and in a model file.
    n_visible : int
        Number of columns.
    """

    name: ClassVar[str]
    n_visible: int

    @classmethod
    @abstractmethod
    def fitter(cls, n_visible: int, **options: Any) -> Fitter:
        """Return what rows of that many columns are added to, when they come in pieces."""

    @classmethod
    @abstractmethod
    def restore(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Make a transform from what `settings` and `arrays` gave.

        Raises
        ------
        ValueError, KeyError, TypeError
            When they are not those of this kind of transform.
        """

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return what JSON can hold."""

    def arrays(self) -> dict[str, Rows]:
        """Return the arrays, by name."""
        return {}

    @property
    @abstractmethod
    def summary(self) -> str:
        """What it does, in a few words."""

    @property
    def steps(self) -> tuple[Transform, ...]:
        """The transforms that this one consists of, in order."""
        return (self,)

    @property
    def no_inverse(self) -> str:
        """Why there is no inverse; empty where there is one."""
        return ""

    @property
    def invertible(self) -> bool:
        """Whether `inverse` gives the samples back, up to rounding."""
        return not self.no_inverse

    @abstractmethod
    def apply_rows(self, rows: Rows) -> Rows:
        """Transform finite float64 rows (k, n_visible) into a new array; the rows are not changed."""

    def invert_rows(self, rows: Rows) -> Rows:
        """Undo `apply_rows`, into a new array."""
        raise ParameterError(f"The transform {self.name!r} has no inverse: {self.no_inverse}.")

    def affine(self) -> Affine | None:
        """Return the transform as a matrix and an offset; None where it is not affine."""
        return None

    @classmethod
    def fit(cls, X: Any, *, name: str = "X", **options: Any) -> Self:
        """Fit to samples, read once, block by block.

        Parameters
        ----------
        X : array_like (n_samples, n_visible)
            As `sparsae.train` takes it: also memory maps and what gives its rows when they are asked for.
        name : str
            How messages call it.
        **options
            Of the transform, as its class documents them.

        Raises
        ------
        DataError, ParameterError
            When X is no matrix of finite real numbers, or cannot be transformed so.
        """
        source = DataSource(X, name)
        fitter = cls.fitter(source.shape[1], **options)
        for _, rows in float64_pieces(source):
            fitter.add(rows)
        fitted = fitter.finish(name)
        assert isinstance(fitted, cls)
        return fitted

    def apply(self, X: ArrayLike, *, name: str = "X") -> Array:
        """Return the samples transformed, computed in float64 block by block.

        Parameters
        ----------
        X : array_like (n_samples, n_visible)
            Never written to.
        name : str
            How messages call it.

        Returns
        -------
        ndarray (n_samples, n_visible)
            A new array: float32 where X is float32 or float16, else float64.

        Raises
        ------
        DataError
            When X is no matrix of finite real numbers with that many columns, or the result needs too much memory.
        """
        source = self._source(X, name)
        dtype = result_dtype(source.dtype)
        n_bytes = dtype.itemsize * source.shape[0] * source.shape[1]
        if n_bytes > memory_limit() // 2:
            raise DataError(
                f"{name} needs {gibibytes(n_bytes)} when it is transformed as a whole, more than half of the memory; "
                f"use view(X), which transforms rows when they are read."
            )
        result: Array = np.empty(source.shape, dtype)
        for start, rows in float64_pieces(source):
            result[start : start + len(rows)] = self.apply_rows(rows)
        return result

    def inverse(self, X: ArrayLike, *, name: str = "X") -> Array:
        """Return samples (n_samples, n_visible) from transformed ones; dtype as `apply`.

        Raises
        ------
        ParameterError
            When there is no inverse; says why.
        DataError
            As `apply`.
        """
        source = self._source(X, name)
        result: Array = np.empty(source.shape, result_dtype(source.dtype))
        for start, rows in float64_pieces(source):
            result[start : start + len(rows)] = self.invert_rows(rows)
        return result

    def invert_block(self, block: Array) -> Array:
        """Return a block of samples (k, n_visible) from transformed ones, in its dtype; computed in float64."""
        return self.invert_rows(block.astype(np.float64, copy=False)).astype(block.dtype, copy=False)

    def view(self, X: Any, *, name: str = "X") -> Any:
        """Return the transformed samples as something with shape, dtype and row slicing; rows are made when read.

        An array or a frame of Dask gives an array of Dask.
        """
        if is_dask(X):
            return self._transformed_chunks(as_dask_array(X, name), name)
        return TransformedRows(self, self._source(X, name))

    def _transformed_chunks(self, array: Any, name: str) -> Any:
        self._check_width(array.shape[1], name)
        dtype, chunks = result_dtype(array.dtype), (array.chunks[0], (self.n_visible,))
        return array.map_blocks(self.apply_block, name, dtype=dtype, chunks=chunks, meta=np.empty((0, 0), dtype))

    def apply_block(self, block: NDArray[Any], name: str = "X") -> Array:
        """Return a block of samples (k, n_visible) transformed: float32 for float32 or float16, else float64.

        Values that are not finite stay so: whoever reads the block names them by row and column.
        """
        with np.errstate(invalid="ignore", over="ignore"):
            return self.apply_rows(to_float64(block, name)).astype(result_dtype(block.dtype), copy=False)

    def _source(self, X: Any, name: str) -> DataSource:
        source = DataSource(X, name)
        self._check_width(source.shape[1], name)
        return source

    def _check_width(self, n_columns: int, name: str) -> None:
        if n_columns != self.n_visible:
            raise DataError(
                f"{name} has {n_columns} columns and the transform {self.name!r} was fitted to {self.n_visible}."
            )


@final
class FixedFitter:
    """The fitter of a transform that learns nothing from rows."""

    def __init__(self, made: Transform) -> None:
        self._made = made

    def add(self, rows: Rows) -> None:
        """Do nothing."""

    def finish(self, name: str = "X") -> Transform:
        """Return the transform."""
        return self._made


@final
class TransformedRows:
    """Transformed samples that are made when they are read; `train` and `Objective` take it like an array.

    Attributes
    ----------
    shape : (int, int)
    dtype : numpy.dtype
        float32 where the samples are float32 or float16, else float64.
    label : str
        How messages call them.
    columns : tuple of str, or None
        Names of the columns of a file that has them.
    in_order : bool
        Whether they can only be read quickly one after another.
    """

    def __init__(self, transform: Transform, source: DataSource) -> None:
        self._transform, self._source = transform, source
        self.shape, self.label, self.in_order = source.shape, source.label, source.in_order
        self.columns = getattr(source.container, "columns", None)
        self.dtype = result_dtype(source.dtype)

    @property
    def opens_elsewhere(self) -> bool:
        """Whether it can be pickled: where the samples are in a file that another process opens for itself."""
        return getattr(self._source.container, "opens_elsewhere", False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the transform, and as what opens the samples."""
        return _view_again, (self._transform, self._source.container, self._source.name)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, which: Any) -> Array:
        """Return rows: of a slice, or of ascending row numbers."""
        if isinstance(which, slice):
            start, stop, step = which.indices(self.shape[0])
            if step == 1:
                return self._transformed(self._source.rows(slice(start, max(start, stop)), self._source.dtype))
            which = np.arange(start, stop, step)
        numbers = np.asarray(which)
        return self._transformed(self._source.take(numbers, self._source.dtype))

    def check_unchanged(self) -> None:
        """Raise `DataError` when the samples are those of a file that has changed."""
        self._source.check_file()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:] if dtype is None else self[:].astype(dtype)

    def _transformed(self, rows: NDArray[Any]) -> Array:
        return self._transform.apply_block(rows, self._source.name)


def _view_again(transform: Transform, container: Any, name: str) -> TransformedRows:
    return TransformedRows(transform, DataSource(container, name))


def result_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return float32 for float32 and float16, float64 for all others."""
    return np.dtype(np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64)


def float64_pieces(source: DataSource) -> Iterator[tuple[int, Rows]]:
    """Read all rows in order as float64: the first row of each piece, and its rows, valid until the next piece.

    Raises
    ------
    DataError
        When values are not finite, with their number and the first position, or are integers beyond 2^53.
    """
    values = ValueCheck(source.name, source.dtype, np.dtype(np.float64), unit_range=False)
    for start, rows in source.pieces():
        values.add(rows, start)
        if values.sound:
            yield start, to_float64(rows, source.name)
    values.finish()


def to_float64(rows: NDArray[Any], name: str) -> Rows:
    """Return rows as float64, the array itself where it is; integers that float64 cannot hold are refused."""
    if rows.dtype.kind in "iu" and rows.dtype.itemsize == 8 and rows.size:
        largest = max(abs(int(rows.min())), abs(int(rows.max())))
        if largest > EXACT_INTEGERS:
            raise DataError(
                f"{name} has integers up to {largest}, which float64 cannot hold exactly; "
                f"subtract a constant from them before they are transformed."
            )
    return rows.astype(np.float64, copy=False)
