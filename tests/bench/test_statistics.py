"""The statistics of the race on simulated races."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sparsae.bench import statistics as st
from sparsae.bench.plan import PRESETS
from sparsae.bench.statistics import PairedRatio, paired_ratio
from sparsae.bench.timing import TimedBatch

BETWEEN = 0.006  # spread between launches: where memory came to lie
WITHIN = 0.02  # spread of a sample


def launches(rng, effect=0.0, *, n=5, rounds=30, drift=0.0, bursts=0.0, unequal=False, between=BETWEEN):
    """Two cells and a twin of the first, with what disturbs a round common to all three."""
    cells = [{}, {}, {}]
    for launch in range(n):
        count = int(rng.integers(6, rounds + 1)) if unequal else rounds
        common = np.cumsum(rng.normal(0, 0.02, count)) + drift * np.arange(count) / count
        for cell, shift in zip(cells, (0.0, effect, 0.0), strict=True):
            place = rng.normal(0, between)
            noise = rng.normal(0, WITHIN, count)
            burst = np.where(rng.random(count) < bursts, rng.exponential(0.5, count), 0)
            logs = shift + place + common + noise + burst
            cell[launch] = {i: math.exp(value) for i, value in enumerate(logs)}
    return cells


def verdicts(races=300, seed=0, **kinds):
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(races):
        reference, other, twin = launches(rng, **kinds)
        found.append(st.verdict(st.compare_cells(other, reference), st.noise_floor(twin, reference)))
    return found


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize(
    "kinds", [{}, {"drift": 0.5}, {"bursts": 0.15}, {"unequal": True}], ids=["quiet", "drift", "bursts", "unequal"]
)
def test_identical_cells_win_at_most_one_time_in_twenty(n, kinds):
    """Against itself a backend is called faster or slower in at most 5 % of races, whatever disturbs them."""
    found = verdicts(n=n, **kinds)
    wins = sum(v in ("faster", "slower") for v in found)
    assert wins <= 0.05 * len(found)


@pytest.mark.parametrize("kinds", [{}, {"drift": 0.5}, {"bursts": 0.1}], ids=["quiet", "drift", "bursts"])
def test_three_per_cent_are_found(kinds):
    """A backend that takes 3 % longer is called slower in nine of ten default races, and never faster."""
    found = verdicts(effect=0.03, between=0.003, **kinds)
    assert sum(v == "slower" for v in found) >= 0.9 * len(found)
    assert "faster" not in found


def test_a_percentile_of_launches_would_cry_wolf():
    """Without Student's t three launches call noise a difference far more often: the quantile is what prevents it."""
    rng = np.random.default_rng(1)
    values = rng.normal(0, 1, (2000, 3))
    naive = np.mean(np.abs(values.mean(1)) > 1.96 * values.std(1, ddof=1) / np.sqrt(3))
    ours = np.mean([abs(v.mean()) > st.half_width(list(v)) for v in values])
    assert naive > 0.15
    assert ours == pytest.approx(0.05, abs=0.015)


def test_one_launch_tells_nothing():
    """One launch, however long, gives no interval and the verdict "unknown"."""
    reference, other, twin = launches(np.random.default_rng(0), 0.5, n=1)
    effect = st.compare_cells(other, reference)
    assert effect.interval == (0.0, math.inf)
    assert st.verdict(effect, st.noise_floor(twin, reference)) == "unknown"
    assert st.verdict(effect, 0.01) == "unknown"


def test_a_launch_with_few_clean_pairs_does_not_count():
    """Fewer than five rounds in which both samples were clean are not a launch."""
    reference, other, _ = launches(np.random.default_rng(0), n=3, rounds=10)
    other[1] = {i: t for i, t in other[1].items() if i < 4}
    assert st.compare_cells(other, reference).launches == 2
    assert st.compare_cells({0: {}}, reference) is None


def test_rounds_are_paired_by_number():
    """Only samples of the same round are compared: a slow machine in rounds that one cell missed changes nothing."""
    reference = {0: dict.fromkeys(range(10), 1.0), 1: dict.fromkeys(range(10), 1.0)}
    other = {k: dict.fromkeys(range(5), 1.5) for k in (0, 1)}
    for i in range(5, 10):
        reference[0][i] = 100.0
    assert st.compare_cells(other, reference).ratio == pytest.approx(1.5)


def test_launches_weigh_the_same():
    """A launch with many rounds counts no more than one with few."""
    reference = {0: dict.fromkeys(range(5), 1.0), 1: dict.fromkeys(range(500), 1.0)}
    other = {0: dict.fromkeys(range(5), math.e), 1: dict.fromkeys(range(500), 1.0)}
    assert st.compare_cells(other, reference).estimate == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("estimate", "half_width", "floor", "said"),
    [
        (-0.10, 0.05, 0.02, "faster"),
        (0.10, 0.05, 0.02, "slower"),
        (0.10, 0.05, 0.12, "tie"),  # below the noise floor
        (0.03, 0.05, 0.01, "tie"),  # the interval holds zero
        (0.03, 0.40, 0.01, "unknown"),  # so wide that it holds 25 % too
        (1.50, 0.40, 0.01, "slower"),
        (0.10, 0.05, None, "unknown"),  # the noise floor was not measured
    ],
)
def test_what_an_effect_amounts_to(estimate, half_width, floor, said):
    """A win needs an interval without zero and an effect above the floor; ties need a narrow interval."""
    assert st.verdict(st.Effect(estimate, half_width, 5, 50), floor) == said


