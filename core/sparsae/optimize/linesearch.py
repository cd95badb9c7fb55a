"""Line search for the strong Wolfe conditions.

Source: Nocedal and Wright, *Numerical Optimization*, 2nd edition, algorithms 3.5 and 3.6 and equation 3.59;
the safeguards are those of Moré and Thuente, ACM TOMS 20 (1994): an interval that shrinks by a third at least every
second trial, and trials kept off its ends.
"""

from __future__ import annotations

from typing import NamedTuple, final

import numpy as np

from sparsae.cost import Evaluation
from sparsae.optimize.base import Function, is_finite
from sparsae.optimize.objective_functions import Vector


@final
class LinePoint(NamedTuple):
    """A point on the line: step length, slope along the line, parameters and their evaluation."""

    length: float
    slope: float
    theta: Vector
    evaluation: Evaluation

    @property
    def cost(self) -> float:
        """Cost at this point."""
        return self.evaluation.cost


@final
class LineSearchResult(NamedTuple):
    """Result of a line search.

    Attributes
    ----------
    point : LinePoint or None
        The accepted point; None: no decrease.
    evaluations : int
        Number of trials.
    finite : bool
        Whether any trial had a finite cost.
    """

    point: LinePoint | None
    evaluations: int
    finite: bool


def strong_wolfe(
    function: Function,
    start: LinePoint,
    direction: Vector,
    length: float,
    *,
    decrease: float,
    curvature: float,
    trials: int,
) -> LineSearchResult:
    """Find a step with cost <= cost0 + decrease * length * slope0 and |slope| <= curvature * |slope0|.

    Parameters
    ----------
    function : callable
        theta -> `Evaluation`.
    start : LinePoint
        At length 0, with a negative slope.
    direction : ndarray (size,)
    length : float
        First trial.
    decrease, curvature : float
        Constants of the two conditions, 0 < decrease < curvature < 1.
    trials : int
        Evaluations at most.

    Returns
    -------
    LineSearchResult
        Where the trials ran out, the best point that satisfies the first condition, if any.

    Notes
    -----
    A trial whose cost is not finite counts as too long.
    """
    low, high = start, None  # the best point so far, and the other end of the interval that encloses a minimum
    longest = np.inf  # trials at or beyond it were not finite
    width_before = width_before_that = np.inf
    finite = False
    for trial in range(1, trials + 1):
        theta = length * direction
        theta += start.theta
        evaluation = function(theta)
        cost, gradient = evaluation.cost, evaluation.gradient
        if not is_finite(cost, gradient):
            longest = length
            # No formula helps on this side: go a tenth of the way, and then on from there.
            length = low.length + 0.1 * (length - low.length)
            continue
        finite = True
        point = LinePoint(length, float(gradient @ direction), theta, evaluation)
        sufficient = cost <= start.cost + decrease * length * start.slope
        if sufficient and abs(point.slope) <= -curvature * start.slope:
            return LineSearchResult(point, trial, finite)
        if not sufficient or cost >= low.cost:
            high = point
        elif high is None:
            # Not yet enclosed: the minimum lies ahead, or between the last point and this one.
            if point.slope >= 0:
                high, low = low, point
            else:
                length = _beyond(low, point, longest)
                low = point
                continue
        else:
            if point.slope * (high.length - low.length) >= 0:
                high = low
            low = point
        width = abs(high.length - low.length)
        if width <= 1e-16 * max(low.length, high.length):
            return LineSearchResult(low if low.length > 0 else None, trial, finite)
        shrinks = width <= 0.66 * width_before_that
        width_before_that, width_before = width_before, width
        length = _between(low, high) if shrinks else 0.5 * (low.length + high.length)
    return LineSearchResult(low if low.length > 0 else None, trials, finite)


@np.errstate(over="ignore", invalid="ignore")  # slopes of 1e160 have no product: there is no minimiser then
def _cubic(a: LinePoint, b: LinePoint) -> float:
    """Minimiser of the cubic through cost and slope of two points (equation 3.59); NaN where there is none."""
    d1 = a.slope + b.slope - 3 * (a.cost - b.cost) / (a.length - b.length)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0:
        return np.nan
    d2 = np.copysign(np.sqrt(square), b.length - a.length)
    bottom = b.slope - a.slope + 2 * d2
    return float(b.length - (b.length - a.length) * (b.slope + d2 - d1) / bottom) if bottom else np.nan


def _between(low: LinePoint, high: LinePoint) -> float:
    """Next trial inside the interval, at least a tenth of its width from both ends."""
    width = high.length - low.length
    guess = _cubic(low, high)
    if not np.isfinite(guess):
        return low.length + 0.5 * width
    fraction = min(max((guess - low.length) / width, 0.1), 0.9)
    return low.length + fraction * width


def _beyond(previous: LinePoint, current: LinePoint, longest: float) -> float:
    """Next trial beyond a point whose slope is negative: 1.1 to 4 steps ahead, below `longest`."""
    step = current.length - previous.length
    guess = _cubic(previous, current)
    least, most = current.length + 1.1 * step, current.length + 4.0 * step
    length = min(max(guess, least), most) if np.isfinite(guess) and guess > current.length else most
    return length if length < longest else 0.5 * (current.length + longest)
