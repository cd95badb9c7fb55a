"""Fits on 1, 2 and 4 local workers have the bits of fits in this process, for every kind of unit, in both dtypes.

Run by hand: ``python tests/prove/cluster_bits.py [backend ...]``, as a rule ``numpy`` and ``fused``.  Each case is
a whole fit, from rows in memory (which are on the workers) and from a file (which they open): L-BFGS in one round and
in two, and Adam.  Parameters, costs and figures must be equal to the last bit.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import sparsae
from sparsae.data import load
from sparsae.distributed.connection import Connection

ROWS, COLUMNS, HIDDEN = 6_000, 24, 12
BACKENDS = ("numpy", "fused")
UNITS: dict[str, dict[str, Any]] = {
    "sigmoid": {"weight_decay": 1e-3},
    "relu": {"l1": 0.02, "output": "linear", "pre_bias": True},
    "topk": {"k": 3, "output": "linear", "aux": 0.1, "dead_after": 2000},
    "batchtopk": {"k": 3, "output": "linear", "unit_norm": True},
    "jumprelu": {"l0": 0.1, "bandwidth": 0.5, "output": "linear"},
}
METHODS: dict[str, dict[str, Any]] = {
    "one round": {"max_iter": 8, "passes": 1},
    "two rounds": {"max_iter": 8, "passes": 2},
    "adam": {"method": sparsae.optimize.Adam(batch_rows=1000), "max_iter": 3},
}


def cases() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield unit, method and the keywords of both; auxiliary loss and unit norm need mini-batches."""
    for unit, options in UNITS.items():
        for method, how in METHODS.items():
            taken = dict(options)
            if method != "adam":
                for name in ("aux", "dead_after", "unit_norm"):
                    taken.pop(name, None)
            yield unit, method, {"activation": unit, "block_rows": 250, **taken, **how}


def outcome(X: Any, options: dict[str, Any], cluster: Connection | None = None) -> list[NDArray[np.float64]]:
    """Return everything of a fit that must have the same bits."""
    result = sparsae.train(X, HIDDEN, cluster=cluster, seed=1, **options)
    figures = [value for value in result.metrics.values() if isinstance(value, float)]
    return [result.parameters.flatten(), result.history.cost, np.array([result.cost, *figures])]


def main(backends: tuple[str, ...]) -> int:
    """Run the fits; return the number of those with other bits."""
    warnings.simplefilter("ignore", sparsae.ConvergenceWarning)
    rows, failures, fits = np.random.default_rng(0).random((ROWS, COLUMNS)) * 0.8 + 0.1, 0, 0
    connections = {workers: Connection.open(f"local:{workers}") for workers in (1, 2, 4)}
    with tempfile.TemporaryDirectory() as folder:
        for dtype in (np.float64, np.float32):
            X = rows.astype(dtype)
            path = Path(folder) / f"{X.dtype}.npy"
            np.save(path, X)
            for backend in backends:
                for unit, method, options in cases():
                    options["backend"] = backend
                    here = outcome(X, options)
                    others = []
                    for workers, connection in connections.items():
                        for source, data in (("memory", X), ("file", load(path, stay=True).X)):
                            there, fits = outcome(data, options, connection), fits + 1
                            if not all(np.array_equal(a, b, equal_nan=True) for a, b in zip(here, there, strict=True)):
                                others.append(f"{workers} workers, {source}")
                    failures += len(others)
                    found = f"OTHER BITS: {'; '.join(others)}" if others else "same bits with 1, 2 and 4 workers"
                    print(f"{X.dtype} {backend:6s} {unit:10s} {method:10s} {found}", flush=True)
    for connection in connections.values():
        connection.close()
    print(f"{failures} of {fits} fits have other bits")
    return failures


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:]) or BACKENDS) > 0)
