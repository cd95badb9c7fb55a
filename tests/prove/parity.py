"""Evidence that lbfgs gets as far as SciPy's L-BFGS-B with the same number of evaluations: a table over twenty seeds.

Both see the same objective, start at the same parameters and keep the same number of pairs.
The claim: the mean of the paired differences is at most 0.2 % plus two standard errors.

python tests/prove/parity.py [--seeds 20] [--evaluations 400] [--memory 20]
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import warnings

import numpy as np
from scipy.optimize import minimize

import sparsae
from sparsae.data import load as load_data
from sparsae.optimize import LBFGS


class Enough(Exception):  # noqa: N818
    """Ends SciPy's run."""


def ours(X: np.ndarray, seed: int, evaluations: int, memory: int) -> float:
    """Cost of the last iterate within that many evaluations."""
    result = sparsae.train(
        X,
        25,
        method=LBFGS(memory=memory),
        seed=seed,
        max_iter=evaluations,
        stop=sparsae.Stop(gradient=0, decrease=0, evaluations=evaluations),
    )
    within = result.history.evaluations <= evaluations
    return float(result.history.cost[within][-1])


def theirs(X: np.ndarray, seed: int, evaluations: int, memory: int) -> float:
    """Least cost that SciPy saw in that many evaluations: a little in its favour."""
    least, count = np.inf, 0
    with sparsae.Objective(X, 25) as objective:

        def function(theta: np.ndarray) -> tuple[float, np.ndarray]:
            nonlocal least, count
            if count == evaluations:
                raise Enough
            count += 1
            cost, gradient = objective(theta)
            least = min(least, cost)
            return cost, gradient

        theta = sparsae.Parameters.random(X.shape[1], 25, seed=seed).flatten()
        options = {"maxcor": memory, "maxiter": 10**6, "maxfun": 10**6, "ftol": 0, "gtol": 0}
        with contextlib.suppress(Enough):
            minimize(function, theta, jac=True, method="L-BFGS-B", options=options)
    return least


def table(name: str, seeds: int, evaluations: int, memory: int) -> bool:
    """Print the pairs and the verdict."""
    X = load_data(name, seed=0).X
    print(f"{name}: {X.shape[0]} x {X.shape[1]}, 25 hidden units, memory {memory}, {evaluations} evaluations")
    print("  seed        lbfgs   L-BFGS-B  difference")
    differences = []
    for seed in range(seeds):
        a, b = ours(X, seed, evaluations, memory), theirs(X, seed, evaluations, memory)
        differences.append(100 * (a / b - 1))
        print(f"  {seed:4d}   {a:.7f}  {b:.7f}   {differences[-1]:+7.3f} %", flush=True)
    mean = float(np.mean(differences))
    error = float(np.std(differences, ddof=1) / np.sqrt(seeds))
    held = mean <= 0.2 + 2 * error
    print(f"  mean {mean:+.3f} %, standard error {error:.3f} %: {'held' if held else 'FAILED'}")
    return held


def main() -> int:
    """Run both tables; the exit code is 0 when the claim held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--evaluations", type=int, default=400)
    parser.add_argument("--memory", type=int, default=20)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    held = [table(name, options.seeds, options.evaluations, options.memory) for name in ("digits", "patches")]
    print("HELD" if all(held) else "FAILED")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
