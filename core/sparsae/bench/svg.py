"""Pictures for the page, as SVG whose colours follow the page's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from sparsae.bench.scaling import Series, series
from sparsae.bench.standings import Group, Row

WIDTH, LEFT, RIGHT, LINE = 640, 150, 30, 26
TICKS = tuple(round(digit * 10.0**power, 9) for power in range(-9, 7) for digit in (1, 2, 5))


def ratio_plot(group: Group) -> str:
    """Time over time of the reference with its interval for each row; the noise floor as a band around 1."""
    rows = [row for row in group.rows if row.effect is not None]
    if not rows:
        return ""
    floor = group.floor or 0.0
    ends = [value for row in rows for value in _reach(row)]
    low, high = min(*ends, math.exp(-floor)) * 0.9, max(*ends, math.exp(floor)) * 1.1
    x = LogAxis(low, high)
    bottom = LINE * len(rows) + 10
    band = f"<rect x='{x(math.exp(-floor)):.1f}' y='4' width='{x(math.exp(floor)) - x(math.exp(-floor)):.1f}' "
    parts = [f"{band}height='{bottom - 4}' fill='var(--band)'/>", _line(x(1), 4, x(1), bottom, "var(--soft)", 1)]
    for place, row in enumerate(rows):
        y = LINE * place + 20
        colour = "var(--good)" if row.state == "ok" else "var(--bad)"
        first, last = _reach(row)
        assert row.effect is not None
        parts += [
            _text(LEFT - 10, y + 4, row.label, anchor="end"),
            _line(x(first), y, x(last), y, colour, 2.5),
            f"<circle cx='{x(row.effect.ratio):.1f}' cy='{y}' r='4.5' fill='{colour}'/>",
        ]
    parts += _ticks(x, low, high, bottom)
    parts.append(_text((WIDTH + LEFT) / 2, bottom + 40, f"time / time of {group.reference}; less is faster", soft=True))
    return _svg(parts, bottom + 52, f"Ratios to {group.reference}")


def share_plot(group: Group) -> str:
    """Useful work as a share of the peak product's, a bar for each row."""
    rows = [row for row in group.rows if row.share is not None and row.kind == "backend"]
    if not rows:
        return ""
    parts = []
    for place, row in enumerate(rows):
        y = LINE * place + 8
        width = (WIDTH - LEFT - RIGHT - 50) * min(row.share or 0.0, 1.2)
        colour = "var(--good)" if row.state == "ok" else "var(--bad)"
        parts += [
            _text(LEFT - 10, y + 14, row.label, anchor="end"),
            f"<rect x='{LEFT}' y='{y}' width='{width:.1f}' height='18' fill='{colour}'/>",
            _text(LEFT + width + 6, y + 14, f"{row.share:.0%}", anchor="start"),
        ]
    bottom = LINE * len(rows) + 12
    parts.append(_text((WIDTH + LEFT) / 2, bottom + 14, "share of the peak product", soft=True))
    return _svg(parts, bottom + 26, "Share of peak")


def scaling_plot(groups: Sequence[Group]) -> str:
    """Time per row against what varies: rows, inputs, hidden units or threads; nothing where none does."""
    return "".join(map(_scaling, series(groups)))


def _scaling(one: Series) -> str:
    lines = {one.name(line): [(p.place, p.seconds) for p in line.points] for line in one.lines}
    xs = [x for points in lines.values() for x, _ in points]
    ys = [1e6 * y for points in lines.values() for _, y in points]
    left, top, height = 60, 34, 240
    x = LogAxis(min(xs), max(xs), left=left, right=WIDTH - 150)
    y_axis = LogAxis(min(ys) * 0.9, max(ys) * 1.1, left=top + height, right=top)
    parts = [_text(left, 18, one.title, anchor="start")]
    for tick in _choose(min(ys) * 0.9, max(ys) * 1.1):
        parts += [
            _line(left, y_axis(tick), WIDTH - 150, y_axis(tick), "var(--line)", 1),
            _text(left - 6, y_axis(tick) + 4, f"{tick:g}", anchor="end", soft=True),
        ]
    parts += [_text(x(tick), top + height + 18, f"{tick:g}", soft=True) for tick in sorted(set(xs))]
    ends = sorted((y_axis(1e6 * points[-1][1]), label) for label, points in lines.items())
    places = _spread([end for end, _ in ends], 15)
    colours = {label: f"var(--c{number % 8})" for number, label in enumerate(lines)}
    for label, points in lines.items():
        path = " ".join(f"{x(a):.1f},{y_axis(1e6 * b):.1f}" for a, b in points)
        parts.append(f"<polyline points='{path}' fill='none' stroke='{colours[label]}' stroke-width='2'/>")
        parts += [
            f"<circle cx='{x(a):.1f}' cy='{y_axis(1e6 * b):.1f}' r='3.5' fill='{colours[label]}'/>" for a, b in points
        ]
    for place, (_, label) in zip(places, ends, strict=True):
        parts.append(f"<rect x='{WIDTH - 140}' y='{place - 5:.1f}' width='10' height='10' fill='{colours[label]}'/>")
        parts.append(_text(WIDTH - 125, place + 5, label, anchor="start"))
    parts.append(_text((left + WIDTH - 150) / 2, top + height + 38, f"{one.axis}; microseconds per row", soft=True))
    return _svg(parts, top + height + 50, f"Scaling with {one.axis}")


def _spread(places: list[float], least: float) -> list[float]:
    """Move labels down until they do not overlap."""
    spread: list[float] = []
    for place in places:
        spread.append(max(place, spread[-1] + least) if spread else place)
    return spread


class LogAxis:
    """Map a value to a place on a logarithmic axis."""

    def __init__(self, low: float, high: float, *, left: float = LEFT, right: float = WIDTH - RIGHT) -> None:
        self._low, self._span = math.log(low), max(math.log(high) - math.log(low), 1e-9)
        self._left, self._right = left, right

    def __call__(self, value: float) -> float:
        """Return the place of a value."""
        return self._left + (math.log(value) - self._low) / self._span * (self._right - self._left)


def _choose(low: float, high: float) -> list[float]:
    """Round numbers between two, at most eight."""
    found = [tick for tick in TICKS if low <= tick <= high]
    while len(found) > 8:
        found = found[::3]
    return found or [float(f"{math.sqrt(low * high):.2g}")]


def _ticks(x: LogAxis, low: float, high: float, bottom: float) -> list[str]:
    return [
        part
        for tick in _choose(low, high)
        for part in (
            _line(x(tick), bottom, x(tick), bottom + 5, "var(--soft)", 1),
            _text(x(tick), bottom + 20, f"{tick:g}", soft=True),
        )
    ]


def _reach(row: Row) -> tuple[float, float]:
    """Ends of the interval, cut where they would squeeze everything else; the point alone without one."""
    assert row.effect is not None
    low, high = row.effect.interval
    ratio = row.effect.ratio
    return (max(low, ratio / 3), min(high, ratio * 3)) if math.isfinite(high) else (ratio, ratio)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float) -> str:
    return f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' stroke='{colour}' stroke-width='{width}'/>"


def _text(x: float, y: float, words: str, *, anchor: str = "middle", soft: bool = False) -> str:
    kind = " class='soft'" if soft else ""
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}'{kind}>{escape(words)}</text>"


def _svg(parts: Iterable[str], height: float, label: str) -> str:
    return f"<svg viewBox='0 0 {WIDTH} {height:.0f}' role='img' aria-label='{escape(label)}'>{''.join(parts)}</svg>"
