"""Read the facts, measure what better settings would gain, and apply the rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

from sparsae.bench.timing import BATCH_SECONDS
from sparsae.doctor.experiments import Gain, propose_experiments, run_experiments
from sparsae.doctor.facts import Facts, read_facts
from sparsae.doctor.rules import Finding, find
from sparsae.machine.facts import affinity

QUOTA_BATCH_SECONDS = 0.25  # several periods of 0.1 s of a control group


@final
@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The doctor's report.

    Attributes
    ----------
    facts : Facts
    findings : tuple of Finding
        The most costly first; empty where there is nothing to report.
    gains : mapping of str to Gain
        What was measured.
    """

    facts: Facts
    findings: tuple[Finding, ...]
    gains: Mapping[str, Gain] = field(default_factory=dict)

    @property
    def costly(self) -> tuple[Finding, ...]:
        """The findings that cost more than 10 %."""
        return tuple(finding for finding in self.findings if finding.severity == "costs")

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values that JSON can take."""
        return {
            "facts": self.facts.to_dict(),
            "findings": [finding.to_dict() for finding in self.findings],
            "gains": {key: gain.to_dict() for key, gain in self.gains.items()},
            "costly": [finding.key for finding in self.costly],
        }


def diagnose(
    facts: Facts | None = None,
    *,
    measure: bool = True,
    progress: Callable[[str, float], None] = lambda what, share: None,
) -> Diagnosis:
    """Find what on this machine distorts or slows measurements and fits.

    Parameters
    ----------
    facts : Facts, optional
        Read from this machine when left out.
    measure : bool
        Whether to measure in child processes what a better setting would gain; a few seconds, and only where
        something looks suspicious.
    progress : callable
        Called with what is being done and the share that is done.

    Returns
    -------
    Diagnosis
    """
    progress("reading the facts", 0.0)
    facts = read_facts() if facts is None else facts
    wanted = propose_experiments(facts) if measure else ()
    gains: dict[str, Gain] = {}
    if wanted:
        gains = run_experiments(
            wanted,
            cpus=affinity(),
            batch_seconds=BATCH_SECONDS if facts.budget.cgroup is None else QUOTA_BATCH_SECONDS,
            progress=lambda share: progress("measuring better settings", share),
        )
    return Diagnosis(facts=facts, findings=find(facts, gains), gains=gains)
