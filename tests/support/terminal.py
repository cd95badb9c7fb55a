"""Reads what a process draws on a pseudo-terminal."""

from __future__ import annotations

import os


def read_all(terminal: int) -> bytes:
    """Return everything that is written to the other end until it is closed; closes this end."""
    drawn = b""
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:
            break
        if not piece:
            break
        drawn += piece
    os.close(terminal)
    return drawn
