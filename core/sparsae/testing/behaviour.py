"""Behaviour: registration, same bits, no aliasing, instances that do not disturb each other."""

from __future__ import annotations

import pickle
import sys
import threading
import warnings
from itertools import product
from typing import Any

import numpy as np

from sparsae._types import FLOATS, OUTPUTS, Activation, Array
from sparsae.errors import ThreadsWarning
from sparsae.model import Parameters
from sparsae.objective import Objective
from sparsae.plugins.contract import CONTRACT, OLDEST_CONTRACT, AnyKernel
from sparsae.plugins.sums import Sums
from sparsae.testing.harness import CannotVerify, Harness, NotOffered

KERNEL_UNITS: tuple[Activation, ...] = ("sigmoid", "relu", "topk", "jumprelu")  # batchtopk reaches kernels as jumprelu
DTYPES = tuple(str(dtype) for dtype in FLOATS)
HEAVY = ("numba", "jax", "torch", "tensorflow", "numexpr", "cupy", "pandas", "dask", "sklearn", "matplotlib")


def registration(kit: Harness) -> None:
    """The declaration: contract, something it can do, a kernel that is a Kernel; it survives pickling."""
    backend = kit.original
    kit.label = f"Backend {backend.name!r}"
    for field, known in (("activations", KERNEL_UNITS), ("outputs", OUTPUTS), ("dtypes", DTYPES)):
        if unknown := sorted(set(getattr(backend, field)) - set(known)):
            kit.fail(f"{field} has {', '.join(map(repr, unknown))}; what can be declared is {', '.join(known)}")
    if not OLDEST_CONTRACT <= backend.contract <= CONTRACT:
        kit.fail(f"contract is {backend.contract}; this sparsae supports {OLDEST_CONTRACT} to {CONTRACT}")
    if not kit.outputs or not backend.activations:
        kit.fail(f"it can do nothing: activations {backend.activations}, outputs {backend.outputs}")
    if str(kit.dtype) not in backend.dtypes:
        kit.fail(f"it can do nothing: dtypes {backend.dtypes}; float64 and float32 are what it can be asked for")
    for activation in kit.each_unit():
        kit.label = f"kernels for {activation}"
        first, second = (kit.kernel(3, 2).inner for _ in range(2))
        if first is second:
            kit.fail("kernel(problem) returned the same instance twice; each worker needs one of its own")
    kit.label = f"Backend {backend.name!r}"
    try:
        again = pickle.loads(pickle.dumps(backend))  # noqa: S301 (our own bytes)
    except Exception as error:  # noqa: BLE001 (a plugin may raise anything)
        kit.fail(f"it cannot be pickled, and so not be sent to a worker: {error}")
    if again != backend:
        kit.fail("it is another one after pickling; define the kernel at the top of its module")


def light_discovery(kit: Harness) -> None:
    """Its module imports no heavy library: everybody who uses the backend waits for its import."""
    if kit.loading is None:
        raise CannotVerify("given as an object; only a registered backend has a module that is imported by name")
    kit.label = "the import of its module"
    heavy = {*HEAVY, *(name.partition(".")[0] for name in kit.original.requires)}
    if found := sorted(heavy & kit.loading.modules):
        kit.fail(f"its module imports {', '.join(found)}; import that in the kernel's __init__")


def same_bits(kit: Harness) -> None:
    """The same evaluation twice gives the same bits, also after another one in between; results survive the next."""
    m, n, p = 120, 9, 6
    made = kit.parameters(n, p)
    X, thrice = kit.rows(made, m), Parameters(*(3 * part for part in made))  # the same units are active
    for passes, output in product(kit.passes, kit.outputs):
        kit.label = f"m={m} n={n} p={p} passes={passes} output={output} block_rows=50"
        options: dict[str, Any] = kit.settings(p) | {"output": output, "passes": passes, "block_rows": 50, "threads": 1}
        objective = Objective(X, p, backend=kit.backend, dtype=kit.dtype, **options)
        with objective:
            first = objective.evaluate(made.flatten()).gradient
            kept = first.copy()
            kit.compare(objective.evaluate(made.flatten() * 3), thrice, X, block_rows=50, output=output)
            kit.same_bits("the result of an evaluation changed with the next one", first, kept)
            kit.same_bits("the same evaluation gave other bits", objective.evaluate(made.flatten()).gradient, kept)


def aliasing(kit: Harness) -> None:
    """What `backprop`, `begin`, `encode` and a kept block return is no view of scratch: it outlives the next call."""
    m, n, p = 30, 6, 4
    for output in kit.outputs:
        kernel = kit.kernel(n, p, output=output)
        X, Y = kit.data(m, n), kit.data(m, n, seed=5)
        a2, W2, v = kit.activations_of(m, p), kit.parameters(n, p).W2.astype(kit.dtype), np.ones(p, kit.dtype)
        if kernel.has_backprop:
            kit.label = f"backprop twice, m={m} n={n} p={p} output={output}"
            first = kernel.backprop(X, a2, Y, W2, v, X)
            kept = Parameters(*map(np.array, first))
            kernel.backprop(Y, a2 / 2, X, -W2, -v, Y)
            for name, part, before in zip(kept.names, first, kept, strict=True):
                kit.same_bits(f"backprop's {name} changed with the next call", part, before)
        kit.label = f"two sets of weights and two kept blocks at once, m={m} n={n} p={p} output={output}"
        one, two = (kit.given(kit.parameters(n, p, seed=seed)) for seed in (0, 1))
        alone = _sums(kit, kit.kernel(n, p, output=output), one, X)
        weights, block = kernel.begin(one), kernel.prepare(X, X, True)
        hidden, total = kernel.encode(weights, block)
        before = np.array(total)
        other, block_2 = kernel.begin(two), kernel.prepare(Y, Y, True)
        kernel.accumulate(other, block_2, kernel.encode(other, block_2)[0], v, Sums(n, p))
        into = Sums(n, p)
        kernel.accumulate(weights, block, hidden, v, into)
        kernel.finish(weights, into)
        _near(kit, "sums with another block and other weights prepared in between", into, alone)
        kit.same_bits("encode's sum of activations changed with the next call", total, before)
        kit.label = f"activations of a block that is not kept, used after another's, m={m} n={n} p={p} output={output}"
        hidden, _ = kernel.encode(weights, kernel.prepare(X, X, False))
        kernel.encode(weights, kernel.prepare(Y, Y, False))
        into = Sums(n, p)
        kernel.accumulate(weights, kernel.prepare(X, X, False), hidden, v, into)
        kernel.finish(weights, into)
        _near(kit, "sums by activations of a block that is not kept, with another encoded in between", into, alone)


