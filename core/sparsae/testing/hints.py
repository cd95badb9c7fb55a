"""Common mistakes in a block's sums, recognised by their numbers: means for sums, a wrong sign, wrong units kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, final

import numpy as np

from sparsae._types import Array, Output
from sparsae.model import Parameters
from sparsae.plugins.sums import Sums
from sparsae.reference.units import activate, logistic, slope
from sparsae.testing.activity import exact_parameters, exact_rows
from sparsae.testing.harness import Harness

AGREEMENT = 1e-4  # relative; two mistakes differ by far more, and float32 and half precision kernels by less
Found = dict[str, Array]  # sums by name


@final
class Block(NamedTuple):
    """A small block in float64, and what the formulas are made of."""

    x: Array  # (m, n)
    y: Array  # (m, n)
    s: Array  # (p,)
    given: Parameters
    z: Array  # (m, p)
    unit: str
    k: int | None
    bandwidth: float | None
    output: Output

    def active(self) -> Array:
        """Hidden activations (m, p)."""
        return activate(self.z, self.unit, self.k, self.given.threshold)  # type: ignore[arg-type]  # a word of Problem

    def sums(self, **other: Any) -> Found:
        """Return the sums of a kernel that computes some things in another way.

        Parameters
        ----------
        a2, q : ndarrays (m, p), optional
            Activations, and slopes.
        s, y, output, added
            Sparsity vector, target, output unit; what is added to delta2 after the slope.
        """
        a2 = other.get("a2", self.active())
        q = other.get("q", slope(a2, self.unit))  # type: ignore[arg-type]  # a word of Problem
        z3 = a2 @ self.given.W2.T + self.given.b2  # (m, n)
        a3 = logistic(z3) if self.output == "sigmoid" else z3  # (m, n)
        delta3 = a3 - other.get("y", self.y)  # (m, n)
        if other.get("output", self.output) == "sigmoid":
            delta3 = delta3 * a3 * (1 - a3)
        back = delta3 @ self.given.W2  # (m, p)
        delta2 = (back + other.get("s", self.s)) * q + other.get("added", 0)  # (m, p)
        near = self.near(1.0)
        return {
            "fired": np.count_nonzero(a2, axis=0) if self.unit != "sigmoid" else np.zeros_like(self.s),
            "near": near.sum(axis=0),
            "threshold": (near * back).sum(axis=0),
            "W1": delta2.T @ self.x,
            "b1": delta2.sum(axis=0),
            "W2": delta3.T @ a2,
            "b2": delta3.sum(axis=0),
        }

    def near(self, width: float) -> Array:
        """1 where a pre-activation is within half of so many bandwidths of its threshold (m, p), else 0."""
        if self.bandwidth is None or self.given.threshold is None:
            return np.zeros_like(self.z)
        near: Array = (abs(self.z - self.given.threshold) < width * self.bandwidth / 2).astype(np.float64)
        return near


def find_mistake(kit: Harness) -> str:
    """Compute the sums of one small block and say which known mistake gives them; empty when none does."""
    output = kit.outputs[0]
    if kit.activation == "sigmoid":
        x, made = kit.data(31, 6), kit.parameters(6, 4)
    else:
        x, made = exact_rows(kit), exact_parameters(kit)
    given, (m, n), p = kit.given(made), x.shape, made.n_hidden
    y, s = kit.data(m, n, seed=1), np.linspace(1, 2, p).astype(kit.dtype)
    kernel, into = kit.kernel(n, p, output=output), Sums(n, p)
    weights, prepared = kernel.begin(given), kernel.prepare(x, y, True)
    kernel.accumulate(weights, prepared, kernel.encode(weights, prepared)[0], s, into)
    kernel.finish(weights, into)
    problem, (rows, target, vector) = kernel.problem, (a.astype(np.float64) for a in (x, y, s))
    exact = given.astype(np.float64)
    z = rows @ exact.W1.T + exact.b1
    block = Block(rows, target, vector, exact, z, problem.activation, problem.k, problem.bandwidth, output)
    got = {name: getattr(into, name) for name in block.sums()}
    if _agree(got, block.sums()):
        return ""
    candidates = [*_mistakes(block), *_unit_mistakes(block), *_selections(block), *_thresholds(block)]
    return next((words for words, expected in candidates if _agree(got, expected)), "")


def _mistakes(block: Block) -> Iterator[tuple[str, Found]]:
    """Mistakes in the formulas that all units have in common."""
    s, m, sums = block.s, len(block.x), block.sums
    right = sums()
    yield (
        "the sums are m times too small: the kernel returns means over the rows where sums are asked for",
        right | _scaled(right, 1 / m),
    )
    yield "the sparsity vector is missing from delta2 = (delta3 W2 + sparsity) problem.slope(a2)", sums(s=0 * s)
    yield "the sparsity vector is subtracted where it should be added", sums(s=-s)
    yield "the sparsity vector is added twice", sums(s=2 * s)
    yield "the sparsity vector is divided by the number of rows; it is added to each row as it is", sums(s=s / m)
    yield "the target is ignored: delta3 is computed from the input", sums(y=block.x)
    yield "the slope of the output unit, problem.output_slope(a3), is missing from delta3", sums(output="linear")
    flipped = sums(s=-s)  # target - a3 in delta3 changes every sign but that of the sparsity vector
    yield "delta3 has the wrong sign: it is (a3 - target), not (target - a3)", right | _scaled(flipped, -1)
    yield "every sign is wrong", right | _scaled(right, -1)


def _unit_mistakes(block: Block) -> Iterator[tuple[str, Found]]:
    """Mistakes in the slope of the hidden unit, and in what is counted."""
    a2, sums = block.active(), block.sums
    on = np.where(a2 == 0, 0.0, 1.0)
    if block.unit == "sigmoid":
        yield "the slope is that of relu; problem.slope(a2) is right for every unit", sums(q=on)
        return
    yield "fired, the number of rows in which each unit is active, is left at 0", sums() | {"fired": 0 * block.s}
    yield "the slope is that of a sigmoid; problem.slope(a2) is right for every unit", sums(q=a2 * (1 - a2))
    yield "the slope is 1 for every unit; that of a unit that is not active is 0", sums(q=np.ones_like(a2))
    yield "the slope is taken from z > 0; it is 0 for units that are not kept: take it from a2", sums(q=block.z > 0)
    yield "the slope is 1 where z is 0; a unit that is not active has slope 0", sums(q=block.z >= 0)
    after = {"s": 0 * block.s, "added": block.s}
    yield "the sparsity vector is added to units that are not active: it goes inside the brackets", sums(**after)


def _selections(block: Block) -> Iterator[tuple[str, Found]]:
    """The wrong units of a row are kept."""
    z, k = block.z, block.k
    if k is None:
        return

    def kept(values: Array, count: int, *, negative: bool = False, last: bool = False) -> Found:
        step = -1 if last else 1  # of equal ones the last comes first in the reversed order
        order = np.argsort(-values[:, ::step], axis=1, kind="stable")
        chosen = (np.argsort(order, axis=1) < count)[:, ::step]
        return block.sums(a2=np.where(chosen & (negative | (z > 0)), z, 0.0))

    higher = "of equal pre-activations the unit with the higher index is kept; it is the one with the lower index"
    yield higher, kept(z, k, last=True)
    yield f"k - 1 units are kept in a row where k={k} is asked for", kept(z, k - 1)
    yield f"k + 1 units are kept in a row where k={k} is asked for", kept(z, k + 1)
    yield "k is ignored: all positive units are kept", kept(z, z.shape[1])
    yield "units are kept whose pre-activation is not positive; their activation is 0", kept(z, k, negative=True)
    yield "units are chosen by |z|; it is the largest z that count", kept(abs(z), k, negative=True)
    yield "units are chosen by |z|; it is the largest z that count", kept(abs(z), k)


def _thresholds(block: Block) -> Iterator[tuple[str, Found]]:
    """Thresholds are used in another way."""
    z, threshold, sums = block.z, block.given.threshold, block.sums
    if threshold is None:
        return
    on = z > threshold
    yield (
        "the threshold is subtracted from the activation, which is z where z exceeds it",
        sums(a2=(z - threshold) * on),
    )
    yield "a unit whose pre-activation equals its threshold is active; it must exceed it", sums(a2=z * (z >= threshold))
    yield "thresholds are ignored: all positive units are active", sums(a2=np.maximum(z, 0))
    yield "all units have the threshold of the first one", sums(a2=z * (z > threshold[0]))
    if block.bandwidth is None:
        return
    right = sums()
    for words, near in (
        ("near and threshold count a whole bandwidth on each side; it is half of it", block.near(2.0)),
        ("near and threshold count active rows alone; those below the threshold are near it too", block.near(1.0) * on),
    ):
        yield words, right | _near_sums(block, near)
    yield "the sum threshold has the wrong sign: it is delta3 W2", right | {"threshold": -right["threshold"]}
    yield (
        "the sum threshold is multiplied by the threshold, or divided by the bandwidth; the core does that",
        right | {"threshold": right["threshold"] * threshold},
    )
    yield (
        "the sum threshold is multiplied by the threshold, or divided by the bandwidth; the core does that",
        right | {"threshold": right["threshold"] / block.bandwidth},
    )
    whole = _near_sums(block, np.ones_like(z))["threshold"]
    yield "the sum threshold is over all rows; it is over those that near counts", right | {"threshold": whole}
    yield "near and threshold are left at 0", right | {"near": 0 * block.s, "threshold": 0 * block.s}


def _near_sums(block: Block, near: Array) -> Found:
    """Return near and threshold for another choice of rows (m, p)."""
    z3 = block.active() @ block.given.W2.T + block.given.b2  # (m, n)
    a3 = logistic(z3) if block.output == "sigmoid" else z3  # (m, n)
    delta3 = (a3 - block.y) * (a3 * (1 - a3) if block.output == "sigmoid" else 1)  # (m, n)
    return {"near": near.sum(axis=0), "threshold": (near * (delta3 @ block.given.W2)).sum(axis=0)}


def _scaled(sums: Found, factor: float) -> Found:
    """Return the four gradient sums times a factor."""
    return {name: factor * sums[name] for name in ("W1", "b1", "W2", "b2")}


def _agree(got: Found, expected: Found) -> bool:
    """Whether all sums are the same within `AGREEMENT`."""
    return all(bool(np.all(abs(got[name] - b) <= AGREEMENT * np.abs(b).max())) for name, b in expected.items())
