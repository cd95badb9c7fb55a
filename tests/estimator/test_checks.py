"""scikit-learn's own checks: all of them, none expected to fail."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from sparsae import SparseAutoencoder

pytestmark = pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning")
SKIPPED = "check_array_api_input"  # unless SciPy was loaded with SCIPY_ARRAY_API=1
BITING = (  # what other settings may break
    "check_estimator_sparse_array",
    "check_estimators_dtypes",
    "check_estimators_nan_inf",
    "check_estimators_pickle",
    "check_fit2d_1feature",
    "check_fit2d_1sample",
    "check_fit_idempotent",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_readonly_memmap_input",
    "check_transformer_n_iter",
    "check_transformer_preserve_dtypes",
)
OTHERS = {
    "mini-batches and sparse matrices": SparseAutoencoder(method="adam", max_iter=5, accept_sparse=True),
    "relu and preprocessing": SparseAutoencoder(
        8, activation="relu", l1=0.1, preprocessing="standardise", max_iter=5, backend="numpy"
    ),
    "topk": SparseAutoencoder(8, activation="topk", k=1, max_iter=5, backend="numpy"),
}


@parametrize_with_checks([SparseAutoencoder()])
def test_every_check_of_scikit_learn_passes(estimator: Any, check: Any) -> None:
    """With the default settings; the one that needs another environment is run by the next test."""
    check(estimator)


def test_the_check_that_is_skipped_above_passes_where_it_runs() -> None:
    """With SCIPY_ARRAY_API=1, which SciPy reads when it is loaded."""
    code = f"""
from sklearn.utils.estimator_checks import estimator_checks_generator
from sparsae import SparseAutoencoder
found = [c for c in estimator_checks_generator(SparseAutoencoder()) if {SKIPPED!r} in str(c[1])]
for estimator, check in found: check(estimator)
print(len(found))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=os.environ | {"SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
    )
    expected = sum(SKIPPED in str(check) for _, check in estimator_checks_generator(SparseAutoencoder()))
    assert done.stdout.strip() == str(expected), done.stderr  # scikit-learn 1.6 has none


def biting_checks() -> list[Any]:
    """The checks that depend on settings, for each of the other settings."""
    return [
        pytest.param(estimator, check, id=f"{name}-{check.func.__name__}")
        for name, made in OTHERS.items()
        for estimator, check in estimator_checks_generator(made)
        if check.func.__name__ in BITING
    ]


@pytest.mark.parametrize(("estimator", "check"), biting_checks())
def test_the_checks_that_bite_pass_with_other_settings(estimator: Any, check: Any) -> None:
    """Invariance, one sample, one feature, dtypes, pickles, memory maps."""
    check(estimator)


def test_each_of_the_checks_that_bite_exists() -> None:
    """None was renamed by scikit-learn unnoticed."""
    names = {check.func.__name__ for _, check in estimator_checks_generator(SparseAutoencoder())}
    assert set(BITING) <= names
