"""From the events of a session to its standings: states, ratios, tiers.  Pure; a record gives the same as the race."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal, final

from sparsae.bench.settings import Cell, Heat, Settings
from sparsae.bench.statistics import Effect, Verdict, compare, noise_floor, pair_noise_floor, tiers, verdict
from sparsae.machine.cpu_demand import TOLERANCE

State = Literal["ok", "wrong", "breach", "sleeps", "unverified", "impossible", "failed"]
RANKED: tuple[State, ...] = ("ok",)
TICK = 0.01  # seconds that the system's count of a running thread's CPU time may lag behind
MOST_OF_PEAK = 1.05  # more cannot be, for a kernel on the BLAS whose peak this is
MEANING = {
    "ok": "correct before and after, and the thread limit was honoured",
    "wrong": "its result disagrees with the reference",
    "breach": "it used or demanded more CPUs than its limit",
    "sleeps": "it hardly used the CPU while it was timed",
    "unverified": "this system does not tell what it demanded",
    "impossible": "faster than the peak of the BLAS that it runs on",
    "failed": "its process died, hung, or could not be understood",
}


@dataclass
class Tally:
    """What the events say of one cell in one heat."""

    state: State = "ok"
    why: str = ""
    demand: float | None = None
    error: float | None = None
    threading: str = ""
    total: int = 0
    clean: int = 0
    seconds: dict[int, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    every: list[float] = field(default_factory=list)  # seconds of all samples, disturbed ones too
    rates: dict[int, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))

    def spoil(self, state: State, why: str) -> None:
        """Set a state other than "ok"; the first one stays."""
        if self.state == "ok":
            self.state, self.why = state, why


@final
@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the standings.

    Attributes
    ----------
    heat, label, threads
        Which cell.
    kind : str
        "backend", "twin" or "peak".
    state, why : str
        Whether it may be ranked, and what is against it.
    tier : int or None
        1 the fastest; None: not ranked or not known.
    verdict : str
        Against the reference: "faster", "slower", "tie", "unknown"; "reference" for itself.
    effect : Effect or None
        Time over time of the reference.
    seconds : float or None
        Median per call; of a breach that was never undisturbed, of all calls.
    gflops, share : float or None
        Useful work per second, and as a share of the peak product in the same rounds.
    demand : float or None
        CPUs wanted; the largest over launches.
    error : float or None
        In units of what rounding explains; the largest over checks.
    clean : float or None
        Share of samples kept.
    """

    heat: str
    label: str
    threads: int
    kind: str
    state: State
    why: str
    tier: int | None = None
    verdict: Verdict | Literal["reference", ""] = ""
    effect: Effect | None = None
    seconds: float | None = None
    gflops: float | None = None
    share: float | None = None
    demand: float | None = None
    error: float | None = None
    clean: float | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Group:
    """The rows of one heat at one number of threads: those that may be ranked against each other."""

    heat: str
    threads: int
    reference: str
    floor: float | None
    peak: float | None
    rows: tuple[Row, ...]

    def tiers(self) -> dict[str, int | None]:
        """Tier of each backend."""
        return {row.label: row.tier for row in self.rows if row.kind == "backend"}

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values that JSON can take."""
        return asdict(self)


def tally(events: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Tally]:
    """Read the events of one session; (heat, cell) -> tally."""
    found: dict[tuple[str, str], Tally] = defaultdict(Tally)
    threads = {}
    for event in events:
        kind = event["kind"]
        if kind == "header":
            threads = {cell.key: cell.threads for cell in Settings.from_dict(event["settings"]).cells()}
        if "cell" not in event:
            continue
        one = found[event["heat"], event["cell"]]
        if kind in ("worker", "after"):
            one.error = max(one.error or 0.0, event["error"])
            one.threading = event.get("threading", one.threading)
            if not event["error"] <= 1:
                one.spoil("wrong", f"error {event['error']:.3g} times what rounding explains")
        elif kind == "demand":
            wanted = event["used"] if event["cpus"] is None else event["cpus"]
            one.demand = max(one.demand or 0.0, wanted)
            if event["honesty"] != "honoured":
                one.spoil(event["honesty"], f"demand {wanted:.2f} CPUs, limit {threads[event['cell']]}")
        elif kind == "failure":
            one.spoil(event["state"], event["why"])
        elif kind == "sample":
            _count(one, event, threads[event["cell"]])
    return dict(found)


def standings(events: Iterable[Mapping[str, Any]]) -> tuple[Group, ...]:
    """Work out the standings of one session, from its events or its record."""
    events = list(events)
    settings = Settings.from_dict(events[0]["settings"])
    tallies = tally(events)
    return tuple(_group(settings, heat, t, tallies) for heat in settings.heats() for t in settings.threads)


def _count(one: Tally, event: Mapping[str, Any], threads: int) -> None:
    """Count one sample."""
    one.total += 1
    one.every.append(event["wall"] / event["loops"])
    if event["cpu"] > (threads + TOLERANCE) * event["wall"] + threads * TICK:
        one.spoil("breach", f"used {event['cpu'] / event['wall']:.2f} CPUs in a batch, limit {threads}")
    if event["clean"]:
        one.clean += 1
        one.seconds[event["launch"]][event["round"]] = event["wall"] / event["loops"]
        if "rate" in event:
            one.rates[event["launch"]][event["round"]] = event["rate"]


def _group(settings: Settings, heat: Heat, threads: int, tallies: Mapping[tuple[str, str], Tally]) -> Group:
    cells = [cell for cell in settings.cells() if cell.threads == threads]
    mine = {cell.label: tallies.get((heat.key, cell.key), Tally(state="failed", why="never started")) for cell in cells}
    kinds = {cell.label: cell.kind for cell in cells}
    peak = next((mine[label].rates for label, kind in kinds.items() if kind == "peak"), {})
    shares = {label: _share(heat.flop, one, peak) for label, one in mine.items() if kinds[label] != "peak"}
    for label, share in shares.items():
        if share is not None and share > MOST_OF_PEAK and mine[label].threading != "own":
            mine[label].spoil("impossible", f"{share:.0%} of the peak")
    sound = [cell.label for cell in cells if cell.kind == "backend" and mine[cell.label].state in RANKED]
    reference = settings.reference if settings.reference in sound else next(iter(sound), settings.reference)
    twin = mine.get(f"{reference}'")
    trusted = twin is not None and twin.state in RANKED
    floor = None
    if twin is not None and trusted:
        floor = noise_floor(twin.seconds, mine[reference].seconds, least=settings.least_floor)
    effects = {label: compare(one.seconds, mine[reference].seconds) for label, one in mine.items()}

    def judge(a: str, b: str) -> Verdict:
        """Judge a pair: by the twin's noise where the reference is one of them, else by its own."""
        pair, least = (mine[a].seconds, mine[b].seconds), settings.least_floor
        known = floor if floor is None or reference in (a, b) else pair_noise_floor(*pair, least=least)
        return verdict(compare(*pair), known)

    timed = sorted((label for label in sound if mine[label].seconds), key=lambda name: _order(effects[name]))
    placed = tiers(timed, judge)
    rows = [
        _row(heat, cell, mine[cell.label], effects[cell.label], shares.get(cell.label), placed, reference, floor)
        for cell in cells
    ]
    rows.sort(key=lambda row: (row.kind == "peak", row.state not in RANKED, _order(row.effect)))
    rates = [rate for rounds in peak.values() for rate in rounds.values()]
    return Group(
        heat=heat.key,
        threads=threads,
        reference=reference,
        floor=floor,
        peak=median(rates) if rates else None,
        rows=tuple(rows),
    )


