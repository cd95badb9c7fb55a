"""The parent's side of a child process that runs checks: start, ask with a time limit, and say how it ended."""

from __future__ import annotations

import json
import multiprocessing
import os
import queue
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import Any, BinaryIO, Protocol, final

from sparsae._text import printable
from sparsae.files.opening import pipe
from sparsae.plugins.contract import Backend
from sparsae.testing.checks import Checker, is_author_file

MOST_OUTPUT = 1 << 20  # bytes that a child may print before it is ended
SHOWN_OUTPUT = 300  # characters of it in a message
LONGEST_ANSWER = 1 << 20
READ_LIMIT = 5.0  # seconds for reading the last answer of a process that has ended
START_LIMIT = 60.0  # seconds for the imports of sparsae and of the backend's module
PATIENCE = 2.0  # seconds for a process that was told to end
FRAME = re.compile(r'File "(.+)", line (\d+) in (.+)')
COMMAND = "from sparsae.testing.child import main; main()"


@final
@dataclass(frozen=True)
class Answer:
    """What came of one request.

    Attributes
    ----------
    reply : dict or None
        None when the process ended, or was ended, before it answered.
    ended : str
        How it ended; empty when it answered.
    hung : bool
        Whether it exceeded the time limit.
    output : str
        What was printed since the last request.
    """

    reply: dict[str, Any] | None
    ended: str = ""
    hung: bool = False
    output: str = ""


class Child(Protocol):
    """What runs checks: another process, or this one."""

    def start(self, limit: float) -> Answer:
        """Wait until the backend is loaded."""
        ...

    def ask(self, request: dict[str, Any], limit: float) -> Answer:
        """Send a request and wait for its answer."""
        ...

    def finish(self, limit: float) -> Answer:
        """Let the process end by itself, and say how it did."""
        ...

    def close(self) -> None:
        """End it, with what it started."""
        ...


@final
class InProcess:
    """Runs the checks in this process: for objects, on systems without fork."""

    def __init__(self, backend: Backend, **options: Any) -> None:
        self._checker = Checker(backend, isolated=False, **options)

    def start(self, limit: float) -> Answer:
        """Nothing is loaded."""
        return Answer({"loaded": {}})

    def ask(self, request: dict[str, Any], limit: float) -> Answer:
        """Run the check; nothing limits its time."""
        return Answer(vars(self._checker.run(**request)))

    def finish(self, limit: float) -> Answer:
        """Nothing ends."""
        return Answer({})

    def close(self) -> None:
        """Nothing is kept."""


class _Handle(Protocol):
    """A running process: what `subprocess.Popen` and `_Forked` have in common."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float) -> int: ...


@final
class _Forked:
    """A process of `multiprocessing` with the methods of `subprocess.Popen`."""

    def __init__(self, process: Any) -> None:
        self._process = process
        self.pid: int = process.pid

    def poll(self) -> int | None:
        code: int | None = self._process.exitcode
        return code

    def wait(self, timeout: float) -> int:
        """Wait for its end; `join` would do so through a pipe, and without a limit once the child has closed that."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("check", timeout)
            time.sleep(0.002)
        return code


