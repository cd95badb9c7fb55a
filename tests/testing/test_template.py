"""The skeleton of a new backend, the page that explains it, and the kit agree."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sparsae.testing.template import render, write

PAGE = Path(__file__).parents[2] / "docs" / "write-a-backend.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def block_with(text: str) -> str:
    """The one block of the page that contains a text."""
    (found,) = [block for block in BLOCKS if text in block]
    return found


def test_the_page_shows_the_module_that_is_written():
    """Letter by letter."""
    assert block_with("class MineKernel") == render("mine")["sparsae_mine.py"]


def check_installed(folder: Path, name: str) -> str:
    """Run the whole kit by the command on a plugin in a folder, as a user with that folder installed would."""
    info = folder / f"sparsae_{name}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: sparsae-{name}\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[sparsae.backends]\n{name} = sparsae_{name}\n")
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from sparsae.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), "check", name, "--quick"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(folder), "PATH": "", "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("kernel", ["MineKernel", "FasterKernel"])
def test_the_plugin_passes_the_whole_kit_with_either_kernel_of_the_page(tmp_path, kernel):
    """The skeleton as it is written, and with the page's faster kernel pasted below the first one."""
    write("mine", tmp_path / "plugin")
    module = tmp_path / "plugin" / "sparsae_mine.py"
    if kernel == "FasterKernel":
        text = module.read_text().replace("        MineKernel,\n", "        FasterKernel,\n")
        module.write_text(
            text.replace("\n@sparsae.hookimpl", block_with("class FasterKernel") + "\n\n@sparsae.hookimpl")
        )
    said = check_installed(tmp_path / "plugin", "mine")
    assert "fail" not in said.lower().replace("0 failed", "")
