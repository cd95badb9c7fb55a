"""Two sessions side by side: did a backend's ratio to the reference change, and are the tiers the same."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from sparsae.bench.record import Session, check_comparable, conditions
from sparsae.bench.standings import Group, Row
from sparsae.bench.statistics import Effect, Verdict, student, verdict
from sparsae.errors import ParameterError


@final
@dataclass(frozen=True, kw_only=True)
class Change:
    """One cell in two sessions.

    Attributes
    ----------
    heat, label, threads
        Which cell.
    before, after : Row
        Its lines in the standings.
    change : Effect or None
        Ratio to the reference after, over the same before; less than 1: faster.
    verdict : str
        What the change amounts to.
    """

    heat: str
    label: str
    threads: int
    before: Row
    after: Row
    change: Effect | None
    verdict: Verdict

    @property
    def same_tier(self) -> bool:
        """Whether the tier is the same, or neither has one."""
        return self.before.tier == self.after.tier


def compare_sessions(a: Session, b: Session) -> tuple[Change, ...]:
    """Compare the ratios to the reference, cell by cell.

    Raises
    ------
    ParameterError
        When CPU, BLAS architecture, dtype or wait policy differ, or no cell and reference is in both.
    """
    check_comparable(conditions(a), conditions(b))
    older = {(group.heat, group.threads): group for group in a.groups()}
    changes = [
        change
        for group in b.groups()
        if (before := older.get((group.heat, group.threads))) is not None and before.reference == group.reference
        for change in _changes(before, group)
    ]
    if not changes:
        raise ParameterError(
            "These sessions cannot be compared: no case, size, dtype and number of threads was raced in both "
            "against the same reference."
        )
    return tuple(changes)


def same_tiers(changes: tuple[Change, ...]) -> bool:
    """Whether every backend has the same tier, or none, in both sessions, and at least one has a tier."""
    return all(change.same_tier for change in changes) and any(change.after.tier for change in changes)


def difference(a: Effect | None, b: Effect | None) -> Effect | None:
    """B - a with Welch's interval; None where either is missing."""
    if a is None or b is None:
        return None
    pairs = a.pairs + b.pairs
    launches = min(a.launches, b.launches)
    if launches < 2:
        return Effect(b.estimate - a.estimate, math.inf, launches, pairs)
    errors = [(e.half_width / student(e.launches - 1)) ** 2 for e in (a, b)]
    total = sum(errors)
    if total == 0:
        return Effect(b.estimate - a.estimate, 0.0, launches, pairs)
    degrees = total**2 / sum(e**2 / (n - 1) for e, n in zip(errors, (a.launches, b.launches), strict=True))
    return Effect(b.estimate - a.estimate, student(degrees) * math.sqrt(total), launches, pairs)


def _changes(before: Group, after: Group) -> list[Change]:
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
            Change(
                heat=row.heat,
                label=row.label,
                threads=row.threads,
                before=old[row.label],
                after=row,
                change=change,
                verdict="tie" if is_reference and sound else verdict(change if sound else None, floor),
            )
        )
    return found
