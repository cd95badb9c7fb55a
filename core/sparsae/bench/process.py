"""Child processes that measure: pinned, with an environment of their own, asked in lines and answering in lines.

`LineProcess` runs any command that works that way (Octave does, too); see `sparsae.bench.task_process` for Python.
The caller asks one process at a time, so that processes never compete with each other.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from sparsae._text import printable
from sparsae.errors import ProbeError
from sparsae.files.opening import temporary_file
from sparsae.machine.cpu_demand import read_process, total
from sparsae.machine.facts import THREAD_VARIABLES, affinity

TIMEOUT = 120.0  # seconds that one answer may take
LONGEST_LINE = 1 << 24  # bytes; no answer is longer than that
_WAITING_LINES = 1000  # lines that are kept until they are read; a process that prints more has to wait
_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
# Affinity is set before the command starts: OpenBLAS counts its CPUs while it loads.
_PIN = "import os, sys; os.sched_setaffinity(0, map(int, sys.argv[1].split(','))); os.execvp(sys.argv[2], sys.argv[2:])"


def choose_cpus(threads: int) -> list[int]:
    """Choose the CPUs for that many threads, always the same ones: separate cores first, CPU 0 last.

    Empty where the system has no affinity.
    """
    usable = affinity()

    def preference(cpu: int) -> tuple[int, int]:
        try:
            siblings = Path(_TOPOLOGY.format(cpu)).read_text(encoding="ascii").strip().replace("-", ",").split(",")
            return [s for s in siblings if int(s) in usable].index(str(cpu)), -cpu
        except (OSError, ValueError):
            return 0, -cpu

    return sorted(sorted(usable, key=preference)[:threads])


def thread_environment(threads: int) -> dict[str, str | None]:
    """Return every variable that a library may read its number of threads from, set to that number."""
    changes: dict[str, str | None] = dict.fromkeys(THREAD_VARIABLES, str(threads))
    changes["SPARSAE_THREADS"] = str(threads)
    if threads == 1:  # with more than one, XLA follows the affinity
        flags = os.environ.get("XLA_FLAGS", "")
        changes["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
    return changes


class LineProcess:
    """A child process that is asked in lines and answers in lines; `close` ends it.

    Parameters
    ----------
    command : sequence of str
    environment : mapping of str to str or None
        Changes to our environment; None: removed.
    cpus : iterable of int
        The CPUs that it may use; none given, or no affinity on this system: ours.
    name : str
        For messages.
    """

    def __init__(
        self,
        command: Iterable[str],
        *,
        environment: Mapping[str, str | None],
        cpus: Iterable[int] = (),
        name: str,
    ) -> None:
        changed = {key: value for key, value in (dict(os.environ) | dict(environment)).items() if value is not None}
        mask = ",".join(str(cpu) for cpu in cpus)
        pin = [sys.executable, "-c", _PIN, mask] if mask and hasattr(os, "sched_setaffinity") else []
        self.name = name
        self._stderr: IO[bytes] = temporary_file()  # closed with the process
        self._process = subprocess.Popen(  # noqa: S603  our own interpreter or Octave, no shell
            [*pin, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=changed,
            start_new_session=True,  # Ctrl-C goes to the parent alone; the child ends when its pipe closes
        )
        self._lines: queue.Queue[bytes] = queue.Queue(_WAITING_LINES)
        self._closing = False
        self._reader = threading.Thread(target=self._read_lines, name="sparsae-lines", daemon=True)
        self._reader.start()

    def ask(self, line: str, *, timeout: float = TIMEOUT) -> str:
        """Send a line and return the next line of the answer.

        Raises
        ------
        ProbeError
            When the process died or did not answer in time, with the last line that it wrote to stderr.
        """
        self.send(line)
        return self.read(timeout=timeout)

    def send(self, line: str) -> None:
        """Send a line."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self._died() from None

    def read(self, *, timeout: float = TIMEOUT) -> str:
        """Return the next line."""
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise ProbeError(f"{self.name}: no answer within {timeout:g} s.") from None
        if not line.endswith(b"\n"):
            raise self._died() if len(line) < LONGEST_LINE else ProbeError(f"{self.name}: an endless line.")
        return line.decode(errors="replace").rstrip("\r\n")

    def waited(self) -> float | None:
        """Seconds that its threads have been ready and waiting for a CPU so far; None where that is unknown."""
        spent = total(read_process(self.pid))
        return None if spent is None else spent.delay / 1e9

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def kill(self, *, wait: bool = True) -> None:
        """End the process, and those that it started, at once: it hangs or cannot be trusted to end by itself."""
        if self._process.poll() is None:
            with contextlib.suppress(OSError):
                if hasattr(os, "killpg"):
                    os.killpg(self._process.pid, signal.SIGKILL)  # it leads a session of its own
                else:
                    self._process.kill()
        if wait:
            self.close()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._closing = True
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self.kill(wait=False)
            self._process.wait()
        self._reader.join(timeout=1)
        if not self._reader.is_alive():  # else a grandchild holds the pipe open, and closing it would block
            self._process.stdout.close()
        self._stderr.close()

    def _read_lines(self) -> None:
        """Pass on line by line what the process prints; what is not a whole line comes last."""
        assert self._process.stdout is not None
        line = b"\n"
        while line.endswith(b"\n"):
            try:
                line = self._process.stdout.readline(LONGEST_LINE)
            except (OSError, ValueError):  # closed
                line = b""
            while not self._closing:
                with contextlib.suppress(queue.Full):
                    self._lines.put(line, timeout=0.1)
                    break

    def _died(self) -> ProbeError:
        """Describe how the process ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - (1 << 16)))
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        last = [line for line in lines if line.startswith("error")][:1] or lines[-1:]  # a call stack may follow
        words = printable("".join(last))
        return ProbeError(f"{self.name}: the process ended with code {self._process.returncode}. {words}")
