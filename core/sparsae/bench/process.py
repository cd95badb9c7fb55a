"""Child processes that measure: pinned, with an environment of their own, asked in lines and answering in lines.

`LineProcess` runs any command that works that way (Octave does, too).
`TaskProcess` runs a `sparsae.bench.tasks.Task` and speaks JSON; the race, the replayed question and the doctor use it.
The caller asks one process at a time, so that processes never compete with each other.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any, NoReturn, Self, final

from sparsae._text import printable
from sparsae.bench.timing import TimedBatch
from sparsae.errors import ProbeError
from sparsae.machine.cpu_demand import read_process, total, wait_until_quiet
from sparsae.machine.facts import THREAD_VARIABLES, affinity

TIMEOUT = 120.0  # seconds that one answer may take
LONGEST_LINE = 1 << 24  # bytes; no answer is longer than that
LONGEST_REASON = 2000  # characters of the text of an error
_WAITING_LINES = 1000  # lines that are kept until they are read; a process that prints more has to wait
_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
# Affinity is set before the command starts: OpenBLAS counts its CPUs while it loads.
_PIN = "import os, sys; os.sched_setaffinity(0, map(int, sys.argv[1].split(','))); os.execvp(sys.argv[2], sys.argv[2:])"
_SERVE = "import sys; from sparsae.bench.worker import serve; serve(sys.argv[1])"


class WrongResultError(ProbeError):
    """A result that disagrees with the reference."""


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


@final
class LineProcess:
    """A child process that is asked in lines and answers in lines; a context manager.

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
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@final
class TaskProcess:
    """A `sparsae.bench.tasks.Task` in a pinned process of its own; a context manager.

    Parameters
    ----------
    factory : str
        "module:function"; ``function(**settings)`` returns the task.
    settings : mapping
        JSON values.
    threads : int
        How many threads the task may use; with more than one, a batch is preceded by a longer warm-up.
    environment, cpus, name
        As in `LineProcess`.
    timeout : float
        Seconds that one answer may take; the first one, which includes imports, at least `TIMEOUT`.
    ignore_waiting : bool
        Whether a batch counts as undisturbed however long its threads waited for a CPU:
        where waiting for each other is the subject of the measurement.
    """

    def __init__(
        self,
        factory: str,
        settings: Mapping[str, Any],
        *,
        threads: int,
        environment: Mapping[str, str | None],
        cpus: Iterable[int] = (),
        name: str,
        timeout: float = TIMEOUT,
        ignore_waiting: bool = False,
    ) -> None:
        configuration = {"factory": factory, "settings": dict(settings), "threads": threads}
        command = [sys.executable, "-c", _SERVE, json.dumps(configuration)]
        self._lines = LineProcess(command, environment=environment, cpus=cpus, name=name)
        self._timeout = timeout
        self._ignore_waiting = ignore_waiting
        self.name = name

    def prepare(self) -> dict[str, Any]:
        """Make the task and run it once; return what the process says of itself and of the task."""
        answer = self._ask({"do": "prepare"}, timeout=max(self._timeout, TIMEOUT))
        pools = answer.get("pools_after_call")
        if not isinstance(pools, list) or not all(isinstance(pool, dict) for pool in pools):
            self._refuse(json.dumps(answer))
        return answer

    def error(self) -> float:
        """Return the task's error; see `Task.error`."""
        return self._number(self._ask({"do": "error"}), "error")

    def check(self) -> float:
        """Return the task's error.

        Raises
        ------
        WrongResultError
            When it is more than rounding explains.
        """
        error = self.error()
        if not error <= 1:
            raise WrongResultError(f"{self.name}: wrong result: {error:.3g} times the error that rounding explains")
        return error

    def work(self, seconds: float) -> tuple[float, float, float]:
        """Let the task run for at least that long; return wall time, CPU time, and wall time of the shortest call."""
        answer = self._ask({"do": "work", "seconds": seconds})
        return self._number(answer, "wall"), self._number(answer, "cpu"), self._number(answer, "shortest")

    def time(self, loops: int) -> TimedBatch:
        """Warm up and time one batch of `loops` calls; then wait until the process is quiet."""
        answer = self._ask({"do": "time", "loops": loops})
        try:
            batch = TimedBatch.from_dict(answer | {"delay": None} if self._ignore_waiting else answer)
        except (KeyError, TypeError, ValueError) as error:
            self._refuse(f"{type(error).__name__}: {error}")
        return batch._replace(quiet_after=wait_until_quiet(self.pid))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._lines.pid

    def kill(self, *, wait: bool = True) -> None:
        """End the process, and those that it started, at once."""
        self._lines.kill(wait=wait)

    def close(self) -> None:
        """End the process."""
        self._lines.close()

    def _ask(self, request: Mapping[str, Any], *, timeout: float | None = None) -> dict[str, Any]:
        line = self._lines.ask(json.dumps(request), timeout=timeout or self._timeout)
        try:
            answer = json.loads(line, parse_constant=self._refuse, parse_float=_finite)
        except (ValueError, RecursionError):
            self._refuse(line)
        if not isinstance(answer, dict):
            self._refuse(line)
        if "failed" in answer:
            kind = WrongResultError if answer.get("kind") == "BackendWrongError" else ProbeError
            raise kind(f"{self.name}: {printable(answer['failed'])[:LONGEST_REASON]}")
        return answer

    def _number(self, answer: Mapping[str, Any], key: str) -> float:
        value = answer.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self._refuse(json.dumps(answer))
        return float(value)

    def _refuse(self, line: str) -> NoReturn:
        raise ProbeError(f"{self.name}: printed something else than an answer: {printable(line[:80])!r}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _finite(word: str) -> float:
    """Read a number of JSON; one that is too large for a float is refused."""
    number = float(word)
    if not math.isfinite(number):
        raise ValueError(word)
    return number
