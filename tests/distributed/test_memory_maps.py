"""Memory maps on a real cluster: the workers open the file, where they see the same one."""

from __future__ import annotations

import mmap

import numpy as np
import pytest

import sparsae
from sparsae.distributed import dask_data, rows
from sparsae.distributed.connection import Connection
from sparsae.distributed.dask_data import connect
from sparsae.engine.map_file import file_of_map
from sparsae.engine.row_file import RowFile
from sparsae.errors import ClusterWarning

X = np.random.default_rng(0).random((3000, 12)) * 0.8 + 0.1
OPTIONS = {"backend": "numpy", "block_rows": 200}


@pytest.fixture
def path(tmp_path):
    np.save(tmp_path / "x.npy", X)
    return tmp_path / "x.npy"


def evaluate(data, **options):
    with sparsae.Objective(data, 4, **OPTIONS, **options) as objective:
        found = objective.evaluate(sparsae.Parameters.random(12, 4, seed=1).flatten())
        return [found.cost, *found.gradient]


@pytest.mark.parametrize("part", [slice(None), slice(1700, None), slice(5, 2905)])
def test_workers_open_the_file_of_a_map(client, path, part):
    """The whole map or a slice of it, with the bits of the rows in memory; no row passes the scheduler."""
    mapped = np.load(path, mmap_mode="r")[part]
    assert isinstance(connect(None, Connection(client), mapped, None)[1], RowFile)
    assert evaluate(mapped, cluster=client) == evaluate(X[part], passes=1)


def test_a_separate_target_comes_from_its_file_where_both_do(client, path, tmp_path):
    """With an array beside it a map is an array."""
    np.save(tmp_path / "y.npy", X[::-1])
    mapped, target = np.load(path, mmap_mode="r"), np.load(tmp_path / "y.npy", mmap_mode="r")
    here = evaluate(X, target=X[::-1].copy(), passes=1)
    assert evaluate(mapped, target=target, cluster=client) == here
    assert evaluate(mapped, target=X[::-1].copy(), cluster=client) == here


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("start", [0, 1, mmap.ALLOCATIONGRANULARITY // 8 + 3])
def test_the_rows_of_a_map_are_found_in_its_file(tmp_path, order, start):
    """Wherever the map begins, in both orders, of a slice of a slice too; what was written through it is there."""
    np.save(tmp_path / "x.npy", np.arange(2.0 * mmap.ALLOCATIONGRANULARITY))
    mapped = np.memmap(tmp_path / "x.npy", np.float64, "r+", offset=128 + 8 * start, shape=(300, 4), order=order)
    mapped[7, 2] = -1.0
    for part in (mapped, mapped[10:][5:50]) if order == "C" else (mapped, mapped[:, 1:][:, :2]):
        np.testing.assert_array_equal(file_of_map(part)[:], part)


def test_maps_whose_file_does_not_hold_their_rows(path, tmp_path):
    """Cut columns, copies on write, a file that is gone or has become shorter: None."""
    mapped = np.load(path, mmap_mode="r")
    for part in (mapped[:, 1:], mapped[::2], mapped[0], mapped[:0], np.load(path, mmap_mode="c")):
        assert file_of_map(part) is None
    other = np.memmap(tmp_path / "y", np.float64, "w+", shape=(300, 4))
    with (tmp_path / "y").open("r+b") as file:
        file.truncate(100)
    assert file_of_map(other) is None
    (tmp_path / "y").unlink()
    assert file_of_map(other) is None


def test_workers_that_see_another_file_are_sent_the_rows(client, path, monkeypatch):
    """With a warning above a size: they go through the scheduler."""
    monkeypatch.setattr(rows, "LARGE_BYTES", 1000)
    monkeypatch.setattr(dask_data, "_ends", lambda file: b"others than the workers find")
    mapped = np.load(path, mmap_mode="r")
    with pytest.warns(ClusterWarning, match=r"X of 0\.3 MiB in memory: sent .* through the scheduler.*stay=True"):
        assert evaluate(mapped, cluster=client) == evaluate(X, passes=1)


def test_a_file_that_only_the_client_sees_is_no_error_for_a_map(client, path):
    """A worker that cannot open it says so, and the rows are sent."""
    mapped, connection = np.load(path, mmap_mode="r"), Connection(client)
    path.rename(path.with_name("hidden.npy"))
    assert connect(None, connection, mapped, None)[1] is mapped
