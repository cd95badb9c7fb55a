"""Figures of merit of a model on data: how much it reconstructs, with how few units, and how often each unit is active.

All are computed from sums that are added block by block, so that any number of rows takes the same memory.
"""

from __future__ import annotations

from sparsae.metrics.evaluation import evaluate
from sparsae.metrics.figures import DensityHistogram, Metrics
from sparsae.metrics.sums import MetricSums

__all__ = ["DensityHistogram", "MetricSums", "Metrics", "evaluate"]
