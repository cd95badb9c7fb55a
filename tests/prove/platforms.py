"""Evidence: the tests of the core on a simulated macOS and a simulated Windows.

Left out are the modules whose subject is Linux itself: the demand of CPUs by ``/proc``, and processes of Dask.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SYSTEMS = ("darwin", "win32")
CORE = (
    "test_model.py",
    "test_cost.py",
    "test_objective.py",
    "test_encoding.py",
    "files",
    "machine",
    "engine",
    "training",
)
OF_LINUX = ("machine/test_cpu_demand.py", "engine/test_dask_rows.py")


def main() -> int:
    """Run them; the failures of both systems are printed."""
    worst = 0
    for system in sys.argv[1:] or SYSTEMS:
        print(f"{system}:", flush=True)
        command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", "--tb=short"]
        command += ["-p", "tests.support.simulated_platform", "--platform", system]
        command += [f"--ignore=tests/{name}" for name in OF_LINUX] + [f"tests/{name}" for name in CORE]
        worst = max(worst, subprocess.run(command, cwd=ROOT, check=False).returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main())
