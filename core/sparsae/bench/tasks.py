"""What a child process times, and how its result is checked.

`race_task` makes those of the race; `sparsae.bench.question.tasks` and `sparsae.doctor.tasks` make others of them.
"""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, final

import numpy as np

from sparsae._types import Array
from sparsae.backpropagation import backprop
from sparsae.bench.inputs import (
    BackpropInputs,
    aligned_copy,
    decided_rows,
    describe_arrays,
    largest_ratio,
    make_backprop_inputs,
    make_data,
    product_error,
    raced_options,
)
from sparsae.bench.timing import warm_up
from sparsae.bench.workload import TRAIN_EVALUATIONS, RaceWorkload
from sparsae.errors import ConvergenceWarning
from sparsae.machine.limits import limit
from sparsae.model import Parameters
from sparsae.objective import Objective
from sparsae.plugins.selection import select
from sparsae.reference import Reference, evaluate_reference

PEAK_SECONDS = 0.003  # that each shape of the peak product is timed for in a batch
_PEAK_SHAPES = ((256, 256, 256), (512, 512, 512), (1024, 1024, 1024))
_CHECKED_ROWS = 4  # of each peak product


class Task(ABC):
    """Something to time."""

    @abstractmethod
    def run(self) -> object:
        """Do the work once."""

    def error(self) -> float:
        """Largest error of the work's result, in units of what rounding explains; more than 1 is wrong."""
        return 0.0

    def facts(self) -> dict[str, Any]:
        """Return what is worked on and by which backend, for the record; called after the first run."""
        return {}

    def batch_facts(self) -> dict[str, Any]:
        """Return what there is to say of the last batch."""
        return {}

    def warm_up(self, threads: int) -> None:
        """Prepare for a batch, untimed; see `sparsae.bench.timing.warm_up`."""
        warm_up(self.run, threads)


