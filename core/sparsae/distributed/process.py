"""What a worker process holds: its part of each fit, made by the first task of the fit that reaches it."""

from __future__ import annotations

import os
import pickle
import socket
import threading
from typing import Any

from sparsae.distributed.batch_shard import BatchShard
from sparsae.distributed.shard import Shard
from sparsae.distributed.tasks import FitDescription, Rows, Work
from sparsae.errors import SparsaeError
from sparsae.model import Parameters

_SHARDS: dict[str, Shard | BatchShard] = {}
_LOCK = threading.Lock()


def run_work(
    fit: str,
    description: bytes,
    work: Work,
    parameters: Parameters,
    rows: Rows | None = None,
    *,
    worker: Any = None,
) -> list[Any] | SparsaeError:
    """Do one task of a fit in this process.

    An error of sparsae is returned and not raised: Dask would write its traceback into the log of the worker too.

    Parameters
    ----------
    fit : str
        Name of the fit.
    description : bytes
        `FitDescription`, pickled: files are opened here and not by the scheduler.
    work : Work
    parameters : Parameters
        In the problem's dtype.
    rows : list, optional
        The rows of the task, where they travel with it; see `tasks.Rows`.
    worker : distributed.Worker, optional
        That of this process; in a task it is found.

    Returns
    -------
    list
        One result a subtree: for "encode" activations summed over each segment, or each block of a mini-batch;
        for "accumulate" the vector of its `Sums`, or those of its blocks; for "figures" those of its mini-batches;
        for "largest" its `Largest`.
    """
    try:
        return shard_of(fit, description, worker).run(work, parameters, rows)
    except SparsaeError as error:
        return error


def shard_of(fit: str, description: bytes, worker: Any = None) -> Shard | BatchShard:
    """Return this process's part of the fit, made at the first call."""
    with _LOCK:
        shard = _SHARDS.get(fit)
        if shard is None:
            given: FitDescription = open_pickled(description)
            threads, memory = worker_limits(worker)
            made = BatchShard(given, threads) if given.batches else Shard(given, threads=threads, memory=memory)
            shard = _SHARDS[fit] = made
        return shard


def open_pickled(pickled: bytes) -> Any:
    """Unpickle the description of a fit, or a container of rows, which opens its files.

    Raises
    ------
    SparsaeError
        When this worker cannot open one: says which worker, and what to do.
    """
    try:
        return pickle.loads(pickled)  # noqa: S301 (Dask runs whatever code a client sends)
    except SparsaeError as error:
        raise type(error)(
            f"{error} That is so on {socket.gethostname()}: workers open files for themselves, so that each must find "
            f"the same file under the same path. Put it on storage that they share, or give an array or a Dask array."
        ) from error


def forget(fit: str) -> None:
    """Drop this process's part of a fit."""
    with _LOCK:
        shard = _SHARDS.pop(fit, None)
    if shard is not None:
        shard.close()


def worker_limits(worker: Any = None) -> tuple[int, int | None]:
    """Return threads and memory limit of the Dask worker of this process; of the process where there is none."""
    from distributed import get_worker

    try:
        worker = worker or get_worker()
    except ValueError:
        return os.cpu_count() or 1, None
    manager = getattr(worker, "memory_manager", None)
    return worker.state.nthreads, getattr(manager, "memory_limit", None)
