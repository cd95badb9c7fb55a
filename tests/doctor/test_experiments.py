"""The doctor on this machine: real child processes, real variables, the real command."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from sparsae.bench.inputs import product_error
from sparsae.cli import main
from sparsae.doctor import experiments, tasks
from sparsae.doctor.experiments import _TASKS, Experiment, Work, run_experiments
from sparsae.doctor.facts import read_facts
from sparsae.machine import facts as machine
from sparsae.machine.limits import pools


@pytest.mark.parametrize("work", _TASKS)
def test_every_kind_of_work_is_right(work: Work) -> None:
    """What the children time computes what it should, twice in a row."""
    made = getattr(tasks, _TASKS[work])(rows=24, n_visible=40, n_hidden=7)
    made.run()
    assert made.error() <= 1
    assert made.error() <= 1


def test_wrong_powers_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of both powers can fail."""
    for name in ("exp", "exp2"):
        right = getattr(np, name)
        task = tasks.powers_task(rows=5, n_visible=4, n_hidden=3)
        with monkeypatch.context() as patch:
            patch.setattr(np, name, lambda z, out=None, right=right: np.multiply(right(z), 1 + 1e-10, out=out))
            task.run()
        assert task.compare() > 1, name


def test_wrong_products_are_noticed() -> None:
    """The check inside a child can fail: kernels that are fast and wrong are no better setting."""
    a = np.random.default_rng(0).standard_normal((30, 20))
    assert product_error(a, a.T, a @ a.T) <= 1
    assert product_error(a, a.T, (a @ a.T) * (1 + 1e-12)) > 1


@pytest.mark.skipif(not any(p["internal_api"] == "openblas" for p in pools()), reason="NumPy has another BLAS here")
def test_a_variable_reaches_the_child_and_shows_in_its_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variable removed, the library in the child chooses kernels by itself; the parent is as it was."""
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setattr(experiments, "_SIZES", {"64/25": (500, 64, 25)})
    asked = Experiment(key="core", change={"OPENBLAS_CORETYPE": "Nehalem"}, work="products")
    free = Experiment(key="free", change={"OPENBLAS_CORETYPE": None}, work="products")
    shares: list[float] = []
    gains = run_experiments((asked, free), cpus=machine.affinity(), rounds=2, progress=shares.append)
    assert {size: ratio.rounds for size, ratio in gains["core"].ratios.items()} == {"64/25": 2}
    assert (
        set(gains["core"].architectures) != set(gains["free"].architectures) or "x86" not in machine.platform.machine()
    )
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert os.environ["OPENBLAS_CORETYPE"] == "Haswell"


def test_a_child_that_cannot_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The experiment that broke says why, and the others are measured."""
    monkeypatch.setattr(experiments, "_SIZES", {"64/25": (500, 64, 25)})
    broken = Experiment(key="broken", change={"PYTHONHOME": "/nowhere"}, work="powers")
    fine = Experiment(key="fine", change={"SPARSAE_NOTHING": "1"}, work="powers")
    gains = run_experiments((broken, fine), cpus=[], rounds=1)
    assert "ended with code" in gains["broken"].failed
    assert gains["broken"].best is None
    assert gains["fine"].best is not None


def test_the_facts_of_this_machine_are_consistent() -> None:
    """Budget, pools and backends are those that sparsae itself uses."""
    facts = read_facts(seconds=0.05)
    assert 1 <= facts.budget.granted <= facts.available <= (facts.cores or 1)
    assert {"loop", "numpy", "dot"} <= {record.name for record in facts.backends}
    assert {"python", "numpy", "scipy", "threadpoolctl", "sparsae"} <= facts.versions.keys()


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command with these variables, and without those that could be preset here."""
    clean = {k: v for k, v in os.environ.items() if k not in machine.thread_variables()}
    command = [sys.executable, "-c", "from sparsae.cli import main; main()", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=clean | environment)


def test_the_command_prints_findings_and_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A person gets what, why and fix; a program gets the same as JSON; a variable that holds threads back is found."""
    done = run("--no-measure", OMP_NUM_THREADS="1", OPENBLAS_L2_SIZE="512")
    assert "OPENBLAS_L2_SIZE=512 is set" in done.stdout
    assert "fix   unset OPENBLAS_L2_SIZE" in done.stdout
    assert done.stdout.splitlines()[0].startswith("CPU ")
    monkeypatch.setenv("OPENBLAS_L2_SIZE", "512")
    with pytest.raises(SystemExit):
        main(["doctor", "--no-measure", "--json"])
    report = json.loads(capsys.readouterr().out)
    (found,) = [finding for finding in report["findings"] if finding["key"] == "OPENBLAS_L2_SIZE"]
    assert (found["severity"], found["fix"]) == ("warning", "unset OPENBLAS_L2_SIZE")


def test_the_exit_code_follows_the_costly_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 when something costs more than 10 %, else 0, in both forms of output."""
    from click.testing import CliRunner

    import sparsae.doctor
    from sparsae.cli import cli
    from sparsae.doctor import Diagnosis, Facts, Finding
    from sparsae.machine.threads import CpuBudget

    facts = Facts(budget=CpuBudget(1, None, 1))
    dear = Finding(key="it", severity="costs", what="It is dear.", why="So.", cost=1.5, evidence="measured", fix="stop")
    for found, code in (((dear,), 1), ((), 0)):
        diagnosis = Diagnosis(facts=facts, findings=found)
        monkeypatch.setattr(sparsae.doctor, "diagnose", lambda diagnosis=diagnosis, **_: diagnosis)
        for arguments in (["doctor"], ["doctor", "--json"]):
            result = CliRunner().invoke(cli, arguments, standalone_mode=False)
            assert result.return_value == code
        assert ("COSTS 1.50x  It is dear." in CliRunner().invoke(cli, ["doctor"]).output) == bool(found)
