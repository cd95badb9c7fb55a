"""The numbers of the question: activations of an autoencoder 64-25-64 on 10,000 samples, and what is correct."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsae.model import Parameters, decode, encode
from sparsae.plugins.sums import Sums
from sparsae.reference import Reference, evaluate_reference

Float = NDArray[np.float64]
SIZE = (10_000, 64, 25)  # samples, visible units, hidden units


class Case(NamedTuple):
    """What the loop of the question is given.  In it `a1` and the data are one array."""

    a1: Float  # (m, n)
    a2: Float  # (m, p)
    a3: Float  # (m, n)
    W2: Float  # (n, p)
    rho: float
    rho_hat: Float  # (p,)
    beta: float
    judgement: Reference

    @property
    def sparsity(self) -> Float:
        """The sparsity vector (p,)."""
        vector: Float = self.beta * (-self.rho / self.rho_hat + (1 - self.rho) / (1 - self.rho_hat))
        return vector

    def error(self, sums: Parameters) -> float:
        """Largest error of gradient sums, in units of what rounding explains; more than 1 is wrong, NaN too."""
        m = len(self.a1)
        _, bound = self.judgement.bound(np.float64, m)
        parts = zip(sums, self.judgement.gradient, bound, strict=True)
        errors = [float(np.max(np.abs(np.reshape(a, g.shape) / m - g) / b)) for a, g, b in parts]
        return float(np.max(errors)) if np.isfinite(errors).all() else np.inf


def make_case(n_samples: int, n_visible: int, n_hidden: int, *, seed: int = 0) -> Case:
    """Make the case: the same numbers for the same seed, in every process."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.1, 0.9, (n_samples, n_visible))
    parameters = Parameters.random(n_visible, n_hidden, seed=rng)
    a2 = np.asarray(encode(parameters, x), np.float64)
    a3 = np.asarray(decode(parameters, a2), np.float64)
    rho, beta = 0.01, 3.0
    judgement = evaluate_reference(
        parameters, x, rho=rho, beta=beta, weight_decay=0.0
    )  # without decay its gradient is sums / m
    W2 = np.asarray(parameters.W2, np.float64)
    return Case(x, a2, a3, W2, rho, a2.mean(axis=0), beta, judgement)


def empty_sums(case: Case) -> Parameters:
    """Zeros of the gradient's shapes."""
    sums = Sums(case.W2.shape[0], case.W2.shape[1])
    return Parameters(sums.W1, sums.b1, sums.W2, sums.b2)
