"""Inputs that users have and authors forget: memory layouts, read-only data, saturated units."""

from __future__ import annotations

import tempfile
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from sparsae._types import Array
from sparsae.model import Parameters
from sparsae.plugins.sums import Sums
from sparsae.testing.harness import Harness


def layouts(X: Array, folder: Path) -> dict[str, Any]:
    """Return the same values in every memory layout."""
    strided = np.zeros((2 * X.shape[0], 3 * X.shape[1]), X.dtype)[::2, ::3]
    strided[...] = X
    np.save(folder / "c.npy", X)
    np.save(folder / "f.npy", np.asfortranarray(X))
    readonly = X.copy()
    readonly.flags.writeable = False
    return {
        "C order, writable": X.copy(),
        "F order": np.asfortranarray(X),
        "strided": strided,
        "negative strides": X[::-1, ::-1].copy()[::-1, ::-1],
        "read-only": readonly,
        "memory-mapped": np.load(folder / "c.npy", mmap_mode="r"),
        "memory-mapped, F order": np.load(folder / "f.npy", mmap_mode="r"),
    }


def memory_layouts(kit: Harness) -> None:
    """Any memory order, strided, reversed, read-only, memory-mapped: the same result, and the data stays as it is."""
    m, n, p = 130, 8, 5
    made = kit.parameters(n, p)
    X, Y = kit.rows(made, m), kit.data(m, n, seed=1)
    with tempfile.TemporaryDirectory() as name:
        first, second = Path(name, "x"), Path(name, "y")
        first.mkdir()
        second.mkdir()
        pairs = zip(layouts(X, first).items(), layouts(Y, second).values(), strict=True)
        for (layout, x), y in pairs:
            for passes, target in product(kit.passes, (None, y)):
                kit.label = f"{layout}, m={m} n={n} p={p} passes={passes} separate target={target is not None}"
                kit.agrees(made, x, passes=passes, target=target, block_rows=48)
                kit.same_bits("the data was written to", np.array(x), X)
                kit.same_bits("the target was written to", np.array(y), Y)


def inputs_untouched(kit: Harness) -> None:
    """No method writes its inputs; read-only, F-ordered and strided rows, weights and activations change nothing."""
    m, n, p = 40, 7, 5
    first: dict[str, list[Array]] = {}
    for output, kind in product(kit.outputs, ("writable", "read-only", "F order", "strided")):
        kit.label = f"{kind} inputs to each method, m={m} n={n} p={p} output={output}"
        kernel = kit.kernel(n, p, output=output)
        rng = np.random.default_rng(0)
        made = kit.parameters(n, p)
        plain = {
            "x": kit.rows(made, m),
            "a2": kit.activations_of(m, p),
            "a3": kit.data(m, n, seed=2),
            "target": kit.data(m, n, seed=3),
            "sparsity": rng.normal(size=p).astype(kit.dtype),
            **kit.given(made)._asdict(),
        }
        given = {name: _as(kind, a) for name, a in plain.items()}
        results = _call_all(kernel, given, n, p)
        for name, a in plain.items():
            kit.same_bits(f"{name} was written to", given[name], a)
        for number, (got, true) in enumerate(zip(results, first.setdefault(output, results), strict=True)):
            bound = 64 * float(np.finfo(kit.dtype).eps) * m * (1 + abs(true).max())
            kit.close(f"result {number + 1} of {len(results)}, against C order,", got, true, bound)


def _as(kind: str, a: Array) -> Array:
    if kind == "F order":
        return np.asfortranarray(a.copy())
    if kind == "strided":
        wide = np.zeros(tuple(2 * k for k in a.shape), a.dtype)
        view: Array = wide[tuple(slice(None, None, 2) for _ in a.shape)]
        view[...] = a
        return view
    made = a.copy()
    made.flags.writeable = kind == "writable"
    return made


