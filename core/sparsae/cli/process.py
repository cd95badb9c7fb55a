"""The command as a process: every way in which it can end becomes an exit code and at most one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import click

from sparsae._text import printable
from sparsae.cli.command import FAILED, OutputLostError

BROKEN_PIPE, INTERRUPTED = 141, 130


def run(command: click.Command, args: list[str] | None) -> int:
    """Run the command and return its exit code; what is wrong is said in one line on standard error."""
    with _guarded_streams():
        try:
            code = _call(command, args)
            if sys.stdout is not None:
                sys.stdout.flush()  # while a failure can still be reported
        except OutputLostError as error:  # in silence where the reader went away, as `head` does
            return BROKEN_PIPE if error.broken_pipe else _complain(f"The output cannot be written: {error}.", FAILED)
        return code


def _call(command: click.Command, args: list[str] | None) -> int:
    """Call the command; exceptions become exit codes.  A mistake in sparsae itself keeps its traceback."""
    try:
        code: Any = command.main(args=args, prog_name="sparsae", standalone_mode=False)
    except click.exceptions.Abort as error:
        if isinstance(error.__cause__, EOFError):  # click takes it for the end of an answer typed; none is asked here
            raise error.__cause__ from None
        number = getattr(error.__cause__, "signal", None)  # SIGINT or SIGTERM, where a fit was prepared
        return _complain("Interrupted.", INTERRUPTED if number is None else 128 + number, prefix="")
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context is not None else ""
        return _complain(error.format_message() + hint, error.exit_code)
    except OSError as error:
        if error.errno is None:  # a mistake in sparsae, such as asking a stream for what it has not
            raise
        path = f"{error.filename}: " if error.filename else ""
        return _complain(f"{path}{error.strerror}.", FAILED)
    except MemoryError as error:
        return _complain(f"There is not enough memory{f': {error}' if str(error) else ''}.", FAILED)
    except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        call = f"sys.exit({error.code!r})" if isinstance(error, SystemExit) else type(error).__name__
        return _complain(f"The command was ended by {call} in a backend or another library.", FAILED)
    return code if isinstance(code, int) else 0


def _complain(message: str, code: int, *, prefix: str = "Error: ") -> int:
    click.echo(prefix + printable(message), err=True)
    return code


@contextmanager
def _guarded_streams() -> Iterator[None]:
    """Within the block, failures of standard output are `OutputLostError`, and those of standard error nothing."""
    out, err = sys.stdout, sys.stderr
    if out is not None:
        sys.stdout = _GuardedStream(out, fails=True)
    if err is not None:
        sys.stderr = _GuardedStream(err, fails=False)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err


class _GuardedStream:
    """A text stream that the null device takes the place of, once it cannot be written.

    Parameters
    ----------
    stream : text stream
    fails : bool
        Whether failures are raised; otherwise what is written after the first one is lost without a word.
    """

    def __init__(self, stream: TextIO, *, fails: bool) -> None:
        self._stream, self._fails = stream, fails
        self._lost: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, if possible."""
        self._attempt(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush, if possible."""
        self._attempt(self._stream.flush)

    def _attempt(self, action: Callable[[], object]) -> None:
        """Do it; a failure is raised again whenever somebody writes, since click catches the first one."""
        try:
            action()
        except OSError as error:
            self._lost = error
            self._discard()
        if self._lost is not None and self._fails:
            raise OutputLostError(self._lost) from self._lost

    def _discard(self) -> None:
        """Let the null device have what is held back: Python would try to write it once more when it ends."""
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)
