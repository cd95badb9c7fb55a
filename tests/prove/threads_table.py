"""What BLAS threads and row workers each give, for every ready backend: T=2 over T=1, interleaved, with the spread.

python tests/prove/threads_table.py [--size 10000x64x25] [--rounds 15]
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

import numpy as np

import sparsae

KINDS = ("workers", "blas")


def variants(names):
    """Each backend as it is, and with its threads spent the other way where that makes sense."""
    for name in names:
        backend = sparsae.get_backend(name)
        yield f"{name} ({backend.threading})", backend
        for kind in KINDS:
            if backend.threading in KINDS and kind != backend.threading:
                yield f"{name} as {kind}", replace(backend, threading=kind)


def main() -> None:
    """Time every variant with one and with two threads, in turns."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", default="10000x64x25")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--dtype", default="float64")
    options = parser.parse_args()
    m, n, p = (int(word) for word in options.size.split("x"))
    X = np.random.default_rng(0).random((m, n)).astype(options.dtype)
    theta = sparsae.Parameters.random(n, p).flatten()
    names = [record.name for record in sparsae.list_backends() if record.state == "ready" and record.name != "loop"]
    cells = {}
    for label, backend in variants(names):
        for threads in (1, 2):
            cells[label, threads] = sparsae.Objective(X, p, backend=backend, threads=threads)
    seconds = {key: [] for key in cells}
    for round_ in range(options.rounds + 1):
        for key, objective in cells.items():
            with objective:
                objective(theta)
                objective(theta)
                begun = time.perf_counter()
                for _ in range(3):
                    objective(theta)
                if round_:
                    seconds[key].append((time.perf_counter() - begun) / 3)
            time.sleep(0.12)  # OpenBLAS's helpers spin for about 105 ms and would slow the next one
    print(f"{options.size} {options.dtype}: median ms at T=1, at T=2, and paired ratio T=1 / T=2 (quartiles)")
    for label in dict.fromkeys(label for label, _ in cells):
        one, two = seconds[label, 1], seconds[label, 2]
        ratios = [a / b for a, b in zip(one, two, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f"| {label} | {statistics.median(one) * 1e3:.2f} | {statistics.median(two) * 1e3:.2f} "
            f"| {middle:.2f} ({low:.2f} to {high:.2f}) |"
        )


if __name__ == "__main__":
    main()
