"""The interpreter's own switches change no bit and raise nothing: -O, -W error, hash seeds, a C locale."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import hashlib, numpy as np, sparsae
X = np.random.default_rng(0).uniform(0.1, 0.9, (300, 8))
result = sparsae.train(X, 3, threads=2, stop=sparsae.Stop(decrease=1e-2))
sparsae.save("m.npz", result)
again = sparsae.load("m.npz")
assert np.array_equal(again.parameters.W1, result.parameters.W1)
print(hashlib.sha256(result.parameters.flatten().tobytes()).hexdigest(), sorted(result.metrics))
"""
SWITCHES: dict[str, tuple[list[str], dict[str, str]]] = {
    "plain": ([], {}),
    "-O": (["-O"], {}),
    "-W error": (["-W", "error"], {}),
    "hash seed": ([], {"PYTHONHASHSEED": "12345"}),
    "C locale": ([], {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
}


def digest(name: str, folder: Path) -> str:
    """What a fit gives under a switch."""
    folder.mkdir()
    switches, variables = SWITCHES[name]
    command = [sys.executable, *switches, "-c", CODE]
    inherited = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    done = subprocess.run(command, cwd=folder, env=inherited | variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Without any switch."""
    return digest("plain", tmp_path_factory.mktemp("fits") / "plain")


@pytest.mark.parametrize("name", [name for name in SWITCHES if name != "plain"])
def test_a_switch_of_the_interpreter_changes_no_bit(name: str, plain: str, tmp_path: Path) -> None:
    """Training, saving, loading: the same bits, and nothing on standard error."""
    assert digest(name, tmp_path / "fit") == plain
