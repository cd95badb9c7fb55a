"""The digest that guards a checkpoint is made where the rows are; a checkpoint moves to a cluster and back."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

import sparsae
from sparsae.engine import summary
from sparsae.engine.npy_file import open_npy
from sparsae.engine.sources import DataSource
from sparsae.errors import CheckpointError
from sparsae.optimize import Adam

X = np.random.default_rng(0).random((3000, 12)) * 0.8 + 0.1
OPTIONS = {"backend": "fused", "block_rows": 200}


@pytest.mark.parametrize("page_rows", [170, 250, 1100, 3000])
@pytest.mark.parametrize("source", ["dask", "dask target", "npy file"])
def test_the_digest_is_that_of_one_process(client, tmp_path, source, page_rows, monkeypatch):
    """Whether pages are smaller or larger than segments, or the only one; this process reads no rows for it."""
    monkeypatch.setattr(summary, "PIECE_BYTES", 8 * 12 * page_rows)
    np.save(tmp_path / "x.npy", X)
    data = open_npy(tmp_path / "x.npy") if source == "npy file" else da.from_array(X, chunks=(700, 12))
    target = X[::-1] if source == "dask target" else None
    here = sparsae.Objective(X, 5, target=target, **OPTIONS)
    expected, variance = here.receipt.data_digest, here.engine.summaries()[1].variance_sum
    there = None if target is None else da.from_array(target.copy(), chunks=(450, 12))
    objective = sparsae.Objective(data, 5, target=there, cluster=client, **OPTIONS)
    monkeypatch.setattr(DataSource, "summary", None)
    assert objective.receipt.data_digest == expected
    assert objective.engine.summaries()[1].variance_sum == variance


@pytest.mark.filterwarnings("ignore::sparsae.errors.ConvergenceWarning")
@pytest.mark.parametrize("method", ["lbfgs", "adam"])
@pytest.mark.parametrize("begin", ["here", "on the cluster"])
def test_a_checkpoint_moves_both_ways(client, tmp_path, method, begin):
    """A fit that moves from one machine to a cluster or back ends with the bits of one that never moved."""
    options = OPTIONS | {"method": Adam(batch_rows=700) if method == "adam" else method, "passes": 1}
    places = [{}, {"cluster": client}] if begin == "here" else [{"cluster": client}, {}]
    data = [X if not place else da.from_array(X, chunks=(700, 12)) for place in places]
    path = tmp_path / "fit.ckpt"
    whole = sparsae.train(X, 5, max_iter=4, **options)
    sparsae.train(data[0], 5, max_iter=2, checkpoint=path, **places[0], **options)
    moved = sparsae.train(data[1], 5, max_iter=4, checkpoint=path, resume=True, **places[1], **options)
    assert np.array_equal(whole.parameters.flatten(), moved.parameters.flatten())
    assert np.array_equal(whole.history.cost, moved.history.cost)


def test_a_checkpoint_of_other_data_is_refused_on_a_cluster(client, tmp_path):
    """One value that differs, in the last chunk."""
    other = X.copy()
    other[-1, -1] = 0.5
    path = tmp_path / "fit.ckpt"
    with pytest.warns(sparsae.ConvergenceWarning):
        sparsae.train(X, 5, max_iter=2, checkpoint=path, passes=1, **OPTIONS)
    data = da.from_array(other, chunks=(700, 12))
    with pytest.raises(CheckpointError, match="the data are not the same"):
        sparsae.train(data, 5, max_iter=4, checkpoint=path, resume=True, cluster=client, **OPTIONS)
