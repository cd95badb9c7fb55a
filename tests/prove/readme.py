"""Evidence: every shell line of the README, in its order, from a fresh clone in a fresh environment.

make prove-readme                              all of them, `make test` included
python tests/prove/readme.py --without 'make test'
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
from tests.support.readme import shell_lines  # noqa: E402

ANSWERS = {"sparsae doctor": (0, 1)}  # 1: something here costs more than 10 %; every other line has to end with 0


def main() -> int:
    """Run them; the first that fails ends it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without", action="append", default=[], metavar="LINE", help="do not run this line")
    without = parser.parse_args().without
    with tempfile.TemporaryDirectory() as folder:
        clone, python = Path(folder) / "sparsae", Path(folder) / "environment"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        subprocess.run([sys.executable, "-m", "venv", python], check=True)
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        environment["PATH"] = f"{python / 'bin'}{os.pathsep}{environment['PATH']}"
        for line in shell_lines():
            if line in without:
                print(f"LEFT OUT  {line}", flush=True)
                continue
            start = time.monotonic()
            done = subprocess.run(line, shell=True, cwd=clone, env=environment, capture_output=True, text=True)
            right = done.returncode in ANSWERS.get(line, (0,))
            said = "ok" if done.returncode == 0 else f"{'ok' if right else 'FAILED'} with exit code {done.returncode}"
            print(f"{said:8}  {time.monotonic() - start:6.1f} s  {line}", flush=True)
            if not right:
                print(done.stdout[-3000:], done.stderr[-3000:], sep="\n")
                return 1
    print("Every shell line of the README runs.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
