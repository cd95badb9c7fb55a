"""Evidence: peak memory of a mini-batch fit beyond its data, over parameters, two moments, one gradient and one batch.

Each fit runs in a process of its own after a small one, which loads what is loaded once.  The peak is that of resident
memory, as Linux counts it.

    python tests/prove/minibatch_memory.py [--sizes 784x196,768x4096] [--backends fused,numba] [--threads 1,2]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import warnings
from pathlib import Path

BATCH, ROWS = 256, 1024


def peak() -> int:
    """Peak of resident memory since it was last reset, in bytes."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def measure(backend: str, n: int, p: int, threads: int) -> None:
    """Train twice and print the growth over the sum."""
    import ctypes

    import numpy as np

    import sparsae
    from sparsae.optimize import Adam

    warnings.simplefilter("ignore")
    X = np.random.default_rng(0).random((ROWS, n), dtype=np.float32) * np.float32(0.8) + np.float32(0.1)
    method = Adam(learning_rate=1e-3, batch_rows=BATCH)
    sparsae.train(X[:64], 200, method=method, max_iter=2, backend=backend, threads=threads)
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    sparsae.train(X, p, method=method, max_iter=2, backend=backend, threads=threads)
    needed = 4 * (4 * (2 * n * p + n + p) + BATCH * n)
    grown = peak() - before
    print(f"{n}/{p}, {backend}, T={threads}: {grown / 1e6:.0f} MB, {grown / needed:.2f} of the sum", flush=True)


def main() -> None:
    """Measure every size, backend and number of threads."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="784x196,768x4096")
    parser.add_argument("--backends", default="fused,numba")
    parser.add_argument("--threads", default="1,2")
    asked = parser.parse_args()
    for size in asked.sizes.split(","):
        for backend in asked.backends.split(","):
            for threads in asked.threads.split(","):
                subprocess.run([sys.executable, __file__, "--one", backend, *size.split("x"), threads], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        measure(sys.argv[2], *map(int, sys.argv[3:6]))
    else:
        main()
