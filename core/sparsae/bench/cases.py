"""What a worker times: `backprop`, `objective`, `train`, and the peak product; each with its judge.

Every worker makes its own numbers from the seed, so all have the same, allocated in the same way:
64-byte aligned, C order, which alone makes `np.add` up to 15 % faster than what `np.empty` happens to return.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sparsae._types import Array
from sparsae.backpropagation import backprop
from sparsae.bench.settings import TRAIN_EVALUATIONS, Heat
from sparsae.errors import ConvergenceWarning
from sparsae.machine.limits import limit
from sparsae.model import Parameters, sigmoid
from sparsae.objective import Objective
from sparsae.reference import Reference, evaluate_reference
from sparsae.training.stopping import Stop
from sparsae.training.train import train

ALIGNMENT = 64
RHO, BETA, WEIGHT_DECAY = 0.01, 3.0, 1e-4
PEAK_SECONDS = 0.003  # that each shape of the peak product is timed for in a turn


class Case(ABC):
    """Something to time."""

    @abstractmethod
    def run(self) -> object:
        """Do the work once."""

    @abstractmethod
    def error(self) -> float:
        """Largest error of the work's result, in units of what rounding explains; more than 1 is wrong."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Say what is worked on and by whom, for the record."""

    def close(self) -> None:
        """Give back what was held."""
        return


def make(heat: Heat, backend: str, threads: int, seed: int) -> Case:
    """Make the case of a heat for a backend; no backend: the peak product."""
    if not backend:
        return PeakCase(heat, threads, seed)
    kinds: dict[str, Callable[..., Case]] = {
        "backprop": BackpropCase,
        "objective": ObjectiveCase,
        "train": TrainCase,
    }
    return kinds[heat.case](heat, backend, threads, seed)


