"""`sparsae doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sparsae._text import plural
from sparsae.cli.command import Command
from sparsae.cli.report import print_facts, print_json, say

if TYPE_CHECKING:
    from sparsae.doctor import Diagnosis, Facts, Finding

_COLOURS = {"costs": "red", "warning": "yellow", "note": "cyan"}


@click.command(cls=Command, examples=("sparsae doctor", "sparsae doctor --no-measure --json"))
@click.option("--json", "as_json", is_flag=True, help="Print a report for programs.")
@click.option(
    "--measure/--no-measure", default=True, help="Measure what better settings would gain.", show_default=True
)
def doctor(*, as_json: bool, measure: bool) -> int:
    """Say what this machine will do to your numbers, what it costs, and the line that fixes it.

    Exit code 1 when something costs more than 10 %.
    """
    from sparsae.cli.progress import progress_bar
    from sparsae.doctor import diagnose

    with progress_bar() as show:
        diagnosis = diagnose(measure=measure, progress=show)
    if as_json:
        print_json(diagnosis.to_dict())
    else:
        _print(diagnosis)
    return 1 if diagnosis.costly else 0


def _print(diagnosis: Diagnosis) -> None:
    """Print facts, findings, and which of them are costly."""
    print_facts(_summary(diagnosis.facts))
    for finding in diagnosis.findings:
        say()
        _print_finding(finding)
    say()
    costly = [finding.key for finding in diagnosis.costly]
    say(f"More than 10 %: {', '.join(costly)}." if costly else "Nothing costs more than 10 %.")


def _summary(facts: Facts) -> dict[str, Any]:
    """Return the facts in a few lines."""
    budget = facts.budget
    quota = "no quota" if budget.cgroup is None else f"quota {budget.cgroup:g}"
    limit = "" if budget.pool_limit is None else f", pools limited to {budget.pool_limit}"
    summary = {
        "CPU": f"{facts.cpu} ({facts.machine})",
        "CPUs": f"{facts.cores or '?'}, {budget.affinity} by affinity, {quota}{limit}: budget {budget.granted}",
    }
    for number, pool in enumerate(facts.pools, start=1):
        kernels = f", {pool['architecture']} kernels" if pool["architecture"] else ""
        words = f"{pool['internal_api']} {pool['version'] or ''}".strip()
        summary[f"pool {number}"] = f"{words}{kernels}, {plural(pool['num_threads'], 'thread')}, {pool['library']}"
    if facts.others is not None:
        steal = f", steal {facts.steal:.1%}" if facts.steal is not None else ""
        summary["busy"] = f"{facts.others:.1f} CPUs in use by others{steal}"
    summary["backends"] = ", ".join(f"{b.name}" + f" ({b.state})" * (b.state != "ready") for b in facts.backends)
    summary["versions"] = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    return summary


def _print_finding(finding: Finding) -> None:
    """Print what, why, what it costs, and the fix."""
    cost = f" {finding.cost:.2f}x" if finding.severity == "costs" and finding.cost else ""
    click.secho(f"{finding.severity.upper()}{cost}", fg=_COLOURS[finding.severity], bold=True, nl=False)
    say(finding.what, indent=2)
    for name, text in (("why", finding.why), ("cost", finding.evidence), ("fix", finding.fix)):
        if text:
            say(f"{name:<5} {text}", indent=2)
