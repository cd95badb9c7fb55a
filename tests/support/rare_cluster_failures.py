"""Rare failures of a cluster, each played where it would arise."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sparsae.distributed.connection import Connection

Patch = pytest.MonkeyPatch
X = np.random.default_rng(0).uniform(0.1, 0.9, (30, 4))


def raising(error: BaseException) -> Callable[..., Any]:
    """A function that raises."""

    def call(*_: object, **__: object) -> Any:
        raise error

    return call


def connection(**facts: Any) -> Connection:
    """A connection to a cluster that is not there."""
    made = Connection(SimpleNamespace(status="running", **facts), deadline=0.01)
    made.workers = dict  # type: ignore[method-assign]
    made.wait = lambda *_: False  # type: ignore[method-assign]
    return made


class Future:
    """A future in one state."""

    def __init__(self, status: str, error: BaseException | None = None) -> None:
        self.status, self.error = status, error

    def exception(self, timeout: float) -> BaseException | None:
        return self.error

    def done(self) -> bool:
        return self.status != "pending"

    def cancel(self) -> None:
        """Nothing is there to cancel."""


def killed_worker() -> BaseException:
    from distributed import KilledWorker

    return KilledWorker("task", SimpleNamespace(address="tcp://a"), 3)


def nobody_answers(patch: Patch) -> None:
    made = connection(submit=lambda *_, **__: Future("pending"))
    made.shares = lambda: {"a": 1.0}  # type: ignore[method-assign]
    made.ask(print)


def a_scheduler_that_is_silent(patch: Patch) -> None:
    scheduler = SimpleNamespace(identity=None)
    made = connection(sync=raising(TimeoutError("late")), scheduler=scheduler)
    made.ask_scheduler("identity")


def without_dask(patch: Patch) -> None:
    patch.setitem(sys.modules, "distributed", None)
    Connection.open("local:1")


def results_that_do_not_come(patch: Patch) -> None:
    made = connection()
    made.gather = lambda _: {}  # type: ignore[method-assign]
    made.results([Future("finished")])


def a_cluster_that_dies_in_a_fit(patch: Patch) -> None:
    from sparsae.errors import ClusterError
    from sparsae.training.fit import Fit

    made = Fit.__new__(Fit)
    made._bound = SimpleNamespace(run=raising(ClusterError("No workers.")))  # type: ignore[assignment]
    made._take_start = lambda: None  # type: ignore[method-assign, assignment]
    made._save_last_state = lambda: "The last state is in run."  # type: ignore[method-assign]
    made.run()
