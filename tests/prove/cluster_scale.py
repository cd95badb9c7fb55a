"""Evidence: what a local cluster costs beside the engine of this process, and data larger than its workers' memory.

    python tests/prove/cluster_scale.py throughput    2 workers with one thread against two threads here, interleaved
    python tests/prove/cluster_scale.py overhead      time of an evaluation of few rows with 2, 4, 8 and 16 workers
    python tests/prove/cluster_scale.py memory        10^7 x 64 float32 (2.56 GB, in a temporary folder, removed
                                                      afterwards) on 2 workers of 1 GiB each

Everything listens on 127.0.0.1.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import sparsae
from distributed import Client, LocalCluster
from sparsae.data import load
from sparsae.distributed.connection import Connection

N, P = 64, 25
LOCAL = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "processes": True, "threads_per_worker": 1}


def seconds(objective: sparsae.Objective, theta: Any, repeats: int) -> list[float]:
    """Return the times of some evaluations."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        objective.evaluate(theta)
        times.append(time.perf_counter() - started)
    return times


def spread(values: Any, factor: float = 1e3) -> str:
    """Return median, and 10th and 90th percentile."""
    low, middle, high = np.percentile(values, [10, 50, 90]) * factor
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def throughput(rounds: int) -> None:
    """Compare evaluations of 10^6 rows: this process with one pass and two, and two workers."""
    X = np.random.default_rng(0).random((1_000_000, N), dtype=np.float32) * np.float32(0.8) + np.float32(0.1)
    connection = Connection.open("local:2")
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/x.npy", X)
        rows = load(f"{folder}/x.npy", stay=True).X
        with (
            sparsae.Objective(X, P, threads=2, passes=1) as one,
            sparsae.Objective(X, P, threads=2) as two,
            sparsae.Objective(rows, P, cluster=connection) as cluster,
        ):
            theta = one.random_parameters(0).flatten()
            engines = {"here, one pass": one, "here, two passes": two, "2 workers": cluster}
            for objective in engines.values():
                seconds(objective, theta, 2)
            times: dict[str, list[float]] = {name: [] for name in engines}
            for _ in range(rounds):
                for name, objective in engines.items():
                    times[name].append(float(np.median(seconds(objective, theta, 3))))
            for name, found in times.items():
                print(f"{name:18s} {spread(found)} ms")
            for name in ("here, one pass", "here, two passes"):
                ratio = np.array(times[name]) / np.array(times["2 workers"])
                print(f"throughput of 2 workers over {name}: {spread(ratio, 1.0)} (target 0.85)", flush=True)
    connection.close()


def overhead(rounds: int) -> None:
    """Print the time of an evaluation of 12 x 64 rows less that of one here."""
    X = np.random.default_rng(0).random((12 * 64, N), dtype=np.float32) * np.float32(0.8) + np.float32(0.1)
    with sparsae.Objective(X, P, threads=1, passes=1, block_rows=64) as objective:
        theta = objective.random_parameters(0).flatten()
        here = float(np.median(seconds(objective, theta, 50)))
    for workers in (2, 4, 8, 16):
        connection = Connection.open(f"local:{workers}")
        with sparsae.Objective(X, P, cluster=connection, block_rows=64) as objective:
            seconds(objective, theta, 5)
            times = np.array(seconds(objective, theta, rounds)) - here
        tasks = min(12, workers)
        print(f"{workers:2d} workers, {tasks:2d} tasks: overhead {spread(times)} ms an evaluation; {bare(connection)}")
        connection.close()


def bare(connection: Connection) -> str:
    """Return what Dask itself takes here: an empty task on each worker, and a call of each without tasks."""
    client, workers = connection.client, list(connection.shares())

    def tasks() -> None:
        client.gather([client.submit(os.getpid, workers=[worker], pure=False) for worker in workers])

    found = {}
    for name, call in (("empty tasks", tasks), ("calls without tasks", lambda: client.run(os.getpid))):
        times = []
        for _ in range(30):
            started = time.perf_counter()
            call()
            times.append(time.perf_counter() - started)
        found[name] = spread(times[5:])
    return ", ".join(f"{name} {text} ms" for name, text in found.items())


class Watch:
    """Looks at the memory of processes until it is stopped."""

    def __init__(self, pids: list[int]) -> None:
        self.most = dict.fromkeys(pids, 0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._stop.wait(0.05):
            for pid in self.most:
                if psutil.pid_exists(pid):
                    self.most[pid] = max(self.most[pid], psutil.Process(pid).memory_info().rss)

    def stop(self) -> list[int]:
        """Return the most that each process held."""
        self._stop.set()
        self._thread.join()
        return list(self.most.values())


def memory(m: int, iterations: int) -> None:
    """Train on a file larger than the memory of all workers."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(m, N))
        rng = np.random.default_rng(0)
        for start in range(0, m, 1 << 18):
            part = rows[start : start + (1 << 18)]
            part[:] = rng.random(part.shape, dtype=np.float32) * np.float32(0.8) + np.float32(0.1)
        rows.flush()
        del rows
        print(f"{m:,} x {N} float32: {path.stat().st_size / 1e9:.2f} GB; 2 workers of 1 GiB", flush=True)
        with (
            LocalCluster(n_workers=2, memory_limit="1GiB", **LOCAL) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            before = client.run(os.getpid)
            watch = Watch(list(before.values()))
            started = time.perf_counter()
            result = sparsae.train(load(path, stay=True).X, P, cluster=client, max_iter=iterations)
            took = time.perf_counter() - started
            most = watch.stop()
            evaluations = int(result.history.evaluations[-1])
            inside = float(result.history.evaluation_seconds[-1])
            print(f"{result.status.reason} after {result.n_iter} iterations, cost {result.cost:.6g}")
            print(f"{took:.1f} s in all, {inside / evaluations:.2f} s an evaluation ({evaluations} of them)")
            print(f"most memory of a worker: {', '.join(f'{size / 2**20:.0f} MiB' for size in most)}")
            print(f"workers restarted: {len(set(before.values()) - set(client.run(os.getpid).values()))}", flush=True)


def main() -> None:
    """Do one part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["throughput", "overhead", "memory"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--iterations", type=int, default=3)
    given = parser.parse_args()
    if given.part == "throughput":
        throughput(given.rounds)
    elif given.part == "overhead":
        overhead(5 * given.rounds)
    else:
        memory(given.rows, given.iterations)


if __name__ == "__main__":
    main()
