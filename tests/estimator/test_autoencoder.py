"""`SparseAutoencoder`: the same fit as `train`, in the form that scikit-learn expects."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sparsae
from sparsae import ParameterError, SparseAutoencoder
from sparsae.estimator import autoencoder
from sparsae.optimize import SGD, Adam

pytestmark = pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning")
X = np.random.default_rng(0).normal(size=(150, 6))
QUICK: dict[str, Any] = {"n_components": 4, "max_iter": 10, "random_state": 0}


def same(one: SparseAutoencoder, two: Any) -> bool:
    """Whether two models have the same bits."""
    return np.array_equal(one.result_.parameters.flatten(), two.parameters.flatten())


def test_the_default_works_on_standardised_data() -> None:
    """Without a thought: it learns, and explains more of the digits than their mean does."""
    digits = StandardScaler().fit_transform(load_digits().data)
    fitted = SparseAutoencoder(max_iter=100, random_state=0).fit(digits)
    assert fitted.cost_ < 0.8 * fitted.cost_curve_[0]
    assert fitted.transform(digits).shape == (1797, 25)
    assert fitted.score(digits) > -0.7 * np.mean(np.square(digits))


def test_it_is_the_fit_of_train_and_its_attributes_are_those_of_the_result() -> None:
    """The same bits for the same seed."""
    fitted = SparseAutoencoder(**QUICK, rho=0.1, beta=0.5, weight_decay=1e-3).fit(X)
    result = sparsae.train(X, 4, max_iter=10, seed=0, output="linear", rho=0.1, beta=0.5, weight_decay=1e-3)
    assert same(fitted, result)
    assert fitted.n_iter_ == result.n_iter == 10
    assert fitted.cost_ == result.cost
    assert np.array_equal(fitted.cost_curve_, result.history.cost)
    assert np.array_equal(fitted.components_, result.parameters.W1)
    assert fitted.receipt_.seed == 0
    assert fitted.result_.settings == result.settings
    assert np.array_equal(fitted.transform(X), result.encode(X))
    assert np.array_equal(fitted.inverse_transform(fitted.transform(X)), result.reconstruct(X))
    assert fitted.score(X) == pytest.approx(-np.mean(np.square(X - result.reconstruct(X))), rel=1e-12)
    assert list(fitted.get_feature_names_out()) == [f"sparseautoencoder{j}" for j in range(4)]


def test_one_warning_of_both_kinds_says_that_it_did_not_converge() -> None:
    """scikit-learn's filters find it and sparsae's do; it points at the caller; a fit that converged has none."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = SparseAutoencoder(**QUICK).fit(X)
    end = "The model can be used as it is; a larger max_iter, or warm_start=True and another fit, goes on from here."
    assert [str(w.message) for w in caught] == [f"{fitted.result_.status.summary} {end}"]
    assert issubclass(caught[0].category, ConvergenceWarning)
    assert issubclass(caught[0].category, sparsae.ConvergenceWarning)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert SparseAutoencoder(**QUICK | {"max_iter": 1000}, tol=1e-3).fit(X).result_.success


@pytest.mark.parametrize("method", ["lbfgs", "adam", SGD(learning_rate=1e-3, batch_rows=40)])
def test_a_warm_start_on_the_same_data_is_one_long_fit(method: Any) -> None:
    """Two fits of 10 iterations, also with a pickle between them, have the bits of one of 20, curve included."""
    whole = SparseAutoencoder(**QUICK | {"max_iter": 20}, method=method).fit(X)
    parts = SparseAutoencoder(**QUICK, method=method, warm_start=True).fit(X)
    first = parts.result_.parameters.flatten()
    parts = pickle.loads(pickle.dumps(parts)).fit(X)
    assert same(parts, whole.result_)
    assert np.array_equal(parts.cost_curve_, whole.cost_curve_)
    assert parts.n_iter_ == 20
    assert parts.receipt_.seed == 0
    assert not np.array_equal(first, parts.result_.parameters.flatten())
    cold = SparseAutoencoder(**QUICK, method=method).fit(X).fit(X)
    assert np.array_equal(cold.result_.parameters.flatten(), first)


