"""What `sparsae check` prints: a column for each hidden unit, and what was proved of each, in 80 columns."""

from __future__ import annotations

import json

from sparsae._types import ACTIVATIONS
from sparsae.cli.check_table import CheckTable, print_conclusion
from sparsae.testing import Report, Verdict


def verdict(check, activation, outcome="pass", message="it was right", dtype="float64"):
    """One verdict."""
    return Verdict(check, dtype, activation, outcome, message, f"sparsae check mine --only {check}", 7, 123.456)


def printed(capsys, verdicts, units=ACTIVATIONS):
    """What is printed for these verdicts, when the kit has two checks for each unit."""
    table = CheckTable(units)
    for one in verdicts:
        table.add(one)
    print_conclusion(Report("mine", "sparsae-mine", "0.1.0", tuple(verdicts), 2))
    return capsys.readouterr().out.splitlines()


def test_a_row_has_a_verdict_for_each_unit_and_fits_80_columns(capsys):
    """Pass, fail, declined and unverified; what failed stands below its row with the way to see it again."""
    outcomes = ("pass", "fail", "declined", "unverified", "pass")
    rows = [
        verdict("inputs_untouched", unit, outcome, "it supports relu" if outcome == "declined" else f"about {unit}")
        for unit, outcome in zip(ACTIVATIONS, outcomes, strict=True)
    ]
    lines = printed(capsys, [verdict("global_state", ""), *rows])
    assert lines[0].split() == ["check", "dtype", *ACTIVATIONS, "seconds"]
    assert lines[1].split() == ["global_state", "float64", "PASS", "123.46"]
    assert lines[2].split() == ["inputs_untouched", "float64", "PASS", "FAIL", "-", "?", "PASS", "617.28"]
    assert lines[3].strip() == "relu: about relu"
    assert lines[4].strip() == "sparsae check mine --only inputs_untouched"
    assert lines[5].strip() == "?  about batchtopk"
    assert [line[: len(unit)] for line, unit in zip(lines[-7:-2], ACTIVATIONS, strict=True)] == list(ACTIVATIONS)
    assert max(map(len, lines[:-1])) <= 80
    for word in ("PASS", "FAIL", "-", "?"):
        at = lines[2].index(word)
        assert lines[0][at] != " ", word  # below the unit that it belongs to


def test_the_conclusion_says_of_each_unit_whether_it_was_proved(capsys):
    """Proved, wrong, declined, unverified because checks were left out or could not be made."""
    found = {
        "sigmoid": ("pass", "pass"),
        "relu": ("pass", "fail"),
        "topk": ("declined", "declined"),
        "batchtopk": ("pass",),
        "jumprelu": ("pass", "unverified"),
    }
    verdicts = [
        verdict(("first", "second")[number], unit, outcome)
        for number in (0, 1)
        for unit, outcomes in found.items()
        for outcome in outcomes[number : number + 1]
    ]
    report = Report("mine", "", "", tuple(verdicts), 2)
    assert {unit.activation: unit.outcome for unit in report.units} == {
        "sigmoid": "proved", "relu": "wrong", "topk": "declined", "batchtopk": "unverified", "jumprelu": "unverified",
    }  # fmt: skip
    print_conclusion(report)
    lines = capsys.readouterr().out.splitlines()
    said = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines if line.split()[:1] and " " in line}
    assert said["sigmoid"] == "proved by 2 checks"
    assert said["relu"] == "WRONG: 1 failed, 1 passed"
    assert said["topk"] == "declined"
    assert said["batchtopk"] == "unverified: 1 passed, 1 not made"
    assert said["jumprelu"] == "unverified: 1 passed, 1 not made"
    assert lines[-1] == "mine: 5 pass, 1 fail, 1 unverified, 2 declined. It does not conform."


def test_what_a_kernel_does_not_offer_is_said_once(capsys):
    """Not for the units that the backend does not support at all."""
    verdicts = [
        verdict(check, unit, "declined" if unit == "relu" or check == "direct_sums" else "pass", "it has none")
        for check in ("direct_sums", "reference")
        for unit in ("relu", "topk", "jumprelu")
    ]
    lines = printed(capsys, verdicts, ("relu", "topk", "jumprelu"))
    assert [line for line in lines if "it has none" in line] == ["-  direct_sums: it has none (topk, jumprelu)"]


def test_the_command_checks_the_units_asked_for_and_reports_them_as_json(run):
    """--activation may be repeated; the report has what was proved and each verdict's unit."""
    words = ["check", "dot", "--quick", "--only", "one_block", "--dtype", "float32"]
    units = ["--activation", "topk", "--activation", "jumprelu"]
    done = run(*words, *units, "--json", "-")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert [(v["activation"], v["outcome"]) for v in report["verdicts"]] == [("topk", "pass"), ("jumprelu", "declined")]
    assert [(u["activation"], u["outcome"]) for u in report["units"]] == [
        ("topk", "unverified"),
        ("jumprelu", "declined"),
    ]
    assert (
        report["verdicts"][0]["reproduce"]
        == "sparsae check dot --only one_block --dtype float32 --activation topk --quick"
    )
    done = run(*words, *units[2:])
    assert done.code == 1
    assert "jumprelu  declined" in done.out
    done = run("check", "dot", "--activation", "gelu")
    assert done.code == 2
    assert "No hidden unit named 'gelu'; there are: sigmoid, relu, topk, batchtopk, jumprelu." in done.err
