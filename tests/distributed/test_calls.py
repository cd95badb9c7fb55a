"""Rounds of a real Dask cluster are calls where no scheduling is needed, and tasks where a call does not do."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from types import SimpleNamespace

import dask.array as da
import numpy as np
import pytest

import sparsae
from sparsae.distributed import calls
from sparsae.distributed.calls import call_work
from sparsae.distributed.connection import Connection
from sparsae.engine.npy_file import open_npy
from sparsae.errors import ClusterError
from sparsae.optimize import Adam

X = np.random.default_rng(0).random((3000, 12)) * 0.8 + 0.1
OPTIONS = {"backend": "fused", "block_rows": 200}
THETA = sparsae.Parameters.random(12, 5, seed=1).flatten()
HERE = sparsae.Objective(X, 5, passes=1, **OPTIONS)(THETA)


@pytest.fixture
def connection(client):
    """A connection with a client of its own, whose tasks are counted."""
    from distributed import Client

    with Client(client.scheduler.address, set_as_default=False) as own:
        yield Connection(own)


@pytest.fixture
def tasks(connection, monkeypatch):
    """The functions of the tasks that were sent; on a slow machine too, no second round has them by itself."""
    monkeypatch.setattr(calls, "TASKS_SECONDS", 1e9)
    sent, submit = [], connection.client.submit

    def record(function, *arguments, **options):
        sent.append(function.__name__)
        return submit(function, *arguments, **options)

    monkeypatch.setattr(connection.client, "submit", record)
    return sent


def assert_as_here(objective):
    cost, gradient = objective(THETA)
    assert cost == HERE[0]
    assert np.array_equal(gradient, HERE[1])


@pytest.mark.parametrize("source", ["memory", "dask", "npy file"])
def test_evaluations_are_calls_but_for_the_first(connection, tasks, tmp_path, source):
    """The first has tasks, so that the scheduler sees that the cluster is in use; and again after ten seconds."""
    np.save(tmp_path / "x.npy", X)
    data = {"memory": X, "npy file": open_npy(tmp_path / "x.npy")}.get(source, da.from_array(X, chunks=(413, 12)))
    with sparsae.Objective(data, 5, cluster=connection, **OPTIONS) as objective:
        assert_as_here(objective)
        assert tasks.count("run_work") == 2
        tasks.clear()
        for _ in range(3):
            assert_as_here(objective)
        assert tasks == []
        connection.calls.require_tasks()
        assert_as_here(objective)
        assert tasks == ["run_work", "run_work"]


def test_steps_of_mini_batches_are_calls(connection, tasks):
    """Rows that are sent with the step need no scheduling."""
    options = OPTIONS | {"method": Adam(batch_rows=500), "max_iter": 2, "activation": "relu", "l1": 0.02}
    with pytest.warns(sparsae.ConvergenceWarning):
        there = sparsae.train(X, 5, cluster=connection, **options)
    assert int(there.history.evaluations[-1]) > 2
    assert 1 <= tasks.count("run_work") <= 2  # of the first round, one a worker that has rows of it
    with pytest.warns(sparsae.ConvergenceWarning):
        here = sparsae.train(X, 5, **options)
    assert np.array_equal(there.parameters.flatten(), here.parameters.flatten())


def lost(worker, *arguments):
    call = Future()
    call.set_exception(OSError("connection refused"))
    return call


def without_rows(worker, *arguments):
    call = Future()
    call.set_result(None)
    return call


@pytest.mark.parametrize("answer", [lost, without_rows])
def test_what_does_not_come_back_from_a_call_is_a_task(connection, tasks, monkeypatch, answer):
    """A worker that is gone, or has not the rows any more: the scheduler finds another, and the bits stay."""
    with sparsae.Objective(X, 5, cluster=connection, **OPTIONS) as objective:
        assert_as_here(objective)
        tasks.clear()
        monkeypatch.setattr(connection.calls, "start", answer)
        assert_as_here(objective)
    assert tasks == ["run_work", "run_work"]


def test_a_call_that_never_answers_ends_at_the_deadline(connection, monkeypatch):
    """Nobody is silent, and nothing comes: an error, as for tasks."""
    with sparsae.Objective(X, 5, cluster=connection, **OPTIONS) as objective:
        assert_as_here(objective)
        monkeypatch.setattr(connection, "ask_scheduler", Connection(connection.client).ask_scheduler)
        connection.deadline = 0.1  # of the evaluation alone: a busy scheduler has longer
        monkeypatch.setattr(connection.calls, "start", lambda *arguments: Future())
        with pytest.raises(ClusterError, match=r"parts of an evaluation did not come back .* within 0\.1 s"):
            objective(THETA)


def test_rows_that_a_worker_does_not_hold_are_said():
    """The answer is None, not a failure that Dask writes into the worker's log."""
    rows = [[(("x", 0), None, slice(None))]]
    assert asyncio.run(call_work("fit", b"", None, None, rows, SimpleNamespace(data={}))) is None