def test_a_warm_start_on_other_data_or_settings_begins_at_the_weights() -> None:
    """The cost at the start is that of the last weights; the optimiser begins anew; then it goes on as before."""
    model = SparseAutoencoder(**QUICK, warm_start=True).fit(X)
    before, other = model.result_, X[:100] * 2
    with sparsae.Objective(other, 4, output="linear") as objective:
        expected, _ = objective(before.parameters.flatten())
    model.fit(other)
    assert model.cost_curve_[0] == expected
    assert (model.n_iter_, len(model.cost_curve_), model.receipt_.seed) == (10, 11, None)
    middle = model.cost_
    model.set_params(beta=1.0).fit(other)
    assert model.n_iter_ == 10
    assert model.cost_curve_[0] < middle
    once = model.result_
    model.fit(other)
    assert model.n_iter_ == 20
    assert np.array_equal(model.cost_curve_[:11], once.history.cost)


def test_a_warm_start_that_converged_does_nothing_more() -> None:
    """The tolerance is met at once."""
    model = SparseAutoencoder(**QUICK | {"max_iter": 1000}, tol=1e-3, warm_start=True).fit(X)
    before = model.result_
    model.fit(X)
    assert same(model, before)
    assert model.n_iter_ == before.n_iter


def test_going_on_with_other_sizes_is_refused() -> None:
    """With both sizes and the way out; the model stays as it was."""
    model = SparseAutoencoder(**QUICK, warm_start=True).fit(X)
    with pytest.raises(ParameterError, match=r"goes on from a model of 4 components and 6 features; .*n_components=5"):
        model.set_params(n_components=5).fit(X)
    with pytest.raises(ParameterError, match=r"partial_fit goes on from .*clone starts afresh"):
        model.partial_fit(X)
    assert model.transform(X).shape == (150, 4)


@pytest.mark.parametrize("method", [Adam(batch_rows=32), SGD(learning_rate=1e-3, batch_rows=32)])
def test_partial_fits_are_epochs_that_keep_the_state_of_the_optimiser(method: Any) -> None:
    """Three portions with the same rows, a pickle between them, are three epochs of train, bit for bit."""
    epochs = sparsae.train(X, 4, max_iter=3, seed=0, output="linear", method=method)
    model = SparseAutoencoder(**QUICK, method=method)
    for _ in range(3):
        model = pickle.loads(pickle.dumps(model.partial_fit(X)))
    assert same(model, epochs)
    assert np.array_equal(model.cost_curve_, epochs.history.cost)
    assert model.n_iter_ == 3
    assert model.result_.message == "Trained on 3 portions of data with 450 rows in all."
    assert model.receipt_.n_samples == 150


def test_partial_fits_take_portions_of_any_size_and_lower_the_error() -> None:
    """One row, seven, the rest; "lbfgs", which needs all rows, leaves them to Adam."""
    model = SparseAutoencoder(4, random_state=0).partial_fit(X[:1]).partial_fit(X[1:8]).partial_fit(X[8:])
    assert model.result_.settings["method"] == "adam"
    before = model.score(X)
    for _ in range(40):
        model.partial_fit(X)
    assert model.score(X) > before + 0.1


def test_a_partial_fit_after_a_fit_starts_at_its_weights_and_a_fit_after_it_starts_afresh() -> None:
    """Unless warm_start says otherwise."""
    fitted = SparseAutoencoder(**QUICK).fit(X)
    start = fitted.cost_
    fitted.set_params(method=Adam(evaluate_start=True)).partial_fit(X)
    assert fitted.cost_curve_[0] == pytest.approx(start, rel=1e-12)
    fitted.set_params(method="lbfgs")
    assert same(fitted.fit(X), sparsae.train(X, 4, max_iter=10, seed=0, output="linear"))
    portion = SparseAutoencoder(**QUICK, warm_start=True).partial_fit(X)
    with sparsae.Objective(X, 4, output="linear") as objective:
        expected, _ = objective(portion.result_.parameters.flatten())
    assert portion.fit(X).cost_curve_[0] == expected


def test_a_partial_fit_with_held_out_rows_or_a_schedule_is_refused() -> None:
    """A portion cannot stand for the rest, and does not know how many come."""
    with pytest.raises(ParameterError, match=r"held_out=0.1 has no meaning for data in portions; use held_out=0"):
        SparseAutoencoder(4, method=Adam(held_out=0.1)).partial_fit(X)
    with pytest.raises(ParameterError, match=r"decay=0.5 is a share of a fit whose length is known, .* use decay=0"):
        SparseAutoencoder(4, method=Adam(decay=0.5)).partial_fit(X)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_partial_fit_that_leaves_the_numbers_says_so() -> None:
    """The parameters stay finite, and the status has advice."""
    model = SparseAutoencoder(4, method=SGD(learning_rate=1e200), random_state=0)
    for _ in range(3):
        model.partial_fit(X)
    assert model.result_.status.reason == "not finite"
    assert "Try a smaller learning rate" in model.result_.message
    assert np.isfinite(model.components_).all()


