"""Arguments of the wrong kind: a path that is an open file, a result that is none, a seed, a shape, data."""

from __future__ import annotations

import io
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import sparsae
from sparsae import DataError, Objective
from sparsae.data.exchange import export_model, import_model
from sparsae.errors import FileAccessError, FileMissingError, ParameterError, SparsaeError
from sparsae.training.json_log import JsonLog

X = np.random.default_rng(0).uniform(0.1, 0.9, (12, 6))
STOP = sparsae.Stop(gradient=1e9)
RESULT = sparsae.train(X, 3, stop=STOP, backend="numpy")
SHALLOW = sparsae.train(X, 3, activation="relu", method="lbfgs", stop=STOP, backend="numpy")
TAKES_A_PATH = {
    "The path of a model file": sparsae.load,
    "The name of data": sparsae.data.load,
    "The path of a log": JsonLog,
    "The path of a checkpoint": sparsae.Checkpoint,
    "The path of a picture": RESULT.plot_features,
    "The folder of a model": lambda path: export_model(SHALLOW, path, format="npz"),
    "The folder of a model ": lambda path: import_model(path),
}
NO_PATHS = [3, b"model.npz", io.BytesIO(), ["model.npz"], X]


@pytest.mark.parametrize("what", TAKES_A_PATH)
def test_what_is_no_path_is_refused_by_its_kind(what: str) -> None:
    """Numbers, bytes, open files, lists and arrays."""
    for given in NO_PATHS:
        message = f"^{what.strip()} must be a string or a path; given {type(given).__name__}"
        with pytest.raises(ParameterError, match=message):
            TAKES_A_PATH[what](given)


@pytest.mark.parametrize("what", TAKES_A_PATH)
def test_names_that_no_file_can_have_are_errors_of_ours(what: str) -> None:
    """Too long for the system, or with a zero byte in it."""
    for name in ("x" * 5000, "a\0b"):
        if what != "The path of a checkpoint":  # looked at when a fit begins
            with pytest.raises(SparsaeError):
                TAKES_A_PATH[what](name + ".png")
    with pytest.raises(FileAccessError):
        export_model(SHALLOW, "x" * 5000, format="npz")
    with pytest.raises(FileMissingError):
        import_model("x" * 5000)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sparsae.metrics.evaluate(RESULT.parameters, X), "model must be a TrainResult.*; given Parameters"),
        (lambda: sparsae.metrics.evaluate("m.npz", X), "model must be a TrainResult.*; given str"),
        (lambda: export_model(RESULT.parameters, "m", format="npz"), "A TrainResult is exported; given Parameters"),
        (lambda: sparsae.Parameters.random(3, 2, seed="x"), "seed must be an integer of at least 0 .* given 'x'"),
        (lambda: sparsae.Parameters.random(3, 2, seed=-1), "seed must be an integer of at least 0 .* given -1"),
        (lambda: RESULT.plot_features(image_shape="23"), r"must be two numbers, \(rows, columns\); given '23'"),
        (lambda: RESULT.plot_features(image_shape=(6,)), r"must be two numbers, \(rows, columns\); given \(6,\)"),
        (lambda: RESULT.plot_features(image_shape=6), r"must be two numbers, \(rows, columns\); given 6"),
        (lambda: RESULT.plot_features(image_shape=(2.0, 3)), "^image_shape must be an integer of at least 1, not 2.0"),
    ],
)
def test_other_arguments_of_the_wrong_kind(call: Callable[[], Any], message: str) -> None:
    """With what was given and what is possible."""
    with pytest.raises(ParameterError, match=message):
        call()


def test_shapes_of_images_may_be_lists(tmp_path: Path) -> None:
    """As a model file has them."""
    assert RESULT.plot_features(tmp_path / "f.png", image_shape=[2, 3]) is not None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("array", "way"),
    [
        (np.array([(0.1, 0.2), (0.3, 0.4)], dtype=[("a", float), ("b", float)]), "numpy.column_stack"),
        (np.array([[0.1 + 1j, 0.2], [0.3, 0.4]]), "numpy.hstack"),
        (np.array([["2020-01-01", "2020-01-02"], ["2020-01-03", "2020-01-09"]], "M8[D]"), "timedelta64"),
        (np.array([[1, 2], [3, 4]], "m8[s]"), "timedelta64"),
        (np.array([["0.1", "0.2"], ["0.3", "0.4"]]), "numpy.asarray"),
        (np.array([[Decimal("0.1"), 1], [2, 3]]), "which is no number of NumPy. .*numpy.asarray"),
    ],
)
def test_the_advice_makes_numbers_of_what_was_given(array: NDArray[Any], way: str) -> None:
    """It is Python, and what it makes is taken."""
    with pytest.raises(DataError, match=way) as caught:
        Objective(array, 1)
    advice = str(caught.value).rpartition("for example ")[2].removeprefix("with ").rstrip(".")
    code = advice[advice.index("numpy.hstack") :] if "hstack" in advice else advice.rpartition("first, ")[2]
    code = code.removeprefix("days, ")
    made = eval(code, {"numpy": np, "X": array})
    assert Objective(made, 1, output="linear").n_visible == (4 if "hstack" in advice else 2)


def test_the_advice_for_sparse_columns_of_pandas() -> None:
    """to_numeric leaves them as they are."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": pandas.arrays.SparseArray([0.0, 0.5]), "b": [0.1, 0.2]})
    with pytest.raises(DataError, match=r"a \(Sparse.*sparse ones with X.sparse.to_dense\(\)"):
        Objective(frame, 1)
