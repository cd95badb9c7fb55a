"""From the events of a session to its standings: states, ratios, tiers.  Pure; a record gives the same as the race."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal, final, get_args

import numpy as np

from sparsae.bench.plan import PEAK, Cell, CellKind, RacePlan
from sparsae.bench.statistics import Effect, Verdict, compare_cells, noise_floor, tiers, verdict
from sparsae.bench.workload import RaceWorkload
from sparsae.machine.cpu_demand import TOLERANCE

CellState = Literal["ok", "declined", "wrong", "breach", "sleeps", "unverified", "impossible", "failed", "interrupted"]
STATES: tuple[CellState, ...] = get_args(CellState)
TICK = 0.01  # seconds that the system's count of a running thread's CPU time may lag behind
MOST_OF_PEAK = 1.05  # more is impossible for a kernel on the BLAS whose peak this is
MEANING: dict[CellState, str] = {
    "ok": "correct before and after, and the thread limit was honoured",
    "declined": "this is not what it computes",
    "wrong": "its result disagrees with the reference",
    "breach": "it used or demanded more CPUs than its limit",
    "sleeps": "it hardly used the CPU while it was timed",
    "unverified": "this system does not report what it demanded",
    "impossible": "faster than the peak of the BLAS that it runs on",
    "failed": "its process died, did not answer in time, or gave no valid answer",
    "interrupted": "the race ended before it was measured",
}


@dataclass
class CellSummary:
    """The events of one cell in one workload, counted."""

    state: CellState = "ok"
    why: str = ""
    demand: float | None = None
    error: float | None = None
    threading: str = ""
    batches: int = 0
    undisturbed: int = 0
    seconds: dict[int, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))  # [launch][round]
    rates: dict[int, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))  # of the peak product
    all_seconds: list[float] = field(default_factory=list)  # of every batch, disturbed ones too

    def disqualify(self, state: CellState, why: str) -> None:
        """Set a state other than "ok"; the first one stays."""
        if self.state == "ok":
            self.state, self.why = state, why

    @property
    def median_seconds(self) -> float | None:
        """Median over launches of the median over rounds."""
        times = [median(rounds.values()) for rounds in self.seconds.values() if rounds]
        if self.state == "breach" and not times:  # its threads waited for each other throughout
            times = self.all_seconds
        return median(times) if times else None

    @property
    def spread(self) -> tuple[float, float] | None:
        """10th and 90th percentile over all undisturbed batches."""
        times = [seconds for rounds in self.seconds.values() for seconds in rounds.values()]
        if not times:
            return None
        low, high = np.quantile(times, (0.1, 0.9))
        return float(low), float(high)

    @property
    def rate(self) -> float | None:
        """Median rate of the peak product."""
        rates = [rate for rounds in self.rates.values() for rate in rounds.values()]
        return median(rates) if rates else None


@final
@dataclass(frozen=True, kw_only=True)
class StandingsRow:
    """One cell in the standings; None is not known."""

    workload: str
    label: str
    threads: int
    kind: CellKind
    state: CellState  # whether it may be ranked
    why: str  # the reason against it
    tier: int | None = None  # 1 the fastest; None also: not ranked
    verdict: Verdict | Literal["reference", ""] = ""  # against the reference
    effect: Effect | None = None  # time over time of the reference, in the same rounds
    seconds: float | None = None  # median per call over launches; of a breach that was never undisturbed, of all calls
    spread: tuple[float, float] | None = None  # 10th and 90th percentile of those over all undisturbed batches
    gflops: float | None = None  # useful work per second
    share: float | None = None  # the same as a share of the peak product in the same rounds
    demand: float | None = None  # CPUs wanted; the largest over launches
    error: float | None = None  # in units of what rounding explains; the largest over checks
    kept: float | None = None  # share of the batches that were undisturbed


@final
@dataclass(frozen=True, kw_only=True)
class Standings:
    """The cells of one workload at one number of threads: those that may be ranked against each other."""

    workload: str
    threads: int
    reference: str
    floor: float | None
    peak: float | None
    interrupted: bool
    rows: tuple[StandingsRow, ...]

    def tiers(self) -> dict[str, int | None]:
        """Tier of each backend."""
        return {row.label: row.tier for row in self.rows if row.kind == "backend"}

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values that JSON can take."""
        return asdict(self)


def summarize_cells(events: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], CellSummary]:
    """Count the events of one session by (workload, cell)."""
    found: dict[tuple[str, str], CellSummary] = defaultdict(CellSummary)
    threads = {}
    for event in events:
        kind = event["kind"]
        if kind == "header":
            threads = {cell.key: cell.threads for cell in RacePlan.from_dict(event["plan"]).cells()}
        if "cell" not in event:
            continue
        cell = found[event["workload"], event["cell"]]
        if kind in ("worker", "after"):
            cell.error = max(cell.error or 0.0, event["error"])
            cell.threading = event.get("threading", cell.threading)
            if not event["error"] <= 1:
                cell.disqualify("wrong", f"error {event['error']:.3g} times what rounding explains")
        elif kind == "demand":
            wanted = event["used"] if event["cpus"] is None else event["cpus"]
            cell.demand = max(cell.demand or 0.0, wanted)
            if event["verdict"] != "honoured":
                cell.disqualify(event["verdict"], f"demand {wanted:.2f} CPUs, limit {threads[event['cell']]}")
        elif kind == "failure":
            cell.disqualify(event["state"], event["why"])
        elif kind == "sample":
            _count_batch(cell, event, threads[event["cell"]])
    return dict(found)


