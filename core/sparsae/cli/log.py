"""What the library logs, as lines on a terminal: what takes time without a sign of it, such as compiling."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def log_as_lines(*, quiet: bool = False) -> Iterator[None]:
    """Show on standard error what the logger "sparsae" is told from level INFO on, where that is a terminal."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    logger, handler = logging.getLogger("sparsae"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("sparsae: %(message)s"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
