"""Let child processes that are killed once they have answered write first what they ran; under coverage alone."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from functools import wraps
from typing import Any

from sparsae.plugins import trial_import
from sparsae.testing.process import ChildProcess

PATIENCE = 10.0  # seconds; a child that hangs has been killed before


def is_measured() -> bool:
    """Whether coverage runs in this process."""
    coverage = sys.modules.get("coverage")
    return coverage is not None and coverage.Coverage.current() is not None


def let_children_end() -> None:
    """Wait for children of the conformance kit, and for those that import plugins, before they are killed."""
    close, leave = ChildProcess.close, trial_import._Trial.__exit__

    @wraps(close)
    def finish_and_close(self: ChildProcess) -> None:
        self._send({"end": True})
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
        close(self)

    @wraps(leave)
    def wait_and_leave(self: Any, *error: object) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
        leave(self, *error)

    ChildProcess.close = finish_and_close  # type: ignore[method-assign]
    trial_import._Trial.__exit__ = wait_and_leave  # type: ignore[method-assign]
