"""The shell lines of README.md, in their order: what is cheap is run, the rest is read.

`make prove-readme` runs all of them in a fresh clone and a fresh environment.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from tests.support.readme import ROOT, shell_lines

from sparsae.cli import cli, main

RUN = ("train", "plot", "encode", "evaluate", "backends", "new-backend")  # the others take longer than a test may
READ = ("bench", "doctor", "check")


def test_every_line_works_or_could(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Commands run one after the other in an empty folder; extras, targets and options of the rest exist."""
    monkeypatch.chdir(tmp_path)
    kinds = dict.fromkeys(("run", "read", "pip", "make"), 0)
    for line in shell_lines():
        words = shlex.split(line)
        if words[0] == "sparsae" and words[1] in RUN:
            with pytest.raises(SystemExit) as ended:
                main(words[1:])
            assert not ended.value.code, (line, capsys.readouterr().err)
            kind = "run"
        elif words[0] == "sparsae":
            assert words[1] in READ, line
            command = cli.get_command(None, words[1])  # type: ignore[arg-type]
            command.make_context(words[1], words[2:])  # which refuses unknown options
            kind = "read"
        elif words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE), line
            kind = "make"
        else:
            assert words[:2] == ["pip", "install"], line
            check_installable(words[-1], tmp_path)
            kind = "pip"
        kinds[kind] += 1
    assert min(kinds.values()) > 0, kinds


def check_installable(what: str, folder: Path) -> None:
    """The checkout with extras that it has, or the package that an earlier line has written."""
    extras = re.fullmatch(r"\.\[(.*)\]", what)
    project = folder / what / "pyproject.toml" if extras is None else ROOT / "pyproject.toml"
    declared = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    assert extras is None or set(extras[1].split(",")) <= set(declared["optional-dependencies"]), what
