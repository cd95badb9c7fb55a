"""Each reason for what no test runs is about lines that there are, and a line without a reason is found."""

from __future__ import annotations

import fnmatch
import json
from pathlib import Path

import pytest
from tests.support.coverage_reasons import ROOT, main, reasons

SOURCES = [
    path.relative_to(ROOT).as_posix()
    for folder in ("core", "backends")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


@pytest.mark.parametrize("group", reasons(), ids=lambda group: group["why"][:40])
def test_each_reason_is_about_lines_that_there_are(group: dict[str, object]) -> None:
    """So that the table loses what the code has lost."""
    chosen: set[str] = set()
    for pattern in group["files"]:
        found = [name for name in SOURCES if fnmatch.fnmatchcase(name, pattern)]
        assert found, f"no file is named {pattern}"
        chosen.update(found)
    texts = {line.strip() for name in chosen for line in (ROOT / name).read_text(encoding="utf-8").splitlines()}
    assert set(group["lines"]) <= texts
    assert len(str(group["why"])) > 40


def test_a_line_without_a_reason_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that was not run, and one whose branch was not taken; nothing is said of what has a reason."""
    name = "core/sparsae/cost.py"
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    first, branch = lines.index("import numpy as np") + 1, 1 + next(i for i, line in enumerate(lines) if "if " in line)
    guard = "if isinstance(error, KeyboardInterrupt) and not self.isolated:"
    checks = [
        line.strip() for line in (ROOT / "core/sparsae/testing/checks.py").read_text(encoding="utf-8").splitlines()
    ]
    kept = {"missing_lines": [checks.index(guard) + 1], "missing_branches": []}
    files = {
        name: {"missing_lines": [first], "missing_branches": [[branch, -1]]},
        "core/sparsae/testing/checks.py": kept,
    }
    file = tmp_path / "coverage.json"
    file.write_text(json.dumps({"files": files}))
    assert main(str(file)) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[:-1] == [f"{name}:{n}: {lines[n - 1].strip()}" for n in sorted((first, branch))]
    file.write_text(json.dumps({"files": {"core/sparsae/testing/checks.py": kept}}))
    assert main(str(file)) == 0