def _row(
    heat: Heat,
    cell: Cell,
    one: Tally,
    effect: Effect | None,
    share: float | None,
    placed: Mapping[str, int | None],
    reference: str,
    floor: float | None,
) -> Row:
    times = [median(rounds.values()) for rounds in one.seconds.values() if rounds]
    if one.state == "breach" and not times:  # its threads stood in each other's way throughout
        times = one.every
    seconds = median(times) if times else None
    rates = [rate for rounds in one.rates.values() for rate in rounds.values()]
    peak = cell.kind == "peak"
    rate = (median(rates) if rates else None) if peak else heat.flop / seconds if seconds else None
    ranked = cell.kind == "backend" and one.state in RANKED
    return Row(
        heat=heat.key,
        label=cell.label,
        threads=cell.threads,
        kind=cell.kind,
        state=one.state,
        why=one.why,
        tier=placed.get(cell.label) if ranked else None,
        verdict="reference" if cell.label == reference else verdict(effect, floor) if ranked else "",
        effect=None if peak else effect,
        seconds=None if peak else seconds,
        gflops=rate / 1e9 if rate else None,
        share=share,
        demand=one.demand,
        error=one.error,
        clean=one.clean / one.total if one.total else None,
    )


def _share(flop: float, one: Tally, peak: Mapping[int, Mapping[int, float]]) -> float | None:
    """Median over rounds of useful rate / peak rate of the same round."""
    shares = [
        flop / seconds / peak[launch][turn]
        for launch, rounds in one.seconds.items()
        for turn, seconds in rounds.items()
        if turn in peak.get(launch, {})
    ]
    return median(shares) if shares else None


def _order(effect: Effect | None) -> float:
    return math.inf if effect is None else effect.estimate