def aligned(a: NDArray[Any], dtype: Any = None) -> Array:
    """Copy an array to C order and an address that is a multiple of 64."""
    source = np.ascontiguousarray(a, dtype=dtype)
    raw = np.empty(source.nbytes + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    copy: Array = raw[start : start + source.nbytes].view(source.dtype).reshape(source.shape)
    copy[...] = source
    return copy


def numbers(heat: Heat, seed: int) -> tuple[Array, Parameters]:
    """Data in [0.1, 0.9] and starting parameters, in the heat's dtype and float64."""
    m, n, p = heat.size
    X = np.random.default_rng(seed).uniform(0.1, 0.9, (m, n))
    return aligned(X, heat.dtype), Parameters.random(n, p, seed=seed)


def describe(arrays: dict[str, Array]) -> dict[str, Any]:
    """Shape, dtype, order, alignment and digest of each array."""
    return {
        name: {
            "shape": list(a.shape),
            "dtype": str(a.dtype),
            "order": "C" if a.flags.c_contiguous else "F" if a.flags.f_contiguous else "strided",
            "alignment": next(b for b in (64, 32, 16, 8, 4) if a.ctypes.data % b == 0),
            "digest": hashlib.sha256(np.ascontiguousarray(a).data).hexdigest(),
        }
        for name, a in arrays.items()
    }


def largest(parts: Any, expected: Any, bounds: Any) -> float:
    """Largest |part - expected| / bound over all arrays; infinite where a part is not finite."""
    worst = 0.0
    for part, right, bound in zip(parts, expected, bounds, strict=True):
        if not np.isfinite(part).all():
            return float("inf")
        worst = max(worst, float((np.abs(part - right) / bound).max()))
    return worst


@final
class BackpropCase(Case):
    """Gradient sums from given activations, as in the question: 6mnp useful flop."""

    def __init__(self, heat: Heat, backend: str, threads: int, seed: int) -> None:
        self.backend, self.threads = backend, threads
        self.x, parameters = numbers(heat, seed)
        W1, b1, self.W2, b2 = (aligned(part, heat.dtype) for part in parameters)
        self.judgement = _judge(self.x, Parameters(W1, b1, self.W2, b2), weight_decay=0.0)
        a2 = sigmoid(self.x.astype(np.float64) @ W1.T + b1)  # (m, p)
        a3 = sigmoid(a2 @ self.W2.T + b2)  # (m, n)
        self.a2, self.a3 = aligned(a2, heat.dtype), aligned(a3, heat.dtype)
        rho_hat = self.judgement.rho_hat
        self.sparsity = aligned(BETA * (-RHO / rho_hat + (1 - RHO) / (1 - rho_hat)), heat.dtype)  # (p,)
        self.dtype = heat.dtype

    def run(self) -> Parameters:
        """Call `sparsae.backprop` once."""
        return backprop(self.x, self.a2, self.a3, self.W2, self.sparsity, backend=self.backend, threads=self.threads)

    def error(self) -> float:
        """Compare sums / m with the gradient of the reference without weight decay."""
        m = len(self.x)
        _, bounds = self.judgement.bound(self.dtype)
        return largest([part / m for part in self.run()], self.judgement.gradient, bounds)

    def facts(self) -> dict[str, Any]:
        """Say what the arrays are."""
        return {"arrays": describe({"a1": self.x, "a2": self.a2, "a3": self.a3, "W2": self.W2})}


@final
class ObjectiveCase(Case):
    """Cost and gradient of a prepared `Objective`: 10mnp useful flop."""

    def __init__(self, heat: Heat, backend: str, threads: int, seed: int) -> None:
        self.x, parameters = numbers(heat, seed)
        self.judgement = _judge(self.x, parameters, weight_decay=WEIGHT_DECAY)
        self.theta = aligned(parameters.flatten())
        self.dtype = heat.dtype
        self.objective = _objective(self.x, heat.size[2], backend, threads)
        self.objective.__enter__()

    def run(self) -> object:
        """Evaluate once."""
        return self.objective(self.theta)

    def error(self) -> float:
        """Compare cost and gradient with the reference."""
        return _objective_error(self.objective, self.theta, self.judgement, self.dtype)

    def facts(self) -> dict[str, Any]:
        """Say what the data is, and show the receipt."""
        return {"arrays": describe({"X": self.x, "theta": self.theta}), "receipt": self.objective.receipt.to_dict()}

    def close(self) -> None:
        """End workers and limits."""
        self.objective.__exit__(None, None, None)


@final
class TrainCase(Case):
    """L-BFGS for a fixed number of evaluations, preparation and all."""

    def __init__(self, heat: Heat, backend: str, threads: int, seed: int) -> None:
        self.x, self.initial = numbers(heat, seed)
        self.backend, self.threads, self.dtype = backend, threads, heat.dtype
        self.evaluations = 0

    def run(self) -> Parameters:
        """Train once."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the limit is what ends it
            result = train(
                self.x,
                self.initial.n_hidden,
                rho=RHO,
                beta=BETA,
                weight_decay=WEIGHT_DECAY,
                backend=self.backend,
                threads=self.threads,
                initial=self.initial,
                max_iter=10 * TRAIN_EVALUATIONS,
                stop=Stop(gradient=0.0, decrease=0.0, evaluations=TRAIN_EVALUATIONS),
            )
        self.evaluations = int(result.history.evaluations[-1])
        return result.parameters

    def error(self) -> float:
        """Compare cost and gradient with the reference where training begins and where it ends."""
        worst = 0.0
        with _objective(self.x, self.initial.n_hidden, self.backend, self.threads) as objective:
            for parameters in (self.initial, self.run()):
                judgement = _judge(self.x, parameters, weight_decay=WEIGHT_DECAY)
                worst = max(worst, _objective_error(objective, parameters.flatten(), judgement, self.dtype))
        return worst

    def facts(self) -> dict[str, Any]:
        """Say what the data is and how many evaluations a training took."""
        return {"arrays": describe({"X": self.x}), "evaluations": self.evaluations}


@final
class PeakCase(Case):
    """The fastest matrix product that NumPy's BLAS does here: the best over several shapes, the model's among them."""

    def __init__(self, heat: Heat, threads: int, seed: int) -> None:
        m, n, p = heat.size
        rng = np.random.default_rng(seed)
        self.threads = threads
        self.products = []
        for rows, inner, columns in ((m, n, p), (p, m, n), (256, 256, 256), (512, 512, 512), (1024, 1024, 1024)):
            A, B = (aligned(rng.random(shape), heat.dtype) for shape in ((rows, inner), (inner, columns)))
            self.products.append((A, B, aligned(np.zeros((rows, columns)), heat.dtype)))
        self.best: tuple[float, list[int]] = (0.0, [])

    def run(self) -> float:
        """Time each shape for a moment; remember the highest rate in flop per second."""
        self.best = (0.0, [])
        with limit(self.threads):
            for A, B, C in self.products:
                flop = 2.0 * A.shape[0] * A.shape[1] * B.shape[1]
                np.dot(A, B, out=C)
                calls, start = 0, time.perf_counter_ns()
                while (now := time.perf_counter_ns()) - start < PEAK_SECONDS * 1e9 or calls == 0:
                    np.dot(A, B, out=C)
                    calls += 1
                now = time.perf_counter_ns()
                self.best = max(self.best, (flop * calls / (now - start) * 1e9, [*A.shape, B.shape[1]]))
        return self.best[0]

    def error(self) -> float:
        """Compare each product with float64 sums over a few of its rows."""
        self.run()
        worst = 0.0
        for A, B, C in self.products:
            few = slice(0, 4)
            right = A[few].astype(np.float64) @ B.astype(np.float64)
            bound = 4 * np.finfo(C.dtype).eps * A.shape[1] * np.abs(right).max()
            worst = max(worst, largest([C[few]], [right], [bound]))
        return worst

    def facts(self) -> dict[str, Any]:
        """Say which shapes there are."""
        return {"shapes": [[*A.shape, B.shape[1]] for A, B, _ in self.products]}


def _objective(x: Array, n_hidden: int, backend: str, threads: int) -> Objective:
    return Objective(x, n_hidden, rho=RHO, beta=BETA, weight_decay=WEIGHT_DECAY, backend=backend, threads=threads)


def _judge(x: Array, parameters: Parameters, *, weight_decay: float) -> Reference:
    return evaluate_reference(parameters, x, rho=RHO, beta=BETA, weight_decay=weight_decay)


def _objective_error(objective: Objective, theta: Any, judgement: Reference, dtype: str) -> float:
    cost, gradient = objective(theta)
    parts = Parameters.from_flat(gradient, objective.n_visible, objective.n_hidden)
    cost_bound, bounds = judgement.bound(dtype)
    return largest([np.float64(cost), *parts], [np.float64(judgement.cost), *judgement.gradient], [cost_bound, *bounds])
