"""The line search: both conditions hold where it says so, and it never goes where cost was lost."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.evaluations import evaluation

from sparsae.cost import Evaluation
from sparsae.optimize import linesearch
from sparsae.optimize.linesearch import LinePoint, LineSearchResult, strong_wolfe

Vector = NDArray[np.float64]
Line = Callable[[float], tuple[float, float]]


def search(
    line: Line, length: float, *, trials: int = 20, curvature: float = 0.1
) -> tuple[LineSearchResult, list[float]]:
    """Search along a function of one variable from 0; also the lengths that were tried."""
    tried: list[float] = []

    def function(theta: Vector) -> Evaluation:
        tried.append(float(theta[0]))
        cost, slope = line(float(theta[0]))
        return evaluation(cost, [slope])

    cost, slope = line(0.0)
    start = LinePoint(0.0, slope, np.zeros(1), evaluation(cost, [slope]))
    found = strong_wolfe(function, start, np.ones(1), length, decrease=1e-3, curvature=curvature, trials=trials)
    return found, tried


LINES: dict[str, Line] = {
    "quadratic": lambda x: ((x - 3) ** 2, 2 * (x - 3)),
    "quartic": lambda x: ((x - 2) ** 4 - x, 4 * (x - 2) ** 3 - 1),
    "two valleys": lambda x: (np.cos(3 * x) - 0.1 * x - 1e-2 * x, -3 * np.sin(3 * x) - 0.11),
    "nearly straight": lambda x: (-x / (x * x + 2), (x * x - 2) / (x * x + 2) ** 2),
}


@pytest.mark.parametrize("length", [1e-3, 0.1, 1.0, 10.0, 1000.0])
@pytest.mark.parametrize("name", LINES)
def test_both_conditions_hold_at_what_it_finds(name: str, length: float) -> None:
    """From first trials that are far too short and far too long, within twenty evaluations."""
    line = LINES[name]
    found, tried = search(line, length)
    assert found.point is not None
    (cost0, slope0), (cost, slope) = line(0.0), line(found.point.length)
    assert cost <= cost0 + 1e-3 * found.point.length * slope0
    assert abs(slope) <= 0.1 * abs(slope0)
    assert found.evaluations == len(tried) <= 20


def test_it_never_goes_where_cost_was_lost() -> None:
    """After a trial without a finite cost, every later one is shorter than it; what is there is used to the edge."""
    found, tried = search(lambda x: (-x, -1.0) if x < 1.5 else (np.nan, np.nan), 4.0)
    lost = [x for x in tried if x >= 1.5]
    assert len(lost) >= 2
    assert all(after < before for before, after in pairwise(lost))
    assert found.finite
    assert found.point is not None
    assert 1.4 < found.point.length < 1.5


def test_without_a_decrease_there_is_no_point() -> None:
    """A slope that lies: the trials run out, or the interval vanishes."""
    found, tried = search(lambda x: (x, -1.0), 1.0)
    assert found.point is None
    assert found.finite
    assert len(tried) <= 20


def test_without_a_finite_cost_it_says_so() -> None:
    """So that the caller can tell NaN from the limit of the arithmetic."""
    found, _ = search(lambda x: (0.0, -1.0) if x == 0 else (np.inf, 1.0), 1.0)
    assert (found.point, found.finite, found.evaluations) == (None, False, 20)


def test_when_trials_run_out_the_best_point_is_kept() -> None:
    """A decrease without the second condition is better than nothing."""
    found, _ = search(lambda x: (-x * x - x, -2 * x - 1), 1.0, trials=3)
    assert found.point is not None
    assert found.point.cost < -1.9


def test_an_interval_that_vanishes_ends_the_search() -> None:
    """A slope that lies, with trials enough: the interval is as small as numbers can tell apart long before."""
    found, tried = search(lambda x: (abs(x - 1), -1.0 if x < 1 else 1.0), 3.0, trials=500, curvature=1e-9)
    assert found.point is not None
    assert found.point.length == pytest.approx(1, abs=1e-12)
    assert len(tried) < 200


def test_between_points_without_a_cubic_the_middle_is_tried() -> None:
    """Where the formula has no minimum, or divides by 0."""
    low, high = (LinePoint(length, -1.0, np.zeros(1), evaluation(-length, [-1.0])) for length in (1.0, 3.0))
    assert not np.isfinite(linesearch._cubic(low, high))
    assert linesearch._between(low, high) == 2.0


@pytest.mark.filterwarnings("error")
def test_slopes_without_a_product_give_no_warning() -> None:
    """The cubic has no minimiser then, and the interval is halved."""
    scale = 1e160
    found, tried = search(lambda x: (scale * (x - 1e-3) ** 2, 2 * scale * (x - 1e-3)), 1.0)
    assert found.point is not None
    assert abs(found.point.length - 1e-3) < 2e-4
    assert all(later < earlier for earlier, later in pairwise(tried[:4]))
