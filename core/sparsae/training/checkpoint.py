"""Checkpoints: written atomically, the last two kept, all of it checked when it is read.

A checkpoint is an archive (see `archive.py`) with the arrays of the optimiser's state and the learning curve.
A damaged one falls back to the one before.
"""

from __future__ import annotations

import contextlib
import errno
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sparsae._text import printable
from sparsae._types import MOST_COUNTED
from sparsae.errors import (
    CheckpointError,
    FileAccessError,
    FileFormatError,
    FileMissingError,
    OutputExistsError,
    ParameterError,
)
from sparsae.files import as_path, file_kind, sync_folder
from sparsae.files.opening import temporary_file
from sparsae.files.status import reason
from sparsae.model import check_size
from sparsae.model.checks import as_number
from sparsae.training.archive import HEADER, read_archive, write_archive
from sparsae.training.curve import COLUMNS
from sparsae.training.result import COUNTED
from sparsae.training.schema import RECEIPT, SEED, Count, Each, Number, OneOf, Schema, check_counted, check_schema

FORMAT, VERSION = "sparsae checkpoint", 1
PREVIOUS, PART = ".previous", ".part"
STATE = "state."
CURVE = "history"
DEFAULT_SECONDS = 30.0
_SCHEMA: Schema = {
    "identity": {**dict.fromkeys(("n_samples", "n_visible", "n_hidden"), Count(1)), "data_digest": str},
    "method": {"method": str},
    "settings": {"max_iter": Count(0, MOST_COUNTED)},
    "shuffle_seed": SEED,
    "planned": Count(1, MOST_COUNTED),
    "receipt": {**RECEIPT, "block_rows": Count(1), "passes": OneOf((1, 2))},
    "saved": str,
    "iteration": Count(0, MOST_COUNTED),
    "columns": list,
    "counts": Each(Number(0, MOST_COUNTED), list, 3, 3),
}


@final
@dataclass(frozen=True)
class Checkpoint:
    """Where and how often to save; a bare path means every 30 seconds, and at the end.

    Parameters
    ----------
    path : path
        A file; the one before is kept beside it, with ``.previous`` added to its name.
    every : int or None
        Iterations between two saves.
    seconds : float or None
        Seconds between two saves; 30 where neither is given.

    Raises
    ------
    ParameterError
        When a value is out of range.
    """

    path: str | os.PathLike[str]
    every: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        as_path("The path of a checkpoint", self.path)
        if self.every is not None:
            check_size("every", self.every)
        if self.seconds is not None and not as_number("seconds", self.seconds) >= 0:
            raise ParameterError(f"seconds between checkpoints must be at least 0; given {self.seconds!r}.")
        if self.every is None and self.seconds is None:
            object.__setattr__(self, "seconds", DEFAULT_SECONDS)


@final
@dataclass(frozen=True)
class SavedFit:
    """Contents of a checkpoint.

    Attributes
    ----------
    header : mapping
        Everything that is not an array: identity, method, counts, receipt.
    arrays : mapping of str to ndarray
        The optimiser's state, as it packs it.
    history : ndarray (iterations, columns)
        The learning curve.
    """

    header: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    history: NDArray[np.float64]

    @property
    def columns(self) -> list[str]:
        """Names of the columns of the learning curve."""
        return list(self.header["columns"])


def previous(path: Path) -> Path:
    """Return the name of the checkpoint before."""
    return path.with_name(path.name + PREVIOUS)


def check_place(path: Path, *, resume: bool) -> Path:
    """Find out before training whether checkpoints can be written there.

    Returns
    -------
    Path
        The file that will be written: symbolic links are resolved.

    Raises
    ------
    FileMissingError, FileAccessError
        When the folder does not exist, no file can be made in it, or something at `path` or beside it that would be
        replaced is no regular file.
    OutputExistsError
        When there is a file at `path` already and it would not be resumed from.
    """
    try:
        target = path.resolve()
        if target.is_symlink():  # since Python 3.13 a loop of links is no error of `resolve`
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        _check_regular(path, target)
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name that is too long or has a zero byte
        if isinstance(error, FileAccessError):
            raise
        raise FileAccessError(f"No checkpoint can be written to {path}: {reason(error)}.") from error
    folder = target.parent
    if not folder.is_dir():
        raise FileMissingError(f"The folder of the checkpoint, {folder}, does not exist; make it first.")
    if not resume and target.exists():
        raise OutputExistsError(
            f"{path} exists; resume=True (--resume) goes on from it. To start afresh, remove it or name another file."
        )
    try:
        with temporary_file(folder):
            pass
    except OSError as error:
        raise FileAccessError(
            f"No checkpoint can be written to {folder}: {error.strerror}. Choose a folder that you may write to."
        ) from error
    return target


