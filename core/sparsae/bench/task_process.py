"""A child process that times a `sparsae.bench.tasks.Task` and speaks JSON; of the race, the question and the doctor."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, final

from sparsae._text import printable
from sparsae.bench.process import TIMEOUT, LineProcess
from sparsae.bench.timing import WARM_UP, TimedBatch
from sparsae.errors import ProbeError
from sparsae.machine.cpu_demand import wait_until_quiet
from sparsae.training.schema import Each, Number, Schema, check_schema

LONGEST_REASON = 2000  # characters of the text of an error
_SERVE = "import sys; from sparsae.bench.worker import serve; serve(sys.argv[1])"


class WrongResultError(ProbeError):
    """A result that disagrees with the reference."""


class DeclinedError(ProbeError):
    """A backend does not compute what it was asked for, and says why."""


_AMOUNT = Number(0, 1e300)
_ANSWERS: Mapping[str, Schema] = {
    "prepare": {"pools_after_call": Each(dict, list)},
    "error": {"error": _AMOUNT},
    "work": dict.fromkeys(("wall", "cpu", "shortest"), _AMOUNT),
    "time": {},  # checked by `TimedBatch`
}
_KINDS: dict[str, type[ProbeError]] = {"BackendWrongError": WrongResultError, "BackendDeclinedError": DeclinedError}


@final
class TaskProcess(LineProcess):
    """A `sparsae.bench.tasks.Task` in a pinned process of its own.

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
        super().__init__(command, environment=environment, cpus=cpus, name=name)
        self._timeout = timeout
        self._ignore_waiting = ignore_waiting

    def prepare(self) -> dict[str, Any]:
        """Make the task and run it once; return what the process says of itself and of the task."""
        return self._request("prepare", timeout=max(self._timeout, TIMEOUT))

    def error(self) -> float:
        """Return the task's error; see `Task.error`."""
        return float(self._request("error")["error"])

    def work(self, seconds: float) -> tuple[float, float, float]:
        """Let the task run for at least that long; return wall time, CPU time, and wall time of the shortest call."""
        answer = self._request("work", seconds=seconds)
        return answer["wall"], answer["cpu"], answer["shortest"]

    def shortest_call(self) -> float:
        """Let the task run until it is warm, and as long again; return the seconds of the shortest call."""
        return self.work(2 * WARM_UP)[2]

    def time(self, loops: int) -> TimedBatch:
        """Warm up and time one batch of `loops` calls; then wait until the process is quiet."""
        answer = self._request("time", loops=loops)
        try:
            batch = TimedBatch.from_dict(answer | {"delay": None} if self._ignore_waiting else answer)
        except ValueError as error:
            self._refuse(str(error))
        return batch._replace(quiet_after=wait_until_quiet(self.pid))

    def _request(self, do: str, *, timeout: float | None = None, **arguments: float) -> dict[str, Any]:
        """Send a request and return the answer, whose values are those that such a request has."""
        line = self.ask(json.dumps({"do": do, **arguments}), timeout=timeout or self._timeout)
        try:
            answer = json.loads(line, parse_constant=self._refuse, parse_float=_finite)
        except (ValueError, RecursionError):
            self._refuse(line)
        if not isinstance(answer, dict):
            self._refuse(line)
        if "failed" in answer:
            kind = _KINDS.get(str(answer.get("kind")), ProbeError)
            raise kind(f"{self.name}: {printable(answer['failed'])[:LONGEST_REASON]}")
        try:
            check_schema(answer, _ANSWERS[do], do)
        except ValueError:
            self._refuse(line)
        return answer

    def _refuse(self, line: str) -> NoReturn:
        raise ProbeError(f"{self.name}: printed something else than an answer: {printable(line[:80])!r}")


def _finite(word: str) -> float:
    """Read a number of JSON; one that is too large for a float is refused."""
    number = float(word)
    if not math.isfinite(number):
        raise ValueError(word)
    return number
