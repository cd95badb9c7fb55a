"""What a reader is asked for and gives back, and the choice among several arrays of one file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from sparsae.data.readers.source_file import shorten
from sparsae.errors import DataError

MAX_NAMED = 20  # names that a message lists


@final
@dataclass(frozen=True)
class ReadRequest:
    """What is wanted of a file.

    Attributes
    ----------
    array : str
        Name of the array in a file that holds several; "" takes the only one that fits.
    images : bool
        Whether images are wanted (two or three axes) and not a matrix of samples.
    delimiter : str or None
        Between the cells of a table; found when None.
    header : bool or None
        Whether the first line of a table has column names; found when None.
    columns : str, sequence of str or int, or None
        The columns to read; see `sparsae.data.readers.columns`.
    transpose : bool
        Whether the samples are columns.
    drop_missing : bool
        Whether rows with missing values are left out; else missing values are an error.
    stay : bool
        Whether rows stay in the file however few they are, where the format allows it.
    """

    array: str = ""
    images: bool = False
    delimiter: str | None = None
    header: bool | None = None
    columns: str | Sequence[str | int] | None = None
    transpose: bool = False
    drop_missing: bool = False
    stay: bool = False


@final
@dataclass(frozen=True)
class LoadedArray:
    """What a reader found.

    Attributes
    ----------
    values : array (n_samples, n_visible), or with three axes where images are wanted
        Or a `sparsae.engine.row_file.RowFile`, whose rows are still in the file.
    names : tuple of str, or None
        Names of the columns.
    image_shape : (int, int) or None
        Rows and columns of a sample that is an image.
    images_last : bool
        Whether the last of three axes counts the images, as Matlab stores them, when the shape does not tell.
    columns_chosen : bool
        Whether the columns that were asked for have been chosen already.
    missing : tuple of int, or None
        Missing values in each column, where the file counts them.
    notes : tuple of str
        What a user should know of how the file was read.
    """

    values: Any
    names: tuple[str, ...] | None = None
    image_shape: tuple[int, int] | None = None
    images_last: bool = False
    columns_chosen: bool = False
    missing: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class ArrayEntry:
    """One array of a file that may hold several.

    Attributes
    ----------
    name : str
    shape : tuple of int
    kind : str
        What it is, for messages: "float64", "char", "struct".
    numeric : bool
        Whether it is an array of real numbers.
    read : callable
        Reads it.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    numeric: bool
    read: Callable[[], np.ndarray[Any, Any]]

    def __str__(self) -> str:
        """Return name, shape and kind for a message."""
        return f"{shorten(self.name)} ({format_shape(self.shape)} {shorten(self.kind)})"


def choose_entry(label: str, entries: Sequence[ArrayEntry], request: ReadRequest) -> ArrayEntry:
    """Return the array that was named, or the only one that fits.

    Raises
    ------
    DataError
        When there is none, or more than one; the message lists what there is.
    """
    listed = ", ".join(str(entry) for entry in entries[:MAX_NAMED]) or "no arrays"
    if len(entries) > MAX_NAMED:
        listed += f" and {len(entries) - MAX_NAMED} more"
    if request.array:
        for entry in entries:
            if entry.name == request.array:
                if not entry.numeric:
                    raise DataError(f"{label}: {entry} is not an array of real numbers. The file has {listed}.")
                return entry
        raise DataError(f"{label} has no array {shorten(request.array)!r}; it has {listed}.")
    numeric = [entry for entry in entries if entry.numeric]
    matrices = [entry for entry in numeric if len(entry.shape) == 2 and entry.shape[0] > 1]
    stacks = [entry for entry in numeric if len(entry.shape) == 3]
    fitting = (stacks or matrices) if request.images else matrices
    if len(fitting) == 1:
        return fitting[0]
    if not fitting and len(numeric) == 1:
        return numeric[0]  # its shape is refused with what can be done
    what = f"{len(fitting)} matrices" if fitting else "no matrix of numbers"
    raise DataError(f"{label} has {what}; name one as {label}::NAME. It has {listed}.")


def check_matrix(label: str, values: Any, *, may_be_empty: bool = False) -> None:
    """Raise `DataError` unless the values are a matrix with at least one row, unless that may lack, and one column."""
    shape = tuple(values.shape)
    if len(shape) == 3:
        raise DataError(
            f"{label} holds an array with three axes, {format_shape(shape)}: images? Use patches:{label} to cut "
            f"patches from them, or save it as a matrix with one sample in each row."
        )
    if len(shape) != 2:
        example = " For one input use X.reshape(-1, 1), for one sample X.reshape(1, -1)." if len(shape) == 1 else ""
        raise DataError(
            f"{label} holds an array of shape {shape}; a matrix (n_samples, n_visible) is needed, "
            f"one sample in each row.{example}"
        )
    if 0 in shape and not (may_be_empty and shape[1]):
        raise DataError(f"{label} is empty: its shape is {shape}; at least one sample and one input are needed.")


def format_shape(shape: Sequence[int]) -> str:
    """Return a shape as "512x512x10"; "scalar" for no axes."""
    return "x".join(str(length) for length in shape) or "scalar"
