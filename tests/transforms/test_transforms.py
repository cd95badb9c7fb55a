"""Fitted transforms: what each does, in a stream or at once; inverses; what cannot be transformed is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsae import DataError, ParameterError, transforms
from sparsae.engine.npy_file import open_npy
from sparsae.transforms import (
    ZCA,
    Centre,
    Chain,
    Olshausen,
    Patches,
    Standardise,
    Transform,
    UnitRMS,
    olshausen_filter,
)

STEPS = [*transforms.NAMES, ["standardise", "zca"], ["unit_rms", "scale", "zca", "standardise"], ["centre", "zca"]]


def samples(m: int = 200, n: int = 9, seed: int = 0) -> np.ndarray[Any, Any]:
    """Correlated columns of different means and spreads."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(m, n)) @ rng.normal(size=(n, n)) + rng.normal(0, 10, n)


@pytest.mark.parametrize("steps", STEPS, ids=str)
def test_a_stream_gives_what_all_rows_at_once_give(steps: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fitted and applied in pieces of one to five rows, from a file that is read, to the same numbers."""
    X = samples()
    np.save(tmp_path / "x.npy", X)
    whole = transforms.fit(X, steps).apply(X)
    monkeypatch.setattr("sparsae.engine.sources.PIECE_BYTES", 5 * 8 * 9)
    fitted = transforms.fit(open_npy(tmp_path / "x.npy"), steps)
    np.testing.assert_allclose(fitted.apply(open_npy(tmp_path / "x.npy")), whole, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(fitted.view(X)[:], whole, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("steps", STEPS, ids=str)
def test_the_inverse_gives_the_samples_back_or_says_why_not(steps: Any) -> None:
    """Up to rounding; what loses something names it."""
    X = samples()
    fitted = transforms.fit(X, steps)
    if fitted.invertible:
        np.testing.assert_allclose(fitted.inverse(fitted.apply(X)), X, rtol=1e-12, atol=1e-11)
    else:
        with pytest.raises(ParameterError, match=r"has no inverse: .*it removes the mean"):
            fitted.inverse(X)


@pytest.mark.parametrize("steps", STEPS, ids=str)
def test_what_is_affine_equals_its_matrix_and_offset(steps: Any) -> None:
    """On new data too; exactly those with an inverse are affine here."""
    X, new = samples(), samples(seed=1)
    fitted = transforms.fit(X, steps)
    affine = fitted.affine()
    assert (affine is not None) == fitted.invertible
    if affine is not None:
        linear = np.diag(affine.linear) if affine.linear.ndim == 1 else affine.linear
        np.testing.assert_allclose(new @ linear + affine.offset, fitted.apply(new), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("steps", STEPS, ids=str)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16, np.uint8, bool])
def test_any_real_data_is_taken_and_never_changed(steps: Any, dtype: Any) -> None:
    """F-ordered, strided, read-only; float16 and float32 give float32, all else float64."""
    values = samples(60, 18)
    X = np.asfortranarray((values > 0 if dtype is bool else np.abs(values)).astype(dtype))[::2, ::2]
    X.flags.writeable = False
    before = X.copy()
    fitted = transforms.fit(X, steps)
    result = fitted.apply(X)
    assert result.dtype == (np.float32 if dtype in (np.float16, np.float32) else np.float64)
    assert fitted.view(X).dtype == result.dtype
    assert result.flags.owndata
    assert result.flags.c_contiguous
    np.testing.assert_array_equal(X, before)
    np.testing.assert_allclose(result, fitted.apply(X.astype(np.float64)), rtol=1e-5, atol=1e-5)


def test_standardise_gives_mean_0_and_variance_1() -> None:
    """Also far from zero, where one-pass sums of squares have no digits left; constant columns become exactly 0."""
    X = samples()
    X[:, 0], X[:, 1] = 0.1, 1e9 + np.arange(200) % 3
    fitted = Standardise.fit(X)
    Z = fitted.apply(X)
    np.testing.assert_allclose(np.delete(Z, 1, axis=1).mean(axis=0), 0, atol=1e-14)
    assert abs(Z[:, 1].mean()) < 1e9 * 2**-52  # half a unit in the last place of the mean, over the deviation
    np.testing.assert_allclose(Z.std(axis=0)[1:], 1, rtol=1e-10)
    assert not Z[:, 0].any()
    np.testing.assert_allclose(fitted.deviation[1], X[:, 1].std(), rtol=1e-12)


@settings(max_examples=30)
@given(st.integers(-300, 300), st.integers(1, 40), st.integers(1, 6))
def test_unit_rms_gives_mean_square_1_at_any_magnitude(power: int, m: int, n: int) -> None:
    """From 1e-300 to 1e300, where squares over- and underflow; zero stays zero."""
    X = np.random.default_rng(m * n).normal(size=(m, n)) * 10.0**power
    fitted = UnitRMS.fit(X)
    assert np.square(fitted.apply(X)).mean() == pytest.approx(1, rel=1e-12)
    assert not fitted.apply(np.zeros((1, n))).any()


def test_unit_rms_does_not_lose_small_rows_before_large_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scale of the sums moves with the values, up and not down."""
    monkeypatch.setattr("sparsae.engine.sources.PIECE_BYTES", 8)
    X = np.array([[3.0], [4e-200], [4.0], [1e-3]])
    assert UnitRMS.fit(X).rms == pytest.approx(np.sqrt((25 + 1e-6) / 4), rel=1e-14)


def test_zca_whitens_and_stays_close() -> None:
    """Covariance becomes the identity where variance is well above the floor; the matrix is symmetric."""
    X = samples(5000, 4) + 3
    fitted = ZCA.fit(X, epsilon=1e-9)
    white = fitted.apply(X)
    np.testing.assert_allclose(white.T @ white / len(white), np.eye(4), atol=1e-5)
    np.testing.assert_array_equal(fitted.matrix, fitted.matrix.T)
    assert np.linalg.eigvalsh(fitted.matrix)[0] > 0
    floored = ZCA.fit(X).apply(X).var(axis=0)
    assert (floored < 1).all()


def test_olshausens_filter_is_flat_for_a_natural_spectrum() -> None:
    """An image with a 1/f spectrum comes out white below the cut-off; the mean goes, the variance becomes one."""
    rng = np.random.default_rng(0)
    f = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.rfftfreq(128)[None, :])
    f[0, 0] = np.inf
    image = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(128, 128))) / f) + 7
    out = olshausen_filter(image)
    assert abs(out.mean()) < 1e-12
    assert out.std() == pytest.approx(1)
    power = abs(np.fft.rfft2(out)) ** 2
    bands = [power[(f > low) & (f <= low + 0.05)].mean() for low in (0.05, 0.1, 0.15)]
    assert max(bands) / min(bands) < 1.4
    assert power[f > 0.6].mean() < 0.01 * bands[0]
    assert not olshausen_filter(np.ones((8, 8))).any()


