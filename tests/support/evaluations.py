"""Plain functions as optimisers take them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sparsae.cost import Evaluation, Terms


def evaluation(cost: float, gradient: Any) -> Evaluation:
    """Return an evaluation of a cost that is all squared error."""
    terms = Terms(cost, 0.0, 0.0)
    return Evaluation(float(cost), np.asarray(gradient, dtype=np.float64), terms, np.zeros(1), cost, np.ones(1))


def evaluating(function: Callable[[Any], tuple[float, Any]]) -> Callable[[Any], Evaluation]:
    """Return a function of (cost, gradient) as one of `Evaluation`."""
    return lambda theta: evaluation(*function(theta))
