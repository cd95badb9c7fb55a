"""Evidence that training is evaluations and little else: the share of wall time outside them.

Patches (64 inputs, 25 hidden units, 400 iterations): at most 7 %; 784 inputs, 196 hidden units: at most 8 %.
Wall time is that of the loop, from the first evaluation to the last iteration.

python tests/prove/outside.py [--rounds 5] [--backend fused]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import warnings

import numpy as np

import sparsae
from sparsae.data import load as load_data


def share(
    X: np.ndarray, n_hidden: int, *, backend: str, threads: int, method: str, max_iter: int
) -> tuple[float, float]:
    """Share of the loop outside the evaluations in per cent, and milliseconds of it in an iteration."""
    history = sparsae.train(X, n_hidden, backend=backend, threads=threads, method=method, max_iter=max_iter).history
    outside = history.seconds[-1] - history.evaluation_seconds[-1]
    return 100 * outside / history.seconds[-1], 1e3 * outside / history.iteration[-1]


def report(name: str, found: list[tuple[float, float]], limit: float | None) -> bool:
    """Print median and range, and whether the median is within the limit."""
    shares, times = [s for s, _ in found], [t for _, t in found]
    median = statistics.median(shares)
    held = limit is None or median <= limit
    verdict = "" if limit is None else f"  (at most {limit:g} %: {'held' if held else 'FAILED'})"
    print(
        f"  {name}: {median:.2f} % ({min(shares):.2f} to {max(shares):.2f}), "
        f"{statistics.median(times):.3f} ms an iteration{verdict}",
        flush=True,
    )
    return held


def main() -> int:
    """Run both sizes; the exit code is 0 when both claims held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backend", default="fused")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    held = True
    patches = load_data("patches", seed=0).X
    print("patches, 10,000 x 64, 25 hidden units, 400 iterations")
    for threads in (1, 2):
        for method, limit in (("lbfgs", 7.0), ("scipy:L-BFGS-B", None)):
            settings = {"backend": options.backend, "threads": threads, "method": method, "max_iter": 400}
            found = [share(patches, 25, **settings) for _ in range(options.rounds)]
            held &= report(f"{method}, T={threads}", found, limit)
    rng = np.random.default_rng(0)
    wide = np.clip(rng.normal(size=(10_000, 20)) @ rng.normal(size=(20, 784)) / 20 + 0.5, 0.05, 0.95)
    print("10,000 x 784, 196 hidden units (308,308 parameters), 80 iterations")
    for threads in (1, 2):
        settings = {"backend": options.backend, "threads": threads, "method": "lbfgs", "max_iter": 80}
        held &= report(f"lbfgs, T={threads}", [share(wide, 196, **settings)], 8.0)
    print("HELD" if held else "FAILED")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
