"""One timed thing in a process of its own: pinned, with its own environment, waiting for its turn.

The fair race times backends; a probe times anything that a dotted name can make,
with an environment that may differ from ours in the very variables that libraries read once, when they load.
`sparsae doctor` compares settings with it, and the replayed question compares ways of writing a loop.
Probes take turns: whoever holds one asks one at a time, so that they never compete with each other.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import IO, Any, Protocol, Self, final

from sparsae.bench.batch import time_batch, undisturbed, warm_up
from sparsae.errors import ProbeError
from sparsae.machine.cpu_demand import read_process, total, wait_until_quiet
from sparsae.machine.facts import THREAD_VARIABLES, affinity

TIMEOUT = 120.0  # seconds that one answer may take
# Affinity is set before the command starts, for OpenBLAS counts its CPUs while it loads.
_PIN = (
    "import os, sys; cpus = [int(c) for c in sys.argv[1].split(',') if c]; "
    "cpus and hasattr(os, 'sched_setaffinity') and os.sched_setaffinity(0, cpus); os.execvp(sys.argv[2], sys.argv[2:])"
)
_SERVE = "import sys; from sparsae.bench.probe import serve; serve(sys.argv[1], sys.argv[2])"


class Task(Protocol):
    """What a probe times."""

    def run(self) -> object:
        """Do the work once."""

    def error(self) -> float:
        """Largest error of the work's result, in units of what rounding explains; more than 1 is wrong."""


@final
@dataclass(frozen=True)
class Sample:
    """One batch of calls.

    Attributes
    ----------
    loops : int
        How many calls.
    wall : float
        Wall time of all of them in seconds.
    waited : float or None
        Seconds that the process was ready and had to wait for a CPU meanwhile;
        None where the system does not tell, or nobody asked.
    """

    loops: int
    wall: float
    waited: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds per call."""
        return self.wall / self.loops

    @property
    def clean(self) -> bool:
        """Whether nothing is known to have disturbed it."""
        return undisturbed(self.waited, self.wall)


@final
class Lines:
    """A child process that is asked in lines and answers in lines; a context manager.

    Parameters
    ----------
    command : sequence of str
    environment : mapping of str to str or None
        Changes to our environment; None: removed.
    cpus : iterable of int
        The CPUs that it may use; none given: ours.
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
        self.name = name
        self._noise: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        self._process = subprocess.Popen(  # noqa: S603  our own interpreter, no shell
            [sys.executable, "-c", _PIN, mask, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._noise,
            env=changed,
            start_new_session=True,  # Ctrl-C is for the one who asks; the child ends when its pipe closes
        )
        self._buffer = b""

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
        assert self._process.stdout is not None
        handle = self._process.stdout.fileno()
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([handle], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise ProbeError(f"{self.name}: no answer within {timeout:g} s.")
            piece = os.read(handle, 1 << 16)
            if not piece:
                raise self._died()
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode(errors="replace")

    def waited(self) -> float | None:
        """Seconds that its threads have been ready and waiting for a CPU so far; None where that is not told."""
        spent = total(read_process(self.pid))
        return None if spent is None else spent.delay / 1e9

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def kill(self) -> None:
        """End the process at once: it hangs, or cannot be trusted to end by itself."""
        self._process.kill()
        self.close()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._noise.close()

    def _died(self) -> ProbeError:
        """Say how the process ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)
        self._noise.seek(0)
        said = self._noise.read().decode(errors="replace").strip().splitlines()
        told = [line for line in said if line.startswith("error")][:1] or said[-1:]  # a call stack may follow
        return ProbeError(f"{self.name}: the process ended with code {self._process.returncode}. {''.join(told)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@final
class Probe:
    """A task in a pinned process of its own; a context manager.

    Parameters
    ----------
    factory : str
        ``module:function``; ``function(**settings)`` returns a `Task`.
    settings : mapping
        JSON values.
    environment, cpus, name
        As in `Lines`.
    watch : bool
        Whether to tell how long a batch had to wait for a CPU; not where waiting is what shall be timed.
    """

    def __init__(
        self,
        factory: str,
        settings: Mapping[str, Any],
        *,
        environment: Mapping[str, str | None],
        cpus: Iterable[int] = (),
        name: str,
        watch: bool = True,
    ) -> None:
        command = [sys.executable, "-c", _SERVE, factory, json.dumps(settings)]
        self._lines = Lines(command, environment=environment, cpus=cpus, name=name)
        self._may_spin = environment.get("OMP_NUM_THREADS") != "1"  # a pool's idle threads, after a call
        self._watch = watch
        self.name = name

    def ready(self) -> dict[str, Any]:
        """Wait until the task is made; return the pools that the process sees."""
        return self._answer(self._lines.read())

    def error(self) -> float:
        """Return the task's error; see `Task.error`."""
        return float(self._ask("error")["error"])

    def time(self, loops: int) -> Sample:
        """Warm up, then `loops` calls in one timed batch, the garbage collector off; then wait for quiet."""
        answer = self._ask(f"time {loops}")
        sample = Sample(loops, float(answer["wall"]), answer["delay"] if self._watch else None)
        if self._may_spin:
            wait_until_quiet(self._lines.pid)
        return sample

    def close(self) -> None:
        """End the process."""
        self._lines.close()

    def _ask(self, line: str) -> dict[str, Any]:
        return self._answer(self._lines.ask(line))

    def _answer(self, line: str) -> dict[str, Any]:
        try:
            answer = json.loads(line)
        except ValueError:
            raise ProbeError(f"{self.name}: expected JSON, got {line[:80]!r}.") from None
        if "failed" in answer:
            raise ProbeError(f"{self.name}: {answer['failed']}")
        return dict(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def one_thread() -> dict[str, str | None]:
    """Environment of a probe that shall use one thread, whatever library it loads."""
    return dict.fromkeys(THREAD_VARIABLES, "1")


def serve(factory: str, settings: str) -> None:
    """Run the child's side: make the task, then answer until the pipe closes.

    The answers go to a copy of stdout and everything else that is printed goes to stderr.
    """
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(values: Mapping[str, Any]) -> None:
        out.write(json.dumps(values) + "\n")
        out.flush()

    try:
        module, _, function = factory.partition(":")
        task: Task = getattr(import_module(module), function)(**json.loads(settings))
        task.run()
        from sparsae.machine.limits import pools

        answer({"pools": pools(), "affinity": affinity()})
        threads = 1 if os.environ.get("OMP_NUM_THREADS") == "1" else 2
        for line in sys.stdin:
            word, _, loops = line.strip().partition(" ")
            if word == "error":
                answer({"error": task.error()})
            else:
                warm_up(task.run, threads)
                answer(time_batch(task.run, int(loops))._asdict())
    except Exception as error:  # noqa: BLE001  whatever it is, the parent has to hear of it
        answer({"failed": f"{type(error).__name__}: {error}"})
