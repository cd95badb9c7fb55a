"""What the kit reports: a verdict for each check, and all of them on one backend."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, final

import numpy as np

from sparsae.version import __version__

Outcome = Literal["pass", "fail", "unverified", "declined"]


@final
@dataclass(frozen=True)
class Verdict:
    """What one check found.

    Attributes
    ----------
    check, dtype : str
    activation : str
        The hidden unit; empty for a check of the whole backend.
    outcome : {"pass", "fail", "unverified", "declined"}
        "unverified": could not be checked here; "declined": the backend does not support the dtype or the hidden unit,
        or does not offer what the check is about.
    message : str
        What failed, by how much, on which input; or what was checked.
    reproduce : str
        The command that does it again.
    kernel_calls : int
        How often the kernel was called.
    seconds : float
    """

    check: str
    dtype: str
    activation: str
    outcome: Outcome
    message: str
    reproduce: str
    kernel_calls: int
    seconds: float


@final
@dataclass(frozen=True)
class UnitVerdict:
    """What the checks found about one hidden unit in one dtype.

    Attributes
    ----------
    activation, dtype : str
    outcome : {"proved", "wrong", "declined", "unverified"}
        "proved": every check of the unit was made, and none failed; "wrong": one failed; "declined": the backend does
        not support it; "unverified": checks were left out, or could not be made here.
    passed, failed, unverified, left_out : int
        Numbers of checks.
    """

    activation: str
    dtype: str
    outcome: Literal["proved", "wrong", "declined", "unverified"]
    passed: int
    failed: int
    unverified: int
    left_out: int


@final
@dataclass(frozen=True)
class Report:
    """All verdicts on one backend.

    Attributes
    ----------
    backend, distribution, version : str
    verdicts : tuple of Verdict
    unit_checks : int
        How many checks the kit has for each hidden unit.
    """

    backend: str
    distribution: str
    version: str
    verdicts: tuple[Verdict, ...]
    unit_checks: int

    @property
    def passed(self) -> bool:
        """Whether something was checked and nothing failed; each dtype and unit asked for may have been declined."""
        outcomes = {verdict.outcome for verdict in self.verdicts}
        return "fail" not in outcomes and "pass" in outcomes

    @property
    def units(self) -> tuple[UnitVerdict, ...]:
        """For each hidden unit and dtype whether it was proved; in the order of the verdicts."""
        return tuple(
            self._unit(*key) for key in dict.fromkeys((v.activation, v.dtype) for v in self.verdicts) if key[0]
        )

    def _unit(self, activation: str, dtype: str) -> UnitVerdict:
        outcomes = [v.outcome for v in self.verdicts if (v.activation, v.dtype) == (activation, dtype)]
        passed, failed, unverified = (outcomes.count(outcome) for outcome in ("pass", "fail", "unverified"))
        left_out = self.unit_checks - len(outcomes)
        outcome: Literal["proved", "wrong", "declined", "unverified"] = "proved"
        if failed:
            outcome = "wrong"
        elif not passed and not unverified:
            outcome = "declined"
        elif unverified or left_out:
            outcome = "unverified"
        return UnitVerdict(activation, dtype, outcome, passed, failed, unverified, left_out)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can take."""
        return {
            "sparsae": __version__,
            "numpy": np.__version__,
            "backend": self.backend,
            "distribution": self.distribution,
            "version": self.version,
            "passed": self.passed,
            "units": [asdict(unit) for unit in self.units],
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
        }
