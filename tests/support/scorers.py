"""A scorer that worker processes of joblib can import."""

from __future__ import annotations

from typing import Any


def threads_granted(estimator: Any, X: Any, y: Any = None) -> float:
    """How many threads the fit was given, and minus one where BLAS had more than one while it ran."""
    pools = [pool["num_threads"] for pool in estimator.receipt_.pools if pool["user_api"] == "blas"]
    return float(estimator.receipt_.threads_granted) if max(pools) == 1 else -1.0
