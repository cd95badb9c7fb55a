"""What the client does when workers are lost, silent or slow, with a cluster that does as the test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from distributed import KilledWorker
from sparsae import Parameters
from sparsae.distributed import connection as connections
from sparsae.distributed import rounds
from sparsae.distributed import rows as cluster_rows
from sparsae.distributed.calls import Calls
from sparsae.distributed.connection import Connection
from sparsae.distributed.dask_data import compute
from sparsae.distributed.placement import Subtree
from sparsae.distributed.rounds import Round
from sparsae.distributed.rows import RemoteRows
from sparsae.distributed.security import check_security
from sparsae.distributed.tasks import Work
from sparsae.engine.partition import Partition
from sparsae.engine.sources import DataSource
from sparsae.errors import ClusterError, DataError

PARTITION = Partition(40, 10)  # four segments
LEAVES = [Subtree(0, segment) for segment in range(4)]
PARAMETERS = Parameters.random(3, 2)


class Task:
    """A future: finished with a value, failed with an error, or pending."""

    def __init__(self, found: Any = None, status: str = "finished") -> None:
        self.found, self.status, self.cancelled = found, status, 0

    def done(self) -> bool:
        return self.status != "pending"

    def exception(self, timeout: float) -> Any:
        return self.found

    def result(self, timeout: float) -> Any:
        if isinstance(self.found, BaseException):
            raise self.found
        return self.found

    def cancel(self) -> None:
        self.cancelled += 1


class Cluster:
    """The part of a `Connection` that a round uses; `answers` are taken one a task, then each is the sums asked for."""

    deadline = patience = 60.0

    def __init__(self, *answers: Task, gathered: Iterable[bool] = ()) -> None:
        self.asked: list[tuple[str, tuple[Subtree, ...]]] = []
        self.client = self
        self.calls = SimpleNamespace(allowed=lambda: False)
        self.last_seen: dict[str, Any] = {}
        self._answers, self._gathered = iter(answers), iter(gathered)

    def submit(self, function: Any, fit: str, description: bytes, work: Work, *_: Any, **options: Any) -> Task:
        self.asked.append((*options["workers"], work.subtrees))
        return next(self._answers, Task([f"sums of {subtree.index}" for subtree in work.subtrees]))

    def wait(self, futures: Any, seconds: float) -> bool:
        return all(future.done() for future in futures)

    def check(self) -> None:
        pass

    def gather(self, futures: Any) -> dict[Any, Any]:
        return {future: future.found for future in futures} if next(self._gathered, True) else {}

    def give_up_silent(self, asked: Any) -> set[str]:
        return set()

    def shares(self, seconds: float) -> dict[str, float]:
        return {"a": 1.0, "b": 1.0, "c": 1.0}


def run(cluster: Cluster, *workers: str) -> dict[Subtree, Any]:
    """One round, of one segment a worker."""
    nothing = SimpleNamespace(
        of=lambda *_: None, locations=lambda: None, spilling=SimpleNamespace(look=lambda seen: None)
    )
    work = Work(evaluation=1, round="accumulate", subtrees=(), partition=PARTITION)
    asked = Round(cluster, "fit", b"", nothing, work, PARAMETERS)  # type: ignore[arg-type]
    return asked.run({worker: (LEAVES[i],) for i, worker in enumerate(workers)})


def killed() -> Task:
    return Task(KilledWorker("task", SimpleNamespace(address="a"), 3), "error")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks follow each other at once."""
    monkeypatch.setattr(rounds, "TICK", 0.0)


def test_what_a_lost_worker_was_asked_for_is_asked_of_one_other() -> None:
    """While the answer of another comes back; with three workers for one part, two of them are asked nothing."""
    cluster = Cluster(killed())
    assert run(cluster, "a", "b") == {LEAVES[0]: "sums of 0", LEAVES[1]: "sums of 1"}
    assert cluster.asked == [("a", (LEAVES[0],)), ("b", (LEAVES[1],)), ("a", (LEAVES[0],))]


def test_a_result_that_does_not_come_is_waited_for() -> None:
    """It is finished, and the worker that holds it does not send it at once; nothing is asked twice."""
    cluster = Cluster(gathered=[False, True])
    assert run(cluster, "a") == {LEAVES[0]: "sums of 0"}
    assert len(cluster.asked) == 1


def test_what_the_scheduler_has_forgotten_is_asked_for_again() -> None:
    """A task that is neither finished nor failed any more, as after the worker was dropped."""
    cluster = Cluster(Task(status="cancelled"))
    assert run(cluster, "b") == {LEAVES[0]: "sums of 0"}
    assert cluster.asked == [("b", (LEAVES[0],)), ("a", (LEAVES[0],))]


def test_workers_that_die_in_one_task_after_the_other_end_the_fit() -> None:
    """The third time."""
    cluster = Cluster(*[killed() for _ in range(9)])
    with pytest.raises(ClusterError, match=r"Workers died again and again while they evaluated rows \(.*task"):
        run(cluster, "a")
    assert len(cluster.asked) == rounds.MOST_DEATHS


def test_a_call_after_the_client_was_closed_has_failed() -> None:
    """Its loop is closed: the future says so, and what should have run there is not left behind."""
    loop = asyncio.new_event_loop()
    loop.close()
    calls = Calls(SimpleNamespace(loop=SimpleNamespace(asyncio_loop=loop)))
    call = calls.start(
        "a", "fit", b"", Work(evaluation=1, round="encode", subtrees=(), partition=PARTITION), PARAMETERS, None
    )
    assert "closed" in str(call.exception(0))


