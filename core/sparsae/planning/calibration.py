"""The constants of the cost model, measured in a few seconds with the chosen backend and a real cluster.

- Rows: an evaluation of some rows less one of fewer rows, on the workers or in this process.
- Round and task: evaluations of a tiny model, by one worker and by all of them; by calls, or by tasks where parameters
  are too large for calls.
- Bytes: arrays sent to a worker and received from one, less the time of tiny ones.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsae.distributed.connection import Connection
from sparsae.objective import Objective

EVALUATIONS = 15
TINY = 64  # rows of a block
BYTES = 1 << 22
SECONDS = 0.25  # of an evaluation that tells the time of a row
LEAST_ROWS = 2048


def median_seconds(call: Callable[[], object], repeats: int = EVALUATIONS) -> float:
    """Return the median time of a call, after two that warm up."""
    times = []
    for _ in range(2 + repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return median(times[2:])


def row_seconds(make: Callable[[int], Objective], most: int, at_once: int) -> float:
    """Return the time of one thread for one row.

    Parameters
    ----------
    make : callable
        Returns an objective of so many rows.
    most : int
        Rows of the fit: no more are timed.
    at_once : int
        Threads that work at the same time, on all workers together.
    """
    rows = few = 0.0
    more = min(most, LEAST_ROWS)
    while True:
        many = _evaluation_seconds(make, int(more))
        if many >= SECONDS or more >= most:
            return (many - few if many > few else many) * at_once / (more - rows if many > few else more)
        rows, few, more = more, many, min(most, 8 * more)


def _evaluation_seconds(make: Callable[[int], Objective], rows: int) -> float:
    with make(rows) as objective:
        theta = objective.random_parameters(0).flatten()
        return median_seconds(lambda: objective.evaluate(theta), 7)


def scheduler_seconds(connection: Connection, *, calls: bool) -> tuple[float, float]:
    """Return the fixed time of a round, and the time for each worker: of calls, or of tasks."""
    workers = len(connection.shares())
    X = np.full((TINY * 12, 4), 0.5)

    def seconds(rows: int) -> float:
        with Objective(X[:rows], 2, backend="numpy", block_rows=TINY, cluster=connection) as objective:
            theta = np.zeros(objective.size)

            def evaluate() -> None:
                if not calls:
                    connection.calls.require_tasks()
                objective.evaluate(theta)

            return median_seconds(evaluate)

    one = seconds(TINY)  # one block, one task
    if workers == 1:
        return one, 0.0
    task = max(0.0, (seconds(len(X)) - one) / (workers - 1))
    return max(0.0, one - task), task


def byte_seconds(connection: Connection) -> tuple[float, float]:
    """Return the time of a byte to a worker, and of one from a worker."""
    client, payload = connection.client, np.zeros(BYTES, np.uint8)

    def seconds(function: Callable[..., Any], *arguments: Any) -> float:
        def call() -> None:
            client.submit(function, *arguments, pure=False).result(timeout=connection.deadline)

        return median_seconds(call, 7)

    base = seconds(_size, payload[:8])
    sent = seconds(_size, payload) - base
    return max(0.0, sent) / BYTES, max(0.0, seconds(_zeros, BYTES) - base) / BYTES


def add_seconds() -> float:
    """Return the time of a byte of sums that is copied and added."""
    total, part = np.zeros(BYTES // 8), np.zeros(BYTES // 8)

    def call() -> None:
        received = part.copy()
        np.add(total, received, out=total)

    return median_seconds(call, 7) / BYTES


def process_bytes(connection: Connection) -> int:
    """Return the memory of the largest worker process."""
    found: dict[str, int] = connection.ask(_resident_bytes)
    return max(found.values())


def _resident_bytes() -> int:
    import psutil  # type: ignore[import-untyped]  # Dask needs it too

    return int(psutil.Process(os.getpid()).memory_info().rss)


def _size(payload: NDArray[np.uint8]) -> int:
    return payload.size


def _zeros(size: int) -> NDArray[np.uint8]:
    return np.zeros(size, np.uint8)
