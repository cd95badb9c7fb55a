"""A third-party kernel is compared with the reference before its first use, on every path."""

from __future__ import annotations

import numpy as np
import pytest
from tests.plugins.test_registry import good, install, run
from tests.support import unit_mutants

from sparsae import Parameters
from sparsae.cost import Cost
from sparsae.engine.guard import check_kernel
from sparsae.errors import BackendWrongError
from sparsae.plugins.contract import Problem

WRONG = good("wrong").replace("delta2.T @ a1", "delta2.T @ a1 / 2")
REFUSED = "Backend 'wrong' is wrong on the first rows of this problem"
USES = {
    "cost_and_gradient": "sparsae.cost_and_gradient(parameters, X, backend='wrong')",
    "objective": "sparsae.Objective(X, 3, backend='wrong')(parameters.flatten())",
    "full batch": "sparsae.train(X, 3, backend='wrong', max_iter=2, observers=[seen.append])",
    "mini-batch": "sparsae.train(X, 3, backend='wrong', method='adam', max_iter=1, observers=[seen.append])",
    "resumed": "sparsae.train(X, 3, backend='wrong', max_iter=4, checkpoint='c', resume=True, observers=[seen.append])",
    "resumed mini-batch": (
        "sparsae.train(X, 3, backend='wrong', method='adam', max_iter=4, checkpoint='a', resume=True, "
        "observers=[seen.append])"
    ),
    "backprop": "sparsae.backprop(X, X[:, :3], X, parameters.W2, np.ones(3), backend='wrong')",
}


@pytest.mark.parametrize("use", USES)
def test_a_wrong_plugin_is_refused_on_every_path(tmp_path, use):
    """A registered backend whose kernel became wrong, after checkpoints were written with a correct one.

    A fit is refused before its first iteration.
    """
    setup = """
    import warnings, numpy as np, sparsae
    warnings.simplefilter("ignore")
    X = np.random.default_rng(0).random((40, 5))
    parameters = sparsae.Parameters.random(5, 3)
    seen = []
    """
    install(tmp_path, "strange", {"wrong": good("wrong")})
    if use.startswith("resumed"):
        run(tmp_path, setup + "sparsae.train(X, 3, backend='wrong', max_iter=2, checkpoint='c')")
        run(tmp_path, setup + "sparsae.train(X, 3, backend='wrong', max_iter=2, method='adam', checkpoint='a')")
    call = f"""
    try:
        {USES[use]}
        print("accepted")
    except sparsae.BackendError as error:
        print(len(seen), type(error).__name__, error)
    """
    assert "accepted" in run(tmp_path, setup + call)
    (tmp_path / "mod_strange_0.py").write_text(WRONG)
    call = call.replace("max_iter=4", "max_iter=6")  # something is left to do
    assert f"0 BackendWrongError {REFUSED}" in run(tmp_path, setup + call)


def test_backprop_compares_once_and_not_what_is_not_finite(tmp_path):
    """NaN in gives NaN out, as for a bundled backend; the comparison is made with the first finite arrays."""
    install(tmp_path, "strange", {"wrong": WRONG})
    said = run(
        tmp_path,
        """
        import numpy as np, sparsae
        X = np.random.default_rng(0).random((40, 5))
        W2 = np.ones((5, 3))
        print(np.isnan(sparsae.backprop(X * np.nan, X[:, :3], X, W2, np.ones(3), backend="wrong").W1).all())
        try:
            sparsae.backprop(X, X[:, :3], X, W2, np.ones(3), backend="wrong")
        except sparsae.BackendError as error:
            print(error)
        """,
    )
    assert said.startswith("True")
    assert "(backprop): the sum W1 is" in said


@pytest.mark.parametrize("separate", [False, True])
def test_rows_in_which_rounding_decides_which_units_are_kept_are_left_out(separate):
    """The kernel is given the other rows, and their targets; where there are none, it is not asked."""
    weights = np.array([[3.7, 0.1, 0.1], [3.7, 0.1, 0.1], [0.1, 3.1, 0.1], [0.1, 0.1, 0.3]])  # units 0 and 1 are alike
    made = Parameters(weights, np.zeros(4), np.random.default_rng(0).normal(size=(3, 4)), np.full(3, 0.1))
    problem = Problem(n_visible=3, n_hidden=4, dtype=np.dtype(float), activation="topk", k=1)
    seen = []

    class Spy(unit_mutants.UnitTwin):
        def prepare(self, x, target, keep):
            seen.append((x.copy(), target.copy()))
            return super().prepare(x, target, keep)

    x = np.random.default_rng(1).uniform(0.1, 0.3, (6, 3))
    x[:, 1] = 0.9
    x[[1, 4], :2] = 0.9, 0.1
    target = x / 2 if separate else x
    settings = unit_mutants.make(Spy), problem, Cost(activation="topk"), made
    check_kernel(*settings, x, target)
    assert seen
    for rows, targets in seen:
        np.testing.assert_array_equal(rows, x[[0, 2, 3, 5]][: len(rows)])
        np.testing.assert_array_equal(targets, target[[0, 2, 3, 5]][: len(rows)])
    seen.clear()
    check_kernel(*settings, x[[1, 4]], target[[1, 4]])
    assert seen == []


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ["sigmoid", "topk"])
def test_direct_sums_are_compared_too(activation, dtype):
    """A kernel that adds to what stands in memory that is used again; without direct_sums nothing stands there."""
    rng = np.random.default_rng(0)
    made = Parameters(rng.normal(size=(4, 3)), rng.normal(size=4), rng.normal(size=(3, 4)), rng.normal(size=3))
    problem = Problem(
        n_visible=3, n_hidden=4, dtype=np.dtype(dtype), activation=activation, k=2 if activation == "topk" else None
    )
    x, given = rng.random((64, 3)).astype(dtype), made.astype(dtype)

    class WithoutDirectSums(unit_mutants.DirectSumsAdded):
        direct_sums = False

    for kernel in (unit_mutants.UnitTwin, WithoutDirectSums):
        check_kernel(unit_mutants.make(kernel), problem, Cost(activation=activation), given, x, x)
    wrong = unit_mutants.make(unit_mutants.DirectSumsAdded)
    with pytest.raises(BackendWrongError, match=r"first rows of this problem \(direct sums\): gradient of W1 is nan"):
        check_kernel(wrong, problem, Cost(activation=activation), given, x, x)