@final
class ChildProcess:
    """One child process: a fresh interpreter for the name of a backend, a fork of this process for an object."""

    def __init__(self, backend: str | Backend, **options: Any) -> None:
        self._token = secrets.token_hex(8)
        self._output, name = tempfile.mkstemp(prefix="sparsae-check-")
        self._output_file, self._printed = Path(name), open(name, "rb")  # noqa: PTH123, SIM115 (closed in `close`)
        if os.name == "posix":  # without a name it is gone with the last process that has it open
            self._output_file.unlink()
        self._seen = 0
        self._answers: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        start = _spawn if isinstance(backend, str) else _fork
        self._process, self._requests, replies = start(backend, self._output, self._token, options)
        threading.Thread(target=self._read, args=(replies,), name="sparsae-check-reader", daemon=True).start()

    def _read(self, replies: BinaryIO) -> None:
        """Pass on the lines that begin with the token; ends with the process."""
        token = self._token.encode()
        with replies:
            while line := replies.readline(LONGEST_ANSWER):
                if line.startswith(token):
                    self._answers.put(line[len(token) :])
        self._answers.put(None)

    def start(self, limit: float) -> Answer:
        """Wait until the backend is loaded."""
        return self._wait(limit)

    def ask(self, request: dict[str, Any], limit: float) -> Answer:
        """Send a request and wait for its answer, for that many seconds at most."""
        self._send(request)
        return self._wait(limit)

    def _send(self, request: dict[str, Any]) -> None:
        with suppress(OSError):  # the process has ended: found out by whoever waits
            self._requests.write(json.dumps(request).encode() + b"\n")
            self._requests.flush()

    def _wait(self, limit: float) -> Answer:
        """Wait for the next answer, for the end of the process, for too much output, or for the time limit."""
        deadline, ended_by = time.monotonic() + limit, 0.0
        while True:
            with suppress(queue.Empty):
                line = self._answers.get(timeout=0.1)
                if line is None:
                    return self._ended()
                with suppress(ValueError):
                    return Answer(json.loads(line), output=self._new_output())
                continue
            if self._process.poll() is not None:  # its last answer may be in the pipe, which others may keep open
                ended_by = ended_by or time.monotonic() + READ_LIMIT
                if time.monotonic() > ended_by:
                    return self._ended()
                continue
            if os.fstat(self._output).st_size > MOST_OUTPUT:
                self._kill()
                return Answer(
                    None, f"it printed more than {MOST_OUTPUT >> 20} MiB and was ended", output=self._new_output()
                )
            if time.monotonic() > deadline:
                return self._hung(f"it exceeded the time limit of {limit:g} s")

    def finish(self, limit: float) -> Answer:
        """Let the process end by itself; `ended` says what was wrong with that, if anything."""
        self._send({"end": True})
        try:
            code = self._process.wait(limit)
        except subprocess.TimeoutExpired:
            return self._hung(f"its process had not ended {limit:g} s after the last check")
        return self._ended() if code else Answer({}, output=self._new_output())

    def close(self) -> None:
        """End the process and whatever it started."""
        self._kill()
        with suppress(OSError):
            self._requests.close()
        self._printed.close()
        with suppress(OSError):
            os.close(self._output)
        with suppress(OSError):
            self._output_file.unlink()

    def _kill(self) -> None:
        kill = getattr(os, "killpg", None)
        with suppress(OSError):  # it has ended, and so have those that it started
            if kill is not None:
                kill(self._process.pid, signal.SIGKILL)
            elif self._process.poll() is None:
                os.kill(self._process.pid, signal.SIGTERM)  # Windows: ends it at once
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)

    def _hung(self, what: str) -> Answer:
        """End a process that did not answer; Python's fault handler says where it was."""
        if hasattr(signal, "SIGABRT") and os.name == "posix":
            with suppress(OSError):
                os.kill(self._process.pid, signal.SIGABRT)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE)
        self._kill()
        output, trace = _split(self._new_output())
        return Answer(None, what + _place(trace), hung=True, output=output)

    def _ended(self) -> Answer:
        """Say how a process ended that was not told to."""
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return self._hung("it closed the files by which the kit speaks with its process")
        output, trace = _split(self._new_output())
        if code < 0:
            name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
            what = f"it was ended by {name}"
            if -code == getattr(signal, "SIGKILL", 9):
                what += " (as systems do when memory runs out)"
        else:
            what = f"it ended its process with exit code {code}"
        return Answer(None, what + _place(trace), output=output)

    def _new_output(self) -> str:
        """Return what was printed since the last call."""
        self._printed.seek(self._seen)
        text = self._printed.read(MOST_OUTPUT)
        self._seen = self._printed.seek(0, os.SEEK_END)
        return text.decode(errors="replace")


def shown(output: str) -> str:
    """Return what was printed on one line: its beginning and its end where it is long."""
    text = " ".join(printable(output).split())
    half = SHOWN_OUTPUT // 2
    return text if len(text) <= SHOWN_OUTPUT else f"{text[:half]} ... {text[-half:]}"


def _split(output: str) -> tuple[str, str]:
    """Separate what was printed from what Python's fault handler said."""
    printed, found, trace = output.partition("Fatal Python error")
    return printed, found + trace


def _place(trace: str) -> str:
    """Where the process was, in the author's code if it was there."""
    frames = FRAME.findall(trace)
    if not frames:
        return ""
    file, line, name = next((frame for frame in frames if is_author_file(frame[0])), frames[0])
    return f" (in {name}, {file}, line {line})"


def _spawn(backend: Any, output: int, token: str, options: dict[str, Any]) -> tuple[_Handle, BinaryIO, BinaryIO]:
    """Start a fresh interpreter that finds the same packages as this one."""
    settings = json.dumps({"backend": backend, "token": token, "path": sys.path, **options})
    flags = ["-" + "O" * sys.flags.optimize] if sys.flags.optimize else []
    process = subprocess.Popen(  # noqa: S603 (this Python, with code of our own)
        [sys.executable, *flags, "-c", COMMAND, settings],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=output,
        start_new_session=True,  # Ctrl-C is for the parent, which ends the child
    )
    assert process.stdin is not None
    assert process.stdout is not None
    return process, process.stdin, process.stdout  # type: ignore[return-value]


def _fork(backend: Any, output: int, token: str, options: dict[str, Any]) -> tuple[_Handle, BinaryIO, BinaryIO]:
    """Fork this process, so that the child has the object as it is, defined in a notebook or a function."""
    from sparsae.testing.child import serve_object

    (child_in, our_out), (our_in, child_out) = pipe(), pipe()

    def run() -> None:
        our_out.close()
        our_in.close()
        serve_object(child_in.fileno(), child_out.fileno(), output, token, backend, options)

    process = multiprocessing.get_context("fork").Process(target=run, daemon=True)
    with child_in, child_out, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads: the time limit is the net
        process.start()
    return _Forked(process), BufferedWriter(our_out), BufferedReader(our_in)


def can_fork() -> bool:
    """Whether a fork of this process can go on calculating.

    Not on macOS, whose Accelerate library breaks, and not in a worker of a `multiprocessing.Pool`, which may have no
    children of its own.
    """
    daemon = multiprocessing.current_process().daemon
    return "fork" in multiprocessing.get_all_start_methods() and sys.platform != "darwin" and not daemon