def test_the_floor_is_the_worst_launch_and_at_least_one_per_cent():
    """The noise floor is what a second copy of the reference showed at most; nothing below 1 % is a difference."""
    ones = {k: dict.fromkeys(range(10), 1.0) for k in range(3)}
    twin = {k: dict.fromkeys(range(10), math.exp(v)) for k, v in enumerate((0.001, -0.04, 0.002))}
    assert st.noise_floor(twin, ones) == pytest.approx(0.04)
    assert st.noise_floor(ones, ones) == 0.01
    assert st.noise_floor({0: ones[0]}, ones) is None
    assert st.noise_floor(ones, ones, least=st.QUICK_FLOOR) == 0.02


def test_a_pair_without_a_twin_has_the_floor_that_its_own_launches_show():
    """How far one launch strays from the mean of all: 0.03 of 0.10, 0.11, 0.15."""
    ones = {k: dict.fromkeys(range(10), 1.0) for k in range(3)}
    other = {k: dict.fromkeys(range(10), math.exp(v)) for k, v in enumerate((0.10, 0.11, 0.15))}
    assert st.noise_floor(other, ones, twins=False) == pytest.approx(0.03)
    assert st.noise_floor(ones, ones, twins=False) == 0.01
    assert st.noise_floor(ones, ones, least=st.QUICK_FLOOR, twins=False) == 0.02
    assert st.noise_floor({0: other[0]}, ones, twins=False) is None


@pytest.mark.parametrize("between", [0.002, 0.03, 0.2])
def test_a_pair_without_a_twin_wins_falsely_in_one_of_twenty_at_most(between):
    """Identical code under two names, neither of them the reference, whatever a launch brings along."""
    rng = np.random.default_rng(5)
    wins, trials = 0, 400
    for _ in range(trials):
        a, b = (
            {k: dict(enumerate(np.exp(shift + rng.normal(0, 0.02, 20)))) for k, shift in enumerate(shifts)}
            for shifts in rng.normal(0, between, (2, 5))
        )
        wins += st.verdict(st.compare_cells(a, b), st.noise_floor(a, b, twins=False)) in ("faster", "slower")
    assert wins <= 0.05 * trials


def test_a_quick_race_against_itself_is_nearly_always_a_tie():
    """With the quick preset's launches, rounds and floor, 99 of 100 A/A races are ties: neither wins nor unknown."""
    plan = PRESETS["quick"]
    rng = np.random.default_rng(5)
    ties = 0
    for _ in range(400):
        reference, other, twin = launches(rng, n=plan["launches"], rounds=plan["rounds"])
        floor = st.noise_floor(twin, reference, least=st.QUICK_FLOOR)
        ties += st.verdict(st.compare_cells(other, reference), floor) == "tie"
    assert ties >= 396


def judge_by(table):
    return lambda a, b: table[a, b]


def test_tiers_follow_the_leader():
    """What ties with the fastest shares its tier, what is slower leads or joins the next, what is unknown has none."""
    table = {
        ("b", "a"): "tie",
        ("c", "a"): "slower",
        ("d", "a"): "slower",
        ("e", "a"): "unknown",
        ("d", "c"): "tie",
    }
    assert st.tiers("abcde", judge_by(table)) == {"a": 1, "b": 1, "c": 2, "d": 2, "e": None}


def test_nobody_leads_when_nothing_is_known():
    """Where every comparison with the fastest is unknown, nobody has a tier."""
    assert st.tiers("ab", lambda a, b: "unknown") == {"a": None, "b": None}
    assert st.tiers("", lambda a, b: "tie") == {}


def test_a_ratio_is_taken_within_rounds() -> None:
    """A machine that becomes three times as slow half way changes both of a round and no ratio."""
    drift = [1.0, 1.0, 3.0, 3.0]
    assert paired_ratio(in_pairs(batches([2 * d for d in drift]), batches(drift))) == pytest.approx(
        PairedRatio(2, 2, 2, 4, 4)
    )
    low = paired_ratio(in_pairs(batches([1, 2, 3]), batches([1, 1, 1])))
    assert (low.median, low.rounds, low.wins) == (pytest.approx(2), 3, 2)
    assert 1 < low.low < 2 < low.high < 3


def test_disturbed_rounds_do_not_count_while_enough_remain() -> None:
    """With five undisturbed rounds the others are left out; with fewer all count, and the ratio says so."""
    own = batches([1.0] * 6)
    other = [*batches([2.0] * 5), TimedBatch(1, 40.0, delay=38.0)]
    assert paired_ratio(in_pairs(other, own)) == pytest.approx(PairedRatio(2, 2, 2, 5, 5))
    few = paired_ratio(in_pairs(other[2:], own[2:]))
    assert (few.rounds, few.undisturbed) == (4, False)


def batches(seconds: list[float]) -> list[TimedBatch]:
    return [TimedBatch(1, value) for value in seconds]


def in_pairs(first: list[TimedBatch], second: list[TimedBatch]) -> list[tuple[TimedBatch, TimedBatch]]:
    return list(zip(first, second, strict=True))


def test_the_difference_of_two_effects_without_spread_is_certain():
    """Welch's degrees of freedom would be 0 / 0."""
    a, b = st.Effect(0.1, 0.0, 3, 30), st.Effect(0.3, 0.0, 3, 40)
    assert st.difference(a, b) == st.Effect(pytest.approx(0.2), 0.0, 3, 70)
