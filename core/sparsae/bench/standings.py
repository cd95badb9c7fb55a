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
    cells = summarize_cells(events)
    complete = events[-1].get("finished") == "complete"
    return tuple(
        _rank(plan, workload, threads, cells, complete=complete)
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


def _rank(
    plan: RacePlan,
    workload: RaceWorkload,
    threads: int,
    summaries: Mapping[tuple[str, str], CellSummary],
    *,
    complete: bool,
) -> Standings:
    """Rank the cells of one workload at one number of threads."""
    cells = [cell for cell in plan.cells() if cell.threads == threads]
    absent = CellSummary(state="failed", why="it never started")
    if not complete:
        absent = CellSummary(state="interrupted", why="it had not started")
    found = {cell.label: summaries.get((workload.key, cell.key), absent) for cell in cells}
    peak = found[PEAK]
    shares = {cell.label: _share(workload.flop, found[cell.label], peak.rates) for cell in cells if cell.label != PEAK}
    for label, share in shares.items():
        if share is not None and share > MOST_OF_PEAK and found[label].threading != "own":
            found[label].disqualify("impossible", f"{share:.0%} of the peak")
    sound = [cell.label for cell in cells if cell.kind == "backend" and found[cell.label].state == "ok"]
    reference = plan.reference if plan.reference in sound else next(iter(sound), plan.reference)
    twin = found.get(f"{reference}'", absent)
    floor = None  # without a sound second copy of the reference
    if twin.state == "ok":
        floor = noise_floor(twin.seconds, found[reference].seconds, least=plan.least_floor)
    placed = _place(found, sound, reference, floor, plan.least_floor)
    rows = [_make_row(workload, cell, found, shares, placed, reference, floor) for cell in cells]
    rows.sort(key=lambda row: (row.kind == "peak", row.state != "ok", _estimate(row.effect)))
    return Standings(
        workload=workload.key,
        threads=threads,
        reference=reference,
        floor=floor,
        peak=peak.rate,
        interrupted=not complete,
        rows=tuple(rows),
    )


def _place(
    found: Mapping[str, CellSummary], sound: list[str], reference: str, floor: float | None, least: float
) -> dict[str, int | None]:
    """Return the tier of each sound cell that was timed."""

    def compare_pair(a: str, b: str) -> Verdict:
        """Compare two cells: by the twin's noise where the reference is one of them, else by the pair's own."""
        own, other = found[a].seconds, found[b].seconds
        own_floor = floor
        if floor is not None and reference not in (a, b):
            own_floor = noise_floor(own, other, least=least, twins=False)
        return verdict(compare_cells(own, other), own_floor)

    effects = {label: compare_cells(found[label].seconds, found[reference].seconds) for label in sound}
    timed = sorted((label for label in sound if found[label].seconds), key=lambda label: _estimate(effects[label]))
    return tiers(timed, compare_pair)


def _make_row(
    workload: RaceWorkload,
    cell: Cell,
    found: Mapping[str, CellSummary],
    shares: Mapping[str, float | None],
    placed: Mapping[str, int | None],
    reference: str,
    floor: float | None,
) -> StandingsRow:
    """Put together what was measured of a cell, and its rank."""
    label, own, peak = cell.label, found[cell.label], cell.kind == "peak"
    effect = compare_cells(own.seconds, found[reference].seconds)
    ranked = cell.kind == "backend" and own.state == "ok"
    against: Verdict | Literal["reference", ""] = verdict(effect, floor) if ranked else ""
    seconds = own.median_seconds
    rate = own.rate if peak else workload.flop / seconds if seconds else None
    return StandingsRow(
        workload=workload.key,
        label=label,
        threads=cell.threads,
        kind=cell.kind,
        state=own.state,
        why=own.why,
        tier=placed.get(label) if ranked else None,
        verdict="reference" if label == reference else against,
        effect=None if peak else effect,
        seconds=None if peak else seconds,
        spread=None if peak else own.spread,
        gflops=rate / 1e9 if rate else None,
        share=shares.get(label),
        demand=own.demand,
        error=own.error,
        kept=own.undisturbed / own.batches if own.batches else None,
    )


def _share(flop: float, cell: CellSummary, peak: Mapping[int, Mapping[int, float]]) -> float | None:
    """Median over rounds of useful rate / peak rate of the same round."""
    shares = [
        flop / seconds / peak[launch][turn]
        for launch, rounds in cell.seconds.items()
        for turn, seconds in rounds.items()
        if turn in peak.get(launch, {})
    ]
    return median(shares) if shares else None


def _estimate(effect: Effect | None) -> float:
    return math.inf if effect is None else effect.estimate
