"""Evidence: the tests of the core on a simulated macOS and a simulated Windows.

Left out are tests whose subject is what Linux alone has: the demand of CPUs and open files by ``/proc``, readahead; and
processes of Dask.
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
TESTS_OF_LINUX = (
    "engine/test_streaming.py::test_read_ahead_asks_for_what_comes_next",
    "engine/test_streaming.py::test_what_is_in_memory_is_not_asked_for_again",
    "engine/test_row_files.py::test_the_file_is_closed_and_the_readahead_thread_ends_when_it_is_dropped",
    "engine/test_row_files.py::test_what_is_in_memory_is_not_requested_again",
)
OF_POSIX = (  # left out on Windows: SIGKILL ends what is running there, and files have modes
    "training/test_checkpoint_places.py::test_kill_9_and_resume_gives_the_same_bits",
    "training/test_model_file.py::test_files_get_ordinary_permissions",
)


def main() -> int:
    """Run them; the failures of both systems are printed."""
    for name in TESTS_OF_LINUX + OF_POSIX:
        file, _, function = name.partition("::")
        assert f"def {function}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), f"{name} has moved"
    worst = 0
    for system in sys.argv[1:] or SYSTEMS:
        print(f"{system}:", flush=True)
        command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", "--tb=short"]
        command += ["-p", "tests.support.simulated_platform", "--platform", system]
        command += [f"--deselect=tests/{name}" for name in TESTS_OF_LINUX + (OF_POSIX if system == "win32" else ())]
        command += [f"--ignore=tests/{name}" for name in OF_LINUX] + [f"tests/{name}" for name in CORE]
        worst = max(worst, subprocess.run(command, cwd=ROOT, check=False).returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main())