@final
class BackpropTask(Task):
    """Gradient sums from given activations."""

    def __init__(
        self,
        inputs: BackpropInputs,
        call: Callable[[], Parameters],
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.inputs, self._call = inputs, call
        self._facts = dict(facts or {})

    def run(self) -> Parameters:
        """Compute the sums once."""
        return self._call()

    def error(self) -> float:
        """Compare the sums with the reference's."""
        return self.inputs.error(self.run())

    def facts(self) -> dict[str, Any]:
        """Describe the arrays and the backend."""
        named = {"a1": self.inputs.a1, "a2": self.inputs.a2, "a3": self.inputs.a3, "W2": self.inputs.W2}
        return {"arrays": describe_arrays(named)} | self._facts


@final
class ObjectiveTask(Task):
    """Cost and gradient of a prepared `Objective`, held until the process ends."""

    def __init__(
        self, workload: RaceWorkload, *, backend: str | None = None, threads: int | None = None, seed: int = 0
    ) -> None:
        self._facts = _backend_facts(backend)
        options = raced_options(workload.activation, workload.k)
        self.x, parameters = make_data(workload.size, workload.dtype, seed, options)
        self.theta = aligned_copy(parameters.flatten())
        self.objective = Objective(self.x, parameters.n_hidden, backend=backend, threads=threads, **options)
        self.expected = _evaluate_reference(self.objective, parameters, self.x)
        self.objective.__enter__()

    def run(self) -> object:
        """Evaluate once."""
        return self.objective(self.theta)

    def error(self) -> float:
        """Compare cost and gradient with the reference."""
        return _objective_error(self.objective, self.theta, self.expected, self.x.dtype)

    def facts(self) -> dict[str, Any]:
        """Describe the data and the backend, with the receipt."""
        arrays = describe_arrays({"X": self.x, "theta": self.theta})
        return {"arrays": arrays, "receipt": self.objective.receipt.to_dict()} | self._facts


@final
class TrainTask(Task):
    """A fixed number of evaluations, from the arguments of `train` to its result.

    Sigmoid units: L-BFGS, which evaluates all rows.  Others: one epoch of Adam in as many mini-batches, without the
    auxiliary loss, whose work depends on what is dead.
    """

    def __init__(self, workload: RaceWorkload, *, backend: str, threads: int, seed: int) -> None:
        self._facts = _backend_facts(backend)
        self.options = raced_options(workload.activation, workload.k)
        self.x, self.initial = make_data(workload.size, workload.dtype, seed, self.options)
        self.backend, self.threads = backend, threads
        self.evaluations = 0

    def run(self) -> Parameters:
        """Train once."""
        from sparsae.training.train import train  # imports SciPy, 0.2 s, which no other task needs

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the limit is what ends it
            result = train(
                self.x,
                self.initial.n_hidden,
                backend=self.backend,
                threads=self.threads,
                initial=self.initial,
                **self._limits(),
                **self.options,
            )
        self.evaluations = int(result.history.evaluations[-1])
        return result.parameters

    def _limits(self) -> dict[str, Any]:
        """Return the optimiser, and what ends it."""
        from sparsae.optimize import Adam
        from sparsae.training.stopping import Stop

        if "activation" not in self.options:
            stop = Stop(gradient=0.0, decrease=0.0, evaluations=TRAIN_EVALUATIONS)
            return {"max_iter": 10 * TRAIN_EVALUATIONS, "stop": stop}
        rows = -(-len(self.x) // TRAIN_EVALUATIONS)
        limits = {"method": Adam(batch_rows=rows, evaluate_start=False), "max_iter": 1}
        return limits | ({"aux": 0.0} if self.options["activation"] == "topk" else {})

    def error(self) -> float:
        """Compare cost and gradient with the reference where training begins and where it ends.

        Rows that rounding leaves undecided there are left out.
        """
        return max(map(self._error_at, (self.initial, self.run())))

    def _error_at(self, parameters: Parameters) -> float:
        x = self.x[decided_rows(parameters, self.x, self.options)]
        options: dict[str, Any] = {"backend": self.backend, "threads": self.threads, **self.options}
        with Objective(x, parameters.n_hidden, **options) as objective:
            expected = _evaluate_reference(objective, parameters, x)
            return _objective_error(objective, parameters.flatten(), expected, x.dtype)

    def facts(self) -> dict[str, Any]:
        """Describe the data and the backend, with the number of evaluations of a training."""
        return {"arrays": describe_arrays({"X": self.x}), "evaluations": self.evaluations} | self._facts


@final
class PeakTask(Task):
    """The fastest matrix product of NumPy's BLAS here: the best over several shapes, the model's among them."""

    def __init__(self, workload: RaceWorkload, *, threads: int, seed: int) -> None:
        (m, n, p), dtype = workload.size, workload.dtype
        rng = np.random.default_rng(seed)
        self.threads = threads
        self.products = []
        for rows, inner, columns in ((m, n, p), (p, m, n), *_PEAK_SHAPES):
            A, B = (aligned_copy(rng.random(shape), dtype) for shape in ((rows, inner), (inner, columns)))
            self.products.append((A, B, aligned_copy(np.zeros((rows, columns)), dtype)))
        self.best: tuple[float, list[int]] = (0.0, [])

    def run(self) -> object:
        """Time each shape for a moment; remember the highest rate in flop per second, and its shape."""
        self.best = (0.0, [])
        with limit(self.threads):
            for A, B, C in self.products:
                flop = 2.0 * A.shape[0] * A.shape[1] * B.shape[1]
                np.dot(A, B, out=C)
                calls, start = 0, time.perf_counter_ns()
                while time.perf_counter_ns() - start < PEAK_SECONDS * 1e9 or calls == 0:
                    np.dot(A, B, out=C)
                    calls += 1
                seconds = (time.perf_counter_ns() - start) / 1e9
                self.best = max(self.best, (flop * calls / seconds, [*A.shape, B.shape[1]]))
        return self.best

    def warm_up(self, threads: int) -> None:
        """Each shape has an untimed call of its own: one thread needs no more."""
        if threads > 1:
            super().warm_up(threads)

    def error(self) -> float:
        """Check a few rows of each product of the last call."""
        rows = slice(0, _CHECKED_ROWS)
        return max(product_error(A[rows], B, C[rows]) for A, B, C in self.products)

    def facts(self) -> dict[str, Any]:
        """List the shapes."""
        return {"shapes": [[*A.shape, B.shape[1]] for A, B, _ in self.products]}

    def batch_facts(self) -> dict[str, Any]:
        """Return the highest rate of the last call, and the shape that reached it."""
        return {"rate": self.best[0], "shape": self.best[1]}


@final
class ProductsTask(Task):
    """Matrix products by `np.dot`, into arrays that are kept or into new ones."""

    def __init__(self, *pairs: tuple[Array, Array], keep_results: bool, checked_rows: int | None = None) -> None:
        self.pairs = pairs
        self._rows = slice(checked_rows)
        self._out = [np.empty((a.shape[0], b.shape[1])) if keep_results else None for a, b in pairs]

    def run(self) -> list[Array]:
        """Compute each product once."""
        return [np.dot(a, b, out=out) for (a, b), out in zip(self.pairs, self._out, strict=True)]

    def error(self) -> float:
        """Compare each product with sums in extended precision."""
        found, rows = self.run(), self._rows
        return max(product_error(a[rows], b, c[rows]) for (a, b), c in zip(self.pairs, found, strict=True))


def race_task(*, workload: Mapping[str, Any], backend: str, threads: int, seed: int) -> Task:
    """Make the task of a workload, given by its fields, for a backend; no backend: the peak product."""
    made = RaceWorkload(**workload)
    if not backend:
        return PeakTask(made, threads=threads, seed=seed)
    if made.case == "backprop":
        inputs = make_backprop_inputs(made.size, dtype=made.dtype, seed=seed, activation=made.activation, k=made.k)
        return backprop_task(inputs, backend, threads)
    make: Callable[..., Task] = {"objective": ObjectiveTask, "train": TrainTask}[made.case]
    return make(made, backend=backend, threads=threads, seed=seed)


def _backend_facts(backend: str | None) -> dict[str, str]:
    """Load the backend; return where it comes from and how it uses threads."""
    selected = select(backend)
    record = selected.record
    return {
        "distribution": record.distribution,
        "version": record.version,
        "threading": selected.backend.threading,
    }


def backprop_task(inputs: BackpropInputs, backend: str, threads: int) -> BackpropTask:
    """Make a call of `sparsae.backprop` with that backend."""
    given = inputs.a1, inputs.a2, inputs.a3, inputs.W2, aligned_copy(inputs.sparsity)
    facts = _backend_facts(backend)
    options: dict[str, Any] = {"activation": inputs.activation, "k": inputs.k, "backend": backend, "threads": threads}
    return BackpropTask(inputs, lambda: backprop(*given, **options), facts)


def _evaluate_reference(objective: Objective, parameters: Parameters, x: Array) -> Reference:
    """Evaluate the reference with the settings of an objective, defaults included."""
    settings: dict[str, Any] = asdict(objective.cost)
    return evaluate_reference(
        parameters.astype(x.dtype), x, k=objective.settings.k, output=objective.output, **settings
    )


def _objective_error(objective: Objective, theta: Array, expected: Reference, dtype: object) -> float:
    """Compare cost and gradient at `theta` with the reference."""
    cost, gradient = objective(theta)
    parts = Parameters.from_flat(gradient, objective.n_visible, objective.n_hidden)
    return largest_ratio(expected.errors(dtype, cost=cost, gradient=parts))
