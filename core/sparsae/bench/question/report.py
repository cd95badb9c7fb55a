"""The results of the replayed question, and their tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, final

from sparsae._text import plural, printable
from sparsae.bench.statistics import MIN_ROUNDS, PairedRatio

# What was published with the question and its answer in 2013, on two other people's machines: seconds,
# and the ratio to the loop as asked on the same machine.
PUBLISHED = {
    "asked": (0.974, 1.0, "the asker's NumPy"),
    "hoisted": (0.65, 0.974 / 0.65, "the asker's NumPy, after advice"),
    "octave-loop": (0.252, 0.974 / 0.252, "the asker's Matlab"),
    "vectorised": (0.0726, 6.8, "the answerer's machine, where the loop took 0.495 s"),
}


@final
@dataclass(frozen=True, kw_only=True)
class QuestionRow:
    """One way of doing it; errors are in units of what rounding explains, at most 1."""

    key: str
    label: str
    threads: int
    seconds: float  # median over all rounds
    ratio: PairedRatio  # how many times as long the row's reference took, in the same rounds
    error_before: float  # the largest one against the reference before timing
    error_after: float  # the same after timing


@final
@dataclass(frozen=True, kw_only=True)
class QuestionReport:
    """The question, replayed."""

    size: tuple[int, int, int]  # samples, visible units, hidden units
    ways: tuple[QuestionRow, ...]  # the ways of writing it; ratios to the loop as asked
    scratch: tuple[QuestionRow, ...]  # scratch made once, by np.empty, by np.zeros in each call; ratios to the first
    orders: tuple[QuestionRow, ...]  # np.dot in the four combinations of memory orders; ratios to C times C
    left_out: Mapping[str, str] = field(default_factory=dict)  # what was not timed, and why
    facts: Mapping[str, str] = field(default_factory=dict)  # the libraries underneath, as the timed processes saw them
    rounds: int
    launches: int
    seed: int
    interrupted: bool = False  # by Ctrl-C

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values that JSON can take, the published figures too."""
        rows = {
            name: [asdict(row) | {"ratio": row.ratio._asdict()} for row in getattr(self, name)]
            for name in ("ways", "scratch", "orders")
        }
        return asdict(self) | rows | {"published": {key: value[:2] for key, value in PUBLISHED.items()}}

    def tables(self) -> tuple[QuestionTable, ...]:
        """Return the three tables, as text."""
        return (
            QuestionTable(
                "Gradient sums of one backpropagation",
                ("way", "threads", "ms", "times as fast", "published in 2013", "error"),
                tuple(_way_cells(row) for row in self.ways),
            ),
            QuestionTable(
                "The same arithmetic, scratch from different places",
                ("scratch", "ms", "times as fast"),
                tuple((row.label, _ms(row.seconds), _ratio(row.ratio)) for row in self.scratch),
            ),
            QuestionTable(
                "np.dot(delta2.T, a1), the operands in C or F order",
                ("orders", "ms", "times as fast"),
                tuple((row.label, _ms(row.seconds), _ratio(row.ratio)) for row in self.orders),
            ),
        )

    def notes(self) -> tuple[str, ...]:
        """Return the notes on the tables, one sentence each."""
        m, n, p = self.size
        turns = plural(self.rounds * self.launches, "round")
        launches = "one launch" if self.launches == 1 else f"{self.launches} launches"
        notes = [
            f"{m} samples, {n} visible and {p} hidden units, float64; {turns} in {launches}.",
            "Times are medians; a ratio is taken within a round: its median, and the 10th to 90th percentile.",
            "Published figures come from other machines of 2013: compare ratios, not times.",
            "Error: largest deviation from the reference, before and after timing; 1 is what rounding explains.",
        ]
        notes += [f"{what}: {fact}." for what, fact in self.facts.items()]
        rows = (*self.ways, *self.scratch, *self.orders)
        disturbed = sum(not row.ratio.undisturbed for row in rows)
        if disturbed:
            notes.append(
                f"The machine was busy: {disturbed} of {len(rows)} ratios have fewer than {MIN_ROUNDS} rounds without "
                f"waiting for a CPU. Repeat this when it is quiet."
            )
        if self.interrupted:
            notes.append("Interrupted: fewer rounds than planned.")
        notes += [f"Left out: {what}: {why.rstrip('.')}." for what, why in self.left_out.items()]
        return tuple(map(printable, notes))

    def markdown(self) -> str:
        """Return tables and notes as Markdown."""
        parts = [table.markdown() for table in self.tables() if table.rows]
        return "\n\n".join([*parts, "\n".join(f"- {note}" for note in self.notes())]) + "\n"


@final
class QuestionTable(NamedTuple):
    """A title, column names, and rows of text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """Return a Markdown table."""
        lines: Iterable[tuple[str, ...]] = (self.columns, ("---",) * len(self.columns), *self.rows)
        return f"**{self.title}**\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _way_cells(row: QuestionRow) -> tuple[str, ...]:
    published = PUBLISHED.get(row.key)
    then = "" if published is None else f"{published[1]:.1f} ({published[0] * 1e3:.3g} ms, {published[2]})"
    error = f"{max(row.error_before, row.error_after):.2g}"
    return row.label, str(row.threads), _ms(row.seconds), _ratio(row.ratio), then, error


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}"


def _ratio(ratio: PairedRatio) -> str:
    if ratio.low == ratio.high == 1:  # the reference itself
        return "1"
    return f"{ratio.median:.3g} [{ratio.low:.3g}, {ratio.high:.3g}]"
