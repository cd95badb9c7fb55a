"""Compare what no test runs with the reasons in `tests/coverage.toml`: `python -m tests.support.coverage_reasons JSON`.

JSON is what `coverage json` writes.  A line that is not run, and a branch that is not taken, is known by its file and
the text of its line, since numbers change with each edit.
"""

from __future__ import annotations

import fnmatch
import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
REASONS = ROOT / "tests" / "coverage.toml"


def reasons() -> list[dict[str, Any]]:
    """Return the groups of the table: each has `why`, `files` (patterns) and `lines` (texts)."""
    groups: list[dict[str, Any]] = tomllib.loads(REASONS.read_text(encoding="utf-8"))["reason"]
    return groups


def missed(measured: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield file and number of each line that was not run or whose branch was not taken."""
    for name, found in measured["files"].items():
        lines = {*found["missing_lines"], *(start for start, _ in found.get("missing_branches", ()))}
        yield from ((name, line) for line in sorted(lines))


def has_reason(name: str, text: str, groups: list[dict[str, Any]]) -> bool:
    """Return whether a group names the file and the text."""
    return any(
        text in group["lines"] and any(fnmatch.fnmatchcase(name, pattern) for pattern in group["files"])
        for group in groups
    )


def main(path: str) -> int:
    """Print what has no reason; return an exit code."""
    groups, count = reasons(), 0
    for name, line in missed(json.loads(Path(path).read_text(encoding="utf-8"))):
        text = (ROOT / name).read_text(encoding="utf-8").splitlines()[line - 1].strip()
        if not has_reason(name, text, groups):
            count += 1
            print(f"{name}:{line}: {text}")
    print(f"{count} lines that no test runs have no reason in {REASONS.relative_to(ROOT)}")
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
