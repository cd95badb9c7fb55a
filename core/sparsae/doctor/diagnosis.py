"""Look at the machine, measure what looks dear, and say what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

from sparsae.bench.rounds import BATCH_SECONDS
from sparsae.doctor.experiments import Gain, run_experiments
from sparsae.doctor.facts import Facts, read_facts
from sparsae.doctor.finding import Finding
from sparsae.doctor.rules import experiments, findings
from sparsae.machine.facts import affinity

QUOTA_BATCH_SECONDS = 0.25


@final
@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What the doctor says.

    Attributes
    ----------
    facts : Facts
    findings : tuple of Finding
        The dear ones first; empty when all is well.
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
    """Say what this machine will do to your numbers.

    Parameters
    ----------
    facts : Facts, optional
        What to judge; read from this machine when left out.
    measure : bool
        Whether to measure in child processes what a better setting would gain; a few seconds, and only where
        something looks suspicious.
    progress : callable
        Called with what is being done and the share that is done.

    Returns
    -------
    Diagnosis
    """
    progress("looking at the machine", 0.0)
    facts = read_facts() if facts is None else facts
    wanted = experiments(facts) if measure else ()
    gains: dict[str, Gain] = {}
    if wanted:
        gains = run_experiments(
            wanted,
            cpus=affinity(),
            batch_seconds=BATCH_SECONDS if facts.budget.cgroup is None else QUOTA_BATCH_SECONDS,
            progress=lambda share: progress("measuring better settings", share),
        )
    return Diagnosis(facts=facts, findings=findings(facts, gains), gains=gains)
