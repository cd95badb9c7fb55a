"""What `sparsae check` prints: a row for each check and dtype, and for each hidden unit whether it was proved."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import click

from sparsae._types import ACTIVATIONS
from sparsae.cli.report import print_table, say

if TYPE_CHECKING:
    from sparsae.testing import Report, Verdict
    from sparsae.testing.verdicts import UnitVerdict

CELLS = {"pass": ("PASS", "green"), "fail": ("FAIL", "red"), "unverified": ("?", "yellow"), "declined": ("-", "cyan")}
WIDTHS: dict[str, int] = {activation: max(len(activation), 4) + 2 for activation in ACTIVATIONS}


@final
class CheckTable:
    """Prints a row once the verdicts of all hidden units are there.

    Parameters
    ----------
    activations : tuple of str
        The hidden units that are asked about: a column each.
    """

    def __init__(self, activations: tuple[str, ...]) -> None:
        self._activations = activations
        self._row: list[Verdict] = []
        self._begun = False

    def _print_headings(self) -> None:
        units = "".join(name.ljust(WIDTHS[name]) for name in self._activations)
        click.echo(f"{'check':<17}{'dtype':<9}{units}seconds")

    def add(self, verdict: Verdict) -> None:
        """Take the next verdict."""
        self._row.append(verdict)
        if verdict.activation in ("", self._activations[-1]):
            if not self._begun:
                self._print_headings()
                self._begun = True
            self._print_row()
            self._row = []

    def _print_row(self) -> None:
        """Print the outcomes of one check in one dtype; below them, what failed or could not be verified."""
        first = self._row[0]
        click.echo(f"{first.check:<17}{first.dtype:<9}", nl=False)
        for verdict in self._row:
            word, colour = CELLS[verdict.outcome]
            width = WIDTHS[verdict.activation] if verdict.activation else sum(WIDTHS[a] for a in self._activations)
            click.secho(word, fg=colour, nl=False)
            click.echo(" " * (width - len(word)), nl=False)
        click.echo(f"{sum(verdict.seconds for verdict in self._row):7.2f}")
        for verdict in self._row:
            unit = f"{verdict.activation}: " if verdict.activation else ""
            if verdict.outcome == "fail":
                say(f"{unit}{verdict.message}", indent=4)
                say(verdict.reproduce, indent=4)
        reasons = [verdict.message for verdict in self._row if verdict.outcome == "unverified"]
        for reason in dict.fromkeys(reasons):
            say(f"?  {reason}", indent=4)


def print_conclusion(report: Report) -> None:
    """Print what was proved of each hidden unit, how many checks ended how, and whether the backend conforms."""
    units = report.units
    unsupported = {unit.activation for unit in units if unit.outcome == "declined"}
    notes: dict[tuple[str, str], list[str]] = {}
    for verdict in report.verdicts:
        if verdict.outcome == "declined" and verdict.activation not in unsupported:
            notes.setdefault((verdict.check, verdict.message), []).append(verdict.activation)
    for (check, reason), activations in notes.items():
        words = ", ".join(filter(None, dict.fromkeys(activations)))
        say(f"-  {check}: {reason}" + (f" ({words})" if words else ""))
    if units:
        say()
        dtypes = list(dict.fromkeys(unit.dtype for unit in units))
        cells = {(unit.activation, unit.dtype): _words(unit) for unit in units}
        names = dict.fromkeys(unit.activation for unit in units)
        print_table(("unit", *dtypes), [(name, *(cells[name, dtype] for dtype in dtypes)) for name in names])
    count = {outcome: sum(v.outcome == outcome for v in report.verdicts) for outcome in CELLS}
    words = ", ".join(f"{number} {outcome}" for outcome, number in count.items() if number)
    source = f" ({report.distribution} {report.version})" if report.distribution else ""
    say()
    say(f"{report.backend}{source}: {words}. {'It conforms.' if report.passed else 'It does not conform.'}")


def _words(unit: UnitVerdict) -> str:
    """Say in a few words what was found about a hidden unit in one dtype."""
    if unit.outcome == "proved":
        return f"proved by {unit.passed} checks"
    if unit.outcome == "wrong":
        return f"WRONG: {unit.failed} failed, {unit.passed} passed"
    if unit.outcome == "declined":
        return "declined"
    return f"unverified: {unit.passed} passed, {unit.left_out + unit.unverified} not made"
