"""From timed rounds to verdicts: paired log ratios, Student t over launches, tiers, ties, and "unknown".

A launch is the unit: all processes are started afresh, for where memory and threads come to lie differs from start
to start, and no number of rounds within one launch shows that.
Two cells are compared round by round, so that whatever slows a whole round (frequency, a neighbour) cancels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import Literal, final

Verdict = Literal["faster", "slower", "tie", "unknown"]
Rounds = Mapping[int, float]  # round -> seconds per call, the clean samples of one cell in one launch

CONFIDENCE = 0.95
MIN_ROUNDS = 5  # clean pairs that a launch needs to count: the median of fewer is no defence against bursts
LEAST_FLOOR = 0.01  # no difference below 1 % is called one, however quiet the machine
QUICK_FLOOR = 0.02  # the same for a quick race: three launches can look quiet by chance
WIDEST_TIE = math.log(1.25)  # an interval wider than this says too little to call anything a tie


@final
@dataclass(frozen=True)
class Effect:
    """How much longer one cell takes than another, as a logarithm.

    Attributes
    ----------
    estimate : float
        Mean over launches of log(time / time of the other); negative: faster.
    half_width : float
        Of the 95 % interval by Student's t over launches; infinite with one launch.
    launches : int
        How many counted.
    pairs : int
        Rounds in which both samples were clean, over all launches.
    """

    estimate: float
    half_width: float
    launches: int
    pairs: int

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


def launch_ratios(own: Mapping[int, Rounds], other: Mapping[int, Rounds]) -> dict[int, tuple[float, int]]:
    """Launch by launch, the median over rounds of log(own / other), and the number of pairs.

    Parameters
    ----------
    own, other : mapping of launch to rounds
        Clean samples only.  A launch with fewer than `MIN_ROUNDS` pairs does not count.
    """
    ratios = {}
    for launch in sorted(own.keys() & other.keys()):
        both = own[launch].keys() & other[launch].keys()
        if len(both) >= MIN_ROUNDS:
            logs = [math.log(own[launch][r] / other[launch][r]) for r in both]
            ratios[launch] = (median(logs), len(logs))
    return ratios


def compare(own: Mapping[int, Rounds], other: Mapping[int, Rounds]) -> Effect | None:
    """Compare two cells; None where not one launch counts."""
    ratios = launch_ratios(own, other)
    if not ratios:
        return None
    values = [value for value, _ in ratios.values()]
    return Effect(fmean(values), half_width(values), len(values), sum(pairs for _, pairs in ratios.values()))


def half_width(values: Sequence[float]) -> float:
    """Half the width of the 95 % interval of the mean by Student's t; infinite for one value."""
    n = len(values)
    if n < 2:
        return math.inf
    return student(n - 1) * stdev(values) / math.sqrt(n)


def student(degrees: float) -> float:
    """Two-sided 95 % quantile of Student's t."""
    from scipy.special import stdtrit  # costs a tenth of what importing scipy.stats does

    return float(stdtrit(degrees, (1 + CONFIDENCE) / 2))


def noise_floor(
    twin: Mapping[int, Rounds], reference: Mapping[int, Rounds], *, least: float = LEAST_FLOOR
) -> float | None:
    """Noise floor: the largest difference that a second copy of the reference showed in any launch, at least `least`.

    None where fewer than two launches tell.
    """
    ratios = launch_ratios(twin, reference)
    if len(ratios) < 2:
        return None
    return max(least, *(abs(value) for value, _ in ratios.values()))


def pair_noise_floor(
    own: Mapping[int, Rounds], other: Mapping[int, Rounds], *, least: float = LEAST_FLOOR
) -> float | None:
    """Noise floor of a pair without a twin: how far one launch strays from the mean of all, at least `least`.

    What `noise_floor` is to a twin, whose true mean is zero.  None where fewer than two launches tell.
    """
    values = [value for value, _ in launch_ratios(own, other).values()]
    if len(values) < 2:
        return None
    return max(least, *(abs(value - fmean(values)) for value in values))


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


def tiers(names: Sequence[str], judge: Callable[[str, str], Verdict]) -> dict[str, int | None]:
    """Tier of each cell, 1 the fastest; None where it is unknown.

    Parameters
    ----------
    names : sequence of str
        By estimate, the fastest first.
    judge : callable
        ``judge(a, b)``: the verdict on a against b.

    Notes
    -----
    The fastest cell leads the first tier; with it go all that tie with it.
    What is slower waits for the next tier, and what cannot be told from the leader has no tier.
    """
    found: dict[str, int | None] = {}
    waiting, tier = list(names), 0
    while waiting:
        tier += 1
        leader, *others = waiting
        verdicts = {name: judge(name, leader) for name in others}
        if others and all(v == "unknown" for v in verdicts.values()) and tier == 1 and len(others) == len(names) - 1:
            return dict.fromkeys(names)  # the leader leads nobody: nothing is known
        found[leader] = tier
        found |= {name: tier for name in others if verdicts[name] in ("tie", "faster")}
        found |= {name: None for name in others if verdicts[name] == "unknown"}
        waiting = [name for name in others if verdicts[name] == "slower"]
    return found


def _exp(value: float) -> float:
    return math.inf if value > 700 else math.exp(value)
