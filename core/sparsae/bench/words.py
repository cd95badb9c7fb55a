"""The standings in words, for the terminal and the page alike."""

from __future__ import annotations

import math

from sparsae.bench.standings import MEANING, Group, Row
from sparsae.bench.statistics import MIN_ROUNDS

ENOUGH = 0.7  # of the samples kept: below this a busy machine is the likeliest reason for "unknown"
HEADINGS = ("tier", "backend", "ms", "ratio", "95 %", "verdict", "GFLOP/s", "of peak", "demand", "kept")


def summary(group: Group) -> str:
    """One line that says what was raced, against whom, and how much noise there was."""
    threads = f"{group.threads} thread{'s' if group.threads > 1 else ''}"
    floor = "noise floor unknown" if group.floor is None else f"noise floor {math.expm1(group.floor):.1%}"
    peak = "" if group.peak is None else f", peak {group.peak / 1e9:.0f} GFLOP/s"
    return f"{group.heat}, {threads}; ratio to {group.reference}, {floor}{peak}"


def cells(row: Row) -> tuple[str, ...]:
    """One line of the table, in the order of `HEADINGS`."""
    ratio = "-" if row.effect is None else f"{row.effect.ratio:.3f}"
    return (
        str(row.tier) if row.tier else "-",
        row.label,
        number(row.seconds, 1e3),
        ratio,
        "" if row.verdict == "reference" else interval(row),
        row.state if row.state != "ok" else row.verdict or {"twin": "noise floor"}.get(row.kind, ""),
        number(row.gflops, 1),
        percent(row.share),
        "-" if row.demand is None else f"{row.demand:.2f}",
        percent(row.clean),
    )


def interval(row: Row) -> str:
    """The interval of the ratio, or why there is none."""
    if row.effect is None:
        return "-"
    low, high = row.effect.interval
    return f"{low:.3f} to {high:.3f}" if math.isfinite(high) else "one launch"


def remarks(group: Group) -> tuple[str, ...]:
    """One line for each cell that is not ranked, and why; one more where too little was undisturbed to tell."""
    said = [f"{row.label}: {row.state} ({MEANING[row.state]}): {row.why}" for row in group.rows if row.state != "ok"]
    unknown = [row.label for row in group.rows if row.verdict == "unknown"]
    if unknown:
        said.append(f"unknown: {', '.join(unknown)}; {_reason(group)}")
    return tuple(said)


def _reason(group: Group) -> str:
    """Why nothing can be said."""
    kept = [row.clean for row in group.rows if row.clean is not None]
    if kept and min(kept) < ENOUGH:
        return (
            f"as few as {min(kept):.0%} of a cell's samples were kept, for its process had to wait for a CPU in the "
            f"others, which something else had or a further thread of its own; stop what else runs here, or use fewer "
            f"threads or more rounds."
        )
    return f"fewer than two launches with {MIN_ROUNDS} undisturbed rounds, or launches that disagree; give it more."


def number(value: float | None, factor: float) -> str:
    """Three significant digits, or a dash."""
    if value is None:
        return "-"
    return f"{value * factor:.3g}" if value * factor < 1000 else f"{value * factor:.0f}"


def percent(value: float | None) -> str:
    """Whole per cent, or a dash."""
    return "-" if value is None else f"{value:.0%}"
