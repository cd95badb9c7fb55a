"""The study of ways of timing that mislead."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.timing_study import MODES, Trial, draw, study


def test_every_mode_runs_on_identical_code(tmp_path):
    """Each mode starts afresh, compares a backend with itself and gives a ratio; the picture shows all of them."""
    seen = []
    trials = study(trials=1, size=(100, 8, 3), rounds=3, progress=seen.append)
    assert [trial.mode for trial in trials] == list(MODES)
    assert seen == trials
    assert all(0.01 < trial.ratio < 100 for trial in trials)
    draw([*trials, Trial("race", 1.5, True)], tmp_path / "study.png")
    assert (tmp_path / "study.png").read_bytes()[:4] == b"\x89PNG"


def test_the_ways_that_mislead_exist_only_in_the_study():
    """No option of the race and no module of the bench knows an unpinned, blocked or in-process mode."""
    told = subprocess.run(
        [sys.executable, "-c", "from sparsae.cli import main; main()", "bench", "--help"],
        capture_output=True,
        text=True,
    ).stdout
    assert "--backends" in told
    bench = Path(__import__("sparsae.bench", fromlist=["bench"]).__file__).parent
    for text in (told, *(path.read_text() for path in bench.rglob("*.py"))):
        for word in ("unpinned", "blocked", '"in process"', "timing_study"):
            assert word not in text.lower()
