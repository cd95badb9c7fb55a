"""Arrays and frames of Dask without a cluster: the numbers of an array, each chunk computed once in a pass."""

from __future__ import annotations

import numpy as np
import pytest

import sparsae
from sparsae.engine.dask_rows import client_of, is_dask, rows_of_dask
from sparsae.engine.sources import DataSource
from sparsae.errors import DataError

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
X = np.random.default_rng(0).random((500, 6)) * 0.8 + 0.1


@pytest.fixture(autouse=True)
def synchronous():
    """Everything is computed in this thread."""
    with dask.config.set(scheduler="synchronous"):
        yield


def frame(**columns):
    pandas = pytest.importorskip("pandas")
    dd = pytest.importorskip("dask.dataframe")
    return dd.from_pandas(pandas.DataFrame(columns), npartitions=3)


@pytest.fixture(params=["small", "large"])
def size(request, monkeypatch):
    """Whether the data fits into half of the memory, and is computed at once."""
    if request.param == "large":
        monkeypatch.setattr("sparsae.engine.dask_rows.memory_limit", lambda: 1)


@pytest.mark.usefixtures("size")
@pytest.mark.filterwarnings("ignore:X can only be read in order")  # taking rows copies larger data to a file
def test_a_dask_array_gives_the_rows_of_the_array():
    """Any slice and any rows, whatever the chunks, also where columns are chunked and chunks are empty."""
    for chunks in ((500, 6), ((120, 0, 200, 180), 6), (77, 2)):
        source = DataSource(da.from_array(X, chunks=chunks), "X")
        assert np.array_equal(source.rows(slice(100, 350), np.dtype(float)), X[100:350])
        assert np.array_equal(source.take(np.array([0, 119, 120, 499]), np.dtype(float)), X[[0, 119, 120, 499]])
        assert source.summary().digest == DataSource(X, "X").summary().digest


def test_a_chunk_is_computed_once_in_a_pass(monkeypatch):
    """Blocks that do not end with a chunk do not compute it again."""
    computed = []

    def noted(block):
        computed.append(len(block))
        return block

    wide = da.zeros((40_000, 64), chunks=(4096, 64)).map_blocks(noted, meta=np.empty((0, 0)))  # 2 MiB a chunk
    monkeypatch.setattr("sparsae.engine.dask_rows.memory_limit", lambda: 1)
    rows = rows_of_dask(wide, "X")
    assert computed == []
    for start in range(0, 40_000, 1000):
        rows[start : start + 1000]
    assert sorted(computed) == sorted(wide.chunks[0])


@pytest.mark.usefixtures("size")
@pytest.mark.filterwarnings("ignore:X can only be read in order")
def test_a_fit_on_a_dask_array_has_the_bits_of_one_on_the_array():
    """Full batch and mini-batches; here, since no cluster holds it."""
    lazy = da.from_array(X, chunks=(77, 6))
    assert client_of(lazy) is None
    for options in ({"method": "lbfgs"}, {"method": sparsae.optimize.Adam(batch_rows=64)}):
        options |= {"max_iter": 2, "backend": "numpy", "block_rows": 100}
        with pytest.warns(sparsae.ConvergenceWarning):
            lazily = sparsae.train(lazy, 3, transform="standardise", output="linear", **options)
        with pytest.warns(sparsae.ConvergenceWarning):
            here = sparsae.train(X, 3, transform="standardise", output="linear", **options)
        assert np.array_equal(here.parameters.flatten(), lazily.parameters.flatten())
        assert lazily.receipt.cluster == ()
        assert np.array_equal(here.encode(X), lazily.encode(lazy))


def test_a_frame_is_an_array_of_its_columns():
    """A Dask frame is taken with its rows counted; columns of text are named."""
    numbers = frame(a=X[:, 0], b=np.arange(500))
    assert is_dask(numbers)
    source = DataSource(numbers, "X")
    assert np.array_equal(source.values(np.dtype(float)), np.column_stack([X[:, 0], np.arange(500.0)]))
    with pytest.raises(DataError, match=r"X has 1 column that is not of numbers: word \(.*dask\.dataframe\.to_numeric"):
        DataSource(frame(a=X[:, 0], word=["x"] * 500), "X")


def test_what_cannot_be_used_says_what_to_do():
    """Unknown lengths, masks, other collections, wrong shapes, and chunks that fail."""
    lazy = da.from_array(X, chunks=(100, 6))
    with pytest.raises(DataError, match=r"unknown length.*X\.compute_chunk_sizes\(\)"):
        DataSource(lazy[lazy[:, 0] > 0.5], "X")
    with pytest.raises(DataError, match=r"chunks are of type MaskedArray.*map_blocks"):
        DataSource(da.ma.masked_less(lazy, 0.5), "X")
    with pytest.raises(DataError, match=r"X is a Delayed\w* of Dask; give an array or a frame"):
        DataSource(dask.delayed(X), "X")
    for vector in (lazy[:, 0], frame(a=X[:, 0])["a"]):
        with pytest.raises(DataError, match=r"shape \(500,\)"):
            DataSource(vector, "X")

    def fails(block):
        raise OSError("the disk is gone")

    def is_too_large(block):
        raise MemoryError("no room")

    with pytest.raises(DataError, match=r"rows 0 to 499 .* cannot be computed: OSError: the disk is gone"):
        DataSource(lazy.map_blocks(fails, meta=np.empty((0, 0))), "X")
    with pytest.raises(MemoryError, match="no room"):  # which is no fault of the data
        DataSource(lazy.map_blocks(is_too_large, meta=np.empty((0, 0))), "X")
