"""Evidence that fits leave nothing behind: 1,000 fits a method in one process; memory, threads, files and limits.

make prove-soak
python tests/prove/soak.py [--fits 1000] [NAME ...]
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import sparsae
from sparsae.data import load
from sparsae.machine.limits import pools
from sparsae.optimize import Adam, method_names

UNITS = ("sigmoid", "relu", "topk", "batchtopk", "jumprelu")
METHODS = ("lbfgs", "adam", "sgd")
BACKENDS = ("numpy", "dot", "numba")


def print_nothing(progress: sparsae.observers.Progress) -> None:
    """Observe a fit."""


EVERY = [name for name in method_names() if name not in ("adam", "sgd")]
FITS: dict[str, dict[str, Any]] = {
    **{name: {"method": name} for name in EVERY},
    "relu, lbfgs": {"activation": "relu", "method": "lbfgs"},
    **{
        f"{unit}, {method}": {"activation": unit, "method": method, **({"k": 2} if unit.endswith("topk") else {})}
        for unit in UNITS
        for method in METHODS[1:]
    },
    "adam, mini-batches over workers": {"method": Adam(batch_rows=100), "backend": "fused"},
    "adam, held out rows": {"method": Adam(held_out=0.2, patience=1)},
    "topk, revived": {"activation": "topk", "k": 2, "aux": 0.1, "dead_after": 1},
    **{
        f"{name}, {backend}": {"method": name, "backend": backend} for backend in BACKENDS for name in ("lbfgs", "adam")
    },
    "lbfgs, one pass": {"method": "lbfgs", "passes": 1},
    "lbfgs, memory map": {"method": "lbfgs"},
    "adam, memory map": {"method": "adam"},
    "lbfgs, file": {"method": "lbfgs"},
    "adam, file": {"method": "adam"},
    "lbfgs, checkpoint": {"method": "lbfgs"},
    "adam, checkpoint": {"method": "adam"},
    "lbfgs, transform": {"method": "lbfgs", "transform": ["zca", "scale"]},
    "lbfgs, observer": {"method": "lbfgs", "observers": print_nothing},
}
ALLOWED_BYTES = 4 << 20  # of growth between the tenth part and the end; a leak of 5 kB a fit is more


class State(NamedTuple):
    """What a process holds."""

    memory: int
    threads: int
    files: int
    limits: tuple[int, ...]


def state() -> State:
    """Look: resident memory, threads of the system, open files, limits of the thread pools."""
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    files = len(list(Path("/proc/self/fd").iterdir()))
    return State(
        resident, len(list(Path("/proc/self/task").iterdir())), files, tuple(pool["num_threads"] for pool in pools())
    )


def main() -> int:
    """Fit, look, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fits", type=int, default=1000)
    parser.add_argument("names", nargs="*", help="all when left out")
    given = parser.parse_args()
    fits, names = given.fits, given.names
    warnings.simplefilter("ignore")
    folder = Path("prove") / "soak"
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "rows.npy", np.random.default_rng(0).uniform(0.1, 0.9, (100, 8)))
    bad, started = 0, time.monotonic()
    for name, settings in FITS.items():
        if names and name not in names:
            continue
        extra = {"checkpoint": folder / "fit"} if "checkpoint" in name else {}
        for number in range(fits):
            sparsae.train(samples(name, folder), 4, threads=2, block_rows=25, max_iter=2, **settings, **extra)
            (folder / "fit").unlink(missing_ok=True)
            if number == fits // 10:
                before = state()
        after = state()
        grown = after.memory - before.memory
        right = after[1:] == before[1:] and grown < ALLOWED_BYTES
        bad += not right
        print(
            f"{'ok' if right else 'LEAK':5} {name:32} {fits} fits: memory {grown / 1024:+,.0f} KiB, threads "
            f"{before.threads} -> {after.threads}, files {before.files} -> {after.files}, "
            f"limits {before.limits} -> {after.limits}",
            flush=True,
        )
    print(f"{time.monotonic() - started:.0f} s; {bad or 'none'} of the methods grew")
    return 1 if bad else 0


def samples(name: str, folder: Path) -> Any:
    """Return the rows: in memory, as a memory map, or in a file that the fit reads."""
    path = folder / "rows.npy"
    if "map" in name:
        return np.load(path, mmap_mode="r")
    return load(path, stay=True).X if "file" in name else np.load(path)


if __name__ == "__main__":
    sys.exit(main())
