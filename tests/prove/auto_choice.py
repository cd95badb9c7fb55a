"""Evidence: `auto` picks the fastest backend on a case of the race, or one within 5 % of it.

Each trial prepares `auto` afresh, then times every ready backend and what `auto` chose in turns, the order shuffled.

    python tests/prove/auto_choice.py [--trials 5] [--rounds 10] [--size question] [--dtypes float64,float32]
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time

import numpy as np

import sparsae
from sparsae.bench.workload import parse_size

TURN, WARM = 0.03, 0.06  # seconds of a turn, and of calls before it


def turn(objective: sparsae.Objective, theta: np.ndarray) -> float:
    """Median seconds of an evaluation."""
    with objective:
        start = time.perf_counter()
        while time.perf_counter() - start < WARM:
            objective(theta)
        seconds = []
        start = time.perf_counter()
        while time.perf_counter() - start < TURN or len(seconds) < 2:
            begun = time.perf_counter()
            objective(theta)
            seconds.append(time.perf_counter() - begun)
    time.sleep(0.12)  # helpers of a BLAS spin for 105 ms and would slow the next one
    return statistics.median(seconds)


def main() -> int:
    """Run the trials and print one line for each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--size", default="question", help="as in `sparsae bench`")
    parser.add_argument("--dtypes", default="float64,float32")
    options = parser.parse_args()
    M, N, P = parse_size(options.size)
    X = np.random.default_rng(0).random((M, N))
    theta = sparsae.Parameters.random(N, P).flatten()
    names = [record.name for record in sparsae.list_backends() if record.state == "ready" and record.name != "loop"]
    worst = 0.0
    for dtype in map(np.dtype, options.dtypes.split(",")):
        for threads in (1, 2):
            prepared = {name: sparsae.Objective(X, P, backend=name, threads=threads, dtype=dtype) for name in names}
            for trial in range(options.trials):
                begun = time.perf_counter()
                chosen = sparsae.Objective(X, P, backend="auto", threads=threads, dtype=dtype).backend.name
                took = time.perf_counter() - begun
                found = {name: [] for name in names}
                for _ in range(options.rounds):
                    for name in random.sample(names, len(names)):
                        found[name].append(turn(prepared[name], theta))
                medians = {name: statistics.median(seconds) for name, seconds in found.items()}
                fastest = min(medians, key=medians.__getitem__)
                loss = statistics.median(a / b for a, b in zip(found[chosen], found[fastest], strict=True))
                worst = max(worst, loss)
                times = ", ".join(f"{name} {seconds * 1e3:.2f}" for name, seconds in medians.items())
                print(
                    f"{np.dtype(dtype)} T={threads} trial {trial + 1}: auto chose {chosen} in {took:.2f} s; "
                    f"fastest {fastest}; {loss:.3f} times its time ({times} ms)",
                    flush=True,
                )
    print(f"at worst {worst:.3f} times the fastest; at most 1.05 is asked for")
    return 0 if worst <= 1.05 else 1


if __name__ == "__main__":
    sys.exit(main())
