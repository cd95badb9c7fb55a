"""Text from plugins, files and records reaches no terminal, log or page with control characters or markup."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EVIL = "\x1b]0;owned\x07\x1b[2J[red]x[/x]\u202e\nsecond line"


def plugin_environment(tmp_path: Path, summary: str) -> dict[str, str]:
    """An environment in which a plugin with this summary is installed."""
    (tmp_path / "evil_plugin.py").write_text(
        "import sparsae\n"
        "class K(sparsae.SimpleKernel):\n"
        "    def backprop(self, *a): raise ValueError(" + repr(EVIL) + ")\n"
        "@sparsae.hookimpl\n"
        f"def sparsae_backend(): return sparsae.Backend('evil', K, summary={summary!r})\n"
    )
    info = tmp_path / "evil-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[sparsae.backends]\nevil = evil_plugin\n")
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}


@pytest.mark.parametrize(
    "words",
    [
        ("backends",),
        ("backends", "--json"),
        ("check", "evil", "--quick"),
        ("train", "rows.npy", "--backend", "evil", "--hidden", "2", "--max-iter", "1"),
    ],
)
def test_what_a_plugin_says_is_printed_plainly(tmp_path: Path, words: tuple[str, ...]) -> None:
    """No escape, no other control character than the newline, in any output."""
    np.save(tmp_path / "rows.npy", np.full((9, 4), 0.5))
    done = subprocess.run(
        [sys.executable, "-m", "sparsae", *words],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env=plugin_environment(tmp_path, EVIL),
    )
    said = done.stdout + done.stderr
    assert "evil" in said
    assert not [c for c in said if (ord(c) < 32 and c not in "\n\t") or ord(c) in (127, 0x202E)], repr(said)
    assert "Traceback" not in said


def test_names_of_files_and_columns_are_printed_plainly(run, tmp_path: Path) -> None:
    """A file name and a column name with escapes."""
    path = tmp_path / "x\x1b[31m.csv"
    path.write_text("a\x1b[2J,b\n0.1,oops\n")
    said = run("train", path)
    assert said.code == 2
    assert "\x1b" not in said.out + said.err
    said = run("train", tmp_path / "no\x1b[31m.csv")
    assert "\x1b" not in said.out + said.err