def _check_regular(path: Path, target: Path) -> None:
    """Raise unless what is there under the names of a checkpoint is a regular file."""
    for used in (target, previous(target), target.with_name(target.name + PART)):
        if used.exists() and not used.is_file():
            named = path if used == target else used
            raise FileAccessError(
                f"The checkpoint {named} is {file_kind(used.stat())}; "
                + ("name a file in it." if used.is_dir() else "name a regular file.")
            )


def save(path: Path, saved: SavedFit, *, rotate: bool = True) -> None:
    """Write a checkpoint so that at every moment a whole one can be found.

    Parameters
    ----------
    path : Path
        As `check_place` returned it, locked by this process.
    saved : SavedFit
    rotate : bool
        Keep the file that is there as the one before; False where it is known to be damaged.

    Raises
    ------
    OSError
        When it cannot be written; the files that are there stay as they are.
    """
    header = {"format": FORMAT, "version": VERSION, **saved.header}
    arrays = {CURVE: saved.history, **{STATE + name: array for name, array in saved.arrays.items()}}
    part = path.with_name(path.name + PART)  # always the same name: what a killed process leaves is used again
    try:
        with part.open("wb") as file:
            write_archive(file, header, arrays)
            file.flush()
            os.fsync(file.fileno())
        if rotate and path.exists():
            _keep_as_previous(path)
        part.replace(path)
        sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def load(path: Path) -> SavedFit:
    """Read one checkpoint, all of it, checksums included.

    Raises
    ------
    FileMissingError, FileAccessError
        When there is none, it is no regular file, or may not be read.
    FileFormatError
        When it is truncated, damaged, foreign, or of a later version; says which.
    """
    header, arrays = read_archive(path, kind=FORMAT, version=VERSION, what="checkpoint")
    try:
        check_schema(header, _SCHEMA)
        history = arrays.pop(CURVE)
        if header["columns"] != list(COLUMNS) or history.shape[1:] != (len(COLUMNS),) or history.dtype != np.float64:
            raise ValueError("its learning curve has other columns")
        if not len(history):
            raise ValueError("its learning curve is empty")
        check_counted(np.append(history[:, [COLUMNS.index(name) for name in COUNTED]], header["counts"][0]))
        if not all(name.startswith(STATE) for name in arrays):
            raise ValueError("it has members of an unknown kind")
    except (ValueError, KeyError) as error:
        raise FileFormatError(f"{path} is damaged: {printable(error)}") from error
    return SavedFit(header, {name.removeprefix(STATE): array for name, array in arrays.items()}, history)


def is_checkpoint(path: Path) -> bool:
    """Whether it looks like a checkpoint or a model file: a regular archive with a header, whole or not."""
    if not path.is_file():
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.startswith(STATE) for name in archive.namelist()) and f"{HEADER}.npy" in archive.namelist()
    except Exception:  # noqa: BLE001 (zipfile raises many kinds of errors on damaged files)
        return False


@final
@dataclass(frozen=True)
class CheckpointSearch:
    """Result of `find`.

    Attributes
    ----------
    saved : SavedFit or None
        The newest whole checkpoint; None: there is none yet.
    damaged : bool
        Whether the newest file is damaged.
    notice : str
        What the user should know: there is none yet, or an older one is used.
    """

    saved: SavedFit | None
    damaged: bool = False
    notice: str = ""


def find(path: Path) -> CheckpointSearch:
    """Read the newest whole checkpoint.

    Raises
    ------
    CheckpointError
        When there are files and none is whole.
    """
    before = previous(path)
    if not path.exists() and not before.exists():
        return CheckpointSearch(None, notice=f"No checkpoint at {path} yet: training starts afresh.")
    try:
        return CheckpointSearch(load(path))
    except (FileMissingError, FileFormatError) as error:
        reason = str(error)
    try:
        saved = load(before)
    except (FileMissingError, FileFormatError) as error:
        raise CheckpointError(
            f"No checkpoint to resume from. {reason} {error} Remove them to start afresh, or name another file."
        ) from error
    return CheckpointSearch(
        saved,
        damaged=path.exists(),
        notice=f"{reason} Training goes on from the one before, {before}, at iteration {saved.header['iteration']}.",
    )


def _keep_as_previous(path: Path) -> None:
    """Make the checkpoint the one before, without a moment in which it has no name."""
    before = previous(path)
    link = before.with_name(before.name + PART)
    try:
        link.unlink(missing_ok=True)
        os.link(path, link)
    except OSError:  # a file system without links: for a moment it is found under the other name only
        path.replace(before)
        return
    link.replace(before)
