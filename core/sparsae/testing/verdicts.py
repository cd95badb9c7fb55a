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
    outcome : {"pass", "fail", "unverified", "declined"}
        "unverified": could not be checked here; "declined": the backend does not support the dtype.
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
    outcome: Outcome
    message: str
    reproduce: str
    kernel_calls: int
    seconds: float


@final
@dataclass(frozen=True)
class Report:
    """All verdicts on one backend."""

    backend: str
    distribution: str
    version: str
    verdicts: tuple[Verdict, ...]

    @property
    def passed(self) -> bool:
        """Whether something was checked and nothing failed."""
        outcomes = {verdict.outcome for verdict in self.verdicts}
        return "fail" not in outcomes and "pass" in outcomes

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can take."""
        return {
            "sparsae": __version__,
            "numpy": np.__version__,
            "backend": self.backend,
            "distribution": self.distribution,
            "version": self.version,
            "passed": self.passed,
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
        }
