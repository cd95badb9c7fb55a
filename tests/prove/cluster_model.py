"""The cost model of `sparsae plan` against measured evaluations on local clusters, and far beyond them by simulation.

    python tests/prove/cluster_model.py            measurements with 1, 2 and 4 workers, then the simulation
    python tests/prove/cluster_model.py simulate   the simulation alone, with the constants of docs/scale.md

The simulation does not use the formulas of the model: it passes every message of an evaluation through a client, a
scheduler and workers that each do one thing at a time.  It also simulates what would take this design's place: sums
added by the workers in a tree, parameters passed on from worker to worker.
"""

from __future__ import annotations

import heapq
import sys
import time
from dataclasses import replace
from statistics import median

import numpy as np

import sparsae
from sparsae.distributed.connection import INLINE_BYTES, Connection
from sparsae.distributed.placement import complete_subtrees, split_segments
from sparsae.engine.partition import Partition
from sparsae.planning import Constants, Workload, plan, predict
from sparsae.planning.plan import _repeat_on_cluster

SIZES = ((1_000_000, 64, 25), (100_000, 64, 25), (30_000, 784, 196))
EVALUATIONS = 9
DOCUMENTED = Constants(  # docs/scale.md, "What an evaluation costs"
    row_seconds=400e-9,
    round_seconds=2e-3,
    task_seconds=1.6e-3,
    send_seconds=1.4e-9,
    receive_seconds=1.2e-9,
    add_seconds=0.07e-9,
    process_bytes=80 << 20,
)
TASKS = {"round_seconds": 15e-3, "task_seconds": 4e-3}  # where parameters are too large for calls
JITTER = 0.05  # of the time of a worker, one standard deviation
NETWORK = 1 / 1.25e9  # seconds a byte between workers, 10 Gbit/s
HOP = 1e-3  # seconds of a message between workers


def measure(workers: int) -> None:
    """Plan and measure each size on a cluster of so many local workers."""
    connection = Connection.open(f"local:{workers}")
    try:
        for m, n, p in SIZES:
            rows = (np.random.default_rng(0).random(((1 << 18) // n, n)) * 0.8 + 0.1).astype(np.float32)
            made = plan(rows, p, workers=workers, rows=m, cluster=connection)
            with sparsae.Objective(_repeat_on_cluster(rows, m), p, cluster=connection) as objective:
                theta = objective.random_parameters(0).flatten()
                times = []
                for _ in range(2 + EVALUATIONS):
                    started = time.perf_counter()
                    objective.evaluate(theta)
                    times.append(time.perf_counter() - started)
            low, middle, high = np.percentile(times[2:], [10, 50, 90])
            found = made.cluster
            parts = (found.compute, found.broadcast, found.reduction, found.scheduler)
            print(
                f"{workers} workers, {m:>9,} x {n}/{p}: measured {middle * 1e3:7.1f} ms ({low * 1e3:.1f} to "
                f"{high * 1e3:.1f}), plan {found.seconds * 1e3:7.1f} ms ({' + '.join(f'{s * 1e3:.1f}' for s in parts)})"
                f", {found.seconds / middle - 1:+.0%}",
                flush=True,
            )
    finally:
        connection.close()


class Server:
    """Something that does one thing at a time."""

    def __init__(self) -> None:
        self.free = 0.0

    def serve(self, arrives: float, seconds: float) -> float:
        """Return when what arrives then is done."""
        self.free = max(self.free, arrives) + seconds
        return self.free


def finished_at(
    work: Workload, constants: Constants, held: list[range], arrived: list[float], threads: int, seed: int
) -> list[float]:
    """Return when each worker has done its segments, the next one on whichever of its threads is free."""
    rng = np.random.default_rng(seed)
    partition = Partition(work.n_samples, work.block_rows)
    done = []
    for segments, begun in zip(held, arrived, strict=True):
        free = [begun] * threads
        for segment in segments:
            first, stop = partition.segment_rows(segment)
            seconds = (stop - first) * constants.row_seconds * max(0.5, 1 + JITTER * rng.standard_normal())
            heapq.heapreplace(free, free[0] + seconds)
        done.append(max(free))
    return done


def cut(work: Workload, workers: int) -> tuple[int, list[range]]:
    """Return the number of segments, and those of each worker."""
    segments = Partition(work.n_samples, work.block_rows).n_segments
    return segments, list(split_segments(segments, dict.fromkeys(map(str, range(workers)), 1.0)).values())


def simulate(work: Workload, constants: Constants, workers: int, threads: int, seed: int) -> float:
    """Return the time of an evaluation, message by message: client, scheduler, workers, scheduler, client.

    Half of the time of a task is its way to the worker and half its way back, each shared by client and scheduler.
    """
    segments, held = cut(work, workers)
    scheduler, client = Server(), Server()
    each = constants.task_seconds / 4 + work.parameter_bytes * constants.send_seconds / 2
    arrived = [scheduler.serve(client.serve(constants.round_seconds / 2, each), each) for _ in held]
    ended = 0.0
    finished = finished_at(work, constants, held, arrived, threads, seed)
    for ready, i in sorted(zip(finished, range(len(held)), strict=True)):
        n_bytes = len(complete_subtrees(held[i], segments)) * work.sums_bytes
        each = constants.task_seconds / 4 + n_bytes * constants.receive_seconds / 2
        ended = client.serve(scheduler.serve(ready, each), each + n_bytes * constants.add_seconds)
    return ended + constants.round_seconds / 2


def simulate_tree(work: Workload, constants: Constants, workers: int, threads: int, seed: int) -> float:
    """Return the time where workers pass parameters on and add sums in a binary tree, and the client only begins."""
    _, held = cut(work, workers)
    levels = (workers - 1).bit_length()
    down = levels * (HOP + work.parameter_bytes * NETWORK)
    up = levels * (HOP + work.sums_bytes * (NETWORK + constants.add_seconds))
    computed = max(finished_at(work, constants, held, [0.0] * len(held), threads, seed))
    return constants.round_seconds + down + computed + up


def table(constants: Constants) -> None:
    """Print the model, the simulation and the alternative, from one worker to a thousand."""
    for m, n, p, threads in ((10**8, 64, 25, 8), (10**10, 64, 25, 8), (10**10, 768, 4096, 32)):
        scale = 12 * n * p / (12 * 64 * 25) if (n, p) != (64, 25) else 1.0
        costs = replace(constants, row_seconds=constants.row_seconds * scale)
        work = Workload(n_samples=m, n_visible=n, n_hidden=p, itemsize=4, block_rows=4096)
        if work.parameter_bytes > INLINE_BYTES:
            costs = replace(costs, **TASKS)
        print(f"\n{m:,} rows, {n}/{p}, {threads} threads a worker; sums of {work.sums_bytes / 2**20:.2f} MiB")
        print("workers   model s  simulated s  compute share   tree among workers s")
        for workers in (1, 4, 16, 64, 250, 1000):
            found = predict(work, costs, workers, threads)
            simulated = median(simulate(work, costs, workers, threads, seed) for seed in range(3))
            tree = median(simulate_tree(work, costs, workers, threads, seed) for seed in range(3))
            print(
                f"{workers:7,} {found.seconds:9.3f} {simulated:12.3f} {found.efficiency:14.0%} {tree:22.3f}", flush=True
            )


def main() -> None:
    """Measure, then simulate."""
    if sys.argv[1:] != ["simulate"]:
        for workers in (1, 2, 4):
            measure(workers)
    table(DOCUMENTED)


if __name__ == "__main__":
    main()
