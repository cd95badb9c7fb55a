"""Checks of input and output paths, made before work begins."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from sparsae.errors import FileAccessError, FileMissingError, OutputExistsError, ParameterError
from sparsae.files.opening import open_unbuffered
from sparsae.files.status import (
    AnyPath,
    as_access_error,
    check_stream,
    file_kind,
    inspect_output,
    is_null_device,
    reason,
    stream_number,
)
from sparsae.files.temporary import temporary_beside


def as_path(what: str, value: object) -> Path:
    """Return a path, or raise `ParameterError`: open files, bytes and arrays are none."""
    given = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(given, str):
        raise ParameterError(f"{what} must be a string or a path; given {type(value).__name__}.")
    return Path(given)


def check_readable(path: AnyPath, *, what: str = "file") -> Path:
    """Check that a file can be opened and read to an end, without waiting for anything.

    Parameters
    ----------
    path : path-like
    what : str
        What the file is expected to be, for messages: "model file", "record", ...

    Returns
    -------
    Path

    Raises
    ------
    FileMissingError
        When there is no such file.
    FileAccessError
        When it is a folder, a named pipe, a device or a socket, or may not be read.
    """
    source = Path(path)
    try:
        status = source.stat()
        if not stat.S_ISREG(status.st_mode):
            raise FileAccessError(f"{source} is {file_kind(status)}; a {what} must be a regular file.")
        open_unbuffered(source, "r", os.O_RDONLY).close()
    except FileNotFoundError:
        link = f", to which the link {source} points" if source.is_symlink() else ""
        missing = os.path.realpath(source) if link else source
        raise FileMissingError(f"There is no {what} {missing}{link}.") from None
    except FileAccessError:
        raise
    except (OSError, ValueError) as error:
        raise FileAccessError(f"{source} cannot be read: {reason(error)}.") from error
    return source


def check_writable(path: AnyPath, *, force: bool = False) -> Path:
    """Find out now whether `path` could be written, before hours of work; nothing is left behind.

    Parameters
    ----------
    path : path-like
        The file that will be written.
    force : bool
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        The path as it was given.

    Raises
    ------
    OutputExistsError
        When the file exists and `force` is False.
    FileAccessError
        When the folder does not exist or cannot be written to, or the path is neither a regular file
        nor a stream of this process.
    """
    output = Path(path)
    number = stream_number(output)
    if number is not None:
        check_stream(output, number)
        return output
    target, status = inspect_output(output)
    if is_null_device(status):
        return output
    if status is not None:
        if not force:
            raise OutputExistsError(
                f"{output} exists and would be overwritten; use another name, or --force (force=True)."
            )
        with as_access_error(output):
            open_unbuffered(target, "w", os.O_WRONLY).close()  # a write-protected file is not replaced either
    with as_access_error(output), temporary_beside(target, status):
        pass
    return output


def check_distinct(
    outputs: Mapping[str, AnyPath | None], inputs: Mapping[str, AnyPath | Iterable[AnyPath] | None] | None = None
) -> None:
    """Check that no output is the same file as another output or an input, also by way of links.

    Parameters
    ----------
    outputs : mapping of str to path-like or None
        Paths by the name that messages give them, such as ``--log``.
    inputs : mapping of str to path-like, iterable of path-like, or None
        An input that is a folder stands for each file in it.

    Raises
    ------
    ParameterError
        When two paths lead to one file.
    """
    seen: dict[object, str] = {}
    for name, paths in (inputs or {}).items():
        for file in _files(paths):
            seen.setdefault(_identity(file), f"{name} ({file})")
    for name, path in outputs.items():
        number = None if path is None else stream_number(path)
        if path is None or number not in (None, 1):
            continue
        identity = _identity(path) if number is None else ("standard output",)
        if identity is None:
            continue
        if identity in seen:
            raise ParameterError(f"{name} ({path}) and {seen[identity]} are the same file; name different files.")
        seen[identity] = f"{name} ({path})"


def resolve_output(path: AnyPath) -> Path:
    """Return the file that writing to `path` makes or replaces: links are followed.

    Raises
    ------
    FileAccessError
        When it is neither a regular file nor absent, or the links lead nowhere.
    """
    return inspect_output(Path(path))[0]


def is_written_through(path: AnyPath) -> bool:
    """Whether an output is a stream of this process or the null device: not a file, of any format."""
    return stream_number(path) is not None or is_null_device(inspect_output(Path(path))[1])


def _identity(path: AnyPath) -> object:
    """Return what is equal for two paths to one file; None for what several may share, such as the null device."""
    try:
        status = os.stat(path)  # noqa: PTH116 (Path would refuse some names)
    except (OSError, ValueError):
        return os.path.realpath(path)
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def _files(paths: AnyPath | Iterable[AnyPath] | None) -> Iterator[Path]:
    """Yield the files that are there; for a folder those in it."""
    if paths is None:
        return
    for path in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        with suppress(OSError, ValueError):
            if Path(path).is_dir():
                yield from Path(path).iterdir()
            elif Path(path).is_file():
                yield Path(path)
