"""Does it behave?  Same bits, no aliasing, instances that do not disturb each other, global state given back."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from sparsae._types import Array
from sparsae.engine.storage import Passes
from sparsae.errors import BackendError, ThreadsWarning
from sparsae.machine.limits import pools
from sparsae.model import Parameters
from sparsae.objective import Objective
from sparsae.plugins.contract import CONTRACT, OLDEST_CONTRACT, AnyKernel, Problem
from sparsae.plugins.sums import Sums
from sparsae.testing.harness import SETTINGS, Subject, Unverified

HEAVY = ("numba", "jax", "torch", "tensorflow", "numexpr", "cupy", "pandas", "dask", "sklearn", "matplotlib")
PATIENCE = 120.0  # seconds


def registration(s: Subject) -> None:
    """The declaration: contract, something it can do, a kernel that is a Kernel; it survives pickling."""
    backend = s.original
    s.label = f"Backend {backend.name!r}"
    if not OLDEST_CONTRACT <= backend.contract <= CONTRACT:
        s.fail(f"contract is {backend.contract}; this sparsae supports {OLDEST_CONTRACT} to {CONTRACT}")
    if not s.outputs or "sigmoid" not in backend.activations:
        s.fail(f"it can do nothing: activations {backend.activations}, outputs {backend.outputs}")
    s.kernel(3, 2)
    try:
        again = pickle.loads(pickle.dumps(backend))  # noqa: S301 (our own bytes)
    except Exception as error:  # noqa: BLE001
        s.fail(f"it cannot be pickled, and so not be sent to a worker: {error}")
    if again != backend:
        s.fail("it is another one after pickling; define the kernel at the top of its module")


def light_discovery(s: Subject) -> None:
    """Its module imports no heavy library: listing backends loads it for everybody."""
    if not s.registered:
        raise Unverified("given as an object; only a registered backend has a module to import")
    s.label = "a fresh process that asks for the backend by name"
    heavy = sorted({*HEAVY, *(name.partition(".")[0] for name in s.original.requires)})
    code = (
        f"import sys, sparsae; sparsae.get_backend({s.original.name!r}); "
        f"print(*[name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        s.fail(f"it cannot be loaded in a fresh process: {done.stderr.strip().splitlines()[-1]}")
    if found := done.stdout.split():
        s.fail(f"its module imports {', '.join(found)}; import that in the kernel's __init__")


def same_bits(s: Subject) -> None:
    """The same evaluation twice gives the same bits, also after another one in between; results survive the next."""
    m, n, p = 120, 9, 6
    X, made = s.data(m, n), s.parameters(n, p)
    both: tuple[Passes, ...] = (2, 1)
    for passes, output in product(both, s.outputs):
        s.label = f"m={m} n={n} p={p} passes={passes} output={output} block_rows=50"
        objective = Objective(
            X, p, backend=s.backend, dtype=s.dtype, passes=passes, output=output, block_rows=50, threads=1, **SETTINGS
        )
        with objective:
            first = objective.evaluate(made.flatten()).gradient
            kept = first.copy()
            objective.evaluate(made.flatten() * 3)
            s.same_bits("the result of an evaluation changed with the next one", first, kept)
            s.same_bits("the same evaluation gave other bits", objective.evaluate(made.flatten()).gradient, kept)


def aliasing(s: Subject) -> None:
    """What `backprop`, `begin`, `encode` and a kept block return is no view of scratch: it outlives the next call."""
    m, n, p = 30, 6, 4
    for output in s.outputs:
        kernel = s.kernel(n, p, output=output)
        X, Y = s.data(m, n), s.data(m, n, seed=5)
        a2, W2, v = s.data(m, p, seed=1), s.parameters(n, p).W2.astype(s.dtype), np.ones(p, s.dtype)
        if kernel.has_backprop:
            s.label = f"backprop twice, m={m} n={n} p={p} output={output}"
            first = kernel.backprop(X, a2, Y, W2, v, X)
            kept = [np.array(part) for part in first]
            kernel.backprop(Y, a2 / 2, X, -W2, -v, Y)
            for name, part, before in zip(Parameters._fields, first, kept, strict=True):
                s.same_bits(f"backprop's {name} changed with the next call", part, before)
        s.label = f"two sets of weights and two kept blocks at once, m={m} n={n} p={p} output={output}"
        one, two = (s.parameters(n, p, seed=seed).astype(s.dtype) for seed in (0, 1))
        alone = _sums(s, s.kernel(n, p, output=output), one, X)
        weights, block = kernel.begin(one), kernel.prepare(X, X, True)
        hidden, _ = kernel.encode(weights, block)
        other, block_2 = kernel.begin(two), kernel.prepare(Y, Y, True)
        kernel.accumulate(other, block_2, kernel.encode(other, block_2)[0], v, Sums(n, p))
        into = Sums(n, p)
        kernel.accumulate(weights, block, hidden, v, into)
        kernel.finish(weights, into)
        _near(s, "sums with another block and other weights prepared in between", into, alone)


def shared_pieces(s: Subject) -> None:
    """Blocks, weights and activations of one instance serve another."""
    m, n, p = 45, 5, 3
    X, made, v = s.data(m, n), s.parameters(n, p).astype(s.dtype), np.ones(p, s.dtype)
    for output in s.outputs:
        s.label = f"prepared, begun and encoded by one instance, accumulated by another, m={m} n={n} p={p} {output}"
        maker, taker, third = (s.kernel(n, p, output=output) for _ in range(3))
        alone = _sums(s, s.kernel(n, p, output=output), made, X)
        weights, block = maker.begin(made), maker.prepare(X, X, True)
        hidden, _ = third.encode(weights, block)
        into = Sums(n, p)
        taker.accumulate(weights, block, hidden, v, into)
        taker.finish(weights, into)
        _near(s, "sums", into, alone)


def _sums(s: Subject, kernel: AnyKernel, parameters: Parameters, X: Array) -> Sums:
    """Sums of one block with a sparsity vector of ones."""
    n, p = parameters.n_visible, parameters.n_hidden
    weights, block, into = kernel.begin(parameters), kernel.prepare(X, X, True), Sums(n, p)
    kernel.accumulate(weights, block, kernel.encode(weights, block)[0], np.ones(p, s.dtype), into)
    kernel.finish(weights, into)
    return into


def _near(s: Subject, what: str, got: Sums, true: Sums) -> None:
    eps = 64 * float(np.finfo(s.dtype).eps)
    s.close(what, got.head, true.head, eps * (1 + abs(true.head).max()))


def two_threads(s: Subject) -> None:
    """Two instances at work in two threads at once compute what each computes alone."""
    m, n, p = 200, 24, 16
    repeats = 15 if s.quick else 60
    X = [s.data(m, n, seed=seed) for seed in (0, 1)]
    made = [s.parameters(n, p, seed=seed).astype(s.dtype) for seed in (0, 1)]
    s.label = f"two kernels in two threads, {repeats} times, m={m} n={n} p={p}"
    kernels = [s.kernel(n, p, block_rows=m) for _ in range(2)]
    truth = [_sums(s, kernels[i], made[i], X[i]) for i in range(2)]
    v = np.ones(p, s.dtype)
    gate = threading.Barrier(2)
    trouble: list[BaseException] = []

    def work(i: int) -> None:
        try:
            gate.wait()
            for _ in range(repeats):
                _near(s, f"the sums of kernel {i}", _sums(s, kernels[i], made[i], X[i]), truth[i])
                if not kernels[i].has_backprop:
                    continue
                got = kernels[i].backprop(X[i], X[i][:, :p], X[i], made[i].W2, v, X[i])
                again = kernels[i].backprop(X[i], X[i][:, :p], X[i], made[i].W2, v, X[i])
                for a, b in zip(got, again, strict=True):
                    s.close(f"backprop of kernel {i}", a, b, 64 * np.finfo(s.dtype).eps * (1 + abs(b).max()))
        except BaseException as error:  # noqa: BLE001 (raised again below, in the calling thread)
            trouble.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # many more chances to meet
    try:
        threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    finally:
        sys.setswitchinterval(interval)
    if trouble:
        raise trouble[0]
    if any(thread.is_alive() for thread in threads):
        s.fail(f"they had not finished after {PATIENCE} s: do they wait for each other?")


def workers(s: Subject) -> None:
    """Row workers never change a bit (threading "workers" and "none")."""
    if s.original.threading not in ("workers", "none"):
        raise Unverified(f'promised for threading "workers" and "none"; this one has "{s.original.threading}"')
    m, n, p = 403, 9, 6
    X, made = s.data(m, n), s.parameters(n, p)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ThreadsWarning)  # more workers than CPUs are asked for on purpose
        for passes in (2, 1):
            first = s.evaluate(made, X, passes=passes, block_rows=29, threads=1)
            s.compare(first, made, X, block_rows=29)
            for count in (2, 3):
                s.label = f"{count} workers against one, m={m} n={n} p={p} passes={passes}"
                found = s.evaluate(made, X, passes=passes, block_rows=29, threads=count)
                s.same_bits("workers changed the gradient", found.gradient, first.gradient)


@contextmanager
def _state_is_given_back(s: Subject, when: str) -> Iterator[None]:
    """Compare global state before and after."""
    before = _state()
    yield
    after = _state()
    for name, value in before.items():
        if after[name] != value:
            s.fail(f"{name} was {value} and is {after[name]} {when}")


def _state() -> dict[str, Any]:
    tiny = np.array([np.finfo(np.float64).smallest_subnormal])
    state: dict[str, Any] = {
        f"the limit of {pool['library']}": pool["num_threads"] for pool in pools() if pool["user_api"] == "blas"
    }
    state["NumPy's error mode"] = np.geterr()
    state["gradual underflow"] = bool((tiny * np.float64(1.0))[0] > 0)
    state["the environment"] = dict(os.environ)
    state["the switch interval"] = sys.getswitchinterval()
    if hasattr(os, "sched_getaffinity"):
        state["the CPU affinity"] = os.sched_getaffinity(0)
    return state


def global_state(s: Subject) -> None:
    """Thread limits, error modes, flush-to-zero, affinity and environment are given back, also after an exception."""
    m, n, p = 90, 6, 4
    X, made = s.data(m, n), s.parameters(n, p)
    s.kernel(n, p)  # its libraries are loaded now, and their pools are known
    s.label = f"before and after an evaluation, m={m} n={n} p={p}"
    with _state_is_given_back(s, "after an evaluation"):
        s.evaluate(made, X)
        for threads in (1, 2):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ThreadsWarning)
                s.evaluate(made, X, threads=threads, block_rows=16)
    s.label = f"before and after an evaluation that failed, m={m} n={n} p={p}"

    def doomed(problem: Problem) -> AnyKernel:
        kernel = s.backend.kernel(problem)

        def accumulate(*arguments: Any) -> None:
            raise RuntimeError("made to fail by the kit")

        kernel.accumulate = accumulate  # type: ignore[method-assign, assignment]
        return kernel

    with _state_is_given_back(s, "after an exception"):
        try:
            Objective(X, p, backend=replace(s.backend, kernel=doomed), dtype=s.dtype, threads=1)(made.flatten())
        except BackendError:
            pass
        else:
            s.fail("an exception inside an evaluation was swallowed")
    if s.original.limit_threads is not None:
        _limit_is_a_loan(s, s.original.limit_threads)


def _limit_is_a_loan(s: Subject, limit: Callable[[int], Any]) -> None:
    """The backend's own limit ends with its block, also after an exception, which it passes on."""
    s.label = "limit_threads(1) around an exception"
    with _state_is_given_back(s, "after limit_threads(1)"):
        swallowed = True
        try:
            with limit(1):
                raise ZeroDivisionError
        except ZeroDivisionError:
            swallowed = False
        if swallowed:
            s.fail("limit_threads swallowed an exception")
