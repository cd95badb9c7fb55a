"""How a command ended."""

from __future__ import annotations

from typing import NamedTuple


class Ended(NamedTuple):
    """Exit code, standard output, standard error."""

    code: int
    out: str
    err: str
