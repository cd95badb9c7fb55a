"""Golden bits: cost and gradient of every bundled backend, and five fits with each, as exact digests.

The last bits depend on the processor, on BLAS and on NumPy, so a record belongs to one kind of machine: its key names
all of them.  Write the record of this machine with ``python tests/support/golden.py`` before a change that must not
alter a bit; `tests/test_golden.py` compares with it.  Uses public names alone, so that it outlives every move.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl

import sparsae

FOLDER = Path(__file__).parents[1] / "golden"
FITS: dict[str, dict[str, Any]] = {
    "lbfgs, float64, two passes": {"method": "lbfgs", "max_iter": 12, "passes": 2},
    "lbfgs, float32, one pass": {"method": "lbfgs", "max_iter": 12, "passes": 1, "dtype": "float32"},
    "lbfgs, linear output": {"method": "lbfgs", "max_iter": 12, "output": "linear"},
    "adam": {"method": "adam", "max_iter": 3},
    "sgd": {"method": "sgd", "max_iter": 3},
}


def machine_kind() -> str:
    """Key of this kind of machine: processor, interpreter, libraries that decide the last bits."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="ascii", errors="replace").splitlines()
        cpu = "; ".join(
            next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")
            for field in ("model name", "cpu family", "model\t", "stepping", "flags")
        )
    import scipy.linalg  # noqa: F401  its OpenBLAS is a pool of its own

    own = [
        pool
        for pool in threadpoolctl.threadpool_info()
        if pool["user_api"] == "blas" and {"numpy.libs", "scipy.libs"} & set(Path(pool["filepath"]).parts)
    ]
    kernels = sorted(f"{pool.get('version')} {pool.get('architecture')}" for pool in own)
    libraries = [f"{name} {version(name)}" for name in ("numpy", "scipy")]
    return hashlib.sha256(json.dumps([cpu, kernels, libraries]).encode()).hexdigest()[:16]


def data() -> np.ndarray:
    """Made by NumPy's bit generator, whose stream is fixed: 300 samples of 20 inputs, in more than one block."""
    rng = np.random.default_rng(20)
    return 0.1 + 0.8 * rng.random((300, 20)) * rng.random((1, 20))


def digest(*arrays: np.ndarray) -> str:
    """Return a short digest of the exact bits."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()[:20]


def entry(backend: str) -> str:
    """Key of a backend in the record: its name, and the version of the library that computes for it."""
    return f"{backend} {version(backend)}" if backend in ("numba", "jax", "torch") else backend


def bits(backend: str) -> dict[str, str]:
    """Return a digest of each evaluation and each fit of a backend."""
    X, found = data(), {}
    theta = sparsae.Parameters.random(20, 7, seed=3).flatten()
    for dtype in ("float64", "float32"):
        for passes in (1, 2):
            with sparsae.Objective(
                X, 7, backend=backend, dtype=dtype, passes=passes, block_rows=64, threads=2
            ) as objective:
                cost, gradient = objective(theta)
            found[f"objective, {dtype}, passes {passes}"] = f"{cost.hex()} {digest(gradient)}"
    for name, options in FITS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", sparsae.ConvergenceWarning)
            result = sparsae.train(X, 7, backend=backend, seed=5, threads=2, block_rows=64, **options)
        found[f"fit, {name}"] = f"{result.cost.hex()} {digest(*result.parameters)}"
    return found


def write() -> None:
    """Add what this environment has to the record of this kind of machine."""
    path = FOLDER / f"{machine_kind()}.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    ready = [record.name for record in sparsae.list_backends() if record.bundled and record.state == "ready"]
    known |= {entry(name): bits(name) for name in ready}
    path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"wrote {path} ({', '.join(ready)})")


if __name__ == "__main__":
    sys.exit(write())
