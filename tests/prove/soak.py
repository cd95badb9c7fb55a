"""Evidence that fits leave nothing behind: 1,000 fits a method in one process; memory, threads, files and limits.

make prove-soak
python tests/prove/soak.py --fits 100
"""

from __future__ import annotations

import argparse
import gc
import sys
import threading
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

import sparsae
from sparsae.machine.limits import pools

FITS = {
    "lbfgs": {"method": "lbfgs"},
    "adam": {"method": "adam"},
    "sgd": {"method": "sgd"},
    "scipy:L-BFGS-B": {"method": "scipy:L-BFGS-B"},
    "relu, adam": {"activation": "relu"},
    "top-k, adam": {"activation": "topk", "k": 2},
    "batch top-k, adam": {"activation": "batchtopk", "k": 2},
    "JumpReLU, adam": {"activation": "jumprelu"},
    "lbfgs, memory map": {"method": "lbfgs"},
    "lbfgs, checkpoint": {"method": "lbfgs"},
}
ALLOWED_BYTES = 4 << 20  # of growth between the tenth part and the end; a leak of 5 kB a fit is more


class State(NamedTuple):
    """What a process holds."""

    memory: int
    threads: int
    files: int
    limits: tuple[int, ...]


def state() -> State:
    """Look."""
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    files = len(list(Path("/proc/self/fd").iterdir()))
    return State(resident, threading.active_count(), files, tuple(pool["num_threads"] for pool in pools()))


def main() -> int:
    """Fit, look, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fits", type=int, default=1000)
    fits = parser.parse_args().fits
    warnings.simplefilter("ignore")
    rows = np.random.default_rng(0).uniform(0.1, 0.9, (400, 8))
    folder = Path("prove") / "soak"
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "rows.npy", rows)
    bad = 0
    for name, settings in FITS.items():
        X = np.load(folder / "rows.npy", mmap_mode="r") if "map" in name else rows
        extra = {"checkpoint": folder / "fit"} if "checkpoint" in name else {}
        for number in range(fits):
            sparsae.train(X, 4, threads=2, block_rows=100, max_iter=2, **settings, **extra)
            (folder / "fit").unlink(missing_ok=True)
            if number == fits // 10:
                before = state()
        after = state()
        grown = after.memory - before.memory
        right = after[1:] == before[1:] and grown < ALLOWED_BYTES
        bad += not right
        print(
            f"{'ok' if right else 'LEAK':5} {name:18} {fits} fits: memory {grown / 1024:+,.0f} KiB, threads "
            f"{before.threads} -> {after.threads}, files {before.files} -> {after.files}, "
            f"limits {before.limits} -> {after.limits}",
            flush=True,
        )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
