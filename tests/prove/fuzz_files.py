"""Damaged files by the thousand: whatever is read from a file is read or refused in one line that names it.

    python -m tests.prove.fuzz_files [--seconds 600] [--seed 0] [NAME ...]

Data of every format, model files, checkpoints, records of races, models of other projects.  Prints, for each target,
what became of the files, the longest time that one took, and the most memory that this process held.  Content on which
something else escapes is kept in prove/fuzz with its traceback, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.support.fuzz_damage import Target, damaged_versions
from tests.support.fuzz_targets import targets

from sparsae._text import printable
from sparsae.data.readers.parquet_metadata import metadata_process

KEPT = Path("prove").absolute() / "fuzz"
LARGEST = 6 << 30  # bytes of address space; what is read is limited by what is free of it
LONGEST = 120.0  # seconds that one file may take, on a busy machine


class Escapes:
    """What must not happen, each kind once: a kind is an exception and the line of sparsae that it passed last."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def keep(self, name: str, content: bytes, error: BaseException) -> None:
        """Count it; write content and traceback of the first of each kind."""
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "sparsae" in frame.filename]
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "tests"
        kind = f"{name}: {type(error).__name__} in {place}"
        self.seen[kind] += 1
        if self.seen[kind] > 1:
            return
        KEPT.mkdir(parents=True, exist_ok=True)
        path = KEPT / f"{name.replace('/', '-').replace(' ', '-')}.{hashlib.sha256(content).hexdigest()[:8]}"
        path.write_bytes(content)
        path.with_name(path.name + ".txt").write_bytes(
            "".join(traceback.format_exception(error)).encode(errors="backslashreplace")
        )
        print(f"ESCAPED {kind}: {printable(error):.300}\n  {path}", flush=True)


def attempt(target: Target, content: bytes) -> str:
    """Attempt it, with a limit on time."""
    started = time.monotonic()
    outcome = target.attempt(content)
    seconds = time.monotonic() - started
    if seconds > LONGEST:
        raise TimeoutError(f"it took {seconds:.0f} s")
    return outcome


def fuzz(name: str, target: Target, seconds: float, seed: int, escapes: Escapes) -> int:
    """Damage one target for so long; return how often."""
    outcomes: Counter[str] = Counter()
    outcomes[f"sound: {attempt(target, target.sound)}"] += 1
    started, longest = time.monotonic(), 0.0
    for content in damaged_versions(target, None, seed):
        before = time.monotonic()
        if before - started > seconds:
            break
        try:
            outcomes[attempt(target, content)] += 1
        except Exception as error:  # noqa: BLE001  the very thing that is looked for
            outcomes["ESCAPED"] += 1
            escapes.keep(name, content, error)
        longest = max(longest, time.monotonic() - before)
    words = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common(8))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    spent = time.monotonic() - started
    print(f"{name:34} {spent:6.1f} s, longest {longest:5.2f} s, {peak:4.0f} MB: {words}", flush=True)
    return outcomes.total()


def limit_memory() -> None:
    """Let what takes too much memory fail here, and not end the machine."""
    hardest = resource.getrlimit(resource.RLIMIT_AS)[1]
    soft = LARGEST if hardest == resource.RLIM_INFINITY else min(LARGEST, hardest)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hardest))


def main() -> int:
    """Try each target; 1 when anything escaped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600, help="of all targets together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    limit_memory()
    escapes, n_files, started = Escapes(), 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder, metadata_process():
        os.chdir(folder)
        chosen: dict[str, Callable[[], Target]] = {
            name: make for name, make in targets(Path(folder)).items() if not given.names or name in given.names
        }
        for name, make in chosen.items():
            try:
                target = make()
            except ImportError as error:
                print(f"{name:34} not tried: {error}")
                continue
            n_files += fuzz(name, target, given.seconds / len(chosen), given.seed, escapes)
        os.chdir("/")
    print(f"{n_files} files in {time.monotonic() - started:.0f} s; kinds that escaped: {dict(escapes.seen) or 'none'}")
    return 1 if escapes.seen else 0


if __name__ == "__main__":
    sys.exit(main())
