"""How long an evaluation will take on a cluster, and how much memory its workers need, before there is one."""

from __future__ import annotations

from sparsae.planning.cost_model import Constants, Prediction, Workload, predict
from sparsae.planning.plan import Plan, plan

__all__ = ["Constants", "Plan", "Prediction", "Workload", "plan", "predict"]
