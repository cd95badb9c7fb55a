"""Measure what a better setting gains: the same work in child processes that differ in one variable, in turns."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, final

from sparsae.bench.contest import Contest, ContestResults
from sparsae.bench.process import choose_cpus, thread_environment
from sparsae.bench.statistics import PairedRatio, paired_ratio
from sparsae.bench.task_process import TaskProcess
from sparsae.bench.timing import BATCH_SECONDS
from sparsae.doctor.facts import BIASING, PRODUCT_VARIABLES, Facts

ROUNDS = 15
SURE = 0.8  # share of the rounds in which the better setting must be faster: by chance 2 times in 100 with 15 rounds
POWER_VARIABLES = frozenset({"NPY_DISABLE_CPU_FEATURES"})
Work = Literal["products", "powers", "objective", "pool"]
_TASKS: dict[Work, str] = {
    "products": "block_products_task",
    "powers": "powers_task",
    "objective": "evaluation_task",
    "pool": "pool_task",
}
_ONE_THREAD: tuple[Work, ...] = ("products", "powers")
_SIZES = {"64/25": (500, 64, 25), "784/196": (512, 784, 196)}  # rows of a block, visible, hidden units


@final
@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A change of variables that might help.

    Attributes
    ----------
    key : str
        The finding that it belongs to.
    change : mapping of str to str or None
        The variables as they should be; None: not set.
    work : {"products", "powers", "objective", "pool"}
        What is timed: products of the model's shapes on one thread, the sigmoids' powers on one thread,
        a whole evaluation by `sparsae.Objective` with the threads that it is given, or one large product
        with the BLAS pool as it is.
    """

    key: str
    change: Mapping[str, str | None]
    work: Work


@final
@dataclass(frozen=True, kw_only=True)
class Gain:
    """The result of an experiment.

    Attributes
    ----------
    ratios : mapping of str to PairedRatio
        For each size: how many times as fast the work is with the change.
    architectures : tuple of str
        Kernel architectures of the BLAS pools with the change.
    failed : str
        Why there are no ratios.
    """

    ratios: Mapping[str, PairedRatio]
    architectures: tuple[str, ...] = ()
    failed: str = ""

    @property
    def best(self) -> float | None:
        """The largest gain above noise (faster in four rounds of five), at least 1; None where nothing was measured."""
        if not self.ratios:
            return None
        return max((r.median for r in self.ratios.values() if r.wins >= SURE * r.rounds), default=1.0)

    def __str__(self) -> str:
        if self.failed:
            return f"could not be measured: {self.failed}"
        parts = [f"{r.median:.2f} [{r.low:.2f}, {r.high:.2f}] at {size}" for size, r in self.ratios.items()]
        quiet = all(r.undisturbed for r in self.ratios.values())
        busy = "" if quiet else " (on a busy machine: most rounds were disturbed)"
        return f"measured: times as fast, with the 10th to 90th percentile: {', '.join(parts)}{busy}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as values that JSON can take."""
        ratios = {size: ratio._asdict() for size, ratio in self.ratios.items()}
        return asdict(self) | {"ratios": ratios}


class _Setting(NamedTuple):
    """One child process: its experiment ("" is the environment as it is), work and size."""

    key: str
    work: Work
    size: str

    @property
    def name(self) -> str:
        return f"{self.work} at {self.size}, {self.key or 'as it is'}"


def propose_experiments(facts: Facts) -> tuple[Experiment, ...]:
    """Return what is worth measuring on this machine: nothing, where nothing is suspicious."""
    return (*_kernel_experiments(facts), *_thread_experiments(facts))


def run_experiments(
    experiments: tuple[Experiment, ...],
    *,
    cpus: list[int],
    rounds: int = ROUNDS,
    seed: int = 0,
    batch_seconds: float = BATCH_SECONDS,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Gain]:
    """Time every experiment against the environment as it is, all in turns, and return the gains by key.

    Parameters
    ----------
    experiments : tuple of Experiment
    cpus : list of int
        The CPUs that this process may use; work on one thread is pinned to one of them.
    rounds, seed : int
    batch_seconds : float
        How long a turn is; under a quota it must span several of its periods of 0.1 s.
    progress : callable
        Called with the share that is done.
    """
    changes: dict[str, Mapping[str, str | None]] = {"": {}} | {e.key: e.change for e in experiments}
    settings = [_Setting(e.key, e.work, size) for e in experiments for size in _SIZES]
    settings += dict.fromkeys(_Setting("", one.work, one.size) for one in settings)
    start = {one.name: partial(_start, one, changes[one.key], cpus) for one in settings}
    results, rng = ContestResults(), random.Random(seed)  # noqa: S311  an order, not a secret
    with closing(Contest(start, results, rng=rng, batch_seconds=batch_seconds)) as contest:
        contest.run(rounds, lambda what, share: progress(share))
    return {e.key: _gain(e, results) for e in experiments}


def _kernel_experiments(facts: Facts) -> Iterator[Experiment]:
    """Each variable that changes the arithmetic, one by one; all of them; kernels with wider vectors."""
    for name in BIASING:
        if name in facts.environment:
            work: Work = "objective"
            if name in PRODUCT_VARIABLES:
                work = "products"
            elif name in POWER_VARIABLES:
                work = "powers"
            yield Experiment(key=name, change={name: None}, work=work)
    if len(facts.product_variables) > 1:
        yield Experiment(key="all of them", change=dict.fromkeys(facts.product_variables), work="products")
    if facts.wider_kernels:
        yield Experiment(key="core", change={"OPENBLAS_CORETYPE": facts.wider_kernels}, work="products")


def _thread_experiments(facts: Facts) -> Iterator[Experiment]:
    """Fewer threads than CPUs, and more."""
    if facts.limiting_variables:
        yield Experiment(key="thread limit", change=dict.fromkeys(facts.limiting_variables), work="objective")
    if facts.requested_threads is not None:
        yield Experiment(key="SPARSAE_THREADS", change={"SPARSAE_THREADS": None}, work="objective")
    if facts.oversubscribed_pools:
        yield Experiment(key="oversubscription", change=facts.pool_limits, work="pool")


def _gain(experiment: Experiment, results: ContestResults) -> Gain:
    """Compute the ratios of one experiment to the environment as it is."""
    ratios = {}
    architectures: tuple[str, ...] = ()
    for size in _SIZES:
        before, after = (_Setting(key, experiment.work, size).name for key in ("", experiment.key))
        for name in (before, after):
            if name in results.dropped:
                return Gain(ratios={}, failed=f"{name}: {results.dropped[name]}")
        ratios[size] = paired_ratio(results.pairs(before, after))
        pools = results.facts[after]["pools_after_call"]
        architectures = tuple(pool["architecture"] for pool in pools if pool.get("architecture"))
    return Gain(ratios=ratios, architectures=architectures)


def _start(setting: _Setting, change: Mapping[str, str | None], cpus: list[int]) -> TaskProcess:
    """Start the child process of a setting."""
    rows, n, p = _SIZES[setting.size]
    single = setting.work in _ONE_THREAD
    return TaskProcess(
        f"sparsae.doctor.tasks:{_TASKS[setting.work]}",
        {"rows": rows, "n_visible": n, "n_hidden": p},
        threads=1 if single else 2,  # two stands for "more than one"
        environment=(thread_environment(1) if single else {}) | dict(change),
        cpus=choose_cpus(1) if single else cpus,
        name=setting.name,
        ignore_waiting=not single,
    )
