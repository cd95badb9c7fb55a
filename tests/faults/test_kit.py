"""The conformance kit cannot be passed without being right: registered plugins, checked by the command.

Each check that ends is a process that loads everything anew, a whole kit of them in each test here: all but two are
`prove`.  tests/testing/test_child_process.py has each of these faults in one check.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = """
import os, sys, signal, time, ctypes
import numpy as np
import sparsae

class Kernel(sparsae.SimpleKernel):
    def backprop(self, a1, a2, a3, W2, sparsity, target):
        {body}
        delta3 = (a3 - target) * (a3 * (1 - a3) if self.problem.output == "sigmoid" else 1)  # (m, n)
        delta2 = (delta3 @ W2 + sparsity) * a2 * (1 - a2)  # (m, p)
        sums = delta2.T @ a1, delta2.sum(0), delta3.T @ a2, delta3.sum(0)
        return sparsae.Parameters(*(part{scale} for part in sums))

@sparsae.hookimpl
def sparsae_backend():
    return sparsae.Backend("suspect", Kernel, outputs=("sigmoid", "linear"))
"""


@pytest.fixture
def check(tmp_path: Path):
    """Register a plugin called suspect and run ``sparsae check suspect`` in a process of its own."""

    def call(body: str = "pass", scale: str = "") -> tuple[int, str]:
        (tmp_path / "suspect_plugin.py").write_text(PLUGIN.format(body=body, scale=scale))
        info = tmp_path / "suspect-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: suspect\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[sparsae.backends]\nsuspect = suspect_plugin\n")
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "sparsae", "check", "suspect", "--quick", "--time-limit", "20"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=500, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}
        )
        return done.returncode, done.stdout + done.stderr

    return call


def test_the_correct_twin_passes(check) -> None:
    """The plugin without a fault is accepted."""
    code, said = check()
    assert code == 0, said


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("os._exit(0)", marks=pytest.mark.prove),
        pytest.param("sys.exit(0)", marks=pytest.mark.prove),
        pytest.param("raise KeyboardInterrupt", marks=pytest.mark.prove),
        pytest.param("raise GeneratorExit", marks=pytest.mark.prove),
        pytest.param("ctypes.string_at(0)", marks=pytest.mark.prove),
        pytest.param("os.kill(os.getpid(), signal.SIGKILL)", marks=pytest.mark.prove),
        pytest.param("time.sleep(3600)", marks=pytest.mark.prove),
    ],
)
def test_a_kernel_that_ends_or_stops_the_process_fails(check, body: str) -> None:
    """Exit code 1, the verdict says FAIL and names a check."""
    code, said = check(body)
    assert code == 1, said
    assert "fail" in said.lower()
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("np.seterr(over='raise')", marks=pytest.mark.prove),
        pytest.param("np.set_printoptions(precision=3)", marks=pytest.mark.prove),
        pytest.param("os.environ['SUSPECT_SECRET'] = 'hunter2'", marks=pytest.mark.prove),
        pytest.param("os.chdir('/')", marks=pytest.mark.prove),
        pytest.param("os.umask(0o011)", marks=pytest.mark.prove),
        pytest.param("np.random.seed(3)", marks=pytest.mark.prove),
        pytest.param("import random; random.seed(3)", marks=pytest.mark.prove),
        pytest.param("import gc; gc.disable()", marks=pytest.mark.prove),
        pytest.param("sys.setrecursionlimit(12345)", marks=pytest.mark.prove),
        pytest.param("sys.setswitchinterval(0.1)", marks=pytest.mark.prove),
        pytest.param("import warnings; warnings.simplefilter('ignore')", marks=pytest.mark.prove),
        pytest.param("signal.signal(signal.SIGUSR1, signal.SIG_IGN)", marks=pytest.mark.prove),
        pytest.param("sys.path.append('/nowhere')", marks=pytest.mark.prove),
        pytest.param("import logging; logging.getLogger().setLevel(5)", marks=pytest.mark.prove),
        pytest.param(
            "import threading; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
            marks=pytest.mark.prove,
        ),
        pytest.param("self.__class__.kept = open(os.devnull)", marks=pytest.mark.prove),
        pytest.param("os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})", marks=pytest.mark.prove),
        pytest.param("print('hello')", marks=pytest.mark.prove),
    ],
)
def test_a_kernel_that_changes_the_process_fails(check, body: str) -> None:
    """Each persistent change of process-global state is noticed; values of the environment are not printed."""
    code, said = check(
        body if "signal.signal" not in body else f"\n        try: {body}\n        except ValueError: pass"
    )
    assert code == 1, said
    assert "hunter2" not in said


def test_means_instead_of_sums_are_recognised(check) -> None:
    """The kit says that the sums are too small by the number of rows."""
    code, said = check(scale=" / len(a1)")
    assert code == 1
    assert "mean" in said
