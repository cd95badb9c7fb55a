"""Checkpoints: written atomically, the last two kept, checked when they are read.

A checkpoint is a NumPy archive: a JSON header, the arrays of the optimiser's state, and the history.
Its checksums tell a torn file; a torn one falls back to the one before.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sparsae.errors import (
    CheckpointError,
    CheckpointWarning,
    FileAccessError,
    FileFormatError,
    FileMissingError,
    OutputExistsError,
    ParameterError,
)
from sparsae.model import check_size

FORMAT, VERSION = "sparsae checkpoint", 1
PREVIOUS = ".previous"
STATE = "state."
# What NumPy and zipfile raise when they are given something else; AttributeError: a bare array.
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    ValueError,
    OSError,
    NotImplementedError,
    AttributeError,
)


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
        if self.every is not None:
            check_size("every", self.every)
        if self.seconds is not None and not self.seconds >= 0:
            raise ParameterError(f"seconds between checkpoints must be at least 0; given {self.seconds!r}.")
        if self.every is None and self.seconds is None:
            object.__setattr__(self, "seconds", 30.0)


@final
@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds.

    Attributes
    ----------
    header : mapping
        Everything that is not an array: identity, method, counts, receipt.
    arrays : mapping of str to ndarray
        The optimiser's state, as it packs it.
    history : ndarray (n, 9)
        Rows of the learning curve.
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


def check_place(path: Path, *, resume: bool) -> None:
    """Find out before training whether checkpoints can be written there.

    Raises
    ------
    FileMissingError, FileAccessError
        When the folder does not exist, or no file can be made in it.
    OutputExistsError
        When there is something at `path` already and it would not be resumed from.
    """
    folder = path.parent
    if not folder.is_dir():
        raise FileMissingError(f"The folder of the checkpoint, {folder}, does not exist; make it first.")
    if path.is_dir():
        raise FileAccessError(f"The checkpoint {path} is a folder; name a file in it.")
    if not resume and path.exists():
        raise OutputExistsError(
            f"{path} exists; resume=True (--resume) goes on from it. To start afresh, remove it or name another file."
        )
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=path.name):
            pass
    except OSError as error:
        raise FileAccessError(
            f"No checkpoint can be written to {folder}: {error.strerror}. Choose a folder that you may write to."
        ) from error


def save(path: Path, saved: Saved, *, rotate: bool = True) -> None:
    """Write a checkpoint so that at every moment a whole one can be found.

    Parameters
    ----------
    path : Path
    saved : Saved
    rotate : bool
        Keep what is there as the one before; False where it is known to be broken.

    Raises
    ------
    OSError
        When it cannot be written; the ones that are there stay as they are.
    """
    header = json.dumps({"format": FORMAT, "version": VERSION, **saved.header}).encode()
    arrays: dict[str, Any] = {STATE + name: array for name, array in saved.arrays.items()}
    part = path.with_name(path.name + ".part")  # always the same name: what a killed process leaves is used again
    try:
        with part.open("wb") as file:
            archive: Any = file
            np.savez(archive, header=np.frombuffer(header, dtype=np.uint8), history=saved.history, **arrays)
            file.flush()
            os.fsync(file.fileno())
        if rotate and path.exists():
            _keep(path)
        part.replace(path)
        _sync(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def load(path: Path) -> Saved:
    """Read one checkpoint, all of it, checksums included.

    Raises
    ------
    FileMissingError
        When there is none.
    FileFormatError
        When it is torn, foreign, or of a later version; says which.
    """
    if not path.exists():
        raise FileMissingError(f"There is no checkpoint {path}.")
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(arrays.pop("header").tobytes())
        history = arrays.pop("history")
    except _BROKEN as error:
        raise FileFormatError(f"{path} is not a checkpoint of sparsae, or only part of one ({error}).") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise FileFormatError(f"{path} is not a checkpoint of sparsae.")
    if header.get("version") != VERSION:
        raise FileFormatError(
            f"{path} is a checkpoint of version {header.get('version')}; this sparsae reads version {VERSION}."
        )
    state = {name.removeprefix(STATE): array for name, array in arrays.items()}
    return Saved(header=header, arrays=state, history=history)


def is_checkpoint(path: Path) -> bool:
    """Whether it looks like a checkpoint, whole or not."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "header.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


@final
@dataclass(frozen=True)
class Found:
    """What there is to resume from: None, where there is nothing yet; and whether the newest file is broken."""

    saved: Saved | None
    broken: bool = False


def find(path: Path) -> Found:
    """Read the newest whole checkpoint; says so where it is not the newest file, or where there is none.

    Raises
    ------
    CheckpointError
        When there are files and none is whole.

    Warns
    -----
    CheckpointWarning
        When there is none yet, or an older one is used.
    """
    before = previous(path)
    if not path.exists() and not before.exists():
        warnings.warn(f"No checkpoint at {path} yet: training starts afresh.", CheckpointWarning, stacklevel=4)
        return Found(None)
    try:
        return Found(load(path))
    except (FileMissingError, FileFormatError) as error:
        reason = str(error)
    try:
        saved = load(before)
    except (FileMissingError, FileFormatError) as error:
        raise CheckpointError(
            f"No checkpoint to resume from. {reason} {error} Remove them to start afresh, or name another file."
        ) from error
    warnings.warn(
        f"{reason} Training goes on from the one before, {before}, at iteration {saved.header['iteration']}.",
        CheckpointWarning,
        stacklevel=4,
    )
    return Found(saved, broken=path.exists())


def check_identity(path: Path, saved: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` with every difference between the fit that was saved and this one."""
    differences = [
        "the data are not the same"
        if name == "data_digest"
        else f"{name} is {here[name]!r} here and {saved.get(name)!r} in the checkpoint"
        for name in here
        if saved.get(name) != here[name]
    ]
    if differences:
        raise CheckpointError(
            f"{path} belongs to another fit: {'; '.join(differences)}. "
            f"Give the same data and settings, or another file to start afresh."
        )


def _keep(path: Path) -> None:
    """Make the checkpoint the one before, without a moment in which it has no name."""
    before = previous(path)
    link = before.with_name(before.name + ".part")
    try:
        link.unlink(missing_ok=True)
        os.link(path, link)
    except OSError:  # a file system without links: for a moment it is found under the other name only
        path.replace(before)
        return
    link.replace(before)


def _sync(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
