"""The conformance kit: proves that a backend computes what it should, on every input that it will meet.

``sparsae check NAME`` prints its verdicts; in a test file, subclass `BackendConformance` with one attribute::

    class TestMine(sparsae.testing.BackendConformance):
        backend = "mine"

It needs no repository, and it checks by raising, never by ``assert``, so that ``python -O`` changes no verdict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparsae.testing.runner import check as check
from sparsae.testing.verdicts import Report as Report
from sparsae.testing.verdicts import Verdict as Verdict

if TYPE_CHECKING:
    from sparsae.testing.conformance import BackendConformance as BackendConformance

__all__ = ["BackendConformance", "Report", "Verdict", "check"]


def __getattr__(name: str) -> Any:
    """Import `BackendConformance`, and with it pytest, when it is asked for."""
    if name == "BackendConformance":
        from sparsae.testing.conformance import BackendConformance

        return BackendConformance
    raise AttributeError(f"module 'sparsae.testing' has no attribute {name!r}")
