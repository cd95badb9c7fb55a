"""Imports plugins in a child process for the list of backends: what one does there disturbs nobody.

The child writes two lines for each plugin: that it begins, and what it found.  Each line begins with a token,
so that nothing a plugin prints is taken for one.
"""

from __future__ import annotations

import json
import os
import queue
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import fields
from typing import Any, final

from sparsae.errors import BackendBrokenError, BackendError
from sparsae.plugins.records import ERRORS, BackendRecord, PluginTracebackError, traceback_of

IMPORT_LIMIT = 10.0  # seconds for the import of one plugin
START_LIMIT = 60.0  # seconds for the start of the child
READ_LIMIT = 5.0  # seconds for reading what a child that has ended wrote
COMMAND = "from sparsae.plugins.trial_import import main; main()"
PLAIN = tuple(field.name for field in fields(BackendRecord) if field.name != "error")


def try_imports(names: Sequence[str]) -> Iterator[tuple[str, BackendRecord | str]]:
    """Import plugins in child processes, one after the other.

    Parameters
    ----------
    names : sequence of str
        Names of registered backends.

    Yields
    ------
    name : str
    outcome : BackendRecord or str
        What the import found; or why it ended without a record.
    """
    remaining = list(names)
    while remaining:
        with _Trial(remaining) as trial:
            for name in list(remaining):
                outcome = trial.outcome()
                remaining.remove(name)
                yield name, outcome
                if isinstance(outcome, str):  # this child is at its end
                    break


@final
class _Trial:
    """One child process that imports plugins."""

    def __init__(self, names: Sequence[str]) -> None:
        self._token = secrets.token_hex(8)
        settings = json.dumps({"names": list(names), "path": sys.path, "token": self._token})
        self._process = subprocess.Popen(  # noqa: S603 (this Python, with code of our own)
            [sys.executable, "-c", COMMAND, settings],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the parent, which ends the child
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="sparsae-plugin-reader", daemon=True).start()

    def __enter__(self) -> _Trial:
        return self

    def __exit__(self, *error: object) -> None:
        """End the child, and what it started."""
        with suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, 9)
            else:
                self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                text = line.decode(errors="replace")
                if text.startswith(self._token):
                    self._lines.put(text[len(self._token) :])
        self._lines.put(None)

    def outcome(self) -> BackendRecord | str:
        """Wait for the next plugin: its record, or why there is none."""
        if self._next(START_LIMIT) is None:
            return "the process that imports it could not start"
        line = self._next(IMPORT_LIMIT)
        if line is not None:
            return _read_record(json.loads(line))
        if self._process.poll() is None:
            return f"its import took longer than {IMPORT_LIMIT:g} s"
        return f"its import ended the process with exit code {self._process.returncode}"

    def _next(self, limit: float) -> str | None:
        """Return the next line; None at the end of the process or of the time."""
        deadline, ended = time.monotonic() + limit, False
        while time.monotonic() < deadline:
            with suppress(queue.Empty):
                line = self._lines.get(timeout=0.05)
                if line is None:
                    with suppress(subprocess.TimeoutExpired):
                        self._process.wait(1)
                return line
            # What it wrote is in the pipe, and the thread may not have had its turn to read it.  The end of the pipe
            # does not come as long as a process that the plugin started keeps it open.
            if not ended and self._process.poll() is not None:
                deadline, ended = time.monotonic() + READ_LIMIT, True
        return None


def _read_record(found: dict[str, Any]) -> BackendRecord:
    """Make the record again, with an error of the same kind."""
    error: BackendError | None = None
    if found["error"]:
        error = ERRORS.get(found["record"]["state"], BackendBrokenError)(found["error"])
        error.reason = found["reason"]
        if found["traceback"]:
            error.__cause__ = PluginTracebackError(found["traceback"])
    return BackendRecord(**found["record"], error=error)


def main() -> None:
    """Import the plugins that the first argument of the command names, and report each."""
    settings = json.loads(sys.argv[1])
    out = os.dup(1)
    os.dup2(2, 1)
    sys.path[:] = settings["path"]
    from sparsae.plugins.registry import registry

    def report(content: object) -> None:
        os.write(out, f"\n{settings['token']}{json.dumps(content)}\n".encode())

    for name in settings["names"]:
        report(name)
        record = registry().load_record(name)
        error = record.error
        report(
            {
                "record": {key: getattr(record, key) for key in PLAIN},
                "error": str(error) if error is not None else "",
                "reason": error.reason if error is not None else "",
                "traceback": traceback_of(error.__cause__) if error is not None and error.__cause__ is not None else "",
            }
        )
    os._exit(0)  # what plugins left running, or registered for the exit, does not count here
