"""What a path leads to: a regular file, nothing yet, a stream of this process, or what cannot be used."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sparsae.errors import FileAccessError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

AnyPath = str | os.PathLike[str]
_STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
_NUMBERED_STREAM = re.compile(r"/(?:dev|proc/self)/fd/(\d{1,9})")
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISCHR, "a device"),
)


def stream_number(path: AnyPath) -> int | None:
    """Return the descriptor that a path such as ``/dev/stdout`` or ``/dev/fd/63`` names, else None."""
    if Path(path).as_posix() in _STREAMS:  # also where these names are not files, as on Windows
        return _STREAMS[Path(path).as_posix()]
    name = os.path.abspath(path)  # noqa: PTH100  (Path.resolve would follow the link to the pipe)
    found = _NUMBERED_STREAM.fullmatch(name)
    return int(found[1]) if found else _STREAMS.get(name)


def check_stream(output: Path, number: int) -> None:
    """Raise where the process has no such descriptor that is open for writing."""
    with as_access_error(output):
        os.fstat(number)
        if fcntl is None:
            return
        if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise FileAccessError(f"Cannot write {output}: it is open for reading only.")


def inspect_output(output: Path) -> tuple[Path, os.stat_result | None]:
    """Return the file at the end of the links and its status, None where it does not exist yet."""
    try:
        status = output.stat()
    except FileNotFoundError:
        return _follow(output), None
    except (OSError, ValueError) as error:
        raise FileAccessError(f"Cannot write {output}: {reason(error)}.") from error
    if not stat.S_ISREG(status.st_mode) and not is_null_device(status):
        advice = "give the name of a file in it" if stat.S_ISDIR(status.st_mode) else "give the name of a regular file"
        raise FileAccessError(f"{output} is {file_kind(status)}; {advice}.")
    return _follow(output), status


def _follow(output: Path) -> Path:
    """Return the end of the links; a relative path stays relative, since the way from the root may be closed."""
    while output.is_symlink():
        output = output.parent / output.readlink()
    return output


def is_null_device(status: os.stat_result | None) -> bool:
    """Whether it is the device that takes everything and keeps nothing, under any name."""
    if status is None or not stat.S_ISCHR(status.st_mode):
        return False
    null = Path(os.devnull).stat()
    return stat.S_ISCHR(null.st_mode) and null.st_rdev == status.st_rdev


def file_kind(status: os.stat_result) -> str:
    """Return what a file is, with its article: a folder, a named pipe, a device, a socket, a regular file."""
    return next((kind for test, kind in _KINDS if test(status.st_mode)), "a regular file")


@contextmanager
def as_access_error(output: Path) -> Iterator[None]:
    """Turn what the system says into a `FileAccessError` that names the file."""
    try:
        yield
    except FileAccessError:
        raise
    except OSError as error:
        folder = f" (folder {output.parent})" if isinstance(error, FileNotFoundError) else ""
        raise FileAccessError(f"Cannot write {output}: {reason(error)}{folder}.") from error


def reason(error: Exception) -> str:
    """Return the system's words for an error, without its number and the path."""
    return (isinstance(error, OSError) and error.strerror) or str(error)
