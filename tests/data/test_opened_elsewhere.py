"""Rows that stay in a file travel to another process as what opens them there: the same rows of the same file."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from sparsae.data import load
from sparsae.engine.row_file import RowFile
from sparsae.errors import DataError, FileMissingError

X = (np.random.default_rng(0).random((600, 4)) * 0.8 + 0.1).astype(np.float32)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with the same rows in each format."""
    zarr, h5py, pa = (pytest.importorskip(name) for name in ("zarr", "h5py", "pyarrow"))
    feather, parquet = pytest.importorskip("pyarrow.feather"), pytest.importorskip("pyarrow.parquet")
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    (tmp_path / "parts").mkdir()
    np.save("parts/x-1.npy", X[:200])
    np.save("parts/x-2.npy", X[200:])
    zarr.create_array("x.zarr", shape=X.shape, dtype=X.dtype, chunks=(70, 4))[:] = X
    table = pa.table({name: X[:, i] for i, name in enumerate("abcd")})
    parquet.write_table(table, "x.parquet", row_group_size=250)
    feather.write_feather(table, "x.feather")
    with h5py.File("x.h5", "w") as file:
        file.create_dataset("group/x", data=X, chunks=(50, 4))
    return tmp_path


def travelled(rows, monkeypatch):
    """What another process has after it has received the rows: its current folder is another one."""
    sent = pickle.dumps(rows)
    assert len(sent) < 1500
    with monkeypatch.context() as elsewhere:
        elsewhere.chdir(os.sep)
        received = pickle.loads(sent)
        return type(received), received[:], received.dtype


SOURCES = ["x.npy", "parts", "parts/x-*.npy", "x.zarr", "x.parquet", "x.feather", "x.h5::group/x"]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("options", [{}, {"columns": [2, 0]}, {"scale": True}], ids=str)
def test_every_format_is_opened_again_by_its_path(source, options, monkeypatch):
    """With `stay` the rows stay in the file however few they are; columns and transforms come along."""
    here = load(source, stay=True, **options).X
    assert not isinstance(here, np.ndarray)
    assert here.opens_elsewhere
    kind, values, dtype = travelled(here, monkeypatch)
    assert (kind, dtype) == (type(here), here.dtype)
    np.testing.assert_array_equal(values, here[:])
    np.testing.assert_array_equal(values, load(source, **options).X)


@pytest.mark.usefixtures("folder")
def test_another_file_there_and_none_at_all():
    """A file of another shape is refused with both shapes; a file that is not there, as any missing file."""
    sent = pickle.dumps(load("x.zarr", stay=True).X)
    Path("x.zarr").rename("y.zarr")
    with pytest.raises(FileMissingError, match=r"x\.zarr"):
        pickle.loads(sent)
    zarr = pytest.importorskip("zarr")
    zarr.create_array("x.zarr", shape=(5, 4), dtype=X.dtype, chunks=(5, 4))[:] = X[:5]
    with pytest.raises(DataError, match=r"x\.zarr is another file on .*shape \(5, 4\).*\(600, 4\) of float32 where"):
        pickle.loads(sent)


class Unknown(RowFile):
    """Rows that nothing opens."""

    label, shape, dtype = "rows of a stranger", (2, 2), np.dtype(float)

    def read_into(self, start, stop, out):
        raise AssertionError


def test_rows_that_nothing_opens_are_not_pickled():
    """The error says which rows."""
    assert not Unknown().opens_elsewhere
    with pytest.raises(DataError, match="rows of a stranger cannot be opened by another process"):
        pickle.dumps(Unknown())
