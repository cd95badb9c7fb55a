"""`plan`, in Python and at the command: measured on a real cluster in this process, told in words and as JSON."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace

import numpy as np
import pytest

import sparsae
from sparsae.cli import main
from sparsae.distributed.connection import Connection
from sparsae.errors import ClusterError, DataError, ParameterError
from sparsae.planning import Constants, plan
from sparsae.planning.calibration import row_seconds

X = np.random.default_rng(0).random((500, 6)) * 0.8 + 0.1


@pytest.fixture(scope="module")
def client():
    """A cluster of two workers with two threads each, in this process."""
    distributed = pytest.importorskip("distributed")
    where = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "protocol": "tcp"}
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=2, processes=False, **where) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Times need not be good ones here."""
    monkeypatch.setattr("sparsae.planning.calibration.SECONDS", 1e-4)
    monkeypatch.setattr("sparsae.planning.calibration.EVALUATIONS", 2)
    monkeypatch.setattr("sparsae.planning.calibration.BYTES", 1 << 16)


def test_a_plan_measures_the_cluster_and_names_every_part(client):
    """Constants are times and sizes, the parts add up, and the sizes are those of the fit that was asked for."""
    made = plan(X, 3, workers=4, rows=10**6, cluster=client, backend="numpy")
    work, costs, found = made.workload, made.constants, made.cluster
    assert (work.n_samples, work.n_visible, work.n_hidden, work.itemsize) == (10**6, 6, 3, 8)
    assert (work.rounds, work.with_sparsity) == (1, True)
    assert min(costs.row_seconds, costs.add_seconds, costs.process_bytes) > 0
    assert min(costs.round_seconds, costs.task_seconds, costs.send_seconds, costs.receive_seconds) >= 0
    assert (found.workers, found.threads) == (4, 2)  # threads are those of the workers
    assert found.seconds == pytest.approx(found.compute + found.broadcast + found.reduction + found.scheduler)
    assert made.calibrated_on == "2 workers of the cluster"
    assert made.best.seconds <= found.seconds
    assert json.loads(json.dumps(made.to_dict()))["cluster"]["seconds"] == found.seconds
    for name in ("compute", "broadcast", "reduction", "scheduler", "memory of a worker"):
        assert name in repr(made)


@pytest.fixture
def assumed(monkeypatch):
    """Nothing is measured: a row takes a microsecond, a round ten milliseconds, and so on."""
    costs = Constants(
        row_seconds=1e-6,
        round_seconds=0.01,
        task_seconds=0.001,
        send_seconds=1e-9,
        receive_seconds=1e-9,
        add_seconds=1e-9,
        process_bytes=1 << 27,
    )
    module = importlib.import_module("sparsae.planning.plan")  # whose name is also that of the function
    monkeypatch.setattr(module, "_constants", lambda connection, row, calls: costs)
    monkeypatch.setattr(module, "row_seconds", lambda make, most, at_once: 1e-6)


@pytest.mark.usefixtures("assumed")
@pytest.mark.parametrize(
    ("options", "rounds", "with_sparsity"),
    [
        ({"passes": 2}, 2, False),
        ({"activation": "relu", "output": "linear"}, 1, False),
        ({"activation": "batchtopk", "k": 2, "output": "linear"}, 2, False),
    ],
    ids=str,
)
def test_rounds_and_sums_follow_the_options_of_the_fit(client, options, rounds, with_sparsity):
    """Two rounds for two passes and for batch top-k; sums of slopes only where the sparsity vector needs all rows."""
    made = plan(X, 3, workers=2, cluster=client, backend="numpy", target=X[::-1], threads=1, **options)
    assert (made.workload.rounds, made.workload.with_sparsity) == (rounds, with_sparsity)
    assert made.workload.separate_target
    assert made.workload.row_bytes == 2 * 6 * 8
    assert made.cluster.threads == 1


@pytest.mark.usefixtures("assumed")
def test_recommendations_follow_the_figures(client):
    """Stay in one process; worth it; too many workers; larger mini-batches."""
    made = plan(X, 3, workers=4, cluster=client, backend="numpy")
    fast = replace(made.cluster, compute=1.0, broadcast=0.0, reduction=0.0, scheduler=0.1)
    slow = replace(fast, compute=0.01)
    assert "Stay in one process" in replace(made, cluster=fast, here=0.5).recommendation
    assert "2.0 times as fast as this process" in replace(made, cluster=fast, best=fast, here=2.2).recommendation
    words = replace(made, cluster=slow, here=9.0, batch_rows=1234, best=replace(fast, workers=2, compute=0.0))
    assert "compute for 9% of the time only" in words.recommendation
    assert "2 workers are fastest: 100.0 ms" in words.recommendation
    assert "at least 1,234 rows in each" in words.recommendation


@pytest.mark.usefixtures("assumed")
def test_a_connection_of_the_user_stays_open(client):
    """Only what `plan` has opened is closed."""
    connection = Connection(client)
    plan(X, 3, workers=1, cluster=connection, backend="numpy")
    connection.check()


def test_the_time_of_a_row_is_that_of_more_rows_less_that_of_fewer(monkeypatch):
    """A fixed time of each evaluation does not count; no more rows are timed than there are."""
    asked = []

    def seconds(make, rows):
        asked.append(rows)
        return 0.05 + 1e-6 * rows

    monkeypatch.setattr("sparsae.planning.calibration._evaluation_seconds", seconds)
    monkeypatch.setattr("sparsae.planning.calibration.SECONDS", 0.15)
    assert row_seconds(None, 10**9, 4) == pytest.approx(4e-6)
    assert asked == [2048, 16384, 131072]
    assert row_seconds(None, 5000, 1) == pytest.approx(1e-6)
    assert asked[-1] == 5000
    assert row_seconds(None, 100, 1) == pytest.approx((0.05 + 1e-4) / 100)


def test_the_command_prints_a_table_or_json(client, tmp_path, monkeypatch, capsys):
    """Both say the same; the options are those of `train`."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    words = ["plan", "x.npy", "--hidden", "3", "--workers", "8", "--rows", "5000000", "--backend", "numpy"]
    words += ["--cluster", client.scheduler.address]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert not ended.value.code
    out = capsys.readouterr().out
    assert "5,000,000 rows of 6 inputs, 3 hidden units" in out
    assert "8 workers with 2 threads each" in out
    with pytest.raises(SystemExit) as ended:
        main([*words, "--json", "--threads", "3", "--activation", "relu", "--output", "linear"])
    assert not ended.value.code
    found = json.loads(capsys.readouterr().out)
    assert (found["cluster"]["workers"], found["cluster"]["threads"]) == (8, 3)
    assert found["workload"]["with_sparsity"] is False


def test_what_cannot_be_planned(client, monkeypatch):
    """Workers, rows, data, options and addresses are checked as in a fit."""
    monkeypatch.setattr("sparsae.distributed.connection.CONNECT_SECONDS", 0.2)
    with pytest.raises(ParameterError, match="workers must be an integer of at least 1, not 0"):
        plan(X, 3, workers=0)
    with pytest.raises(ParameterError, match="rows must be an integer of at least 1, not -5"):
        plan(X, 3, workers=1, rows=-5)
    with pytest.raises(DataError, match="X has shape"):
        plan(X[0], 3, workers=1)
    with pytest.raises(ClusterError, match="No scheduler answered"):
        plan(X, 3, workers=1, cluster="tcp://127.0.0.1:1", backend="numpy")
    with pytest.raises(sparsae.errors.UnknownOptionError, match="batch_rows"):
        plan(X, 3, workers=1, batch_rows=5)
