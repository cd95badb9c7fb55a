"""L-BFGS with a test's hand in the middle of a fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sparsae.optimize import LBFGS
from sparsae.optimize.base import StepMethod


class Scripted(StepMethod):
    """L-BFGS; `act(iteration)` runs before each step."""

    name = "scripted"

    def __init__(self, act: Callable[[int], object]) -> None:
        self.inner, self.act = LBFGS(), act

    def init(self, function: Any, theta: Any) -> Any:
        return self.inner.init(function, theta)

    def step(self, function: Any, state: Any) -> Any:
        self.act(state.iteration)
        return self.inner.step(function, state)

    def pack(self, state: Any) -> Any:
        return self.inner.pack(state)

    def unpack(self, arrays: Any) -> Any:
        return self.inner.unpack(arrays)
