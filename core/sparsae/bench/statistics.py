"""From timed rounds to verdicts: paired log ratios, Student's t over launches, tiers, ties, and "unknown".

A launch is the unit: all processes are started afresh, because the placement of memory and threads differs from start
to start, and no number of rounds within one launch shows that.
Two cells are compared round by round, so that whatever slows a whole round (frequency, a neighbour) cancels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import Literal, NamedTuple, final

import numpy as np

from sparsae.bench.timing import TimedBatch

Verdict = Literal["faster", "slower", "tie", "unknown"]
Rounds = Mapping[int, float]  # round -> seconds per call: the undisturbed batches of one cell in one launch

CONFIDENCE = 0.95
MIN_ROUNDS = 5  # undisturbed pairs that a ratio or a launch needs: the median of fewer does not resist bursts
LEAST_FLOOR = 0.01  # no difference below 1 % is called one, however quiet the machine
QUICK_FLOOR = 0.02  # the same for a quick race: few rounds can look quiet by chance
WIDEST_TIE = math.log(1.25)  # an interval wider than this is too wide to call anything a tie


@final
@dataclass(frozen=True)
class Effect:
    """How much longer one cell takes than another, as a logarithm."""

    estimate: float  # mean over launches of log(time / time of the other); negative: faster
    half_width: float  # of the 95 % interval by Student's t over launches; infinite with one launch
    launches: int  # that counted
    pairs: int  # rounds in which both batches were undisturbed, over all launches

    @property
    def ratio(self) -> float:
        """Time over time of the other."""
        return math.exp(self.estimate)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of `ratio`; (0, inf) with one launch."""
        return _exp(self.estimate - self.half_width), _exp(self.estimate + self.half_width)

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval leaves out "no difference"."""
        return abs(self.estimate) > self.half_width


def launch_ratios(own: Mapping[int, Rounds], other: Mapping[int, Rounds]) -> list[tuple[float, int]]:
    """Launch by launch, the median over rounds of log(own / other), and the number of pairs.

    A launch with fewer than `MIN_ROUNDS` pairs does not count.
    """
    ratios = []
    for launch in sorted(own.keys() & other.keys()):
        both = own[launch].keys() & other[launch].keys()
        if len(both) >= MIN_ROUNDS:
            ratios.append((median(math.log(own[launch][r] / other[launch][r]) for r in both), len(both)))
    return ratios


def compare_cells(own: Mapping[int, Rounds], other: Mapping[int, Rounds]) -> Effect | None:
    """Compare two cells; None where not one launch counts."""
    ratios = launch_ratios(own, other)
    if not ratios:
        return None
    values = [value for value, _ in ratios]
    return Effect(fmean(values), half_width(values), len(values), sum(pairs for _, pairs in ratios))


def half_width(values: Sequence[float]) -> float:
    """Half the width of the 95 % interval of the mean by Student's t; infinite for one value."""
    n = len(values)
    if n < 2:
        return math.inf
    return student_quantile(n - 1) * stdev(values) / math.sqrt(n)


def student_quantile(degrees: float) -> float:
    """Two-sided 95 % quantile of Student's t."""
    from scipy.stats import t  # loaded when the first interval is needed: it takes as long as all of sparsae

    return float(t.ppf((1 + CONFIDENCE) / 2, degrees))


def difference(a: Effect | None, b: Effect | None) -> Effect | None:
    """Return b - a with Welch's interval; None where either is missing."""
    if a is None or b is None:
        return None
    estimate, launches, pairs = b.estimate - a.estimate, min(a.launches, b.launches), a.pairs + b.pairs
    if launches < 2:
        return Effect(estimate, math.inf, launches, pairs)
    variances = [(e.half_width / student_quantile(e.launches - 1)) ** 2 for e in (a, b)]
    total = sum(variances)
    if total == 0:
        return Effect(estimate, 0.0, launches, pairs)
    degrees = total**2 / sum(v**2 / (e.launches - 1) for v, e in zip(variances, (a, b), strict=True))
    return Effect(estimate, student_quantile(degrees) * math.sqrt(total), launches, pairs)


class PairedRatio(NamedTuple):
    """How many times as long the reference took, over the rounds of one or more launches."""

    median: float
    low: float  # 10th percentile
    high: float  # 90th percentile
    rounds: int  # that count
    wins: int  # rounds in which the reference took longer
    undisturbed: bool = True  # whether only undisturbed rounds count; else there were too few of them, and all do


def paired_ratio(pairs: Sequence[tuple[TimedBatch, TimedBatch]]) -> PairedRatio:
    """Ratios of the same rounds, first / second, so that more than 1 means that the second is faster.

    Rounds in which either had to wait for a CPU do not count, unless fewer than `MIN_ROUNDS` remain.
    """
    quiet = [(a, b) for a, b in pairs if a.undisturbed and b.undisturbed]
    enough = len(quiet) >= min(MIN_ROUNDS, len(pairs))
    logs = [math.log(a.seconds / b.seconds) for a, b in (quiet if enough else pairs)]
    middle, low, high = (math.exp(value) for value in np.quantile(logs, (0.5, 0.1, 0.9)))
    return PairedRatio(middle, low, high, len(logs), sum(log > 0 for log in logs), enough)


def noise_floor(
    own: Mapping[int, Rounds], other: Mapping[int, Rounds], *, least: float = LEAST_FLOOR, twins: bool = True
) -> float | None:
    """Noise floor: the largest deviation of a launch from the true ratio, at least `least`.

    The true ratio of twins, two copies of the same code, is 1; for others the mean over launches stands for it.
    None where fewer than two launches count.
    """
    values = [value for value, _ in launch_ratios(own, other)]
    if len(values) < 2:
        return None
    true = 0.0 if twins else fmean(values)
    return max(least, *(abs(value - true) for value in values))


def verdict(effect: Effect | None, floor: float | None) -> Verdict:
    """Say what an effect amounts to.

    "faster" and "slower" need an interval that excludes zero and an effect above the floor.
    "unknown": fewer than two launches, no floor, or an interval too wide to exclude a difference of 25 %.
    All else is a tie.
    """
    if effect is None or floor is None or effect.launches < 2:
        return "unknown"
    if effect.excludes_zero and abs(effect.estimate) > floor:
        return "faster" if effect.estimate < 0 else "slower"
    return "tie" if effect.half_width <= WIDEST_TIE else "unknown"


def tiers(names: Sequence[str], compare_pair: Callable[[str, str], Verdict]) -> dict[str, int | None]:
    """Tier of each cell, 1 the fastest; None where it is unknown.

    Names are sorted, the fastest first, and ``compare_pair(a, b)`` gives the verdict on a against b.
    The fastest cell is the leader of the first tier; cells that tie with it share its tier.
    Slower cells are ranked in the next tiers, and a cell whose verdict against the leader is unknown has no tier.
    """
    found: dict[str, int | None] = {}
    waiting, tier = list(names), 0
    while waiting:
        tier += 1
        leader, *others = waiting
        verdicts = {name: compare_pair(name, leader) for name in others}
        if others and all(v == "unknown" for v in verdicts.values()) and tier == 1 and len(others) == len(names) - 1:
            return dict.fromkeys(names)  # nothing is known of any pair
        found[leader] = tier
        found |= {name: tier for name in others if verdicts[name] in ("tie", "faster")}
        found |= {name: None for name in others if verdicts[name] == "unknown"}
        waiting = [name for name in others if verdicts[name] == "slower"]
    return found


def _exp(value: float) -> float:
    return math.inf if value > 700 else math.exp(value)
