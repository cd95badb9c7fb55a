"""Evidence that damaged checkpoints fall back, damaged model files are refused, and signals leave nothing changed.

Thousands of seeded damages to files, and of fits with one SIGINT at a random moment.

python tests/prove/damaged_fits.py [--files 5000] [--signals 1200] [--seed 0]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

import sparsae
from sparsae.training import checkpoint

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.support.damaged_archives import checkpoint_outcome, model_outcome
from tests.support.damaged_files import damaged
from tests.support.interrupted_fits import run as interrupted_fits


def damaged_checkpoints(path: Path, method: str, n_files: int, seed: int) -> Counter[str]:
    """Return how often a damaged checkpoint was whole, fell back, or something else happened."""
    X = np.random.default_rng(0).uniform(0.1, 0.9, (40, 6))
    sparsae.train(X, 3, method=method, max_iter=6, checkpoint=sparsae.Checkpoint(path, every=2))
    newest, before = checkpoint.load(path), checkpoint.load(checkpoint.previous(path))
    outcomes: Counter[str] = Counter()
    for content in damaged(path.read_bytes(), n_files, seed):
        try:
            outcomes[checkpoint_outcome(path, content, newest, before)] += 1
        except BaseException as error:  # noqa: BLE001 (what must not happen is counted)
            outcomes[f"FAILED: {type(error).__name__}: {error}"] += 1
    return outcomes


def damaged_models(path: Path, n_files: int, seed: int) -> Counter[str]:
    """Return how often a damaged model file was whole, refused, or something else happened."""
    result = sparsae.train(np.random.default_rng(0).uniform(0.1, 0.9, (40, 6)), 3, max_iter=5)
    sparsae.save(path, result)
    outcomes: Counter[str] = Counter()
    for content in damaged(path.read_bytes(), n_files, seed):
        try:
            outcomes[model_outcome(path, content, result)] += 1
        except BaseException as error:  # noqa: BLE001 (what must not happen is counted)
            outcomes[f"FAILED: {type(error).__name__}: {error}"] += 1
    return outcomes


def main() -> int:
    """Run all parts; the exit code is 0 when every claim held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--signals", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        parts = {
            f"damaged checkpoints, {method}": damaged_checkpoints(
                Path(name) / method, method, options.files, options.seed
            )
            for method in ("lbfgs", "adam")
        }
        parts["damaged model files"] = damaged_models(Path(name) / "m.npz", options.files, options.seed)
    parts["fits with one SIGINT"] = interrupted_fits(options.signals, options.seed)
    held = True
    for part, outcomes in parts.items():
        print(f"{part}: {dict(outcomes)}")
        held &= not any(outcome.startswith(("FAILED", "LEAK")) for outcome in outcomes)
        held &= set(outcomes) <= {
            "whole", "fell back", "FileFormatError", "interrupted", "iteration limit", "KeyboardInterrupt"
        }  # fmt: skip
    print("HELD" if held else "FAILED")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