class Client:
    """The part of `distributed.Client` that a connection uses."""

    status = "running"

    def __init__(self, *tasks: Task) -> None:
        self._tasks, self.submitted = iter(tasks), []

    def submit(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        self.submitted.append((function, arguments, options))
        return next(self._tasks, None)

    def compute(self, collection: Any) -> Any:
        return next(self._tasks)


def connect(monkeypatch: pytest.MonkeyPatch, *tasks: Task, workers: dict[str, dict[str, Any]]) -> tuple[Any, list[str]]:
    """A connection to such workers, and those that the scheduler was told to drop."""
    dropped: list[str] = []

    def ask(what: str, **arguments: Any) -> Any:
        if what == "unregister":
            dropped.append(arguments["address"])
        return {"workers": workers}

    made = Connection(Client(*tasks), patience=5.0, deadline=60.0)
    monkeypatch.setattr(made, "ask_scheduler", ask)
    monkeypatch.setattr(made, "wait", lambda futures, seconds: False)
    return made, dropped


FINE = {"nthreads": 1, "last_seen": 100.0, "status": "running"}


def test_silent_workers_are_dropped_and_paused_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor those that were not asked; all three, and one that is gone, are given up."""
    silent = FINE | {"last_seen": 90.0}
    workers = {"fine": FINE, "silent": silent, "other": silent, "paused": FINE | {"status": "paused"}}
    made, dropped = connect(monkeypatch, workers=workers)
    assert made.give_up_silent({"fine", "silent", "paused", "gone"}) == {"silent", "paused", "gone"}
    assert dropped == ["silent"]


@pytest.mark.parametrize("silent", [True, False], ids=["silent", "slow"])
def test_a_worker_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, silent: bool) -> None:
    """The answers of the others are used: at once where it is silent, else after the deadline."""
    clock = count(0, 40)  # a look takes 40 of the 60 seconds
    monkeypatch.setattr(connections, "time", SimpleNamespace(monotonic=lambda: next(clock), time=lambda: 0))
    pending = Task(status="pending")
    workers = {"a": FINE, "b": FINE | {"last_seen": 90.0 if silent else 100.0}}
    made, dropped = connect(monkeypatch, Task("yes"), pending, workers=workers)
    monkeypatch.setattr(made, "shares", lambda: ["a", "b"])
    assert made.ask(str, 1) == {"a": "yes"}
    assert (dropped, pending.cancelled) == ((["b"], 0) if silent else ([], 1))


def test_what_a_worker_raises_on_purpose_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the others answer."""
    made, _ = connect(monkeypatch, Task("yes"), Task(DataError("no rows"), "error"), workers={"a": FINE, "b": FINE})
    monkeypatch.setattr(made, "shares", lambda: ["a", "b"])
    with pytest.raises(DataError, match="no rows"):
        made.ask(str, 1)


def test_large_parameters_are_a_future_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small ones travel in each task; the worker gets what was given in either case."""
    made, _ = connect(monkeypatch, Task("future"), workers={"a": FINE})
    assert made.share(PARAMETERS, "e1") is PARAMETERS
    monkeypatch.setattr(connections, "INLINE_BYTES", 2 * PARAMETERS.W1.nbytes - 1)
    assert made.share(PARAMETERS, "e2").found == "future"
    [(function, arguments, options)] = made.client.submitted
    assert function(*arguments) is PARAMETERS
    assert options == {"key": "sparsae-parameters-e2", "pure": False}


@pytest.mark.parametrize("error", [OSError, TimeoutError, CancelledError])
def test_results_that_do_not_come_are_none(monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    """They are finished, and asked for again."""
    made, _ = connect(monkeypatch, workers={"a": FINE})

    def sync(function: Any, callback_timeout: float) -> Any:
        raise error

    made.client.sync = sync
    assert made.gather([Task()]) == {}
    assert made.gather([]) == {}


def test_an_error_of_the_rows_comes_back_as_it_was_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says already which rows of what cannot be used."""
    wrong = DataError("Rows 0 to 9 of X are a chunk of shape (3, 2).")
    made, _ = connect(monkeypatch, Task(wrong), workers={"a": FINE})
    with pytest.raises(DataError) as caught:
        compute(made, None, "Rows of X")
    assert caught.value is wrong


def test_rows_whose_holder_is_not_known_count_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is lost held them; the others hold theirs."""
    monkeypatch.setattr(cluster_rows, "SENT_BYTES", 0)
    made, _ = connect(monkeypatch, workers={"a": FINE})
    x = DataSource(np.zeros((40, 3)), "X")
    rows = RemoteRows(made, x, x, PARTITION)
    rows._holders = [["a", None, "b", "b"]]
    batch = {0: np.array([0, 1, 11, 25]), 1: np.array([12, 13]), 2: np.array([29, 30])}
    work = Work(evaluation=1, round="accumulate", subtrees=(), partition=Partition(8, 4), batch=batch)
    assert rows.held(work) == {0: {"a": 2, "b": 1}, 1: {}, 2: {"b": 2}}


def test_a_scheduler_in_this_process_has_no_port() -> None:
    """Such an address is one although it names no host."""
    check_security("inproc://10.0.0.1/12/1", None)
