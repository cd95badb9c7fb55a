"""Optimisers: `LBFGS`, `ScipyMethod`, `Adam`, `SGD`.

They have no clock, no files and no global state: each step takes a state and returns a new one.
"""

from sparsae.optimize.base import BoundMethod, Function, Method, OptimizerState, Outcome, StepMethod
from sparsae.optimize.lbfgs import LBFGS
from sparsae.optimize.methods import describe, get_method, method_names
from sparsae.optimize.scipy_ import ScipyMethod
from sparsae.optimize.stochastic import SGD, Adam, StochasticMethod

__all__ = [
    "LBFGS",
    "SGD",
    "Adam",
    "BoundMethod",
    "Function",
    "Method",
    "OptimizerState",
    "Outcome",
    "ScipyMethod",
    "StepMethod",
    "StochasticMethod",
    "describe",
    "get_method",
    "method_names",
]
