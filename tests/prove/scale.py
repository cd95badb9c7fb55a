"""Evidence for long data: cost of a row, memory maps, workers, and float32 at 10 million rows.

Each comparison is interleaved in one run and shown with its spread.  Needs about 12 GB of memory and 3 GB of disk.

    python tests/prove/scale.py [--rows 10000000] [--backend fused]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import sparsae
from sparsae.machine.limits import limit
from sparsae.reference import evaluate_reference

N, P = 64, 25


def resident(kind: str = "RssAnon") -> float:
    """Resident memory of this process in MB: private pages, without those of mapped files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(kind + ":"):
            return int(line.split()[1]) / 1024
    return float("nan")


def timed(objective, theta) -> float:
    """Seconds of one evaluation."""
    begun = time.perf_counter()
    objective(theta)
    return time.perf_counter() - begun


def spread(values) -> str:
    """Median and range."""
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def fill(array, seed: int = 0) -> None:
    """Uniform rows, piece by piece."""
    rng = np.random.default_rng(seed)
    for start in range(0, len(array), 100_000):
        piece = array[start : start + 100_000]
        piece[...] = rng.random(piece.shape, dtype=np.float32)


def cost_of_a_row(X, theta, backend: str, threads: int) -> None:
    """Time per row from 10^4 rows up, in rounds that visit every size."""
    sizes = [m for m in (10**4, 10**5, 10**6, 10**7) if m <= len(X)]
    objectives = {m: sparsae.Objective(X[:m], P, backend=backend, threads=threads, passes=2) for m in sizes}
    found = {m: [] for m in sizes}
    for round_ in range(6):
        for m, objective in objectives.items():
            with objective:
                timed(objective, theta)
                repeats = max(1, 300_000 // m)
                seconds = min(timed(objective, theta) for _ in range(repeats))
            if round_:
                found[m].append(seconds / m * 1e9)
    base = statistics.median(found[sizes[0]])
    for m in sizes:
        print(f"  {m:>10,} rows: {spread(found[m])} ns a row; {statistics.median(found[m]) / base:.3f} of 10^4 rows")


def mapped_against_memory(X, path: Path, theta, backend: str, threads: int) -> None:
    """A page-cached memory map against the same rows in memory, each as the engine chooses to."""
    memory = sparsae.Objective(X, P, backend=backend, threads=threads)
    with memory:
        memory(theta)
    before = resident()
    mapped = sparsae.Objective(np.load(path, mmap_mode="r"), P, backend=backend, threads=threads)
    most = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            most.append(resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    with mapped:
        mapped(theta)
    stop.set()
    watcher.join()
    print(f"  extra resident memory of the map's objective: {max(most) - before:.0f} MB")
    one_pass = sparsae.Objective(X, P, backend=backend, threads=threads, passes=1)
    ratios, pure = [], []
    for _ in range(5):
        seconds = []
        for objective in (memory, mapped, one_pass):
            with objective:
                timed(objective, theta)
                seconds.append(timed(objective, theta))
        ratios.append(seconds[0] / seconds[1])
        pure.append(seconds[2] / seconds[1])
    print(f"  speed of the map against memory: {spread(ratios)}; against one pass in memory: {spread(pure)}")


def workers(X, theta, backend: str) -> None:
    """T=2 over T=1 beside what two independent gemms on two threads reach in the same run."""
    X = X[: min(len(X), 10**6)]
    one, two = (sparsae.Objective(X, P, backend=backend, threads=t) for t in (1, 2))
    a, b = np.ascontiguousarray(X[:500]), np.random.default_rng(0).random((N, P), dtype=np.float32)

    def gemms(count: int) -> None:
        out = np.empty((500, P), np.float32)
        for _ in range(count):
            np.dot(a, b, out=out)

    ours, theirs = [], []
    for _ in range(8):
        seconds = []
        for objective in (one, two):
            with objective:
                timed(objective, theta)
                seconds.append(timed(objective, theta))
        ours.append(seconds[0] / seconds[1])
        with limit(1):
            begun = time.perf_counter()
            gemms(20_000)
            single = time.perf_counter() - begun
            both = [threading.Thread(target=gemms, args=(20_000,)) for _ in range(2)]
            begun = time.perf_counter()
            for thread in both:
                thread.start()
            for thread in both:
                thread.join()
            theirs.append(2 * single / (time.perf_counter() - begun))
    print(
        f"  ours {spread(ours)}, two gemms {spread(theirs)}: {statistics.median(ours) / statistics.median(theirs):.3f}"
    )


def float32_error(X, parameters, backend: str) -> None:
    """Gradient in float32 at all rows against the reference in float64, which adds its own blocks."""
    blocks = [slice(i, min(i + 50_000, len(X))) for i in range(0, len(X), 50_000)]
    rho_hat = sum(sparsae.encode(parameters, X[b].astype(np.float64)).sum(0) for b in blocks) / len(X)
    with sparsae.Objective(X, P, backend=backend, dtype=np.float64, threads=2) as exact:
        truth = exact.evaluate(parameters.flatten())
    with sparsae.Objective(X, P, backend=backend, threads=2) as fast:
        block_rows = fast.receipt.block_rows
        found = fast.evaluate(parameters.flatten())
    assert np.allclose(truth.rho_hat, rho_hat, rtol=1e-11)
    reference = evaluate_reference(parameters, X[:20_000])  # the scale of the terms is a mean over rows
    cost_bound, bounds = reference.bound(np.float32, block_rows)
    got, true = (sparsae.Parameters.from_flat(e.gradient, N, P) for e in (found, truth))
    print(f"  cost: {abs(found.cost - truth.cost) / cost_bound:.4f} of the error model")
    for name, a, b, bound in zip(got.names, got, true, bounds, strict=True):
        print(f"  {name}: at most {(abs(a - b) / bound).max():.4f} of the error model")
        assert (abs(a - b) <= bound).all()


def main() -> None:
    """Run all parts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10**7)
    parser.add_argument("--backend", default="fused")
    options = parser.parse_args()
    parameters = sparsae.Parameters.random(N, P, seed=0)
    theta = parameters.flatten()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path = Path(folder) / "x.npy"
        mapped = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(options.rows, N))
        fill(mapped)
        mapped.flush()
        X = np.array(mapped)
        del mapped
        print(f"backend {options.backend}, float32, {options.rows:,} x {N} inputs, {P} hidden units")
        for threads in (1, 2):
            print(f"cost of a row, T={threads}")
            cost_of_a_row(X, theta, options.backend, threads)
            print(f"memory-mapped against in memory, T={threads}")
            mapped_against_memory(X, path, theta, options.backend, threads)
        print("T=2 over T=1 at 10^6 rows")
        workers(X, theta, options.backend)
        print("float32 against float64 at all rows")
        float32_error(X, parameters, options.backend)


if __name__ == "__main__":
    main()
