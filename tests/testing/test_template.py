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


def check_installed(folder: Path, name: str, dtype: str) -> str:
    """Run the whole kit in one dtype by the command on a plugin in a folder, as a user who installed it would."""
    info = folder / f"sparsae_{name}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: sparsae-{name}\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[sparsae.backends]\n{name} = sparsae_{name}\n")
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from sparsae.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), "check", name, "--quick", "--dtype", dtype],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(folder), "PATH": "", "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(("kernel", "dtype"), [("MineKernel", "float64"), ("FasterKernel", "float32")])
def test_the_plugin_passes_the_whole_kit_with_either_kernel_of_the_page(tmp_path, kernel, dtype):
    """The skeleton as it is written, and with the page's faster kernel pasted below the first one: every unit."""
    write("mine", tmp_path / "plugin")
    module = tmp_path / "plugin" / "sparsae_mine.py"
    if kernel == "FasterKernel":
        text = module.read_text().replace("        MineKernel,\n", "        FasterKernel,\n")
        module.write_text(
            text.replace("\n@sparsae.hookimpl", block_with("class FasterKernel") + "\n\n@sparsae.hookimpl")
        )
    said = check_installed(tmp_path / "plugin", "mine", dtype)
    assert "fail" not in said.lower()
    proved = [line.split()[0] for line in said.splitlines() if "proved by" in line]
    assert proved == ["sigmoid", "relu", "topk", "batchtopk", "jumprelu"]
