"""Calls of workers, which take the place of tasks in rounds that need no scheduling.

An empty task on each of two workers takes 12 ms here, a call of each 2.8 ms; with 16 workers 87 and 33 ms (AMD EPYC,
two cores).  The scheduler passes a call on and forgets it: what does not come back has to be asked for again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, final

import numpy as np

from sparsae.distributed.process import run_work
from sparsae.distributed.tasks import Work
from sparsae.errors import SparsaeError
from sparsae.model import Parameters

TASKS_SECONDS = 10.0  # between rounds of tasks: a scheduler that sees none counts as idle, and may end or shrink


@final
class Calls:
    """Calls of the workers of a client.

    Parameters
    ----------
    client : distributed.Client
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._tasks_at = float("-inf")

    def allowed(self) -> bool:
        """Whether a round that begins now may be calls; every ten seconds one is of tasks."""
        now = time.monotonic()
        if now - self._tasks_at < TASKS_SECONDS:
            return True
        self._tasks_at = now
        return False

    def require_tasks(self) -> None:
        """Have the next round be of tasks."""
        self._tasks_at = float("-inf")

    def start(self, worker: str, fit: str, description: bytes, work: Work, parameters: Parameters, rows: Any) -> Any:
        """Have a worker do a task of a fit; return a `concurrent.futures.Future` of what `call_work` returns.

        Parameters
        ----------
        worker : str
            Address.
        fit, description, work, parameters
            As in `process.run_work`.
        rows : list or None
            As `RemoteRows.of` returned them; all futures are of rows that this worker holds.
        """
        arguments = fit, description, work, parameters, None if rows is None else _with_keys(rows)

        async def call() -> Any:
            found = await self._client._run(call_work, *arguments, workers=[worker], on_error="raise")
            return found[worker]

        coroutine = call()
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._client.loop.asyncio_loop)
        except RuntimeError as error:  # the client was closed, and its loop with it
            coroutine.close()
            failed: Future[Any] = Future()
            failed.set_exception(error)
            return failed


async def call_work(
    fit: str, description: bytes, work: Work, parameters: Parameters, rows: Any, dask_worker: Any
) -> list[Any] | SparsaeError | None:
    """Do a task in one of the threads of a worker; runs in the event loop of the worker, which Dask passes.

    Returns
    -------
    list, SparsaeError or None
        What `process.run_work` returns; None when the worker does not hold the rows any more.
    """
    try:
        found = None if rows is None else _with_arrays(rows, dask_worker.data)
    except KeyError:
        return None
    run = partial(run_work, fit, description, work, parameters, found, worker=dask_worker)
    threads = dask_worker.executors["default"]  # those of tasks, so that both together are no more than its threads
    return await asyncio.get_running_loop().run_in_executor(threads, run)


def _with_keys(rows: Any) -> Any:
    """Return rows with the key of each future in its place."""
    return _exchange(rows, lambda part: part.key)


def _with_arrays(rows: Any, data: Mapping[Any, Any]) -> Any:
    """Return rows with the array that a worker holds in the place of each key."""
    return _exchange(rows, data.__getitem__)


def _exchange(rows: Any, other: Callable[[Any], Any]) -> Any:
    """Return rows with something else in the place of what is no array."""
    return [
        [(part if isinstance(part, np.ndarray) else other(part), which, places) for part, which, places in pieces]
        for pieces in rows
    ]
