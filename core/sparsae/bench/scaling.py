"""How time per row and share of peak change with rows, inputs, hidden units and threads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from sparsae._text import plural
from sparsae.bench.standings import Standings

AXES = ("rows", "inputs", "hidden units", "threads")
FACTORS = (0.25, 1.0, 4.0)
LinePoints = dict[tuple[str, int | None], list["ScalingPoint"]]  # by backend and threads


@final
@dataclass(frozen=True)
class ScalingPoint:
    """One cell on a line: its place on the axis, seconds per row, and the share of the peak product's rate."""

    place: int
    seconds: float
    share: float | None


@final
@dataclass(frozen=True)
class ScalingLine:
    """The points of one backend at one number of threads, by place; without that number where it is what varies."""

    backend: str
    threads: int | None
    points: tuple[ScalingPoint, ...]


@final
@dataclass(frozen=True)
class ScalingSeries:
    """What was measured along one axis, all else being the same."""

    axis: str  # one of `AXES`
    title: str  # case, dtype, hidden unit and what stayed the same
    lines: tuple[ScalingLine, ...]  # by backend, as the standings have them, and threads

    @property
    def places(self) -> list[int]:
        """Where there are points, sorted."""
        return sorted({point.place for line in self.lines for point in line.points})

    def name(self, line: ScalingLine) -> str:
        """Label of a line: with the number of threads where lines differ in it."""
        several = len({other.threads for other in self.lines}) > 1
        return f"{line.backend} x{line.threads}" if several else line.backend


def sweep(size: tuple[int, int, int]) -> tuple[tuple[int, int, int], ...]:
    """Return the sizes of a scaling race: a quarter and four times the rows, inputs and hidden units, one at a time."""
    m, n, p = size
    sizes = [size, *((max(1, round(m * f)), n, p) for f in FACTORS)]
    sizes += [(m, max(1, round(n * f)), p) for f in FACTORS]
    sizes += [(m, n, max(1, round(p * f))) for f in FACTORS]
    return tuple(dict.fromkeys(sizes))


def scaling_series(groups: Iterable[Standings]) -> tuple[ScalingSeries, ...]:
    """Collect the lines along every axis; where nothing varies there is none.

    Where sizes vary, the threads do so within every line, and only the first size has a series of its own for them.
    """
    found: dict[tuple[str, str], LinePoints] = defaultdict(lambda: defaultdict(list))
    for group in groups:
        case, size, dtype, *unit = group.workload.split()
        places = dict(zip(AXES, (*map(int, size.split("x")), group.threads), strict=True))
        for row in group.rows:
            if row.kind != "backend" or row.seconds is None or row.state not in ("ok", "unverified"):
                continue
            for axis in AXES:
                fixed = ", ".join(plural(places[name], name[:-1]) for name in AXES[:3] if name != axis)
                line = row.label, None if axis == "threads" else group.threads
                point = ScalingPoint(places[axis], row.seconds / places["rows"], row.share)
                found[axis, f"{' '.join([case, dtype, *unit])}: {fixed}"][line].append(point)
    made = [_series(axis, title, lines) for (axis, title), lines in found.items()]
    made = [one for one in made if any(len(line.points) > 1 for line in one.lines)]
    threads = [one for one in made if one.axis == "threads"]
    others = sorted((one for one in made if one.axis != "threads"), key=lambda one: AXES.index(one.axis))
    return (*others, *(threads[:1] if others else threads))


def _series(axis: str, title: str, lines: LinePoints) -> ScalingSeries:
    """Put the lines of each backend together."""
    labels = list(dict.fromkeys(label for label, _ in lines))
    order = sorted(lines, key=lambda line: (labels.index(line[0]), line[1] or 0))
    counts = {threads for _, threads in lines}
    if len(counts) == 1 and None not in counts:
        title += f", {plural(counts.copy().pop() or 0, 'thread')}"
    made = [ScalingLine(*key, tuple(sorted(lines[key], key=lambda point: point.place))) for key in order]
    return ScalingSeries(axis, title, tuple(made))
