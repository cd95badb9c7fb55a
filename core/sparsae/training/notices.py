"""Notices during a fit: warnings that never end it, kept for the receipt."""

from __future__ import annotations

from contextlib import suppress
from typing import final

from sparsae.machine.caller_warning import warn_caller


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
