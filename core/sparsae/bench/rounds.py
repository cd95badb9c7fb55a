"""Turns in random order, and ratios within a round: what noise of the machine touches alike cancels."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from statistics import median
from typing import NamedTuple, Protocol

from sparsae.bench.probe import Sample
from sparsae.errors import ProbeError

BATCH_SECONDS = 0.02  # a batch is at least this long: far above the clock's grain and a scheduler's turn


REPEATS = 3
LEAST_CLEAN = 5  # undisturbed rounds that a ratio needs


class Timed(Protocol):
    """What takes turns: a `Probe`, or anything that times like one."""

    def time(self, loops: int) -> Sample:
        """Time one batch."""


class Ratio(NamedTuple):
    """How many times as long the reference took.

    Attributes
    ----------
    median, low, high : float
        Over rounds: the median, the 10th and the 90th percentile.
    rounds, wins : int
        How many rounds count, and in how many of them the reference took longer.
    clean : bool
        Whether only undisturbed rounds count; else there were too few of them, and all count.
    """

    median: float
    low: float
    high: float
    rounds: int
    wins: int
    clean: bool = True


def take_turns(
    probes: dict[str, Timed],
    *,
    rounds: int,
    seed: int,
    batch_seconds: float = BATCH_SECONDS,
    dropped: dict[str, str] | None = None,
) -> Iterator[dict[str, Sample]]:
    """Yield, round by round, the sample of each probe.

    Every round visits every probe once, in a fresh random order.
    The number of calls in a batch, of about `batch_seconds`, is chosen before the first round and then frozen.
    A batch whose process had to wait for a CPU is repeated, twice at most; the last one stands.
    A probe that fails is removed from `probes`, and why goes into `dropped`; without `dropped` the failure is raised.
    """
    loops: dict[str, int] = {}
    shuffle = random.Random(seed).shuffle  # noqa: S311  an order, not a secret
    for turn in range(rounds + 1):
        order = list(probes)
        shuffle(order)
        samples: dict[str, Sample] = {}
        for name in order:
            try:
                if turn == 0:
                    loops[name] = _choose_loops(probes[name], batch_seconds)
                else:
                    samples[name] = _undisturbed(probes[name], loops[name])
            except ProbeError as error:
                if dropped is None:
                    raise
                dropped[name] = str(error)
                del probes[name]
        if turn:
            yield samples


def paired_ratio(reference: Sequence[Sample], other: Sequence[Sample]) -> Ratio:
    """Ratios of the same rounds: reference / other, so that more than 1 means that the other is faster.

    Rounds in which either had to wait for a CPU do not count, unless fewer than `LEAST_CLEAN` remain.
    """
    pairs = list(zip(reference, other, strict=True))
    undisturbed = [(a, b) for a, b in pairs if a.clean and b.clean]
    clean = len(undisturbed) >= min(LEAST_CLEAN, len(pairs))
    logs = sorted(math.log(a.seconds / b.seconds) for a, b in (undisturbed if clean else pairs))

    def at(share: float) -> float:
        place = share * (len(logs) - 1)
        below = math.floor(place)
        above = min(below + 1, len(logs) - 1)
        return math.exp(logs[below] + (place - below) * (logs[above] - logs[below]))

    return Ratio(math.exp(median(logs)), at(0.1), at(0.9), len(logs), sum(log > 0 for log in logs), clean)


def _undisturbed(probe: Timed, loops: int) -> Sample:
    """Time a batch, again where it was disturbed; decided by its waiting, never by its time."""
    for _ in range(REPEATS):
        sample = probe.time(loops)
        if sample.clean:
            break
    return sample


def _choose_loops(probe: Timed, batch_seconds: float) -> int:
    """Calls that fill a batch, from two trial calls."""
    seconds = min(probe.time(1).seconds, probe.time(1).seconds)
    return max(1, math.ceil(batch_seconds / max(seconds, 1e-7)))
