"""What goes wrong on a real Dask cluster: workers that join, differ, spill or die, and fits beside one another."""

from __future__ import annotations

import os
import threading
import time

import dask
import dask.array as da
import numpy as np
import pytest

import sparsae
from sparsae.distributed.connection import Connection
from sparsae.errors import ClusterError, ClusterWarning

X = np.random.default_rng(0).random((3000, 12)) * 0.8 + 0.1
OPTIONS = {"backend": "fused", "block_rows": 200}
THETA = sparsae.Parameters.random(12, 5, seed=1).flatten()


def evaluate(data, **options):
    with sparsae.Objective(data, 5, **(OPTIONS | options)) as objective:
        return objective(THETA)


def on_worker(client, name, value):
    """Have a name in `distributed.workers` mean something else in one worker process; return what undoes it."""
    worker = next(iter(client.scheduler_info()["workers"]))

    def set_name(new):
        from sparsae.distributed import workers

        old = getattr(workers, name)
        setattr(workers, name, new(old))
        return old

    client.run(set_name, value, workers=[worker])

    def undo():
        def restore():
            import importlib

            from sparsae.distributed import workers

            importlib.reload(workers)

        client.run(restore, workers=[worker])

    return worker, undo


def test_fits_beside_one_another_do_not_disturb_each_other(client):
    """Four threads with objectives of their own on one client: each has its bits."""
    data = [X[::-1].copy(), X, X[:2500].copy(), X[500:].copy()]
    expected = [evaluate(rows, passes=1) for rows in data]
    found, before = [None] * 4, dask.config.get("scheduler", None)

    def run(i):
        with sparsae.Objective(data[i], 5, cluster=client, **OPTIONS) as objective:
            found[i] = [objective(THETA) for _ in range(5)]

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert dask.config.get("scheduler", None) is before
    for (cost, gradient), five in zip(expected, found, strict=True):
        assert all(c == cost and np.array_equal(g, gradient) for c, g in five)


def test_another_version_on_one_worker_is_refused_with_a_table(client):
    """The table names the worker and what it has."""
    worker, undo = on_worker(client, "__version__", lambda old: "0.0.9")
    try:
        with pytest.raises(ClusterError, match=rf"1 of 2 workers(.|\n)*{worker}: sparsae 0\.0\.9 where the client has"):
            evaluate(X, cluster=client)
    finally:
        undo()


def test_a_backend_that_is_missing_on_one_worker_is_refused_with_a_table(client):
    """The table says which worker cannot use it, and why."""

    def lacking(old):
        def select(backend):
            from sparsae.errors import BackendNotFoundError

            raise BackendNotFoundError(f"There is no backend {backend!r}.")

        return select

    worker, undo = on_worker(client, "select", lacking)
    try:
        with pytest.raises(ClusterError, match=rf"{worker}: There is no backend 'fused'"):
            evaluate(X, cluster=client)
    finally:
        undo()


def test_another_generation_of_processors_is_said_and_refused_with_strict_bits(client):
    """The receipt says that the last bits depend on who had which rows; bits="strict" refuses it."""

    def older(old):
        return lambda: ({"architecture": "Haswell", "user_api": "blas"},)

    _, undo = on_worker(client, "pools", older)
    try:
        with sparsae.Objective(X, 5, cluster=client, **OPTIONS) as objective:
            notes = objective.receipt.notes
        assert any("Haswell" in note and "the last bits depend on who had which rows" in note for note in notes)
        with pytest.raises(ClusterError, match=r'Haswell.*bits="strict" refuses'):
            evaluate(X, cluster=Connection(client, bits="strict"))
    finally:
        undo()


def test_data_beyond_the_memory_of_the_workers_is_said(client, monkeypatch):
    """Before rows are sent there: Dask would write them to disk, and read them in each evaluation."""
    from sparsae.distributed import rows

    monkeypatch.setattr(rows, "MEMORY_SHARE", 1e-9)
    with pytest.warns(ClusterWarning, match=r"rows take .* more than .* of the memory of 2 workers.*written to disk"):
        evaluate(da.from_array(X, chunks=(700, 12)), cluster=client)


def test_a_worker_that_joins_gets_rows(client, settle):
    """It takes part a moment later; the bits stay."""
    expected = evaluate(X, passes=1)
    with sparsae.Objective(X, 5, cluster=client, **OPTIONS) as objective:
        objective(THETA)
        client.cluster.scale(3)
        client.wait_for_workers(3)

        def fits():
            from sparsae.distributed import process

            return len(process._SHARDS)

        started = time.monotonic()
        while time.monotonic() - started < 120:
            cost, gradient = objective(THETA)
            assert cost == expected[0]
            assert np.array_equal(gradient, expected[1])
            if min(client.run(fits).values()) > 0:
                break
        assert min(client.run(fits).values()) > 0
    client.cluster.scale(2)
    settle()


def test_workers_that_die_again_and_again_end_in_an_error(client, settle):
    """Rows whose computation kills the process, which its nanny starts again: an error within the deadline."""

    def deadly(block):
        os._exit(3)

    data = da.from_array(X, chunks=(3000, 12)).map_blocks(deadly, dtype=float, meta=np.empty((0, 0)))
    with pytest.raises(
        ClusterError, match=r"died again and again while they computed rows|were not read by them, within 5 s"
    ):
        evaluate(data, cluster=Connection(client, deadline=5.0))
    settle()


def unregister(client, settle, name):
    """Take a plugin from the workers; where one ends at that moment, the scheduler has not asked all others."""
    try:
        client.unregister_worker_plugin(name)
    except OSError:
        settle()

        async def remove(dask_worker):
            if name in dask_worker.plugins:
                await dask_worker.plugin_remove(name=name)

        client.run(remove)


def test_workers_that_die_in_every_evaluation_end_in_an_error(client, settle, monkeypatch):
    """A storm: each worker that evaluates is gone, and its nanny starts another; an error within the deadline."""
    from distributed import WorkerPlugin
    from sparsae.distributed import rounds

    monkeypatch.setattr(rounds, "MOST_DEATHS", 1)  # each is that of four workers

    class Deadly(WorkerPlugin):
        name = "deadly"

        def setup(self, worker):
            import os

            from sparsae.distributed.shard import Shard

            self.run, Shard.run = Shard.run, lambda *arguments: os._exit(3)

        def teardown(self, worker):
            from sparsae.distributed.shard import Shard

            Shard.run = self.run

    with sparsae.Objective(X, 5, cluster=Connection(client, deadline=6.0), **OPTIONS) as objective:
        client.register_plugin(Deadly())
        try:
            started = time.monotonic()
            with pytest.raises(ClusterError, match=r"died again and again|did not come back|did not reach|no workers"):
                objective(THETA)
            assert time.monotonic() - started < 120
        finally:
            unregister(client, settle, "deadly")
    settle()
    assert evaluate(X, cluster=client)[0] == evaluate(X, passes=1)[0]
