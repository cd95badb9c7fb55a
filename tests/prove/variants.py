"""Evidence for every hidden unit with every backend that has it: the gradient, the number of workers, kill -9.

- Gradients in float64 against central differences of fourth order, component by component, for both outputs: the
  largest difference relative to the largest component is below 1e-7.  Data are such that no step reaches a kink.
  Thresholds of JumpReLU are left out: their gradient is an estimate (`tests/test_reference_variants.py`).
- Fits with 1, 2 and 3 workers have the same bits, in parameters and history.
- A fit that is ended by SIGKILL after an epoch and goes on in a new process, with another number of threads, has the
  bits of one that was never ended.

    .venv-peers-3.11/bin/python tests/prove/variants.py [--backends numpy,fused,numba] [--units topk]

With jax and torch where they are installed.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import sparsae
from sparsae.optimize import Adam

N, P, MOST = 5, 9, 1e-7
UNITS: dict[str, dict[str, Any]] = {
    "sigmoid": {"activation": "sigmoid", "rho": 0.2},
    "relu": {"activation": "relu", "l1": 0.1},
    "topk": {"activation": "topk", "k": 3},
    "batchtopk": {"activation": "batchtopk", "k": 3},
    "jumprelu": {"activation": "jumprelu", "l0": 0.05, "bandwidth": 0.2},
}
BACKENDS = "loop,numpy,einsum,dot,fused,numba,torch,jax"
EPOCHS, KILLED = 4, 2


def margin(unit: str, z: Any) -> float:
    """Least distance of pre-activations (m, p) from where a unit changes between on and off."""
    if unit == "sigmoid":
        return 1.0
    least = np.abs(z).min()
    if unit == "jumprelu":
        return float(np.abs(z - 0.3).min())
    if unit == "topk":
        largest = np.sort(z, axis=1)
        least = min(least, (largest[:, -3] - largest[:, -4]).min())
    if unit == "batchtopk":
        largest = np.sort(z, axis=None)
        least = min(least, largest[-3 * len(z)] - largest[-3 * len(z) - 1])
    return float(least)


def smooth_case(unit: str) -> tuple[Any, sparsae.Parameters]:
    """Rows and parameters of which no unit is near a kink."""
    for seed in range(10_000):
        rng = np.random.default_rng(seed)
        X = rng.random((4, N))
        shapes = (P, N), (P,), (N, P), (N,)
        parts = [rng.normal(size=shape) / 2 for shape in shapes]
        parameters = sparsae.Parameters(*parts, np.full(P, 0.3) if unit == "jumprelu" else None)
        z = (X - (parameters.b2 if unit != "sigmoid" else 0)) @ parameters.W1.T + parameters.b1
        if margin(unit, z) > 5e-3:
            return X, parameters
    raise AssertionError(f"no data for {unit}")


def gradient_error(unit: str, backend: str) -> float:
    """Largest difference between gradient and central differences, relative to the largest component."""
    X, parameters = smooth_case(unit)
    size, h, worst = 2 * N * P + P + N, 2e-4, 0.0
    for output in ("linear", "sigmoid"):
        theta = parameters.flatten()
        with sparsae.Objective(X, P, backend=backend, output=output, threads=1, **UNITS[unit]) as objective:
            _, slope = objective(theta)
            for i in range(size):
                step = h * np.eye(theta.size)[i]
                near, far = (objective(theta + s)[0] - objective(theta - s)[0] for s in (step, 2 * step))
                worst = max(worst, abs((8 * near - far) / (12 * h) - slope[i]) / np.abs(slope).max())
    return worst


def fit(unit: str, backend: str, threads: int, path: str = "", die_at: int = -1) -> bytes:
    """Bits of parameters and history of a fit with mini-batches; perhaps ended by its own hand."""
    warnings.simplefilter("ignore")
    X = np.random.default_rng(0).normal(size=(1500, 12))
    options: dict[str, Any] = {"output": "linear"} | UNITS[unit]
    options |= {"dead_after": 300, "k_aux": 4} if "topk" in unit else {}

    def die(progress: sparsae.observers.Progress) -> None:
        if progress.iteration == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint = sparsae.Checkpoint(path, every=1) if path else None
    method = Adam(batch_rows=512, warm_up=2, decay=0.5, clip=0.5)
    result = sparsae.train(
        X, 40, method=method, max_iter=EPOCHS, backend=backend, threads=threads, checkpoint=checkpoint,
        resume=bool(path), observers=[die], **options,
    )  # fmt: skip
    return result.parameters.flatten().tobytes() + result.history.cost.tobytes()


def child(*words: object) -> subprocess.CompletedProcess[bytes]:
    """Run `fit` in a process of its own."""
    return subprocess.run([sys.executable, __file__, "--fit", *map(str, words)], stdout=subprocess.PIPE, check=False)


def report(unit: str, backend: str) -> bool:
    """Print what was found with one unit and backend; returns whether all of it is as promised."""
    error = gradient_error(unit, backend)
    fits = {threads: child(unit, backend, threads).stdout for threads in (1, 2, 3)}
    own = sparsae.get_backend(backend).threading == "own"  # its library decides how sums are added
    same = len(set(fits.values())) == 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fit"
        killed = child(unit, backend, 2, path, KILLED).returncode == -signal.SIGKILL
        goes_on = killed and child(unit, backend, 2 if own else 1, path).stdout == fits[2] != b""
    held = error < MOST and (same or own) and goes_on
    workers = "1, 2, 3 workers the same bits" if same else "bits depend on its threads"
    print(
        f"{unit:10} {backend:7} gradient {error:.1e}; {workers}; kill -9 at epoch {KILLED} and resume: "
        f"{'identical bits' if goes_on else 'DIFFERENT'}{'' if held else '  FAILED'}",
        flush=True,
    )
    return held


def main() -> int:
    """Report every unit and backend; the exit code is 0 when every claim held."""
    if sys.argv[1:2] == ["--fit"]:
        words = sys.argv[2:]
        unit, backend, threads, path, die_at = words + ["", "-1"][len(words) - 3 :]
        sys.stdout.buffer.write(fit(unit, backend, int(threads), path, int(die_at)))
        return 0
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backends", default=BACKENDS)
    parser.add_argument("--units", default=",".join(UNITS))
    asked = parser.parse_args()
    held = True
    for backend in asked.backends.split(","):
        try:
            declared = {*sparsae.get_backend(backend).activations}
        except sparsae.BackendError as error:
            print(f"{backend} is left out: {error}")
            continue
        declared |= {"batchtopk"} & {"batchtopk" if "jumprelu" in declared else ""}
        for unit in asked.units.split(","):
            if unit in declared:
                held &= report(unit, backend)
    print("HELD" if held else "FAILED")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
