"""What macOS and Windows lack degrades with a sentence: a session of commands on systems that Linux plays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
SESSION = """
import sys
from tests.support.platforms import simulate
simulate(sys.argv[1])
from sparsae.cli import main
def run(line):
    print("$", line, flush=True)
    try:
        main(line.split())
    except SystemExit as end:
        print("exit", end.code, flush=True)
run("train x.npy --hidden 4 --max-iter 4 -o m.npz --checkpoint run --checkpoint-every 2 --threads 2 --quiet")
run("train x.npy --hidden 4 --max-iter 6 -o n.npz --checkpoint run --resume --log log.jsonl --quiet")
run("train x.npy --hidden 4 --method adam --max-iter 2 -o n.npz --force --quiet")
run("encode m.npz x.npy -o codes.csv")
run("evaluate m.npz x.npy")
run("train x.csv --hidden 3 --max-iter 2 -o c.npz --quiet")
run("train missing.npy -o c.npz")
run("backends")
run("check numpy --quick --only reference --only thread_limit --dtype float64")
run("new-backend mine --dir .")
run("bench --backends numpy --size 300x8x4 --rounds 2 --launches 1 --case objective --threads 1 --json race.jsonl")
run("bench show race.jsonl")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems play themselves")
@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_the_commands_work_on_a_system_that_lacks_what_linux_has(system: str, tmp_path: Path) -> None:
    """Affinity, /proc, unnamed files, fcntl, resource, fork, signals: all gone, and no command fails."""
    rows = np.random.default_rng(0).uniform(0.1, 0.9, (300, 8))
    np.save(tmp_path / "x.npy", rows)
    np.savetxt(tmp_path / "x.csv", rows, delimiter=",")
    done = subprocess.run(
        [sys.executable, "-c", SESSION, system],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    codes = [line for line in done.stdout.splitlines() if line.startswith("exit ")]
    assert codes == ["exit 0"] * 6 + ["exit 2"] + ["exit 0"] * 5, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "unverified (this system does not report what it demanded)" in done.stdout
    assert np.loadtxt(tmp_path / "codes.csv", delimiter=",", skiprows=1).shape == (300, 4)
    assert not list(tmp_path.glob("*.part*")) + list(tmp_path.glob(".*"))


def test_a_failure_of_the_package_is_told_from_one_of_a_test() -> None:
    """The plugin skips where a line of the tests calls what the system lacks, and nowhere else."""
    from tests.support.simulated_platform import missing_in_the_test

    found = []
    for module in (ModuleType("os"), ModuleType("other")):
        for name in ("fork", "other"):
            with pytest.raises(AttributeError) as caught:
                getattr(module, name)
            found.append(missing_in_the_test(caught.value))
    assert found == ["fork", None, "fork", None]
    elsewhere: dict[str, Any] = {"os": ModuleType("os")}
    exec(compile("def call():\n    os.fork", "/package/module.py", "exec"), elsewhere)
    with pytest.raises(AttributeError) as caught:
        elsewhere["call"]()
    assert missing_in_the_test(caught.value) is None
