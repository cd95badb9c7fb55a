"""Compare two sessions: did a backend's ratio to the reference change, and are the tiers the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from sparsae.bench.record import RaceSession, check_comparable, conditions
from sparsae.bench.standings import Standings, StandingsRow
from sparsae.bench.statistics import Effect, Verdict, difference, verdict
from sparsae.errors import ParameterError


@final
@dataclass(frozen=True, kw_only=True)
class CellChange:
    """One cell in two sessions."""

    before: StandingsRow
    after: StandingsRow
    change: Effect | None  # ratio to the reference after, over the same before; less than 1: faster
    verdict: Verdict  # what the change amounts to

    @property
    def same_tier(self) -> bool:
        """Whether the tier is the same, or neither has one."""
        return self.before.tier == self.after.tier

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "workload": self.after.workload,
            "backend": self.after.label,
            "threads": self.after.threads,
            "tier_before": self.before.tier,
            "tier_after": self.after.tier,
            "change": None if self.change is None else self.change.ratio,
            "interval": None if self.change is None else list(self.change.interval),
            "verdict": self.verdict,
        }


def compare_sessions(a: RaceSession, b: RaceSession) -> tuple[CellChange, ...]:
    """Compare the ratios to the reference, cell by cell.

    Raises
    ------
    ParameterError
        When CPU, BLAS architecture, dtype, hidden unit or wait policy differ, or no cell and reference is in both.
    """
    check_comparable(conditions(a), conditions(b))
    older = {(group.workload, group.threads): group for group in a.standings()}
    changes = [
        change
        for group in b.standings()
        if (before := older.get((group.workload, group.threads))) is not None and before.reference == group.reference
        for change in _changes(before, group)
    ]
    if not changes:
        raise ParameterError(
            "These sessions cannot be compared: no case, size, dtype and number of threads was raced in both "
            "against the same reference."
        )
    return tuple(changes)


def same_tiers(changes: tuple[CellChange, ...]) -> bool:
    """Whether every backend has the same tier, or none, in both sessions, and at least one has a tier."""
    return all(change.same_tier for change in changes) and any(change.after.tier for change in changes)


def _changes(before: Standings, after: Standings) -> list[CellChange]:
    old = {row.label: row for row in before.rows if row.kind == "backend"}
    floor = None if before.floor is None or after.floor is None else max(before.floor, after.floor)
    found = []
    for row in after.rows:
        if row.kind != "backend" or row.label not in old:
            continue
        is_reference = row.label == after.reference
        change = None if is_reference else difference(old[row.label].effect, row.effect)
        sound = row.state == "ok" == old[row.label].state
        found.append(
            CellChange(
                before=old[row.label],
                after=row,
                change=change,
                verdict="tie" if is_reference and sound else verdict(change if sound else None, floor),
            )
        )
    return found
