"""Common mistakes in the gradient sums, recognised by their numbers: means for sums, no sparsity, a wrong sign."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sparsae._types import Array, Output
from sparsae.model import Parameters
from sparsae.model.units import sigmoid
from sparsae.plugins.sums import Sums
from sparsae.reference import gradient_sums
from sparsae.testing.harness import Harness

AGREEMENT = 1e-4  # relative; two mistakes differ by far more, and float32 and half precision kernels by less


def find_mistake(kit: Harness) -> str:
    """Compute the sums of one small block and say which known mistake gives them; empty when none does."""
    m, n, p = 31, 6, 4
    output = kit.outputs[0]
    x, target, made = kit.data(m, n), kit.data(m, n, seed=1), kit.parameters(n, p).astype(kit.dtype)
    s = np.linspace(1, 2, p).astype(kit.dtype)
    kernel, into = kit.kernel(n, p, output=output), Sums(n, p)
    weights, block = kernel.begin(made), kernel.prepare(x, target, True)
    kernel.accumulate(weights, block, kernel.encode(weights, block)[0], s, into)
    kernel.finish(weights, into)
    a2 = sigmoid(x @ made.W1.T + made.b1)  # (m, p)
    z3 = a2 @ made.W2.T + made.b2  # (m, n)
    a3 = sigmoid(z3) if output == "sigmoid" else z3
    got = Parameters(into.W1, into.b1, into.W2, into.b2)

    def sums(sparsity: Array = s, y: Array = target, unit: Output = output) -> Parameters:
        return gradient_sums(x, a2, a3, made.W2, sparsity, y, unit)[0]

    if _agree(got, sums()):
        return ""
    return next((words for words, expected in _mistakes(sums, s, x, a3, m) if _agree(got, expected)), "")


def _mistakes(sums, s, x, a3, m) -> Iterator[tuple[str, Parameters]]:  # type: ignore[no-untyped-def]
    """Known mistakes and the sums that they give."""
    yield (
        "the sums are m times too small: the kernel returns means over the rows where sums are asked for",
        Parameters(*(part / m for part in sums())),
    )
    yield "the sparsity vector is missing from delta2 = (delta3 W2 + sparsity) a2 (1 - a2)", sums(0 * s)
    yield "the sparsity vector is subtracted where it should be added", sums(-s)
    yield "the sparsity vector is added twice", sums(2 * s)
    yield "the sparsity vector is divided by the number of rows; it is added to each row as it is", sums(s / m)
    yield "the target is ignored: delta3 is computed from the input", sums(y=x)
    yield "the slope of the output unit, a3 (1 - a3), is missing from delta3", sums(unit="linear")
    flipped = sums(-s)  # target - a3 in delta3 changes every sign but that of the sparsity vector
    yield "delta3 has the wrong sign: it is (a3 - target), not (target - a3)", Parameters(*(-part for part in flipped))
    yield "every sign is wrong", Parameters(*(-part for part in sums()))


def _agree(got: Parameters, expected: Parameters) -> bool:
    """Whether all four sums are the same within `AGREEMENT`."""
    return all(
        np.asarray(a).shape == b.shape and bool(np.all(np.abs(a - b) <= AGREEMENT * np.abs(b).max()))
        for a, b in zip(got, expected, strict=True)
    )
