"""The standings as text, the same for the terminal and the page; nothing from outside is passed on unfiltered."""

from __future__ import annotations

import math

from sparsae._text import plural, printable
from sparsae.bench.plan import RacePlan
from sparsae.bench.standings import MEANING, Standings, StandingsRow
from sparsae.bench.statistics import MIN_ROUNDS, Effect

FEW_KEPT = 0.7  # share of the batches kept: below this a busy machine is the likeliest reason for "unknown"
CONTRADICTION = 1.05  # a ratio and the quotient of two times that differ by more than this are explained
HEADINGS = ("tier", "backend", "ms", "ratio", "95 %", "verdict", "GFLOP/s", "of peak", "demand", "kept")
RATIO_NOTE = (
    "A ratio is the median over rounds of time / time of the reference in the same round; ms is the median over all "
    "undisturbed batches. Where the machine's speed changes from round to round only the ms change."
)
QUICK_NOTE = "A quick race is for a first look, not for publication."


def summary(table: Standings) -> str:
    """One line: what was raced, against which reference, and how much noise there was."""
    floor = "noise floor unknown" if table.floor is None else f"noise floor {math.expm1(table.floor):.1%}"
    peak = "" if table.peak is None else f", peak {table.peak / 1e9:.0f} GFLOP/s"
    return printable(f"{table.workload}, {plural(table.threads, 'thread')}; ratio to {table.reference}, {floor}{peak}")


def row_class(row: StandingsRow) -> str:
    """How a line of the table is shown: "" a backend that was timed, "bad" one that broke a rule, "other" the rest."""
    if row.state not in ("ok", "declined"):
        return "bad"
    return "" if row.kind == "backend" and row.state == "ok" else "other"


def row_cells(row: StandingsRow) -> tuple[str, ...]:
    """One line of the table, in the order of `HEADINGS`."""
    named = row.verdict or {"twin": "noise floor"}.get(row.kind, "")
    return (
        str(row.tier) if row.tier else "-",
        printable(row.label),
        format_number(row.seconds, 1e3),
        format_ratio(row.effect),
        "" if row.verdict == "reference" else format_interval(row.effect),
        named if row.state == "ok" else row.state,
        format_number(row.gflops, 1),
        format_percent(row.share),
        "-" if row.demand is None else f"{row.demand:.2f}",
        format_percent(row.kept),
    )


def format_ratio(effect: Effect | None) -> str:
    """Three decimals, or a dash."""
    return "-" if effect is None else f"{effect.ratio:.3f}"


def format_interval(effect: Effect | None) -> str:
    """The interval of a ratio, or why there is none."""
    if effect is None:
        return "-"
    low, high = effect.interval
    return f"{low:.3f} to {high:.3f}" if math.isfinite(high) else "one launch"


def remarks(table: Standings) -> tuple[str, ...]:
    """One line for each cell that is not ranked, for verdicts that are unknown, and for times that seem to contradict.

    A ratio is taken within rounds and the times are not, so that the two can differ.
    """
    lines = [f"{row.label}: {row.state} ({MEANING[row.state]}): {row.why}" for row in table.rows if row.state != "ok"]
    unknown = [row.label for row in table.rows if row.verdict == "unknown"]
    if unknown:
        lines.append(f"unknown: {', '.join(unknown)}; {_why_unknown(table)}")
    reference = next((row for row in table.rows if row.label == table.reference), None)
    if reference is not None:
        lines += [line for row in table.rows if (line := _explain_contradiction(row, reference))]
    return tuple(map(printable, lines))


def session_notes(plan: RacePlan, notes: tuple[str, ...]) -> tuple[str, ...]:
    """Return what a reader of all the tables has to know."""
    quick = (QUICK_NOTE,) if plan.preset == "quick" else ()
    return (RATIO_NOTE, *map(printable, notes), *quick)


def format_number(value: float | None, factor: float) -> str:
    """Three significant digits, or a dash."""
    if value is None:
        return "-"
    return f"{value * factor:.3g}" if value * factor < 1000 else f"{value * factor:.0f}"


def format_percent(value: float | None) -> str:
    """Whole per cent, or a dash."""
    return "-" if value is None else f"{value:.0%}"


def _why_unknown(table: Standings) -> str:
    kept = [row.kept for row in table.rows if row.kept is not None]
    if table.interrupted:
        return f"the race ended early, and a verdict needs two launches with {MIN_ROUNDS} undisturbed rounds."
    if kept and min(kept) < FEW_KEPT:
        return (
            f"as few as {min(kept):.0%} of a cell's samples were kept: in the others its process had to wait for a CPU "
            f"that another process, or a further thread of its own, was using; stop other programs, or use fewer "
            f"threads or more rounds."
        )
    return f"fewer than two launches with {MIN_ROUNDS} undisturbed rounds, or launches that disagree; run more of them."


def _explain_contradiction(row: StandingsRow, reference: StandingsRow) -> str:
    """Say what makes the ratio differ from the quotient of the times, where the two differ visibly."""
    if row is reference or row.effect is None or row.seconds is None or reference.seconds is None:
        return ""
    quotient, ratio = row.seconds / reference.seconds, row.effect.ratio
    if max(quotient / ratio, ratio / quotient) < CONTRADICTION:
        return ""
    spreads = ", ".join(f"{one.label} {_format_spread(one)}" for one in (row, reference))
    return (
        f"{row.label}: {format_number(row.seconds, 1e3)} ms / {format_number(reference.seconds, 1e3)} ms = "
        f"{quotient:.3f}, and the ratio within rounds is {ratio:.3f}: the speed of the machine changed between rounds "
        f"(10th to 90th percentile: {spreads}; {row.effect.pairs} rounds count for the ratio). Use the ratio."
    )


def _format_spread(row: StandingsRow) -> str:
    low, high = row.spread or (None, None)
    return f"{format_number(low, 1e3)} to {format_number(high, 1e3)} ms"
