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
from tests.support import simulated

from sparsae.bench.record import RaceRecorder
from sparsae.cli import COMMANDS, cli

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


def report(*words: str, codes: tuple[int, ...] = (0,)) -> Any:
    """What a command prints."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.exit_code in codes, done.output
    return json.loads(done.stdout)


@pytest.mark.usefixtures("folder")
def test_the_page_lists_what_each_report_has() -> None:
    """No key is missing on the page, none there is missing in the report, and types agree."""
    reports = {"train": report("train", "x.npy", "--hidden", "3", "--max-iter", "2", "-o", "m.npz", "--json")}
    reports["info"] = report("info", "m.npz", "--json")
    reports["evaluate"] = report("evaluate", "m.npz", "x.npy", "--json")
    reports["backends"] = report("backends", "numpy", "--json")
    reports["check"] = report("check", "numpy", "--only", "one_block", "--dtype", "float64", "--json", "-")
    reports["encode"] = report("encode", "m.npz", "x.npy", "-o", "codes.npy", "--json")
    reports["reconstruct"] = report("reconstruct", "m.npz", "x.npy", "-o", "again.npy", "--json")
    reports["plot"] = report("plot", "m.npz", "--json")
    reports["export"] = report("export", "m.npz", "arrays", "--format", "npz", "--json")
    reports["import"] = report("import", "arrays", "-o", "i.npz", "--json")
    reports["new-backend"] = report("new-backend", "mine", "--json")
    reports["doctor"] = report("doctor", "--no-measure", "--json", codes=(0, 1))
    for name in ("a", "b"):
        write_record(Path(f"{name}.jsonl"))
    (reports["bench show"],) = report("bench", "show", "a.jsonl", "--json")
    reports["bench compare"] = report("bench", "compare", "a.jsonl", "b.jsonl", "--json")[0]
    compare(reports)


def test_every_command_has_a_report() -> None:
    """A section on the page and the option, of each but `completion`."""
    for name in set(COMMANDS) - {"completion"}:
        command = cli.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        assert "--json" in {word for param in command.params for word in param.opts}, name
        assert documented(f"{name} show" if name == "bench" else name), name


def compare(reports: dict[str, dict[str, Any]]) -> None:
    """Reports have the keys and types of the page."""
    for command, found in reports.items():
        listed = documented(command)
        assert set(found) == set(listed), command
        for key, value in found.items():
            assert value is None or isinstance(value, TYPES[listed[key]]), f"{command}: {key} is {type(value).__name__}"


def write_record(path: Path) -> None:
    """Write the record of a race."""
    with RaceRecorder(path) as recorder:
        for event in simulated.session({"numpy": 1e-6, "dot": 0.8e-6}):
            recorder(event)
