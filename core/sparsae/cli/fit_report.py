"""The figures of a fit, for a person and for a program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sparsae.cli.report import counted

if TYPE_CHECKING:
    from sparsae.receipt import Receipt
    from sparsae.training.result import TrainResult

TERMS = {name: f"  {name.replace('_', ' ')}" for name in ("squared_error", "weight_decay", "sparsity")}


def fit_values(result: TrainResult) -> dict[str, Any]:
    """Return the figures for a program: names as in the Python interface, plain numbers."""
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


def fit_facts(result: TrainResult) -> dict[str, Any]:
    """Return the figures that a person wants first."""
    history, receipt = result.history, result.receipt
    seconds, inside = float(history.seconds[-1]), float(history.evaluation_seconds[-1])
    outside = 100 * (1 - inside / seconds) if seconds > 0 else 0
    return {
        "status": result.status.reason,
        "iterations": int(history.iteration[-1]),
        "evaluations": int(history.evaluations[-1]),
        "cost": f"{result.cost:.6f}",
        **{title: f"{getattr(history, name)[-1]:.6f}" for name, title in TERMS.items()},
        "seconds": f"{seconds:.2f}, {outside:.0f} % of it outside the evaluations",
        "backend": f"{receipt.backend}, {describe_threads(receipt)}, {receipt.dtype}",
        **_metrics(result.metrics),
    }


def describe_threads(receipt: Receipt) -> str:
    """Return what ran: workers over rows, or threads of a library, and what was granted where less was used."""
    granted = counted(receipt.threads_granted, "thread")
    if receipt.threading != "workers":
        return granted
    workers = counted(receipt.workers, "worker")
    return workers if receipt.workers == receipt.threads_granted else f"{workers} ({granted} granted)"


def _metrics(metrics: Mapping[str, float]) -> dict[str, str]:
    """Word the figures of merit; a share is printed with its threshold."""
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
