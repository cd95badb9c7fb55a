"""What the footer of a Parquet file says, read in a child process.

pyarrow ends the process when it looks at the metadata of some damaged files: its bindings do not catch what
``RowGroup`` and ``ColumnChunk`` raise.  Reading rows is not affected.  One child serves all files of a data set.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from threading import Timer
from typing import Any, NamedTuple, final

from sparsae.data.readers import parser_script
from sparsae.data.readers.parser_process import PARSER_BYTES, SECONDS, describe_ending, end_process
from sparsae.data.readers.source_file import SourceFile, shorten
from sparsae.errors import FileFormatError

_current = threading.local()


@final
class ParquetFacts(NamedTuple):
    """What a footer says.

    Attributes
    ----------
    rows : tuple of int
        Of each row group.
    nulls : dict of str to int or None
        Missing values in each column that is not nested; None where the file does not say.
    """

    rows: tuple[int, ...]
    nulls: dict[str, int | None]


@contextmanager
def metadata_process() -> Iterator[None]:
    """Use one child process for all files that this thread opens inside; it is started when it is needed."""
    if getattr(_current, "child", None) is not None:
        yield
        return
    child = _current.child = _Child()
    try:
        yield
    finally:
        _current.child = None
        child.end()


def parquet_facts(file: SourceFile) -> ParquetFacts:
    """Return what the footer of a file says; asked once while the file stays what it is.

    Raises
    ------
    FileFormatError
        When it is damaged.
    """
    return _facts(file, file.path.stat().st_mtime_ns)


@lru_cache(maxsize=100_000)
def _facts(file: SourceFile, modified: int) -> ParquetFacts:
    with metadata_process():
        answer = _current.child.ask(file)
    return ParquetFacts(tuple(answer["rows"]), answer["nulls"])


@final
class _Child:
    """A process that reads footers."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, file: SourceFile) -> dict[str, Any]:
        """Return the facts of one file; a process that a file has ended is started again for the next."""
        if self._process is None:
            command = [sys.executable, "-P", str(Path(parser_script.__file__)), "", "parquet", str(PARSER_BYTES)]
            self._process = subprocess.Popen(  # noqa: S603  our own script
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        timer = Timer(SECONDS, process.kill)
        timer.daemon = True
        timer.start()
        try:
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps(str(file.path.absolute())).encode() + b"\n")
                process.stdin.flush()
            line = process.stdout.readline()
        finally:
            timer.cancel()
        if line:
            answer: dict[str, Any] = json.loads(line)
            if "error" not in answer:
                return answer
            reason = shorten(answer["error"], 150)
        else:
            reason = f"its reader ended with {describe_ending(process.wait())}"
            self.end()
        raise FileFormatError(f"{file.label} is damaged or not a Parquet file: {reason.rstrip('.')}.")

    def end(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            end_process(process)