def test_olshausen_filters_each_sample_as_an_image() -> None:
    """Of the shape given, or a square."""
    X = samples(5, 12)
    fitted = Olshausen.fit(X, image_shape=(3, 4))
    np.testing.assert_allclose(fitted.apply(X)[2].reshape(3, 4), olshausen_filter(X[2].reshape(3, 4)))
    with pytest.raises(ParameterError, match=r"samples of 12 columns are no square images; give image_shape=\(rows"):
        Olshausen.fit(X)
    with pytest.raises(ParameterError, match="samples of 12 columns are no 5x2 images"):
        transforms.fit(X, "olshausen", image_shape=(5, 2))
    with pytest.raises(ParameterError, match="f0 must be a positive number, not 0"):
        Olshausen.fit(X, image_shape=(3, 4), f0=0)


def test_patches_are_normalised_as_in_the_exercise() -> None:
    """Own mean removed, clipped at three standard deviations of all values, scaled to [0.1, 0.9]."""
    X = np.random.default_rng(0).normal(5, 2, (200, 9))
    X[0] *= 100
    fitted = Patches.fit(X)
    centred = X - X.mean(axis=1, keepdims=True)
    assert fitted.limit == pytest.approx(3 * centred.std())
    expected = np.clip(centred, -fitted.limit, fitted.limit) / fitted.limit * 0.4 + 0.5
    np.testing.assert_allclose(fitted.apply(X), expected, rtol=1e-12)
    assert fitted.apply(X).min() >= 0.1 - 1e-12
    np.testing.assert_allclose(Centre.fit(X).apply(X), centred, atol=1e-12)


def test_each_step_of_a_chain_is_fitted_to_what_the_ones_before_made() -> None:
    """And a step that is fitted already is kept; one step alone is no chain; chains are flat."""
    X = samples()
    first = Standardise.fit(X)
    both = transforms.fit(X, [first, "zca"])
    assert isinstance(both, Chain)
    assert both.steps[0] is first
    expected = ZCA.fit(first.apply(X)).apply(first.apply(X))
    np.testing.assert_allclose(both.apply(X), expected, rtol=1e-9, atol=1e-12)
    assert transforms.fit(X, [first]) is first
    assert [step.name for step in transforms.fit(X, [both, "scale"]).steps] == ["standardise", "zca", "scale"]
    assert both.summary.count(", then ") == 1
    assert both.settings() == {"0.standardise": {"n_visible": 9}, "1.zca": {"n_visible": 9}}


