"""Optimisers: `LBFGS`, `ScipyMethod`, `Adam`, `SGD`.

They own no clock, no file and no global state: states go in, states come out.
"""

from sparsae.optimize.base import Function, Method, Outcome, PlainState, State, StepMethod
from sparsae.optimize.lbfgs import LBFGS
from sparsae.optimize.methods import AnyMethod, describe, get_method, method_names
from sparsae.optimize.scipy_ import ScipyMethod
from sparsae.optimize.stochastic import SGD, Adam, StochasticMethod

__all__ = [
    "LBFGS",
    "SGD",
    "Adam",
    "AnyMethod",
    "Function",
    "Method",
    "Outcome",
    "PlainState",
    "ScipyMethod",
    "State",
    "StepMethod",
    "StochasticMethod",
    "describe",
    "get_method",
    "method_names",
]