def compute_standings(events: Iterable[Mapping[str, Any]]) -> tuple[Standings, ...]:
    """Work out the standings of one session, from its events or its record."""
    events = list(events)
    plan = RacePlan.from_dict(events[0]["plan"])
    found = summarize_cells(events)
    interrupted = events[-1].get("finished") != "complete"
    return tuple(
        _Ranking(plan, workload, threads, found, interrupted=interrupted).standings()
        for workload in plan.workloads()
        for threads in plan.threads
    )


def _count_batch(cell: CellSummary, event: Mapping[str, Any], threads: int) -> None:
    seconds = event["wall"] / event["loops"]
    cell.batches += 1
    cell.all_seconds.append(seconds)
    if event["cpu"] > (threads + TOLERANCE) * event["wall"] + threads * TICK:
        cell.disqualify("breach", f"used {event['cpu'] / event['wall']:.2f} CPUs in a batch, limit {threads}")
    if event["undisturbed"]:
        cell.undisturbed += 1
        cell.seconds[event["launch"]][event["round"]] = seconds
        if "rate" in event:
            cell.rates[event["launch"]][event["round"]] = event["rate"]


@final
class _Ranking:
    """The cells of one workload at one number of threads, while they are compared."""

    def __init__(
        self,
        plan: RacePlan,
        workload: RaceWorkload,
        threads: int,
        summaries: Mapping[tuple[str, str], CellSummary],
        *,
        interrupted: bool,
    ) -> None:
        self.workload, self.threads, self.interrupted, self.least = workload, threads, interrupted, plan.least_floor
        self.cells = [cell for cell in plan.cells() if cell.threads == threads]
        absent = CellSummary(state="failed", why="it never started")
        if interrupted:
            absent = CellSummary(state="interrupted", why="it had not started")
        self.found = {cell.label: summaries.get((workload.key, cell.key), absent) for cell in self.cells}
        self.shares = {cell.label: self._share(cell.label) for cell in self.cells if cell.label != PEAK}
        for label, share in self.shares.items():
            if share is not None and share > MOST_OF_PEAK and self.found[label].threading != "own":
                self.found[label].disqualify("impossible", f"{share:.0%} of the peak")
        self.sound = [c.label for c in self.cells if c.kind == "backend" and self.found[c.label].state == "ok"]
        self.reference = plan.reference if plan.reference in self.sound else next(iter(self.sound), plan.reference)
        self.effects = {label: self._effect(label, self.reference) for label in self.found}
        twin = self.found.get(f"{self.reference}'", absent)
        self.floor = None  # without a sound second copy of the reference
        if twin.state == "ok":
            self.floor = noise_floor(twin.seconds, self.found[self.reference].seconds, least=self.least)

    def standings(self) -> Standings:
        """Rank the cells."""
        timed = sorted((label for label in self.sound if self.found[label].seconds), key=self._estimate)
        placed = tiers(timed, self._compare_pair)
        rows = [self._row(cell, placed.get(cell.label)) for cell in self.cells]
        rows.sort(key=lambda row: (row.kind == "peak", row.state != "ok", self._estimate(row.label)))
        return Standings(
            workload=self.workload.key,
            threads=self.threads,
            reference=self.reference,
            floor=self.floor,
            peak=self.found[PEAK].rate,
            interrupted=self.interrupted,
            rows=tuple(rows),
        )

    def _row(self, cell: Cell, tier: int | None) -> StandingsRow:
        """Put together what was measured of a cell, and its rank."""
        own, effect, peak = self.found[cell.label], self.effects[cell.label], cell.kind == "peak"
        against: Verdict | Literal["reference", ""] = verdict(effect, self.floor) if cell.label in self.sound else ""
        seconds = own.median_seconds
        rate = own.rate if peak else self.workload.flop / seconds if seconds else None
        return StandingsRow(
            workload=self.workload.key,
            label=cell.label,
            threads=cell.threads,
            kind=cell.kind,
            state=own.state,
            why=own.why,
            tier=tier,
            verdict="reference" if cell.label == self.reference else against,
            effect=None if peak else effect,
            seconds=None if peak else seconds,
            spread=None if peak else own.spread,
            gflops=rate / 1e9 if rate else None,
            share=self.shares.get(cell.label),
            demand=own.demand,
            error=own.error,
            kept=own.undisturbed / own.batches if own.batches else None,
        )

    def _compare_pair(self, a: str, b: str) -> Verdict:
        """Compare two cells: by the twin's noise where the reference is one of them, else by the pair's own."""
        floor = self.floor
        if floor is not None and self.reference not in (a, b):
            floor = noise_floor(self.found[a].seconds, self.found[b].seconds, least=self.least, twins=False)
        return verdict(self._effect(a, b), floor)

    def _effect(self, a: str, b: str) -> Effect | None:
        return compare_cells(self.found[a].seconds, self.found[b].seconds)

    def _estimate(self, label: str) -> float:
        effect = self.effects[label]
        return math.inf if effect is None else effect.estimate

    def _share(self, label: str) -> float | None:
        """Median over rounds of useful rate / peak rate of the same round."""
        peak = self.found[PEAK].rates
        shares = [
            self.workload.flop / seconds / peak[launch][turn]
            for launch, rounds in self.found[label].seconds.items()
            for turn, seconds in rounds.items()
            if turn in peak.get(launch, {})
        ]
        return median(shares) if shares else None
