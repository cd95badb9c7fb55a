"""Files in which the system describes itself."""

from __future__ import annotations

from pathlib import Path


def read_system_file(path: Path) -> str:
    """Return the file's text, or nothing where it cannot be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
