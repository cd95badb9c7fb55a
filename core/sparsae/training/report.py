"""The figures of a fit that a person wants first: for `repr`, notebooks and the command."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsae._facts import table_html
from sparsae._text import plural
from sparsae.receipt import describe_threads

if TYPE_CHECKING:
    from sparsae.training.result import History, TrainResult

TERMS = {name: f"  {name.replace('_', ' ')}" for name in ("squared_error", "weight_decay", "sparsity")}
SHOWN = 11  # entries of a learning curve in a table, at most


def result_title(result: TrainResult) -> str:
    """Return what kind of a model it is, in a line."""
    p, n = result.parameters.W1.shape
    hidden, output = (result.settings.get(name, "sigmoid") for name in ("activation", "output"))
    return f"Sparse autoencoder with {plural(n, 'input')}, {plural(p, f'{hidden} unit')} and {output} output"


def fit_facts(result: TrainResult) -> dict[str, Any]:
    """Return the figures of a fit, worded."""
    history, receipt = result.history, result.receipt
    if result.status.reason == "imported":  # nothing is known of its training
        return {"status": result.status.summary}
    seconds, inside = float(history.seconds[-1]), float(history.evaluation_seconds[-1])
    outside = 100 * (1 - inside / seconds) if seconds > 0 else 0
    return {
        "status": result.status.reason,
        "iterations": int(history.iteration[-1]),
        "evaluations": int(history.evaluations[-1]),
        "cost": f"{result.cost:.6f}",
        **_cost_facts(result.cost, history),
        "seconds": f"{seconds:.2f}, {outside:.0f} % of it outside the evaluations",
        "backend": f"{receipt.backend}, {describe_threads(receipt)}, {receipt.dtype}",
        **metric_facts(result.metrics),
    }


def _cost_facts(cost: float, history: History) -> dict[str, str]:
    """Return the terms of the cost; for mini-batches, whose learning curve is of means over an epoch, that mean."""
    terms = {title: float(getattr(history, name)[-1]) for name, title in TERMS.items()}
    if math.isclose(sum(terms.values()), cost, rel_tol=1e-6):
        return {title: f"{value:.6f}" for title, value in terms.items()}
    return {"  last epoch": f"{history.cost[-1]:.6f}, the mean over its mini-batches"}


def metric_facts(metrics: Mapping[str, float]) -> dict[str, str]:
    """Word the figures of merit; a share is given with its threshold."""
    words = {}
    for name, value in metrics.items():
        if name.endswith("_share"):
            side = "below" if name == "dead_share" else "above"
            threshold = metrics.get(f"{name.removesuffix('_share')}_{side}")
            words[f"{name.removesuffix('_share')} units"] = f"{value:.1%}" + (
                f" (mean activation {side} {threshold:g})" if threshold is not None else ""
            )
        elif not name.endswith(("_below", "_above")):
            words[name.replace("_", " ")] = f"{value:.4f}"
    return words


def history_line(history: History) -> str:
    """Return the learning curve in a line."""
    if not len(history):
        return "History without entries"
    first, last = int(history.iteration[0]), int(history.iteration[-1])
    return (
        f"History of {plural(last - first, 'iteration')}: cost {history.cost[0]:.6g} -> {history.cost[-1]:.6g}, "
        f"{plural(int(history.evaluations[-1]), 'evaluation')}, {history.seconds[-1]:.2f} s"
    )


def history_html(history: History) -> str:
    """Return a table of entries of the learning curve, evenly spaced, the first and the last included."""
    which = np.unique(np.linspace(0, len(history) - 1, min(SHOWN, len(history))).round().astype(int))
    names = ["iteration", "evaluations", "cost", *TERMS, "gradient_max", "seconds"]
    names += [name for name in ("explained_variance", "l0", "dead_share") if np.isfinite(getattr(history, name)).any()]
    rows = [[f"{getattr(history, name)[i]:.6g}" for name in names] for i in which]
    return table_html([name.replace("_", " ") for name in names], rows)