@pytest.mark.parametrize("make", [np.random.RandomState, np.random.default_rng])
def test_generators_are_drawn_from(make: Any) -> None:
    """Equal generators give equal models, the next draw another one; None draws from NumPy's global state."""
    generator = make(3)
    models = [SparseAutoencoder(4, max_iter=2, random_state=r).fit(X) for r in (make(3), generator, generator)]
    assert same(models[0], models[1].result_)
    assert not same(models[0], models[2].result_)
    np.random.seed(5)  # noqa: NPY002 (it is this state that None means)
    first = SparseAutoencoder(4, max_iter=2).fit(X)
    second = SparseAutoencoder(4, max_iter=2).fit(X)
    np.random.seed(5)  # noqa: NPY002
    assert same(SparseAutoencoder(4, max_iter=2).fit(X), first.result_)
    assert not same(first, second.result_)


def test_an_unfitted_model_and_bad_settings_are_said() -> None:
    """scikit-learn's error for the first; sparsae's, which are ValueErrors, for the others."""
    for use in ("transform", "inverse_transform", "score"):
        with pytest.raises(NotFittedError):
            getattr(SparseAutoencoder(), use)(X)
    assert not hasattr(SparseAutoencoder(), "components_")
    for setting, message in (
        ({"n_components": 0}, "n_components must be an integer of at least 1"),
        ({"method": "lbgfs"}, "did you mean 'lbfgs'"),
        ({"max_iter": -1}, "max_iter must be an integer"),
        ({"tol": None}, "tol must be a number; given None"),
        ({"warm_start": 2}, "warm_start must be"),
        ({"activation": "topk", "k": 5, "n_components": 4}, "k=5 exceeds n_components=4"),
        ({"random_state": -1}, "random_state must be at least 0; given -1"),
        ({"random_state": "x"}, "cannot be used to seed"),
    ):
        with pytest.raises(ValueError, match=message):
            SparseAutoencoder(**setting).fit(X)
    with pytest.raises(ValueError, match=r'X has values from .* use output="linear"'):
        SparseAutoencoder(output="sigmoid").fit(X)


