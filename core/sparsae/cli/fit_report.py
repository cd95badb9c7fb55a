"""The figures of a fit, for a program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsae.training.result import TrainResult


def fit_values(result: TrainResult) -> dict[str, Any]:
    """Return the figures for a program: names as in the Python interface, plain numbers."""
    from sparsae.training.report import TERMS

    history = result.history
    return {
        "status": {"reason": result.status.reason, "message": result.status.message},
        "iterations": history.iteration[-1],
        "evaluations": history.evaluations[-1],
        "seconds": history.seconds[-1],
        "evaluation_seconds": history.evaluation_seconds[-1],
        "cost": result.cost,
        "terms": {name: getattr(history, name)[-1] for name in (*TERMS, "gradient_max")},
        "metrics": dict(result.metrics),
    }
