"""The dense kernel of `fused` on sigmoid units: its numbers, in place or by way of scratch, in any dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import sparsae
from sparsae import Objective, Parameters, Problem, Sums
from sparsae.optimize import Adam
from sparsae.reference import evaluate_reference
from sparsae_backends.fused import dense
from sparsae_backends.fused.dense import DenseKernel

N, P = 170, 160
X = np.random.default_rng(0).uniform(0.1, 0.9, (90, N))
PARAMETERS = Parameters.random(N, P, seed=1)


def test_large_layers_of_mini_batches_are_dense() -> None:
    """By size alone: very wide layers always, others in blocks of few rows where products are large."""
    for n, p, rows, is_dense in (
        (64, 25, 128, False),
        (784, 196, 1024, False),
        (784, 196, 128, True),
        (768, 4096, 1024, True),
    ):
        problem = Problem(n_visible=n, n_hidden=p, dtype=np.dtype(np.float32), block_rows=rows)
        assert isinstance(sparsae.get_backend("fused").kernel(problem), DenseKernel) is is_dense


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("output", ["sigmoid", "linear"])
@pytest.mark.parametrize("passes", [1, 2])
def test_its_gradient_is_the_references(dtype: Any, output: Any, passes: Any) -> None:
    """Within the error model, in blocks of 32 rows, with a target of its own."""
    x, target = X.astype(dtype), X[::-1].astype(dtype)
    given = PARAMETERS.astype(dtype)
    reference = evaluate_reference(given, x, target=target, output=output)
    with Objective(x, P, target=target, backend="fused", output=output, passes=passes, block_rows=32) as objective:
        found = objective.evaluate(given.flatten())
    gradient = Parameters.from_flat(found.gradient, N, P)
    for comparison in reference.errors(np.dtype(dtype), block_rows=32, cost=found.cost, gradient=gradient):
        assert comparison.agrees, comparison


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_direct_sums_are_written_over_whatever_stands_there(dtype: Any) -> None:
    """NaN in W1 and W2 of empty sums changes no bit; the second block is added."""
    problem = Problem(n_visible=N, n_hidden=P, dtype=np.dtype(dtype), block_rows=50)
    kernel = sparsae.get_backend("fused").kernel(problem)
    weights, s, found = kernel.begin(PARAMETERS.astype(dtype)), np.linspace(0, 1, P).astype(dtype), []
    for fill in (0.0, np.nan):
        sums = Sums(N, P, np.zeros(Sums(N, P).layout.size, dtype))
        sums.W1[...] = sums.W2[...] = fill
        for rows in (slice(50), slice(50, 90)):
            x = X[rows].astype(dtype)
            kernel.accumulate(weights, kernel.prepare(x, x, False), None, s, sums)
        found.append(sums.gradient.tobytes())
        assert sums.rows == 90
    assert found[0] == found[1]


def test_its_backprop_is_that_of_the_numpy_backend() -> None:
    """From given activations."""
    a2 = np.random.default_rng(2).random((90, P))
    a3, s = X * 0.9, np.linspace(-1, 1, P)
    ours, plain = (sparsae.backprop(X, a2, a3, PARAMETERS.W2, s, backend=name) for name in ("fused", "numpy"))
    for one, other in zip(ours, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning", "ignore::sparsae.errors.ThreadsWarning")
@pytest.mark.parametrize(("activation", "dtype"), [("sigmoid", np.float32), ("sigmoid", np.float64), ("relu", "f4")])
def test_one_worker_adds_blocks_in_place_with_the_bits_of_two(
    activation: Any, dtype: Any, monkeypatch: pytest.MonkeyPatch, sums_made: list[int]
) -> None:
    """Sums of four blocks of a mini-batch, in slices: one vector for all of them, or one for each and their sum."""
    monkeypatch.setattr(dense, "SLICE_BYTES", 1)
    x = np.random.default_rng(1).uniform(0.1, 0.9, (512, 260)).astype(dtype)
    fits = []
    for threads in (1, 2):
        sums_made.clear()
        fits.append(
            sparsae.train(
                x, 250, method=Adam(batch_rows=512), max_iter=2, activation=activation, backend="fused", threads=threads
            )
        )
        assert len(sums_made) in ((1,) if threads == 1 else (2, 3))
    assert any("in 4 blocks on 2 row workers" in note for note in fits[1].receipt.notes)
    assert fits[0].parameters.flatten().tobytes() == fits[1].parameters.flatten().tobytes()
    np.testing.assert_array_equal(fits[0].history.cost, fits[1].history.cost)


@pytest.mark.parametrize("sums", [np.float32, np.float64])
def test_a_product_in_slices_is_the_whole_one(sums: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written over anything, then added to itself; the last slice has fewer rows."""
    monkeypatch.setattr(dense, "SLICE_BYTES", 1)
    left, right = (np.random.default_rng(i).random((k, 20), dtype=np.float32) for i, k in enumerate((75, 40)))
    product = dense.GradientProduct(75, 75 * 40, np.dtype(np.float32))
    into = np.full((75, 40), np.nan, sums)
    product.put(left, right.T, into, True)
    np.testing.assert_allclose(into, left @ right.T, rtol=1e-6)
    once = into.copy()
    product.put(left, right.T, into, False)
    np.testing.assert_array_equal(into, 2 * once)
