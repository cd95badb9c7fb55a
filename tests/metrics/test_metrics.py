"""Figures of merit: their formulas, the traps that public implementations fell into, any number of rows."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sparsae
from sparsae import metrics
from sparsae.errors import DataError, ParameterError
from sparsae.metrics import Metrics, MetricSums

RNG = np.random.default_rng(0)
X = RNG.normal(3, [0.1, 1, 10, 2], (500, 4))


def figures(a3: Any, target: Any = X, a2: Any = None, **options: Any) -> Metrics:
    """The figures of outputs, added in blocks of uneven sizes."""
    a2 = np.zeros((len(target), 3)) if a2 is None else a2
    sums = MetricSums(target.shape[1], a2.shape[1], **options)
    for rows in np.split(np.arange(len(target)), [1, 7, 300]):
        sums.add(a2[rows], a3[rows], target[rows])
    return sums.metrics()


def test_predicting_the_mean_explains_nothing() -> None:
    """Exactly 0 up to rounding, whatever the spreads of the columns: neither the mean of ratios, nor centred."""
    found = figures(np.broadcast_to(X.mean(axis=0), X.shape))
    assert found.explained_variance == pytest.approx(0, abs=1e-12)
    assert found.fvu == pytest.approx(1, abs=1e-12)


def test_the_exact_input_explains_everything() -> None:
    """1, with no error and cosine 1."""
    found = figures(X)
    assert (found.explained_variance, found.fvu, found.nmse, found.mse) == (1, 0, 0, 0)
    assert found.cosine == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize("shift", [5, -0.1])
def test_a_shifted_output_does_not_score_1(shift: float) -> None:
    """A centred residual would hide it."""
    found = figures(X + shift)
    expected = 1 - shift**2 * X.size / np.square(X - X.mean(axis=0)).sum()
    assert found.explained_variance == pytest.approx(expected, rel=1e-9)
    assert found.explained_variance < 0.9999


def test_zero_outputs_have_nmse_1_and_cosine_0() -> None:
    """Nothing is divided by zero."""
    found = figures(np.zeros_like(X))
    assert (found.nmse, found.cosine) == (1, 0)


@pytest.mark.parametrize("value", [0.1, 0.0, 1e30])
@pytest.mark.parametrize("m", [2, 1000])
def test_constant_data_is_an_error_that_says_so(value: float, m: int) -> None:
    """Also where the mean of equal values is not the value; also in several parts."""
    target = np.full((m, 4), value)
    first, second = MetricSums(4, 1), MetricSums(4, 1)
    first.add(np.zeros((1, 1)), target[:1], target[:1])
    second.add(np.zeros((m - 1, 1)), target[1:] + 1, target[1:])
    first.merge(second)
    with pytest.raises(
        DataError, match=f"X is constant: its {m:,} rows are equal, so that there is no variance to exp"
    ):
        first.metrics()
    with pytest.raises(DataError, match="X is a single row"):
        figures(X[:1], X[:1])
    with pytest.raises(DataError, match=r"X varies by 1e-200 at most, too little for float64"):
        figures(X, np.eye(500, 4) * 1e-200)
    with pytest.raises(ParameterError, match="X has no rows"):
        MetricSums(4, 1).metrics()


@settings(max_examples=25)
@given(st.integers(2, 40), st.integers(1, 5), st.integers(1, 6), st.integers(0, 99), st.integers(-200, 200))
def test_the_formulas(m: int, n: int, p: int, seed: int, power: int) -> None:
    """Each figure, as the docstring defines it, computed at once; at any offset of the data."""
    rng = np.random.default_rng(seed)
    t, a3 = rng.normal(power, 1, (m, n)), rng.normal(power, 1, (m, n))
    a2 = np.maximum(rng.normal(size=(m, p)), 0) * (rng.random(p) > 0.3)
    sums = MetricSums(n, p)
    for rows in np.array_split(np.arange(m), 3):
        part = MetricSums(n, p)
        if len(rows):
            part.add(a2[rows], a3[rows], t[rows])
        sums.merge(part)
    found = sums.metrics()
    variance = np.square(t - t.mean(axis=0)).sum()
    assert found.explained_variance == pytest.approx(1 - np.square(t - a3).sum() / variance, rel=1e-9)
    assert found.nmse == pytest.approx(np.square(t - a3).sum() / np.square(t).sum(), rel=1e-9)
    assert found.mse == pytest.approx(np.square(t - a3).mean())
    lengths = np.linalg.norm(t, axis=1) * np.linalg.norm(a3, axis=1)
    assert found.cosine == pytest.approx(((t * a3).sum(axis=1) / lengths).mean(), abs=1e-9)
    assert found.l0 == pytest.approx((a2 > 0).sum(axis=1).mean())
    assert found.l1 == pytest.approx(a2.sum(axis=1).mean())
    np.testing.assert_array_equal(found.fired, (a2 > 0).sum(axis=0))
    np.testing.assert_allclose(found.density, (a2 > 0).mean(axis=0))
    np.testing.assert_array_equal(found.dead, np.flatnonzero((a2 > 0).sum(axis=0) == 0))
    assert found.dead_share == pytest.approx(len(found.dead) / p)


def test_rows_of_zeros_have_no_direction() -> None:
    """They are left out of the cosine, and of nothing else."""
    t = np.array([[0.0, 0], [3, 4]])
    found = figures(np.array([[1.0, 1], [3, 4]]), np.vstack([t, t]).astype(float)[[0, 1]], np.zeros((2, 1)))
    assert found.cosine == pytest.approx(1)
    assert found.mse == pytest.approx(0.5)


def test_the_histogram_counts_every_unit_once() -> None:
    """Densities of 1 in m, of 1 and at edges are in it; dead units stand apart."""
    fired = np.array([0, 1, 10, 99, 100, 999, 1000, 0])
    found = Metrics(
        rows=1000, explained_variance=0.5, nmse=0, mse=0, cosine=0, l0=0, l1=0, fired=fired, active_above=0.0
    )
    edges, counts, dead = found.histogram(bins_per_decade=1)
    np.testing.assert_allclose(edges, [0.001, 0.01, 0.1, 1])
    assert counts.tolist() == [1, 2, 3]
    assert dead == 2
    assert found.histogram().counts.sum() == 6
    assert found.to_dict()["dead"] == [0, 7]


@pytest.fixture(scope="module")
def model() -> sparsae.TrainResult:
    """A model with a transform."""
    with pytest.warns(sparsae.ConvergenceWarning):
        return sparsae.train(X, 3, transform="standardise", output="linear", max_iter=20)


def test_a_model_is_evaluated_on_raw_data(model: sparsae.TrainResult) -> None:
    """Its transform is applied; the figures are those of transformed samples, and as training saw them."""
    found = metrics.evaluate(model, X)
    assert model.transform is not None
    Z = model.transform.apply(X)
    prepared = model.prepared()
    A, Y = prepared.encode(Z), prepared.reconstruct(Z)
    expected = figures(Y, Z, A, active_above=0.1)
    assert found.explained_variance == pytest.approx(expected.explained_variance, rel=1e-12)
    assert found.explained_variance == pytest.approx(model.metrics["explained_variance"], rel=1e-9)
    np.testing.assert_array_equal(found.fired, expected.fired)
    assert found.active_above == 0.1
    assert metrics.evaluate(prepared, Z).to_dict() == found.to_dict()
    target = metrics.evaluate(model, X, target=X[::-1].copy())
    assert target.explained_variance == pytest.approx(figures(Y, Z[::-1], A).explained_variance, rel=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_number_of_threads_changes_no_bit(model: sparsae.TrainResult, monkeypatch: Any, dtype: Any) -> None:
    """1, 2 and 3 workers, over many segments."""
    monkeypatch.setattr("sparsae.metrics.evaluation.MOST_ROWS", 16)
    data = X.astype(dtype)
    one = metrics.evaluate(model, data, threads=1).to_dict()
    assert metrics.evaluate(model, data, threads=2).to_dict() == one
    with pytest.warns(sparsae.errors.ThreadsWarning):
        assert metrics.evaluate(model, data, threads=30).to_dict() == one
    assert metrics.evaluate(model, np.asfortranarray(data)).to_dict() == one


def test_any_number_of_rows_takes_the_same_memory(model: sparsae.TrainResult) -> None:
    """64 MB of rows that exist only when they are read: less than 4 MB at a time; and each row is read once."""
    read: list[int] = []

    class Endless:
        shape, dtype = (2_000_000, 4), np.dtype(np.float64)

        def __getitem__(self, rows: slice) -> Any:
            read.append(rows.stop - rows.start)
            return np.arange(4 * rows.start, 4 * rows.stop, dtype=np.float64).reshape(-1, 4) % 97

    metrics.evaluate(model, X[:10])
    tracemalloc.start()
    try:
        found = metrics.evaluate(model, Endless(), threads=1)
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()
    assert found.rows == sum(read) == 2_000_000


def test_what_cannot_be_evaluated_is_refused(model: sparsae.TrainResult) -> None:
    """Another width, values that are not finite (by place), another target, threads that are none."""
    with pytest.raises(DataError, match="X has 3 columns and the transform 'standardise' was fitted to 4"):
        metrics.evaluate(model, X[:, :3])
    with pytest.raises(DataError, match="X has 3 columns and the model takes 4"):
        metrics.evaluate(model.prepared(), X[:, :3])
    bad = X.copy()
    bad[400, 2] = np.nan
    with pytest.raises(
        DataError, match=r"X contains 1 value that is not finite; the first is nan in row 400, column 2"
    ):
        metrics.evaluate(model, bad)
    with pytest.raises(DataError, match=r"target has shape \(3, 4\) and X has \(500, 4\)"):
        metrics.evaluate(model, X, target=X[:3])
    with pytest.raises(DataError, match="X is constant: its 500 rows are equal"):
        metrics.evaluate(model, np.ones_like(X))
    with pytest.raises(ParameterError, match="threads must be an integer of at least 1, not 0"):
        metrics.evaluate(model, X, threads=0)


def test_relu_units_are_active_above_0() -> None:
    """Anything with parameters, settings and a transform is a model; k and thresholds reach the unit."""
    rng = np.random.default_rng(1)
    parameters = sparsae.Parameters(rng.normal(size=(6, 4)), rng.normal(size=6), rng.normal(size=(4, 6)), np.ones(4))
    for activation, k in (("relu", None), ("topk", 2)):
        settings = {"activation": activation, "k": k, "output": "linear", "pre_bias": True}
        found = metrics.evaluate(SimpleNamespace(parameters=parameters, settings=settings, transform=None), X)
        z = (X - parameters.b2) @ parameters.W1.T + parameters.b1
        a2 = np.maximum(z, 0)
        if k:
            a2[a2 < np.sort(a2, axis=1)[:, -k, None]] = 0
        assert found.active_above == 0
        assert found.l0 == pytest.approx((a2 > 0).sum(axis=1).mean())
        expected = figures(a2 @ parameters.W2.T + parameters.b2, X, a2)
        assert found.explained_variance == pytest.approx(expected.explained_variance, rel=1e-9)
