"""`TrainResult`: its answers, its methods, and what its status says."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sparsae
from sparsae.errors import DataError, FileMissingError, ParameterError
from sparsae.optimize import SGD, Adam

QUIET = "ignore::sparsae.ConvergenceWarning"
X = np.random.default_rng(0).uniform(0.1, 0.9, (60, 6))


@pytest.mark.filterwarnings(QUIET)
def test_it_answers_as_results_of_scipy_do() -> None:
    """success, message, n_iter."""
    result = sparsae.train(X, 3, max_iter=4)
    assert (result.success, result.n_iter, result.message) == (False, 4, result.status.message)
    stop = sparsae.Stop(gradient=0, decrease=0.5)
    assert sparsae.train(X, 3, stop=stop).success


@pytest.mark.filterwarnings(QUIET)
@pytest.mark.parametrize("output", ["sigmoid", "linear"])
def test_its_methods_are_those_of_the_model(output: Any, tmp_path: Path) -> None:
    """encode, decode and reconstruct know parameters and output unit, also after a file."""
    result = sparsae.train(X, 3, max_iter=4, output=output)
    sparsae.save(tmp_path / "m.npz", result)
    for model in (result, sparsae.load(tmp_path / "m.npz")):
        a2 = sparsae.encode(result.parameters, X)
        assert np.array_equal(model.encode(X), a2)
        assert np.array_equal(sparsae.encode(model, X), a2)
        a3 = sparsae.decode(result.parameters, a2, output=output)
        assert np.array_equal(model.decode(a2), a3)
        assert np.array_equal(model.reconstruct(X), a3)
    with pytest.raises(DataError, match=r"X has shape \(60, 3\); expected \(n_samples, 6\)"):
        result.encode(X[:, :3])
    assert np.array_equal(sparsae.decode(result, a2), a3)


@pytest.mark.filterwarnings(QUIET)
def test_results_are_compared_by_identity() -> None:
    """No error of NumPy's about ambiguous truth; equal means the same object."""
    one, two = (sparsae.train(X, 3, max_iter=1) for _ in range(2))
    assert one == one
    assert one != two
    assert len({one, two, one}) == 2
    assert one.history != two.history


@pytest.mark.parametrize("method", [SGD(learning_rate=30.0), Adam(learning_rate=20.0)])
def test_a_fit_whose_cost_rose_says_so(method: Any) -> None:
    """Never "can be used as it is": the status has both costs, the learning rate and a smaller one to try."""
    with pytest.warns(sparsae.ConvergenceWarning) as caught:
        result = sparsae.train(X, 3, method=method, max_iter=3, output="linear", weight_decay=0.1)
    start = result.history.cost[0]
    assert result.cost > start
    assert result.status.reason == "cost rose"
    assert result.status.summary == (
        f"Stopped after 3 iterations, at the iteration limit, and the cost rose from {start:.4g} to {result.cost:.4g}."
    )
    rate = method.learning_rate
    assert result.status.advice.startswith(f"Try a smaller learning rate (it was {rate:g}; try {rate / 10:g}), ")
    assert [str(w.message) for w in caught] == [result.message]
    assert "as it is" not in result.message


def test_a_rise_is_said_whatever_ended_the_fit() -> None:
    """An observer's stop keeps its reason, and the sentence has the rise."""
    result = sparsae.train(
        X, 3, method=SGD(learning_rate=30.0), output="linear", weight_decay=0.1, observers=lambda p: p.iteration >= 2
    )
    assert result.status.reason == "stopped"
    assert "and the cost rose from" in result.message
    assert "Try a smaller learning rate" in result.message


@pytest.mark.filterwarnings(QUIET)
def test_the_status_is_data(tmp_path: Path) -> None:
    """Reason, summary and advice apart, for whoever words them anew; the warning carries them; files keep them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = sparsae.train(X, 3, max_iter=2)
    status = result.status
    assert (status.reason, status.summary) == ("iteration limit", "Stopped after 2 iterations, the limit.")
    assert "initial=result" in status.advice
    assert status.message == f"{status.summary} {status.advice}"
    assert [getattr(w.message, "status", None) for w in caught] == [status]
    sparsae.save(tmp_path / "m.npz", result)
    assert sparsae.load(tmp_path / "m.npz").status == status


@pytest.mark.filterwarnings(QUIET)
def test_saving_in_the_wrong_order_names_the_order(tmp_path: Path) -> None:
    """Nothing is written."""
    result = sparsae.train(X, 3, max_iter=1)
    with pytest.raises(ParameterError, match=r"save\(path, result\).* given save\(TrainResult, str\)"):
        sparsae.save(result, str(tmp_path / "m.npz"))  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"given save\(str, Parameters\)"):
        sparsae.save(str(tmp_path / "m.npz"), result.parameters)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings(QUIET)
@pytest.mark.parametrize("kind", [str, Path])
def test_the_name_of_a_file_stands_for_its_rows(kind: Any, tmp_path: Path) -> None:
    """In train, Objective and what a result computes; target too, and with a transform."""
    np.save(tmp_path / "x.npy", X)
    name = kind(tmp_path / "x.npy")
    result = sparsae.train(name, 3, max_iter=2, target=name, transform="standardise", output="linear")
    expected = sparsae.train(X, 3, max_iter=2, target=X, transform="standardise", output="linear")
    assert result.cost == expected.cost
    np.testing.assert_array_equal(result.reconstruct(name), expected.reconstruct(X))
    theta = np.zeros(sparsae.Objective(name, 3).size)
    assert sparsae.Objective(name, 3)(theta)[0] == sparsae.Objective(X, 3)(theta)[0]


def test_names_that_are_no_files_are_one_line(tmp_path: Path) -> None:
    """What is not there; bundled data, whose transform would be lost."""
    with pytest.raises(FileMissingError, match=r"There is no file .*none.npy\. Give a file, or one of"):
        sparsae.train(tmp_path / "none.npy", 3)
    with pytest.raises(
        DataError, match=r"X is 'digits', bundled data with a transform.* sparsae.data.load\('digits'\)"
    ):
        sparsae.train("digits", 3)


def test_an_unknown_option_names_the_nearest() -> None:
    """Of the objective's and of the fit's own."""
    with pytest.raises(TypeError, match=r"no keyword 'weight_decy'; did you mean 'weight_decay'\?"):
        sparsae.train(X, 3, weight_decy=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"no keyword 'maxiter'; did you mean 'max_iter'\?"):
        sparsae.train(X, 3, maxiter=1)  # type: ignore[call-arg]


@pytest.mark.filterwarnings(QUIET)
@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, ZeroDivisionError])
@pytest.mark.parametrize("method", ["lbfgs", "adam"])
def test_whatever_a_kernel_raises_is_a_backend_error(error: type[BaseException], method: str) -> None:
    """In full batches and mini-batches; the cause is chained."""

    class Broken(sparsae.SimpleKernel):
        def backprop(self, *_: Any, **__: Any) -> Any:
            raise error

    backend = sparsae.Backend("broken", Broken, summary="raises")
    with pytest.raises(sparsae.BackendError, match=error.__name__):
        sparsae.train(X, 3, backend=backend, method=method, max_iter=2)
