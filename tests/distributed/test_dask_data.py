"""Dask arrays and frames on a real cluster: they find their client, and results stay lazy."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import dask
import dask.array as da
import numpy as np
import pytest

import sparsae
from sparsae import SparseAutoencoder
from sparsae.distributed.connection import Connection
from sparsae.distributed.dask_data import ClusterRows, connect
from sparsae.engine.dask_rows import client_of
from sparsae.errors import ClusterError, DataError, ParameterError

X = np.random.default_rng(0).random((3000, 12)) * 0.8 + 0.1
OPTIONS = {"backend": "numpy", "max_iter": 2}
pytestmark = pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning")


def lazy():
    return da.from_array(X, chunks=(700, 12))


def test_an_array_finds_the_client_that_is_current_or_that_holds_it(client):
    """Current: where Dask itself would compute it.  Persisted: where its chunks are.  Else: in this process."""
    assert client_of(lazy()) is None
    assert client_of(X) is None
    assert client_of(client.persist(lazy())) is client
    with client.as_current():
        assert client_of(lazy()) is client


def test_train_uses_the_cluster_of_the_array(client):
    """Without `cluster`, with the bits of a fit here; a frame too."""
    pandas, dd = pytest.importorskip("pandas"), pytest.importorskip("dask.dataframe")
    here = sparsae.train(X, 4, passes=1, **OPTIONS)
    frame = dd.from_pandas(pandas.DataFrame(X), npartitions=3)
    with client.as_current():
        for data in (lazy(), frame):
            there = sparsae.train(data, 4, **OPTIONS)
            assert len(there.receipt.cluster) == 2
            assert np.array_equal(here.parameters.flatten(), there.parameters.flatten())
    with Connection.open(client).client.as_current():
        transformed = sparsae.train(lazy(), 4, transform="standardise", output="linear", **OPTIONS)
    local = sparsae.train(X, 4, transform="standardise", output="linear", passes=1, **OPTIONS)
    assert np.array_equal(local.parameters.flatten(), transformed.parameters.flatten())


def test_the_estimator_fits_and_transforms_on_the_cluster(client):
    """The fit runs on the workers, and `transform` is computed where the array is."""
    with client.as_current():
        fitted = SparseAutoencoder(4, random_state=0, **OPTIONS).fit(lazy())
        assert len(fitted.receipt_.cluster) == 2
        activations = fitted.transform(lazy())
        assert isinstance(activations, da.Array)
        np.testing.assert_array_equal(activations.compute(), fitted.transform(X))
        assert fitted.score(lazy()) == pytest.approx(fitted.score(X), rel=1e-12)


def test_rows_that_cannot_be_computed_and_a_cluster_that_is_gone(client):
    """The error of a task is a DataError with its reason; a closed client and a deadline are ClusterErrors."""
    from distributed import Client

    def fails(block):
        raise OSError("the disk is gone")

    broken = ClusterRows(Connection(client), lazy().map_blocks(fails, meta=np.empty((0, 0))), "X")
    with pytest.raises(DataError, match=r"Rows of X cannot be computed on the cluster: OSError: the disk is gone"):
        broken[0:5]
    with pytest.raises(ClusterError, match=r"Rows of X did not come within 1e-09 s"):
        ClusterRows(Connection(client, deadline=1e-9), lazy(), "X")[0:5]
    closed = Client(client.scheduler.address, set_as_default=False)
    closed.close()
    with pytest.raises(ClusterError, match="closed"):
        ClusterRows(Connection(closed), lazy(), "X")[0:5]


def test_counting_the_rows_of_frames_leaves_the_settings_of_dask_alone(client):
    """Also in threads that do it at the same time: which scheduler Dask uses is a setting of the whole process."""
    pandas, dd = pytest.importorskip("pandas"), pytest.importorskip("dask.dataframe")
    frame, entered = dd.from_pandas(pandas.DataFrame(X), npartitions=3), []
    before = dask.config.get("scheduler", None)

    def connect_to_frame(i):
        entered.append(connect(None, Connection(client), frame, None)[1].shape)
        assert dask.config.get("scheduler", None) is before

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(connect_to_frame, range(8)))
    assert entered == [(3000, 12)] * 8
    assert dask.config.get("scheduler", None) is before


def test_rows_of_a_frame_that_cannot_be_counted(client):
    """The reason is in the message."""
    pandas, dd = pytest.importorskip("pandas"), pytest.importorskip("dask.dataframe")

    def fails(part):
        raise OSError("the disk is gone")

    frame = dd.from_pandas(pandas.DataFrame(X), npartitions=3)
    with pytest.raises(DataError, match=r"The number of rows of X cannot be computed on the cluster: .*disk is gone"):
        sparsae.Objective(frame.map_partitions(fails, meta=frame._meta), 4, cluster=client)


@pytest.mark.parametrize("change", [lambda chunk: chunk[:-1], lambda chunk: np.vstack([chunk, chunk])], ids=["-", "+"])
def test_chunks_of_another_shape_than_the_array_says_are_refused(client, change):
    """Rows would be lost, or belong to others; a function of `map_blocks` that returns fewer or more."""

    def other(chunk):
        return change(chunk) if len(chunk) == 200 else chunk

    data = lazy().map_blocks(other, chunks=lazy().chunks, meta=np.empty((0, 0)))
    with pytest.raises(DataError, match=r"Rows 2800 to 2999 of X .* a chunk of shape \(\d+, 12\), and .* \(200, 12\)"):
        sparsae.train(data, 4, cluster=client, **OPTIONS)


def test_chunks_whose_computation_fails_are_an_error_of_the_data(client):
    """Its reason is in the message."""

    def fails(chunk):
        raise RuntimeError("the disk is gone")

    data = lazy().map_blocks(fails, meta=np.empty((0, 0)))
    with pytest.raises(DataError, match=r"Rows cannot be computed on the cluster: RuntimeError: the disk is gone"):
        sparsae.train(data, 4, cluster=client, **OPTIONS)


def test_an_asynchronous_client_is_refused(client):
    """It can only be used inside of coroutines."""
    from distributed import Client

    async def open_connection():
        async with Client(client.scheduler.address, asynchronous=True, set_as_default=False) as other:
            Connection.open(other)

    with pytest.raises(ParameterError, match=r"asynchronous=True; give one without, or its address"):
        asyncio.run(open_connection())
