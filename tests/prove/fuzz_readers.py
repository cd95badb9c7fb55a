"""Damaged files by the thousand: every reader of data must load them or refuse them in one line.

    python -m tests.prove.fuzz_readers [FILES_PER_KIND] [SEED] [KIND ...]

Prints, for each kind of file, how many were loaded and which errors refused the others, the time, and the most memory
that this process held.  Whatever escapes is written with its traceback, and the exit code is 1.  Matlab files are read
in a child process each, so a tenth as many of them are tried.
"""

from __future__ import annotations

import io
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import scipy.io

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.support.damaged_files import damaged, load_outcome
from tests.support.sound_files import PICTURES, SOUND, X, mat_bytes, picture_bytes


def matlab4_bytes() -> bytes:
    """A file of version 4, which has no signature."""
    file = io.BytesIO()
    scipy.io.savemat(file, {"X": X}, format="4")
    return file.getvalue()


def kinds() -> dict[str, tuple[str, bytes, str]]:
    """Kind: file name, sound content, what `load` is given for a path."""
    found: dict[str, tuple[str, bytes, str]] = {name: (name, made(), "{}") for name, made in SOUND.items()}
    found |= {name: (name, picture_bytes(kind), "patches:{}") for name, kind in PICTURES.items()}
    matlab: dict[str, Callable[[], bytes]] = {
        "mat 5": lambda: mat_bytes(),
        "mat 5, compressed": lambda: mat_bytes(do_compression=True),
        "mat 4": matlab4_bytes,
    }
    return found | {name: ("x.mat", made(), "{}:X") for name, made in matlab.items()}


def main() -> int:
    """Try each kind; 1 when anything escaped."""
    n_files = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    escaped = 0
    with tempfile.TemporaryDirectory() as folder:
        for kind, (name, content, source) in kinds().items():
            if sys.argv[3:] and kind not in sys.argv[3:]:
                continue
            path, started = Path(folder) / name, time.monotonic()
            outcomes: Counter[str] = Counter()
            for made in damaged(content, n_files // 10 if "mat" in kind else n_files, seed):
                try:
                    outcomes[load_outcome(path, made, source.format(path))] += 1
                except Exception:  # noqa: BLE001  the very thing that is looked for
                    escaped += 1
                    outcomes["ESCAPED"] += 1
                    traceback.print_exc()
            words = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
            print(f"{kind:18} {time.monotonic() - started:6.1f} s, {peak:4.0f} MB: {words}", flush=True)
    print(f"{escaped} escaped" if escaped else "nothing escaped")
    return 1 if escaped else 0


if __name__ == "__main__":
    sys.exit(main())
