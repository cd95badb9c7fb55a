"""Evidence: peak memory of a mini-batch fit beyond its data, over parameters, two moments, one gradient and one batch.

Each fit runs in a process of its own after one of few rows and units, which loads the same code.  The peak is that of
resident memory, as Linux counts it; the best parameters of large models lie in a file without a name, which is none.

    python tests/prove/minibatch_memory.py [--sizes 784x196,768x4096] [--batches 256,4096] [--backends fused,numba]
        [--threads 1,2]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import warnings
from itertools import product
from pathlib import Path

FIRST_UNITS = 1400  # of the first fit, at most: the least that are large for `numba`, whose passes are others then


def peak() -> int:
    """Peak of resident memory since it was last reset, in bytes."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def measure(backend: str, n: int, p: int, batch: int, threads: int) -> None:
    """Train twice and print the growth over the sum."""
    import ctypes

    import numpy as np

    import sparsae
    from sparsae.optimize import Adam

    warnings.simplefilter("ignore")
    X = np.random.default_rng(0).random((4 * batch, n), dtype=np.float32) * np.float32(0.8) + np.float32(0.1)
    method = Adam(learning_rate=1e-3, batch_rows=batch)
    sparsae.train(X[:64], min(p, FIRST_UNITS), method=method, max_iter=2, backend=backend, threads=threads)
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    sparsae.train(X, p, method=method, max_iter=2, backend=backend, threads=threads)
    needed = 4 * (4 * (2 * n * p + n + p) + batch * n)
    grown = peak() - before
    print(
        f"{n}/{p}, {batch} rows, {backend}, T={threads}: {grown / 1e6:.0f} MB, {grown / needed:.2f} of the sum",
        flush=True,
    )


def main() -> None:
    """Measure every size, backend and number of threads."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="784x196,768x4096")
    parser.add_argument("--batches", default="256,4096")
    parser.add_argument("--backends", default="fused,numba")
    parser.add_argument("--threads", default="1,2")
    asked = parser.parse_args()
    columns = (asked.sizes, asked.batches, asked.backends, asked.threads)
    for size, batch, backend, threads in product(*(column.split(",") for column in columns)):
        subprocess.run([sys.executable, __file__, "--one", backend, *size.split("x"), batch, threads], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        measure(sys.argv[2], *map(int, sys.argv[3:7]))
    else:
        main()
