"""The page about clusters names a test beside each promise: each one is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "scale.md"


def test_every_promise_of_the_page_names_tests_that_exist():
    """The table has a file of tests in each row, and none of them is missing or empty."""
    table = PAGE.read_text().partition("## What is promised")[2].partition("\n\nOther BLAS")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert len(rows) >= 10
    for row in rows:
        files = re.findall(r"tests/[\w/]+\.py", row.rpartition("|")[0].rpartition("|")[2])
        assert files, row
        for file in files:
            text = (ROOT / file).read_text()
            assert "def test_" in text or "/prove/" in file, file