def test_rows_are_scored_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block a row gives what one block gives, within rounding."""
    model = SparseAutoencoder(**QUICK).fit(X)
    score = model.score(X)
    monkeypatch.setattr(autoencoder, "BLOCK_BYTES", 1)
    assert model.score(X) == pytest.approx(score, rel=1e-13)


def test_the_keywords_are_those_of_train() -> None:
    """Every one of `ModelOptions`, with None for the default of the activation; only the output unit is another."""
    defaults = SparseAutoencoder().get_params()
    assert set(sparsae.ModelOptions.__annotations__) <= set(defaults)
    own = {"activation": "sigmoid", "output": "linear"}
    assert {name: defaults[name] for name in sparsae.ModelOptions.__annotations__} == dict.fromkeys(
        sparsae.ModelOptions.__annotations__
    ) | own


@pytest.mark.parametrize(
    "options",
    [
        {"activation": "relu"},
        {"activation": "topk", "k": 2},
        {"activation": "batchtopk", "k": 2},
        {"activation": "jumprelu", "l0": 0.01},
        {"activation": "relu", "l1": 0.1, "method": "lbfgs"},
    ],
)
def test_each_hidden_unit_is_fitted_as_train_does(options: dict[str, Any]) -> None:
    """With the default method of the activation; portions too, whose derived defaults are those of the first."""
    settings = {"backend": "numpy", **options}
    row = SparseAutoencoder(**QUICK, **settings).fit(X)
    np.testing.assert_allclose(row.transform(X[3:4]), row.transform(X)[3:4], rtol=1e-12)
    model = SparseAutoencoder(**QUICK, **settings).fit(X)
    result = sparsae.train(X, 4, max_iter=10, seed=0, **settings)
    assert same(model, result)
    assert model.result_.settings == result.settings
    assert np.array_equal(model.transform(X), result.encode(X))
    assert (model.transform(X) >= 0).all()
    if options.get("method") is None:
        assert model.result_.settings["method"] == "adam"
        portions = SparseAutoencoder(**QUICK, **settings).partial_fit(X)
        first = portions.result_.settings
        assert portions.partial_fit(X * 9).result_.settings == first | {"max_iter": 2}
        assert portions.transform(X).shape == (150, 4)
        again = SparseAutoencoder(**QUICK, **settings).partial_fit(X)
        dead_after = {"dead_after": 10_000_000} if "topk" in options["activation"] else {}
        epoch = sparsae.train(X, 4, max_iter=1, seed=0, **settings, **dead_after)
        assert same(again, epoch)


def test_a_keyword_of_another_activation_is_refused_with_those_that_there_are() -> None:
    """As train does."""
    with pytest.raises(
        ParameterError, match=r"k does not belong to activation='sigmoid'; its keywords are activation,"
    ):
        SparseAutoencoder(k=3).fit(X)


@pytest.mark.parametrize("steps", ["standardise", "scale", ["standardise", "zca"]])
def test_preprocessing_is_part_of_the_model(steps: Any) -> None:
    """Raw samples in and out, components in their space, in fit and portions, after a pickle, of a scaled copy too."""
    raw = X * np.array([1, 10, 100, 1, 5, 7]) + np.arange(6)
    model = SparseAutoencoder(**QUICK, preprocessing=steps).fit(raw)
    result = sparsae.train(raw, 4, max_iter=10, seed=0, output="linear", transform=steps)
    assert same(model, result)
    model = pickle.loads(pickle.dumps(model))
    features = model.transform(raw)
    np.testing.assert_allclose(features, result.encode(raw), rtol=1e-12)
    np.testing.assert_allclose(model.inverse_transform(features), result.reconstruct(raw), rtol=1e-12)
    assert model.score(raw) == pytest.approx(-np.mean(np.square(raw - result.reconstruct(raw))), rel=1e-12)
    # where the activation of a unit is log(a / (1 - a)), a step along its component changes it as W1 says
    step = 1e-3 * model.components_[1] / np.linalg.norm(model.components_[1])
    slope = np.diff(np.log(1 / model.transform(np.stack([raw[0], raw[0] + step]))[:, 1] - 1))
    assert -slope[0] == pytest.approx(1e-3 * np.linalg.norm(model.components_[1]), rel=1e-6)
    portions = SparseAutoencoder(**QUICK, preprocessing=steps).partial_fit(raw[:100]).partial_fit(raw[100:])
    assert portions.result_.transform is not None
    assert portions.transform(raw).shape == (150, 4)


def test_a_score_without_an_inverse_is_that_of_the_prepared_samples() -> None:
    """The transform "centre" forgets the mean of a sample, so that raw samples cannot be compared."""
    model = SparseAutoencoder(**QUICK, preprocessing="centre").fit(X)
    transform = model.result_.transform
    assert transform is not None
    assert not transform.invertible
    centred = X - X.mean(axis=1, keepdims=True)
    expected = -np.mean(np.square(centred - model.result_.prepared().reconstruct(centred)))
    assert model.score(X) == pytest.approx(expected, rel=1e-12)


def test_float32_stays_float32() -> None:
    """The fit computes in it, features and reconstructions have it; float16 becomes it; the rest is float64."""
    for dtype, expected in (
        (np.float32, "float32"),
        (np.float16, "float32"),
        (np.float64, "float64"),
        (int, "float64"),
    ):
        data = (10 * X).astype(dtype)
        model = SparseAutoencoder(**QUICK).fit(data)
        assert model.receipt_.dtype == expected
        features = model.transform(data)
        assert features.dtype == expected
        assert model.inverse_transform(features).dtype == expected


def test_clones_pickles_and_pipelines_are_the_same_model(tmp_path: Any) -> None:
    """Settings survive a clone, and everything survives pickle and joblib."""
    pipeline = make_pipeline(StandardScaler(), SparseAutoencoder(**QUICK, method=Adam(batch_rows=50)))
    features = pipeline.fit_transform(X)
    again = clone(pipeline)
    assert not hasattr(again[-1], "result_")
    assert np.array_equal(again.fit_transform(X), features)
    joblib.dump(pipeline, tmp_path / "model.joblib")
    for copy in (joblib.load(tmp_path / "model.joblib"), pickle.loads(pickle.dumps(pipeline))):
        assert np.array_equal(copy.transform(X), features)
        assert copy[-1].get_params() == pipeline[-1].get_params()


def test_nothing_asks_for_metadata() -> None:
    """Routing is untouched: no method has a request, with routing switched on too."""
    from sklearn import config_context

    with config_context(enable_metadata_routing=True):
        requests = SparseAutoencoder().get_metadata_routing()
        assert all(not getattr(requests, method).requests for method in ("fit", "partial_fit", "transform", "score"))
        assert make_pipeline(StandardScaler(), SparseAutoencoder(**QUICK)).fit_transform(X).shape == (150, 4)
