"""Warnings point at the line of the program that called sparsae."""

import numpy as np
import pytest

import sparsae
from sparsae.data import load
from sparsae.errors import DataWarning, ThreadsWarning

X = np.random.default_rng(0).random((20, 4))
ROWS = [[float(i), i / 50, i / 70] for i in range(40)]


@pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning")
@pytest.mark.parametrize(
    "call",
    [
        lambda: sparsae.Objective(X, 2, threads=500),
        lambda: sparsae.train(X, 2, max_iter=1, threads=500),
        lambda: sparsae.cost_and_gradient(sparsae.Parameters.random(4, 2), X, threads=500),
        lambda: sparsae.backprop(X, X[:, :2], X, np.ones((4, 2)), np.ones(2), threads=500),
    ],
)
def test_a_warning_of_threads_points_at_the_call(call):
    """However many of our functions stand between."""
    with pytest.warns(ThreadsWarning, match="500 threads were asked for") as caught:
        call()
    assert {warning.filename for warning in caught} == {__file__}


def test_warnings_of_data_point_at_the_call(tmp_path):
    """A column that counts the rows; a matrix whose samples may stand in columns; names that are not UTF-8."""
    np.savetxt(tmp_path / "counted.csv", ROWS, delimiter=",")
    np.save(tmp_path / "wide.npy", np.zeros((2, 2000)))
    (tmp_path / "latin.csv").write_bytes(b"h\xf6he,b\n0.5,0.25\n0.125,0.5\n")
    for name in ("counted.csv", "wide.npy", "latin.csv"):
        with pytest.warns(DataWarning) as caught:
            load(tmp_path / name)
        assert {warning.filename for warning in caught} == {__file__}, name
