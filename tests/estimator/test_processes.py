"""In worker processes: a grid search gives each fit its share of the CPUs and no more."""

from __future__ import annotations

import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor
from sklearn.model_selection import GridSearchCV
from tests.support.scorers import threads_granted

from sparsae import SparseAutoencoder, cpu_budget


@pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning")
def test_a_grid_search_in_two_processes_shares_the_cpus() -> None:
    """BLAS has its share of the CPUs in the workers, and sparsae takes no more; `make prove-grid_search` measures it.

    The fit on all rows afterwards, in this process, has the whole budget again.
    """
    X = np.random.default_rng(0).normal(size=(300, 6))
    model = SparseAutoencoder(max_iter=5, random_state=0)
    search = GridSearchCV(model, {"n_components": [2, 3], "rho": [0.05, 0.2]}, cv=2, n_jobs=2, scoring=threads_granted)
    search.fit(X)
    share = max(1, cpu_budget().granted // 2)
    assert search.cv_results_["mean_test_score"].tolist() == [share] * 4
    assert search.best_estimator_.receipt_.threads_granted == cpu_budget().granted
    scores = GridSearchCV(model, {"n_components": [2, 8]}, cv=2).fit(X).cv_results_["mean_test_score"]
    assert scores[1] > scores[0]
    get_reusable_executor().shutdown(wait=True)
