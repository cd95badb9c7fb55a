"""`sparsae bench --question`: tables for a person, Markdown for a pipe, JSON for a program."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

import sparsae.bench.question
from sparsae.bench.question import QuestionReport
from sparsae.bench.question.report import QuestionRow
from sparsae.bench.statistics import PairedRatio
from sparsae.cli import cli
from sparsae.cli.question_table import print_question


def row(key: str, times: float) -> QuestionRow:
    return QuestionRow(
        key=key,
        label=f"way {key}",
        threads=1,
        seconds=0.1 / times,
        ratio=PairedRatio(times, times, times, 3, 3),
        error_before=0.1,
        error_after=0.2,
    )


def report(*, interrupted: bool = False) -> QuestionReport:
    return QuestionReport(
        size=(10, 3, 2),
        ways=(row("asked", 1), row("vectorised", 20)),
        scratch=(row("order", 1),),
        orders=(row("CC", 1),),
        left_out={"Octave": "octave-cli is not installed"},
        rounds=3,
        launches=1,
        seed=0,
        interrupted=interrupted,
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What the command asked `run_question` for, which here takes no time."""
    calls: list[dict[str, object]] = []

    def run(**given: object) -> QuestionReport:
        calls.append(given)
        return report(interrupted=given["seed"] == 99)

    monkeypatch.setattr(sparsae.bench.question, "run_question", run)
    return calls


def test_a_pipe_gets_markdown_and_json_a_file(asked: list[dict[str, object]], tmp_path: Path) -> None:
    """Tables with the published ratios beside ours; the file holds the same numbers."""
    file = tmp_path / "q.json"
    result = CliRunner().invoke(cli, ["bench", "--question", "--quick", "--json", str(file)])
    assert result.exit_code == 0, result.output
    assert "| way vectorised | 1 | 5 | 20 [20, 20] | 6.8 (72.6 ms" in result.output
    assert "Left out: Octave: octave-cli is not installed." in result.output
    assert json.loads(file.read_text())["ways"][1]["ratio"]["median"] == 20
    assert (asked[0]["rounds"], asked[0]["launches"]) == (4, 1)


def test_files_are_not_replaced_unasked(asked: list[dict[str, object]], tmp_path: Path) -> None:
    """An existing file is refused before anything is measured; --force replaces it."""
    file = tmp_path / "q.json"
    file.write_text("precious")
    result = CliRunner().invoke(cli, ["bench", "--question", "--json", str(file)], catch_exceptions=False)
    assert (result.exit_code, "use another name, or --force." in result.output) == (2, True), result.output
    assert asked == []
    CliRunner().invoke(cli, ["bench", "--question", "--json", str(file), "--force"], catch_exceptions=False)
    assert json.loads(file.read_text())["size"] == [10, 3, 2]


def test_pictures_belong_to_the_race(asked: list[dict[str, object]]) -> None:
    """--plot and --html with --question are refused, not ignored."""
    result = CliRunner().invoke(cli, ["bench", "--question", "--html", "q.html"], catch_exceptions=False)
    assert (result.exit_code, "belong to the race" in result.output) == (2, True), result.output


def test_an_interrupted_replay_says_so_in_its_exit_code(asked: list[dict[str, object]]) -> None:
    """130, as shells expect, with the table of what was measured."""
    result = CliRunner().invoke(cli, ["bench", "--question", "--seed", "99"], standalone_mode=False)
    assert result.return_value == 130
    assert "Interrupted" in result.output


def test_a_terminal_gets_tables() -> None:
    """On a terminal the tables are drawn; nothing of the Markdown is left."""
    out = io.StringIO()
    print_question(report(), Console(file=out, force_terminal=True, width=150, color_system=None))
    assert "way vectorised" in out.getvalue()
    assert "20 [20, 20]" in out.getvalue()
    assert "| ---" not in out.getvalue()
