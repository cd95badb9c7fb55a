"""A mini-batch goes through the engine as all rows do: the same bits for any number of workers, kernels kept."""

import numpy as np
import pytest

import sparsae
from sparsae import Objective, Parameters
from sparsae.engine import storage
from sparsae.engine.npy_file import open_npy
from sparsae.reference import evaluate_reference

X = np.random.default_rng(0).random((3000, 10))
ROWS = np.sort(np.random.default_rng(1).permutation(3000)[:777])
PARAMETERS = Parameters.random(10, 4, seed=2)


def batch_sums(backend, threads, rows=ROWS, data=X, target=None):
    """Sums over a mini-batch, twice."""
    objective = Objective(data, 4, backend=backend, threads=threads, block_rows=64, target=target)
    with objective:
        for _ in range(2):
            sums = objective.engine.evaluate_rows(PARAMETERS, lambda s: objective.cost.sparsity(s / len(rows)), rows)
            vector = sums.vector.copy()
    return vector, sums, objective


@pytest.mark.filterwarnings("ignore::sparsae.errors.ThreadsWarning")
@pytest.mark.parametrize("name", ["fused", "dot", "loop", "numba"])
def test_workers_never_change_a_bit_of_a_mini_batch(name):
    """1, 2, 3 and 8 workers, batches of 1, 64, 65 and 777 rows: of two passes, and with the reference's gradient."""
    threads = (1,) if sparsae.get_backend(name).threading == "none" else (1, 2, 3, 8)
    for size in (1, 64, 65, 777):
        found = [batch_sums(name, n, ROWS[:size]) for n in threads]
        assert len({vector.tobytes() for vector, *_ in found}) == 1
        _, sums, objective = found[0]
        assert sums.rows == size
        got = objective.cost.evaluate(sums, PARAMETERS.flatten())
        true = evaluate_reference(PARAMETERS, X[ROWS[:size]])
        np.testing.assert_allclose(got.cost, true.cost, rtol=1e-12)
        np.testing.assert_allclose(got.gradient, true.gradient.flatten(), rtol=1e-9, atol=1e-13)


def test_a_mini_batch_of_all_rows_has_the_bits_of_an_evaluation():
    """The same cut, the same tree."""
    with Objective(X, 4, threads=2, block_rows=64) as objective:
        whole = objective.engine.evaluate(PARAMETERS, objective.cost.sparsity).vector.copy()
        batch = objective.engine.evaluate_rows(PARAMETERS, lambda s: objective.cost.sparsity(s / 3000), np.arange(3000))
        np.testing.assert_array_equal(batch.vector, whole)


def test_a_mini_batch_from_a_file_and_with_a_target_has_the_same_bits(monkeypatch, tmp_path):
    """Rows are gathered from wherever the data is."""
    monkeypatch.setattr(storage, "SHARE", 1 << 60)
    target = X[::-1].copy()
    np.save(tmp_path / "x.npy", X)
    monkeypatch.undo()
    expected = batch_sums("fused", 2, target=target)[0]
    got = batch_sums("fused", 2, data=open_npy(tmp_path / "x.npy"), target=target)[0]
    np.testing.assert_array_equal(got, expected)


def test_kernels_are_not_made_anew_for_a_mini_batch(monkeypatch):
    """Those of the objective serve all batches."""
    made = []
    kernel = sparsae.get_backend("dot").kernel
    backend = sparsae.Backend("mine", lambda problem: made.append(1) or kernel(problem), threading="workers")
    batch_sums(backend, 2)
    assert len(made) == 2