def test_a_fitter_takes_rows_as_they_come() -> None:
    """More after `finish` than before, as incremental fits need."""
    X = samples()
    for kind in (Standardise, UnitRMS, ZCA, Patches, transforms.Scale):
        fitter = kind.fitter(9)
        fitter.add(X[:50])
        early = fitter.finish()
        fitter.add(X[50:])
        np.testing.assert_allclose(early.apply(X), kind.fit(X[:50]).apply(X), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(fitter.finish().apply(X), kind.fit(X).apply(X), rtol=1e-9, atol=1e-12)
        with pytest.raises((ParameterError, DataError), match=r"no rows|All patches of X are constant"):
            kind.fitter(9).finish()


@pytest.mark.parametrize(
    ("steps", "X", "error", "message"),
    [
        (
            "zac",
            np.eye(3),
            ParameterError,
            r"There is no transform 'zac'; did you mean 'zca'\?; there are scale, stand",
        ),
        (3, np.eye(3), ParameterError, "There is no transform 3; there are scale"),
        ([], np.eye(3), ParameterError, "A chain needs at least one transform"),
        ("unit_rms", np.zeros((3, 3)), ParameterError, "All values of X are 0; there is nothing to scale"),
        ("zca", np.full((3, 3), 0.1), ParameterError, "All rows of X are equal; there is nothing to whiten"),
        ("scale", np.full((3, 3), 0.1), ParameterError, "All values of X are 0.1; there is no range"),
        ("patches", np.ones((3, 3)) * [[1], [2], [3]], DataError, "All patches of X are constant"),
        ("standardise", np.eye(3) * 1e-200, DataError, "Column 0 of X .* varies by 1e-200 at most, too little"),
        ("standardise", np.eye(3) * 1e200, DataError, "values of X are too large for float64 when they are squared"),
        ("zca", np.array([[0, 1e200], [1, 2]]), DataError, "too large for float64 when they are squared"),
        (
            "zca",
            np.array([[np.nan, 1], [1, np.nan]]),
            DataError,
            "2 values that are not finite; the first is nan in row 0",
        ),
        (
            "patches",
            np.array([[np.inf, 1], [1, 2]]),
            DataError,
            "1 value that is not finite; the first is inf in row 0",
        ),
        ("zca", np.array([[2**60, 1]]), DataError, "integers up to 1152921504606846976, which float64 cannot hold"),
        ("zca", np.array([["a"]]), DataError, "dtype <U1; expected real numbers"),
        ("zca", np.zeros((0, 3)), DataError, "X is empty"),
    ],
)
def test_what_cannot_be_fitted_is_refused(steps: Any, X: Any, error: type[Exception], message: str) -> None:
    """With what was given and what is possible."""
    with pytest.raises(error, match=message):
        transforms.fit(X, steps)


def test_what_cannot_be_transformed_is_refused() -> None:
    """Another width, values that are not finite, options that are none, chains that do not fit together."""
    X = samples()
    fitted = Standardise.fit(X)
    for call in (fitted.apply, fitted.inverse, fitted.view):
        with pytest.raises(DataError, match="codes has 3 columns and the transform 'standardise' was fitted to 9"):
            call(np.eye(3), name="codes")
    X[7, 2] = np.inf
    with pytest.raises(DataError, match="1 value that is not finite; the first is inf in row 7, column 2"):
        fitted.apply(X)
    assert not np.isfinite(fitted.view(X)[7:8]).all()  # named by whoever reads it
    for epsilon in (-1, np.nan, "much", True):
        with pytest.raises(ParameterError, match="epsilon must be a number"):
            ZCA.fit(np.eye(3), epsilon=epsilon)
    with pytest.raises(ParameterError, match=r"the same number of columns; these have \[3, 9\]"):
        transforms.chain([fitted, Centre(n_visible=3)])
    with pytest.raises(ParameterError, match="A chain is made from its parts"):
        Chain.fit(np.eye(3))
    with pytest.raises(ParameterError, match="A chain is made from its parts"):
        Chain.restore({}, {})


def test_a_singular_whitening_has_no_inverse() -> None:
    """Columns that depend on each other, with a matrix that rounding made singular; the default floor prevents it."""
    flat = ZCA(n_visible=2, mean=np.zeros(2), matrix=np.ones((2, 2)))
    with pytest.raises(DataError, match="matrix of the transform 'zca' is singular"):
        flat.inverse(np.eye(2))
    X = np.repeat(samples(50, 2), 2, axis=1)
    fitted = ZCA.fit(X)
    np.testing.assert_allclose(fitted.inverse(fitted.apply(X)), X, rtol=1e-10)


def test_whitening_more_columns_than_memory_holds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the covariance is allocated, with what it needs."""
    monkeypatch.setattr("sparsae.transforms.whitening.memory_limit", lambda: 1000)
    with pytest.raises(ParameterError, match=r"Whitening 9 columns needs 0.0 MiB .* more than half of the memory; use"):
        ZCA.fit(samples())


def test_transforms_are_immutable() -> None:
    """Fields cannot be set, and what `fit` returns is a `Transform`."""
    fitted = transforms.fit(samples(), "scale")
    assert isinstance(fitted, Transform)
    with pytest.raises(AttributeError):
        fitted.low = 0.0  # type: ignore[attr-defined]
