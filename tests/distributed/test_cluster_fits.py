"""Fits on a real Dask cluster have the bits of fits in this process, whatever happens to the workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import dask.array as da
import numpy as np
import pytest

import sparsae
from sparsae.distributed.connection import Connection
from sparsae.engine.npy_file import open_npy
from sparsae.engine.row_file import RowFile
from sparsae.errors import ClusterError, DataError, ParameterError

RNG = np.random.default_rng(0)
X = RNG.random((3000, 12)) * 0.8 + 0.1
OPTIONS = {"backend": "numpy", "block_rows": 200}
VARIANTS = [
    {},
    {"passes": 2},
    {"activation": "relu", "l1": 0.02, "output": "linear"},
    {"activation": "topk", "k": 2, "output": "linear", "pre_bias": True},
    {"activation": "batchtopk", "k": 2},
    {"activation": "jumprelu", "l0": 0.1, "bandwidth": 0.5, "output": "linear"},
]


def gradient(data, *, cluster=None, target=None, **options):
    jump = options.get("activation") == "jumprelu"
    theta = sparsae.Parameters.random(12, 5, seed=1).flatten()
    theta = np.concatenate([theta, np.full(5, 0.1)]) if jump else theta
    objective = sparsae.Objective(data, 5, target=target, cluster=cluster, **(OPTIONS | options))
    with objective:
        return objective.evaluate(theta)


def same(a, b):
    return a.cost == b.cost and np.array_equal(a.gradient, b.gradient)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_an_evaluation_has_the_bits_of_the_local_engine(client, variant, dtype):
    """Cost and gradient are equal to the last bit, for each variant and both dtypes, with the same passes."""
    data = X.astype(dtype)
    here = gradient(data, **({"passes": 1} | variant))
    assert same(gradient(data, cluster=client, **variant), here)


@pytest.mark.parametrize("source", ["memory", "dask", "npy file", "target"])
def test_rows_come_from_memory_dask_arrays_and_files(client, tmp_path, source):
    """Whatever gives the rows, the bits are the same; a separate target too."""
    np.save(tmp_path / "x.npy", X)
    data = {"dask": da.from_array(X, chunks=(700, 12)), "npy file": open_npy(tmp_path / "x.npy")}.get(source, X)
    target = X[::-1].copy() if source == "target" else None
    assert same(gradient(data, cluster=client, target=target), gradient(X, passes=1, target=target))


def test_a_fit_has_the_bits_of_a_local_fit_and_lists_its_workers(client):
    """The whole fit agrees, and the receipt tells host, versions and pools of each worker."""
    with pytest.warns(sparsae.ConvergenceWarning):
        here = sparsae.train(X, 5, max_iter=5, passes=1, **OPTIONS)
    with pytest.warns(sparsae.ConvergenceWarning):
        there = sparsae.train(X, 5, max_iter=5, cluster=client, **OPTIONS)
    assert np.array_equal(here.parameters.flatten(), there.parameters.flatten())
    assert here.receipt.cluster == ()
    assert len(there.receipt.cluster) == there.receipt.workers == 2
    assert all(worker["numpy"] == np.__version__ and worker["pools"] for worker in there.receipt.cluster)


def test_threads_are_those_of_each_worker(client):
    """Asked for in the fit, else of the connection, else the Dask threads of the worker; the receipt adds them up."""
    for cluster, threads, each in ((client, 3, 3), (Connection(client, threads=2), None, 2), (client, None, 1)):
        with sparsae.Objective(X, 5, cluster=cluster, threads=threads, backend="fused", block_rows=200) as objective:
            objective(sparsae.Parameters.random(12, 5, seed=1).flatten())
            assert objective.receipt.threads_granted == 2 * each
            assert [worker["threads"] for worker in objective.receipt.cluster] == [each, each]

            def kernels():
                from sparsae.distributed import process

                return [len(shard._pool.kernels) for shard in process._SHARDS.values()]

            assert all(each in numbers for numbers in client.run(kernels).values())


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSTOP"])
def test_a_worker_that_dies_or_stops_in_mid_fit_changes_no_bit(client, settle, name):
    """Its segments are read again elsewhere; a stopped worker costs one patience."""
    settle()
    connection = Connection(client, patience=3.0)
    here = gradient(X, passes=1)
    victim = next(iter(client.run(os.getpid).values()))
    theta = sparsae.Parameters.random(12, 5, seed=1).flatten()
    started = time.monotonic()
    try:
        with sparsae.Objective(X, 5, cluster=connection, **OPTIONS) as objective:
            threading.Timer(0.2, os.kill, (victim, getattr(signal, name))).start()
            while time.monotonic() - started < 1.5:
                assert same(objective.evaluate(theta), here)
            assert same(objective.evaluate(theta), here)
    finally:
        if name == "SIGSTOP":
            os.kill(victim, signal.SIGKILL)
    assert time.monotonic() - started < 120  # and not for ever
    settle()


def test_a_cluster_that_is_lost_leaves_a_checkpoint_to_go_on_from(client, tmp_path):
    """The error says how to resume, and the resumed fit has the bits of one that was never interrupted."""
    from distributed import Client

    other = Client(client.scheduler.address, set_as_default=False)
    path = tmp_path / "fit.ckpt"

    def lose_the_cluster(progress):
        if progress.iteration == 3:
            other.close()

    with pytest.raises(ClusterError, match=r"closed.*saved in .*fit\.ckpt; go on.*resume=True"):
        sparsae.train(X, 5, max_iter=6, cluster=other, checkpoint=path, observers=lose_the_cluster, **OPTIONS)
    with pytest.warns(sparsae.ConvergenceWarning):
        whole = sparsae.train(X, 5, max_iter=6, passes=1, **OPTIONS)
    with pytest.warns(sparsae.ConvergenceWarning):
        resumed = sparsae.train(X, 5, max_iter=6, passes=1, checkpoint=path, resume=True, **OPTIONS)
    assert np.array_equal(whole.parameters.flatten(), resumed.parameters.flatten())


def test_data_that_cannot_be_used_is_found_on_the_worker(client):
    """A NaN in a distant segment: the message says in which row it is."""
    bad = X.copy()
    bad[2711, 3] = np.nan
    with pytest.raises(DataError, match=r"not finite; the first is nan in row 2711, column 3"):
        gradient(bad, cluster=client)


def test_an_array_with_chunked_columns_or_unknown_lengths(client):
    """Columns in several chunks are joined; a Dask array of unknown length is refused with the way out."""
    assert same(gradient(da.from_array(X, chunks=(700, 5)), cluster=client), gradient(X, passes=1))
    unknown = da.from_array(X, chunks=(700, 12))
    unknown = unknown[unknown[:, 0] > 0]
    with pytest.raises(DataError, match="compute_chunk_sizes"):
        gradient(unknown, cluster=client)


class OtherRows(RowFile):
    """A file of another format."""

    label, shape, dtype = "x.zarr", X.shape, X.dtype

    def read_into(self, start, stop, out):
        out[:] = X[start:stop]


def test_a_file_that_workers_cannot_open(client):
    """Formats without a way to open them elsewhere are refused with what to give instead."""
    with pytest.raises(DataError, match=r"x\.zarr cannot be opened by the workers .*dask\.array\.from_zarr"):
        gradient(OtherRows(), cluster=client)


def test_a_scheduler_that_is_not_there(monkeypatch):
    """It fails within the time limit and says what to start."""
    monkeypatch.setattr("sparsae.distributed.connection.CONNECT_SECONDS", 0.5)
    started = time.monotonic()
    with pytest.raises(ClusterError, match=r"No scheduler answered at 'tcp://127.0.0.1:1' .*dask scheduler"):
        gradient(X, cluster="tcp://127.0.0.1:1")
    assert time.monotonic() - started < 10


def test_a_local_cluster_leaves_the_environment_of_this_process_alone():
    """Dask's nannies would set the thread variables to 1 here, which slows what is loaded later."""
    script = (
        "import os; before = dict(os.environ)\n"
        "if __name__ == '__main__':\n"
        "    from sparsae.distributed.connection import Connection\n"
        "    connection = Connection.open('local:1')\n"
        "    connection.close()\n"
        "    print({name for name in os.environ if 'THREADS' in name and os.environ[name] != before.get(name)})"
    )
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_ctrl_c_in_a_terminal_leaves_the_workers_of_a_local_cluster_alone(client, settle):
    """All processes of the terminal get it; this one ends the fit, for which it needs them."""
    settle()

    def handler():
        return str(signal.getsignal(signal.SIGINT))

    assert set(client.run(handler).values()) == {str(signal.SIG_IGN)}
    processes = set(client.run(os.getpid).values())
    for process in processes:
        os.kill(process, signal.SIGINT)
    assert same(gradient(X, cluster=client), gradient(X, passes=1))
    assert set(client.run(os.getpid).values()) == processes


def test_nothing_listens_beyond_this_machine(client):
    """Scheduler, workers, nannies and their pages of "local:N" listen on 127.0.0.1 only."""
    import psutil

    here = psutil.Process()
    sockets = [s for process in [here, *here.children(recursive=True)] for s in process.net_connections("inet")]
    listening = {s.laddr.ip for s in sockets if s.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


def test_a_cluster_without_workers():
    """It is not waited for without end, and the error says how to start one."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
        pytest.raises(ClusterError, match=r"no workers; waited 0.5 s .*dask worker tcp://127"),
    ):
        gradient(X, cluster=Connection(client, deadline=0.5))


@pytest.mark.parametrize("given", ["local:", "local:0", "local:x", 3, ["tls://a"]])
def test_a_cluster_that_is_none(given):
    """What is neither client nor address is refused with what is possible."""
    with pytest.raises(ParameterError, match="local:"):
        gradient(X, cluster=given)


def test_a_closed_client(client):
    """A client that was closed is refused, not waited for."""
    from distributed import Client

    closed = Client(client.scheduler.address, set_as_default=False)
    closed.close()
    with pytest.raises(ClusterError, match="closed"):
        gradient(X, cluster=closed)
