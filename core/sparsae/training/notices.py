"""Warnings during a fit: they point at the caller's line, and they never end the fit."""

from __future__ import annotations

import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import final

_PACKAGE = str(Path(__file__).parents[1])


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


@final
class Notices:
    """Things to say while a fit runs: each is a warning once, and a note in the receipt.

    Where the warning cannot be given, or the program turns warnings into errors, the note remains and the fit goes on.

    Attributes
    ----------
    notes : list of str
        Everything said so far.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []

    def say(self, warning: Warning) -> None:
        """Give a warning and keep its text."""
        self.notes.append(str(warning))
        with suppress(Warning):  # an error by the program's own filter; a fit of hours does not end for it
            warn_caller(warning)


def _caller_level() -> int:
    """Return the stack level of the first frame outside of the package, as seen from the caller."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
        level += 1
    return level
