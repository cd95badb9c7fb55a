"""Files that are changed so that they reach more of the code: coverage-guided fuzzing with atheris, a process a target.

    pip install --target /tmp/atheris atheris
    PYTHONPATH=/tmp/atheris python -m tests.prove.fuzz_guided [--seconds 600] [NAME ...]

The targets are those of `fuzz_files.py`; those that start a process for each file are left out.  What escapes is kept
in prove/fuzz, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))


def guided(name: str, seconds: int) -> None:
    """Fuzz one target in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=["sparsae"]):
        from tests.prove.fuzz_files import Escapes, attempt, limit_memory
        from tests.support.fuzz_targets import targets

    limit_memory()
    folder = Path(tempfile.mkdtemp())
    target, escapes = targets(folder)[name](), Escapes()
    (folder / "corpus").mkdir()
    (folder / "corpus" / "sound").write_bytes(target.sound)

    def one(content: bytes) -> None:
        try:
            attempt(target, content)
        except Exception as error:  # noqa: BLE001  the very thing that is looked for
            escapes.keep(name, content, error)

    def damage(content: bytes, largest: int, seed: int) -> bytes:
        if seed % 2 or not content:
            return bytes(atheris.Mutate(content, largest))
        return target.damage(content, random.Random(seed))[:largest]

    options = [
        f"-max_total_time={seconds}",
        "-timeout=60",
        "-rss_limit_mb=3000",
        "-verbosity=0",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], str(folder / "corpus"), *options, "-max_len=20000"], one, custom_mutator=damage)
    atheris.Fuzz()


def main() -> int:
    """Try each target; 1 when anything escaped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=600, help="of all targets together")
    parser.add_argument("--one", action="store_true", help="one target, in this process")
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    if given.one:
        guided(given.names[0], given.seconds)
        return 0
    try:
        import atheris  # noqa: F401
    except ImportError:
        print("Nothing was tried: atheris is not installed; see the head of this file.")
        return 0
    from tests.support.fuzz_targets import targets

    with tempfile.TemporaryDirectory() as folder:
        names = given.names or [name for name in targets(Path(folder)) if not starts_processes(name)]
    share, escaped, files = max(5, given.seconds // len(names)), False, 0
    for name in names:
        words = [sys.executable, __file__, "--one", "--seconds", str(share), name]
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False, env=os.environ)
        kept = [line for line in done.stdout.splitlines() if line.startswith(("ESCAPED", "  /"))]
        found = [line.split()[-1] for line in done.stderr.splitlines() if "number_of_executed_units" in line]
        files += int(found[0]) if found else 0
        escaped |= bool(kept) or done.returncode != 0
        print(
            f"{name:40} {share} s, {found[0] if found else 'no'} files, exit code {done.returncode}",
            *kept,
            sep="\n",
            flush=True,
        )
        if done.returncode:
            print(done.stderr[-2000:])
    print(f"{files} files in {share * len(names)} s; {'something' if escaped else 'nothing'} escaped")
    return 1 if escaped else 0


def starts_processes(name: str) -> bool:
    """Whether each file of this target is read in a process of its own, or needs torch."""
    return any(word in name for word in ("mat", "parquet", ".h5", "x.pt"))


if __name__ == "__main__":
    sys.exit(main())
