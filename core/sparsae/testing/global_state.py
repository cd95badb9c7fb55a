"""Is the state of the process the same after each kind of call?  Snapshots from before the backend was loaded."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, final

import numpy as np

from sparsae._text import plural
from sparsae.errors import BackendError, ThreadsWarning
from sparsae.model import Parameters
from sparsae.objective import Objective
from sparsae.plugins.contract import AnyKernel, Backend, Problem
from sparsae.plugins.sums import Sums
from sparsae.testing.harness import CountingKernel, Harness
from sparsae.testing.snapshot import differences, snapshot, system_threads

EVALUATIONS = 6
MOST_NEW_THREADS = 2  # in so many evaluations; a pool starts all of its threads in the first ones
OWN_POOL = ("threads left running", "open files")  # a backend with a pool of its own keeps these from its first call on


def ignored_state(backend: Backend) -> tuple[str, ...]:
    """Return the kinds of state that this backend may change once."""
    return OWN_POOL if backend.threading == "own" else ()


@final
class _StateWatch:
    """Compares the state now with the state at the last call."""

    def __init__(self, kit: Harness) -> None:
        self._kit, self._ignore = kit, ignored_state(kit.original)
        self._last = snapshot() if kit.loading is None else kit.loading.ready

    def after(self, what: str) -> None:
        """Fail when something changed since the last call."""
        now = snapshot()
        found = differences(self._last, now, ignore=self._ignore)
        self._last = now
        if found:
            self._kit.label = what
            self._kit.fail(f"{'; '.join(found)} (after {what})")


def global_state(kit: Harness) -> None:
    """Nothing of the process is changed: by import, __init__, each method, evaluations, exceptions, limit_threads."""
    if kit.loading is not None:
        kit.label = "the import of its module"
        if found := differences(kit.loading.before, kit.loading.after):
            kit.fail(f"{'; '.join(found)} (after its module was imported)")
    watch = _StateWatch(kit)
    watch.after("the checks before this one")
    for unit in kit.each_unit():
        for output in kit.outputs if unit == kit.activations[0] or not kit.quick else kit.outputs[:1]:
            kernel = kit.kernel(6, 4, output=output)
            watch.after("__init__")
            _each_method(kit, kernel, watch)
            del kernel
            watch.after("the kernel was deleted")
    for _ in kit.each_unit():
        _evaluations(kit, watch)
    _failed_evaluation(kit)
    watch.after("an evaluation in which the kernel raised")
    if kit.original.limit_threads is not None:
        _limit_threads(kit, kit.original.limit_threads)
        watch.after("limit_threads(1) around an exception")
    _no_growth(kit)


def _each_method(kit: Harness, kernel: CountingKernel, watch: _StateWatch) -> None:
    """Call every method, with blocks kept or not, in both passes."""
    m, n, p = 30, 6, 4
    X, made, v = kit.data(m, n), kit.given(kit.parameters(n, p)), np.ones(p, kit.dtype)
    kit.label = f"each method by itself, m={m} n={n} p={p} {kit.activation}"
    weights = kernel.begin(made)
    watch.after("begin")
    for keep in (True, False):
        block, into = kernel.prepare(X, X, keep), Sums(n, p)
        watch.after("prepare")
        hidden, _ = kernel.encode(weights, block)
        watch.after("encode")
        kernel.accumulate(weights, block, hidden, v, into)
        watch.after("accumulate")
        kernel.accumulate(weights, block, None, None if kit.activation == "sigmoid" else v, into)
        watch.after("accumulate in the only pass")
        kernel.finish(weights, into)
        watch.after("finish")
    if kernel.has_backprop:
        kernel.backprop(X, kit.activations_of(m, p), kit.data(m, n, seed=2), made.W2, v, X)
    watch.after("backprop")


def _evaluations(kit: Harness, watch: _StateWatch) -> None:
    """Whole evaluations, with one thread and with two."""
    m, n, p = 90, 6, 4
    X, made = kit.data(m, n), kit.parameters(n, p)
    kit.label = f"evaluations, m={m} n={n} p={p} {kit.activation}"
    kit.evaluate(made, X)
    watch.after("an evaluation")
    for threads in (1, 2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ThreadsWarning)
            kit.evaluate(made, X, threads=threads, block_rows=16)
        watch.after(f"an evaluation with {plural(threads, 'thread')}")


def _failed_evaluation(kit: Harness) -> None:
    """An exception in `accumulate` passes through the engine."""
    m, n, p = 90, 6, 4
    kit.label = f"an evaluation in which the kernel raised, m={m} n={n} p={p}"

    def make_failing(problem: Problem) -> AnyKernel:
        kernel = kit.backend.kernel(problem)

        def accumulate(*arguments: Any) -> None:
            raise RuntimeError("raised by the kit")

        kernel.accumulate = accumulate  # type: ignore[method-assign, assignment]
        return kernel

    failing = replace(kit.backend, kernel=make_failing)
    try:
        Objective(kit.data(m, n), p, backend=failing, dtype=kit.dtype, threads=1, **kit.settings(p))(_theta(kit, n, p))
    except BackendError:
        return
    kit.fail("an exception inside an evaluation was swallowed")


def _theta(kit: Harness, n: int, p: int) -> Any:
    made: Parameters = kit.parameters(n, p)
    return made.flatten()


def _limit_threads(kit: Harness, limit: Callable[[int], Any]) -> None:
    """The backend's own limit ends with its block, also after an exception, which it passes on."""
    kit.label = "limit_threads(1) around an exception"
    try:
        with limit(1):
            raise ZeroDivisionError
    except ZeroDivisionError:
        return
    kit.fail("limit_threads swallowed an exception")


def _no_growth(kit: Harness) -> None:
    """Threads, files and child processes do not become more with every evaluation, whatever pool there is."""
    m, n, p = 90, 6, 4
    X, made = kit.data(m, n), kit.parameters(n, p)
    kit.label = f"{EVALUATIONS} evaluations, m={m} n={n} p={p}"
    before, threads = snapshot(), system_threads()
    for _ in range(EVALUATIONS):
        kit.evaluate(made, X)
    for _ in range(50):  # a thread that has ended is in the system's list a moment longer
        more = system_threads() - threads
        if more <= MOST_NEW_THREADS:
            break
        time.sleep(0.01)
    else:
        kit.fail(f"{more} threads more after {EVALUATIONS} evaluations")
    if found := differences(before, snapshot()):
        kit.fail(f"{'; '.join(found)} (after {EVALUATIONS} evaluations more)")