def _call_all(kernel: Any, given: dict[str, Array], n: int, p: int) -> list[Array]:
    """Call each method in both passes, with blocks kept or not; return the sums, flat."""
    results: list[Array] = []
    x, target, sparsity = given["x"], given["target"], given["sparsity"]
    weights = kernel.begin(Parameters(*(given[name] for name in Parameters._fields if name in given)))
    for goal, keep in product((x, target), (True, False)):
        block, into = kernel.prepare(x, goal, keep), Sums(n, p)
        kernel.accumulate(weights, block, kernel.encode(weights, block)[0], sparsity, into)
        kernel.accumulate(weights, block, None, None if kernel.problem.activation == "sigmoid" else sparsity, into)
        kernel.finish(weights, into)
        results.append(into.vector)
    for goal in (x, target) if kernel.has_backprop else ():
        sums = kernel.backprop(x, given["a2"], given["a3"], given["W2"], sparsity, goal)
        results.append(np.concatenate([np.asarray(part, np.float64).ravel() for part in sums]))
    return results


def saturated(kit: Harness) -> None:
    """Units that are all off or all on, huge and tiny numbers, subnormal rows: finite, silent, right."""
    m, n, p = 50, 6, 4
    made = kit.parameters(n, p)
    levels = (-800.0, -40.0, -15.0, 15.0, 40.0, 800.0)
    for hidden, visible, output, passes in product(levels, (-800.0, 0.0, 800.0), kit.outputs, kit.passes):
        if output == "linear" and visible:
            continue
        kit.label = f"biases {hidden:g} hidden, {visible:g} visible, m={m} n={n} p={p} output={output} passes={passes}"
        shifted = made._replace(b1=made.b1 + hidden, b2=made.b2 + visible)
        _agrees_silently(kit, shifted, kit.rows(shifted, m), passes=passes, output=output)
    kit.label = "one hidden unit always off, one always on, the others not"
    shifted = made._replace(b1=np.array([-800.0, 800.0, *made.b1[2:]]))
    for passes in kit.passes:
        _agrees_silently(kit, shifted, kit.rows(shifted, m), passes=passes)
    subnormal = float(np.finfo(kit.dtype).tiny) / 16
    for scale in (1e10, 1e-10):
        kit.label = f"weights and biases of the hidden layer times {scale:g}, m={m} n={n} p={p}"
        scaled = made._replace(W1=made.W1 * scale, b1=made.b1 * scale)
        _agrees_silently(kit, scaled, kit.rows(scaled, m))
    kit.label = f"rows of subnormal numbers, m={m} n={n} p={p}"
    _agrees_silently(kit, made, kit.data(m, n) * kit.dtype.type(subnormal))


def _agrees_silently(kit: Harness, made: Parameters, X: Array, **options: Any) -> None:
    """Compare with the reference; a warning is a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kit.agrees(made, X, block_rows=16, **options)


def not_finite(kit: Harness) -> None:
    """A row with NaN or infinity ends nothing, its error shows in the sums, and the next block is as it should be."""
    m, n, p = 40, 7, 5
    made = kit.parameters(n, p)
    X, s = kit.rows(made, m), np.ones(p, kit.dtype)
    for output in kit.outputs:
        kernel = kit.kernel(n, p, output=output)
        weights = kernel.begin(kit.given(made))
        before = Sums(n, p)
        kernel.accumulate(weights, kernel.prepare(X, X, False), None, s, before)
        kernel.finish(weights, before)
        for value, rows, apart in product((np.nan, np.inf, -np.inf), ([3], list(range(m))), (False, True)):
            if apart and not np.isnan(value):
                continue  # a unit may saturate, and what is compared with is finite
            kit.label = f"{value} in {len(rows)} of {m} rows, n={n} p={p} output={output}"
            kit.label += ", none in the target" if apart else ""
            bad, into = X.copy(), Sums(n, p)
            bad[rows, 2] = value
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                kernel.accumulate(weights, kernel.prepare(bad, X if apart else bad, False), None, s, into)
                kernel.finish(weights, into)
            if np.isfinite(into.squared_error):
                kit.fail(
                    f"squared_error is {into.squared_error:g}, and should not be finite: the cost would not show it"
                )
            after = Sums(n, p)
            kernel.accumulate(weights, kernel.prepare(X, X, False), None, s, after)
            kernel.finish(weights, after)
            kit.same_bits("sums of a block after one that was not finite", after.vector, before.vector)
