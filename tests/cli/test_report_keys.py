"""docs/reports.md lists the keys that reports for programs have, with their types."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from sparsae.cli import cli

PAGE = Path(__file__).parents[2] / "docs" / "reports.md"
TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "object": dict, "array": list}


def documented(command: str) -> dict[str, str]:
    """The keys of a command on the page, with the names of their types."""
    text = PAGE.read_text(encoding="utf-8").partition("<!-- reports:end -->")[0]
    section = re.search(rf"^## sparsae {command}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section is not None, f"{PAGE.name} has no section about {command}"
    return dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", section[1], re.MULTILINE))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With 60 rows."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).uniform(0.1, 0.9, (60, 6)))
    return tmp_path


def report(*words: str) -> Any:
    """What a command prints."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.usefixtures("folder")
def test_the_page_lists_what_each_report_has() -> None:
    """No key is missing on the page, none there is missing in the report, and types agree."""
    reports = {"train": report("train", "x.npy", "--hidden", "3", "--max-iter", "2", "-o", "m.npz", "--json")}
    reports["info"] = report("info", "m.npz", "--json")
    reports["evaluate"] = report("evaluate", "m.npz", "x.npy", "--json")
    reports["backends"] = report("backends", "numpy", "--json")
    reports["check"] = report("check", "numpy", "--only", "one_block", "--dtype", "float64", "--json", "-")
    for command, found in reports.items():
        listed = documented(command)
        assert set(found) == set(listed), command
        for key, value in found.items():
            assert isinstance(value, TYPES[listed[key]]), f"{command}: {key} is {type(value).__name__}"
