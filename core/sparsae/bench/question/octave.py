"""The Matlab side of the question, run by Octave on the same numbers; skipped, and said, where there is no Octave."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self, final

import numpy as np

from sparsae.bench.probe import TIMEOUT, Lines, Sample
from sparsae.bench.question.case import Case
from sparsae.errors import ProbeError
from sparsae.model import Parameters

SCRIPT = Path(__file__).with_name("question.m")
WAYS = {"loop": "Octave, one sample at a time, as asked", "vectorised": "Octave, vectorised"}
_CALL = "[dW1, db1, dW2, db2] = question('{way}', data, a2, a3, W2, rho, rhohat, beta);"
_MARK = "sparsae"  # starts the lines that are meant for us


def find_octave() -> str | None:
    """Return the command that runs Octave without windows, or None."""
    return shutil.which("octave-cli") or shutil.which("octave")


@final
class OctaveProbe:
    """One way of ``question.m`` in an Octave process of its own; takes turns like a `Probe`.

    Parameters
    ----------
    command : str
        The Octave to run.
    way : {"loop", "vectorised"}
    case : Case
    environment, cpus
        As in `sparsae.bench.probe.Lines`.
    """

    def __init__(
        self, command: str, way: str, case: Case, *, environment: Mapping[str, str | None], cpus: Iterable[int] = ()
    ) -> None:
        from scipy.io import savemat

        self._case, self._call = case, _CALL.format(way=way)
        self._folder = tempfile.TemporaryDirectory(prefix="sparsae-question-")
        given = Path(self._folder.name) / "given.mat"
        numbers = {"data": case.a1, "a2": case.a2, "a3": case.a3, "W2": case.W2, "rho": case.rho, "beta": case.beta}
        savemat(given, {**numbers, "rhohat": case.rho_hat[None, :]})
        quiet = [command, "--no-gui", "--quiet", "--norc", "--no-history"]
        self._lines = Lines(quiet, environment=environment, cpus=cpus, name=f"Octave ({way})")
        self._lines.send(f"load('{given.as_posix()}'); addpath('{SCRIPT.parent.as_posix()}');")

    def ready(self) -> dict[str, Any]:
        """Wait until Octave has run it once; return its version and its BLAS."""
        version = self._ask(f"{self._call} printf('{_MARK} %s\\n', OCTAVE_VERSION);")
        blas = self._ask(f"printf('{_MARK} %s\\n', version('-blas'));")
        return {"version": version, "blas": blas}

    def error(self) -> float:
        """Largest error of Octave's sums against the reference, in units of what rounding explains."""
        from scipy.io import loadmat

        found = Path(self._folder.name) / "found.mat"
        save = f"save('-v6', '{found.as_posix()}', 'dW1', 'db1', 'dW2', 'db2');"
        self._ask(f"{self._call} {save} printf('{_MARK} saved\\n');")
        sums = loadmat(found)
        return self._case.error(Parameters(*(np.asarray(sums[name]) for name in ("dW1", "db1", "dW2", "db2"))))

    def time(self, loops: int) -> Sample:
        """One untimed call, then `loops` calls between tic and toc."""
        timed = f"tic; for turn = 1:{loops}, {self._call} end, took = toc;"
        before = self._lines.waited()
        answer = self._ask(f"{self._call} {timed} printf('{_MARK} %.9e\\n', took);")
        after = self._lines.waited()
        try:
            return Sample(loops, float(answer), None if before is None or after is None else after - before)
        except ValueError:
            raise ProbeError(f"{self._lines.name}: expected seconds, got {answer[:80]!r}.") from None

    def close(self) -> None:
        """End the process and remove its files."""
        self._lines.close()
        self._folder.cleanup()

    def _ask(self, line: str) -> str:
        """Send a line and return what follows the mark in the answer; whatever else Octave prints is passed over."""
        self._lines.send(f"{line} fflush(stdout);")
        while True:
            mark, _, rest = self._lines.read(timeout=TIMEOUT).partition(" ")
            if mark == _MARK:
                return rest.strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