def shared_pieces(kit: Harness) -> None:
    """Blocks, weights and activations of one instance serve another."""
    m, n, p = 45, 5, 3
    X, made, v = kit.data(m, n), kit.given(kit.parameters(n, p)), np.ones(p, kit.dtype)
    for output in kit.outputs:
        kit.label = f"prepared, begun and encoded by one instance, accumulated by another, m={m} n={n} p={p} {output}"
        maker, taker, third = (kit.kernel(n, p, output=output) for _ in range(3))
        alone = _sums(kit, kit.kernel(n, p, output=output), made, X)
        weights, block = maker.begin(made), maker.prepare(X, X, True)
        hidden, _ = third.encode(weights, block)
        into = Sums(n, p)
        taker.accumulate(weights, block, hidden, v, into)
        taker.finish(weights, into)
        _near(kit, "sums", into, alone)


def _sums(kit: Harness, kernel: AnyKernel, parameters: Parameters, X: Array) -> Sums:
    """Sums of one block with a sparsity vector of ones."""
    n, p = parameters.n_visible, parameters.n_hidden
    weights, block, into = kernel.begin(parameters), kernel.prepare(X, X, True), Sums(n, p)
    kernel.accumulate(weights, block, kernel.encode(weights, block)[0], np.ones(p, kit.dtype), into)
    kernel.finish(weights, into)
    return into


def _near(kit: Harness, what: str, got: Sums, true: Sums) -> None:
    eps = 64 * float(np.finfo(kit.dtype).eps)
    kit.close(what, got.head, true.head, eps * (1 + abs(true.head).max()))


def two_threads(kit: Harness) -> None:
    """Two instances at work in two threads at once compute what each computes alone."""
    m, n, p = 200, 24, 16
    repeats = 15 if kit.quick else 60
    X = [kit.data(m, n, seed=seed) for seed in (0, 1)]
    made = [kit.given(kit.parameters(n, p, seed=seed)) for seed in (0, 1)]
    a2 = kit.activations_of(m, p)
    kit.label = f"two kernels in two threads, {repeats} times, m={m} n={n} p={p}"
    kernels = [kit.kernel(n, p, block_rows=m) for _ in range(2)]
    truth = [_sums(kit, kernels[i], made[i], X[i]) for i in range(2)]
    v = np.ones(p, kit.dtype)
    gate = threading.Barrier(2)
    trouble: list[BaseException] = []

    def work(i: int) -> None:
        try:
            gate.wait()
            for _ in range(repeats):
                _near(kit, f"the sums of kernel {i}", _sums(kit, kernels[i], made[i], X[i]), truth[i])
                if not kernels[i].has_backprop:
                    continue
                got = kernels[i].backprop(X[i], a2, X[i], made[i].W2, v, X[i])
                again = kernels[i].backprop(X[i], a2, X[i], made[i].W2, v, X[i])
                for a, b in zip(got, again, strict=True):
                    kit.close(f"backprop of kernel {i}", a, b, 64 * np.finfo(kit.dtype).eps * (1 + abs(b).max()))
        except BaseException as error:  # noqa: BLE001 (raised again below, in the calling thread)
            trouble.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # many more chances to meet
    try:
        threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(kit.time_limit / 4)
    finally:
        sys.setswitchinterval(interval)
    if trouble:
        raise trouble[0]
    if any(thread.is_alive() for thread in threads):
        kit.fail(f"they had not finished after {kit.time_limit / 4:g} s, as if each waited for the other")


def workers(kit: Harness) -> None:
    """Row workers never change a bit (threading "workers" and "none")."""
    if kit.original.threading not in ("workers", "none"):
        raise NotOffered(f'promised for threading "workers" and "none"; this one has "{kit.original.threading}"')
    m, n, p = 403, 9, 6
    made = kit.parameters(n, p)
    X = kit.rows(made, m)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ThreadsWarning)  # more workers than CPUs are asked for on purpose
        for passes in kit.passes:
            first = kit.evaluate(made, X, passes=passes, block_rows=29, threads=1)
            kit.compare(first, made, X, block_rows=29)
            for count in (2, 3):
                kit.label = f"{count} workers against one, m={m} n={n} p={p} passes={passes}"
                found = kit.evaluate(made, X, passes=passes, block_rows=29, threads=count)
                kit.same_bits("workers changed the gradient", found.gradient, first.gradient)


def clean_exit(kit: Harness) -> None:
    """After an evaluation the interpreter ends by itself: no crash, no output, no thread that keeps it alive."""
    if kit.loading is None:
        raise CannotVerify("given as an object; only a registered backend is loaded in an interpreter of its own")
    for activation in kit.each_unit():
        kit.label = f"an evaluation, m=50 n=6 p=4 {activation}, then the end of the process"
        kit.evaluate(kit.parameters(6, 4), kit.data(50, 6))
