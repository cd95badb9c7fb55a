"""How time per row and share of peak change with rows, inputs, hidden units and threads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from sparsae.bench.standings import Group

AXES = ("rows", "inputs", "hidden units", "threads")
FACTORS = (0.25, 1.0, 4.0)


@final
@dataclass(frozen=True)
class Point:
    """One cell on a line: where it stands, seconds per row, and the share of the peak product's rate."""

    place: int
    seconds: float
    share: float | None


@final
@dataclass(frozen=True)
class Series:
    """What was measured along one axis, all else being the same: a line for each backend.

    Attributes
    ----------
    axis : str
        One of `AXES`.
    title : str
        Case, dtype and what stayed the same.
    lines : dict
        Backend -> points, by place.
    """

    axis: str
    title: str
    lines: dict[str, tuple[Point, ...]]


def sweep(size: tuple[int, int, int]) -> tuple[tuple[int, int, int], ...]:
    """Return the sizes of a scaling race: a quarter and four times the rows, inputs and hidden units, one at a time."""
    m, n, p = size
    sizes = [size, *((max(1, round(m * f)), n, p) for f in FACTORS)]
    sizes += [(m, max(1, round(n * f)), p) for f in FACTORS]
    sizes += [(m, n, max(1, round(p * f))) for f in FACTORS]
    return tuple(dict.fromkeys(sizes))


def series(groups: Iterable[Group]) -> tuple[Series, ...]:
    """Collect the lines along every axis; where nothing varies there is none."""
    found: dict[tuple[str, str], dict[str, list[Point]]] = defaultdict(lambda: defaultdict(list))
    for group in groups:
        case, size, dtype = group.heat.split()
        places = dict(zip(AXES, (*map(int, size.split("x")), group.threads), strict=True))
        for row in group.rows:
            if row.kind != "backend" or row.seconds is None or row.state not in ("ok", "unverified"):
                continue
            point_seconds = row.seconds / places["rows"]
            for axis in AXES:
                fixed = ", ".join(f"{places[name]} {_plural(name, places[name])}" for name in AXES if name != axis)
                point = Point(places[axis], point_seconds, row.share)
                found[axis, f"{case} {dtype}: {fixed}"][row.label].append(point)
    made = [
        Series(axis, title, {label: tuple(sorted(line, key=lambda p: p.place)) for label, line in lines.items()})
        for (axis, title), lines in found.items()
        if any(len(line) > 1 for line in lines.values())
    ]
    return tuple(sorted(made, key=lambda one: AXES.index(one.axis)))


def _plural(name: str, count: int) -> str:
    return name.removesuffix("s") if count == 1 else name
