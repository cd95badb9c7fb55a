"""Mini-batches on a real Dask cluster have the bits of those in this process."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

import sparsae
from sparsae.distributed import rows as cluster_rows
from sparsae.engine.npy_file import open_npy
from sparsae.errors import DataError
from sparsae.optimize import SGD, Adam

RNG = np.random.default_rng(0)
X = RNG.random((3000, 12)) * 0.8 + 0.1
UNITS = {
    "sigmoid": {"weight_decay": 1e-3},
    "relu": {"l1": 0.02},
    "topk": {"k": 2, "aux": 0.1, "dead_after": 700, "k_aux": 3},
    "batchtopk": {"k": 2, "aux": 0.1, "dead_after": 700, "k_aux": 3},
    "jumprelu": {"l0": 0.1, "bandwidth": 0.5},
}


def fit(data, *, activation="sigmoid", method=None, cluster=None, n_hidden=40, **options):
    """Train for two epochs and return everything that must have the same bits."""
    method = method or Adam(batch_rows=700, held_out=0.1, learning_rate=0.03)
    options = {"backend": "fused", "block_rows": 200, "max_iter": 2} | UNITS[activation] | options
    if activation in ("topk", "batchtopk"):  # begin with units that are dead
        start = sparsae.Objective(data, n_hidden, activation=activation, **UNITS[activation]).random_parameters(1)
        start.b1[: n_hidden // 4] -= 0.4
        options["initial"] = start
    with pytest.warns(sparsae.ConvergenceWarning):
        return sparsae.train(data, n_hidden, activation=activation, method=method, cluster=cluster, **options)


def assert_same(there, here):
    for name in ("W1", "b1", "W2", "b2", "threshold"):
        a, b = getattr(there.parameters, name), getattr(here.parameters, name)
        assert (a is None and b is None) or np.array_equal(a, b)
    assert np.array_equal(there.history.cost, here.history.cost)
    assert there.cost == here.cost
    assert there.metrics == here.metrics


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("activation", UNITS)
def test_a_fit_has_the_bits_of_a_local_fit(client, activation, dtype):
    """Steps, held-out costs, thresholds and revived units agree to the last bit, for each unit and both dtypes."""
    data = X.astype(dtype)
    assert_same(fit(data, activation=activation, cluster=client), fit(data, activation=activation))


@pytest.mark.parametrize("source", ["large memory", "dask", "dask target", "npy file"])
def test_rows_of_a_batch_come_from_wherever_they_are(client, tmp_path, source, monkeypatch):
    """Rows on the workers, cut anywhere, and rows of files give the bits of rows that are sent with the tasks."""
    monkeypatch.setattr(cluster_rows, "SENT_BYTES", 0)
    np.save(tmp_path / "x.npy", X)
    chunks = da.from_array(X, chunks=(413, 12))
    data = {"large memory": X, "npy file": open_npy(tmp_path / "x.npy")}.get(source, chunks)
    target = X[::-1].copy() if source == "dask target" else None
    there = None if target is None else da.from_array(target, chunks=(997, 12))
    options = {"activation": "topk", "seed": 3}
    assert_same(fit(data, cluster=client, target=there, **options), fit(X, target=target, **options))


@pytest.mark.parametrize("backend_name", ["fused", "numpy"])
def test_large_models_and_momentum(client, backend_name):
    """Sums in the dtype of the kernel, which models of more than 100,000 parameters have: the same bits."""
    rows = RNG.random((300, 160)).astype(np.float32)
    options = {"backend": backend_name, "n_hidden": 320, "max_iter": 1, "block_rows": 64}
    options |= {"activation": "relu"}
    options["method"] = SGD(batch_rows=128, learning_rate=0.1, evaluate_start=True)
    assert_same(fit(rows, cluster=client, **options), fit(rows, **options))


def test_dead_units_are_revived_on_a_cluster(client):
    """The auxiliary loss takes part in the fits above: without it their bits are others."""
    with_it, without = (fit(X, activation="topk", cluster=client, aux=aux) for aux in (0.1, 0.0))
    assert not np.array_equal(with_it.parameters.W1, without.parameters.W1)


def test_the_receipt_says_where_mini_batches_ran(client):
    """How many blocks and how many workers: what limits the speed."""
    notes = fit(X, cluster=client, max_iter=1).receipt.notes
    assert "Mini-batches of 700 rows ran in 4 blocks on 2 workers of the cluster." in notes


def test_a_value_that_cannot_be_used_is_named_by_its_row(client, tmp_path):
    """A NaN in a row of a mini-batch: the worker says which row of the data it is."""
    bad = X.copy()
    bad[2711, 3] = np.nan
    np.save(tmp_path / "x.npy", bad)
    for data in (bad, da.from_array(bad, chunks=(500, 12)), open_npy(tmp_path / "x.npy")):
        with pytest.raises(DataError, match=r"X .*not finite; the first is nan in row 2711, column 3"):
            sparsae.train(data, 5, method=Adam(), cluster=client, backend="numpy", max_iter=1)
