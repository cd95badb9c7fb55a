"""Files whose parser may crash on damaged ones are read in a child process: a crash costs only that read."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np

from sparsae.data.readers import parser_script
from sparsae.data.readers.limits import expansion_limit
from sparsae.data.readers.npy import MAGIC, check_numeric, read_header, read_values
from sparsae.data.readers.source_file import SourceFile, shorten
from sparsae.errors import FileFormatError

SECONDS = 60  # before a reader is ended, and one more for each BYTES_PER_SECOND of the file
BYTES_PER_SECOND = 5_000_000
PARSER_BYTES = 1 << 28  # that the child may allocate beside the numbers
MAX_LIST = 1 << 22  # bytes of the list of variables


@contextmanager
def reading_process(file: SourceFile, library: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start the child process, which reads with "mat" or "hdf5"; it is ended after the time limit and on leaving."""
    script = str(Path(parser_script.__file__))
    command = [
        sys.executable,
        "-P",
        script,
        str(file.path.absolute()),
        library,
        str(_budget(expansion_limit(file.size))),
    ]
    process = subprocess.Popen(  # noqa: S603  our own script
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    timer = Timer(SECONDS + file.size / BYTES_PER_SECOND, process.kill)
    timer.daemon = True
    try:
        timer.start()
        yield process
    finally:
        timer.cancel()
        if timer.is_alive():  # for a moment after it is cancelled
            timer.join()
        end_process(process)


def end_process(process: subprocess.Popen[bytes]) -> None:
    """Kill a child process and close its pipes, whatever it is doing."""
    process.kill()
    for stream in filter(None, (process.stdin, process.stdout)):
        with suppress(OSError):
            stream.close()
    process.wait()


def _budget(n_bytes: int) -> int:
    """Bytes that the child may allocate for so many bytes of numbers: twice as many, and room for the parser."""
    return PARSER_BYTES + 2 * n_bytes


def read_list(process: subprocess.Popen[bytes], file: SourceFile) -> list[tuple[str, list[int], str]]:
    """Read the list of variables."""
    assert process.stdout is not None
    answer = _parse_answer(process, file, process.stdout.readline(MAX_LIST))
    return [(str(name), [int(n) for n in shape], str(kind)) for name, shape, kind in answer["variables"]]


def read_variable(
    process: subprocess.Popen[bytes], file: SourceFile, name: str, dense_bytes: int
) -> np.ndarray[Any, Any]:
    """Ask for one variable and read it; a sparse one says how many bytes it has when it is dense."""
    assert process.stdin is not None
    assert process.stdout is not None
    budget = _budget(dense_bytes) if dense_bytes else 0  # 0: keep the limit
    with suppress(BrokenPipeError):
        process.stdin.write(json.dumps({"name": name, "n_bytes": budget}).encode() + b"\n")
        process.stdin.flush()
    start = process.stdout.peek(1)[:1]  # type: ignore[attr-defined]  # a BufferedReader
    if start != MAGIC[:1]:
        _parse_answer(process, file, process.stdout.readline(MAX_LIST))
    label = f"{file.label}:{shorten(name)}"
    header = read_header(process.stdout, label)  # type: ignore[arg-type]  # likewise
    check_numeric(header, label)
    return read_values(process.stdout, header, label)  # type: ignore[arg-type]  # likewise


def _parse_answer(process: subprocess.Popen[bytes], file: SourceFile, line: bytes) -> dict[str, Any]:
    """Return an answer of the child; raise what it reports, or how it ended."""
    if line:
        answer: dict[str, Any] = json.loads(line)
        if "error" not in answer:
            return answer
        reason = f"{shorten(answer['error'], 150)}"
    else:
        code = process.wait()
        reason = f"its reader ended with {describe_ending(code)}"
    raise FileFormatError(f"{file.label} is damaged or not a {file.suffix} file: {reason.rstrip('.')}.")


def describe_ending(code: int) -> str:
    """Say how a process ended."""
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        name = signal.Signals(-code).name
        return f"{name} (the time limit, or the system's memory)" if name == "SIGKILL" else f"{name} (a crash)"
    return f"signal {-code}"
