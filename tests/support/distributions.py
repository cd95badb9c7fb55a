"""Distributions with plugins, written into a folder that a fresh process has on its path."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

GOOD = """
import sparsae
import numpy as np

class Good(sparsae.SimpleKernel):
    def backprop(self, a1, a2, a3, W2, sparsity, target):
        delta3 = (a3 - target) * a3 * (1 - a3)
        delta2 = (delta3 @ W2 + sparsity) * a2 * (1 - a2)
        return sparsae.Parameters(delta2.T @ a1, delta2.sum(0), delta3.T @ a2, delta3.sum(0))

@sparsae.hookimpl
def sparsae_backend():
    return sparsae.Backend("NAME", Good, summary="a good one", threading="workers"MORE)
"""


def good(name: str, more: str = "") -> str:
    """The source of a correct plugin."""
    return GOOD.replace("NAME", name).replace("MORE", f", {more}" if more else "")


def install(
    folder: Path, distribution: str, sources: dict[str, str], *, points: str | None = None, version: str = "1.2"
) -> None:
    """Write a distribution: each entry point is the name of a module with that source."""
    info = folder / f"{distribution}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    lines = points or "".join(f"{name} = mod_{distribution}_{number}\n" for number, name in enumerate(sources))
    (info / "entry_points.txt").write_text(f"[sparsae.backends]\n{lines}")
    for number, source in enumerate(sources.values()):
        (folder / f"mod_{distribution}_{number}.py").write_text(textwrap.dedent(source))


def run(folder: Path, code: str, **variables: str) -> str:
    """Run code in a fresh process that sees the folder's distributions; return what it printed."""
    paths = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env=os.environ | {"PYTHONPATH": paths} | variables,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def states(folder: Path, **variables: str) -> dict[str, tuple[str, str]]:
    """State and error of each third-party record."""
    code = """
    import json, sparsae
    print(json.dumps([(r.name, r.state, str(r.error or "")) for r in sparsae.list_backends() if not r.bundled]))
    """
    return {name: (state, error) for name, state, error in json.loads(run(folder, code, **variables))}
