"""One thing that the doctor found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, final

Severity = Literal["costs", "warning", "note"]
MUCH = 1.10  # what costs more than 10 % makes the command fail


@final
@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that the doctor found, why it matters, what it costs, and what to do.

    Attributes
    ----------
    key : str
        A name for programs; the same thing always has the same one.
    severity : {"costs", "warning", "note"}
        "costs": more than 10 %. "warning": something is not as it should be. "note": good to know.
    what, why : str
        One or two sentences.
    cost : float or None
        How many times as fast the machine would be without it; None: not known.
    evidence : str
        Where the cost comes from: what was measured, with its spread, or how it was estimated.
    fix : str
        The line to type, or what to do; empty where there is nothing to be done.
    """

    key: str
    severity: Severity
    what: str
    why: str
    cost: float | None = None
    evidence: str = ""
    fix: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as values that JSON can take."""
        return asdict(self)
