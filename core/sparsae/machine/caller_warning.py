"""Warnings that point at the line of the program that called sparsae, however deep inside they arise."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

_PACKAGE = str(Path(__file__).parents[1]) + os.sep


def warn_caller(warning: Warning) -> None:
    """Give a warning that points at the first line outside of sparsae.

    What goes wrong while it is shown (a full disk, a closed standard error) is ignored.

    Raises
    ------
    Warning
        The warning itself, where the program has turned warnings into errors.
    """
    try:
        warnings.warn(warning, stacklevel=_caller_level())
    except Warning as raised:
        if raised is warning:
            raise
    except Exception:  # noqa: BLE001, S110 (whatever shows warnings may fail in any way)
        pass


def _caller_level() -> int:
    """Return the stack level of the first frame outside of the package, as seen from the caller."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
        level += 1
    return level
