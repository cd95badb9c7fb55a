"""The Matlab side of the question, run by Octave on the same numbers; left out, with the reason, without Octave."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, final

import numpy as np

from sparsae._text import printable
from sparsae.bench.inputs import BackpropInputs
from sparsae.bench.process import LineProcess, choose_cpus, thread_environment
from sparsae.bench.timing import TimedBatch
from sparsae.errors import ProbeError

SCRIPT = Path(__file__).with_name("question.m")
WAYS = {"loop": "Octave, one sample at a time, as asked", "vectorised": "Octave, vectorised"}
_CALL = "[dW1, db1, dW2, db2] = question('{way}', data, a2, a3, W2, rho, rhohat, beta);"
_MARK = "sparsae"  # begins the lines that are an answer
_SUMS = ("dW1", "db1", "dW2", "db2")


def find_octave() -> str | None:
    """Return the command that runs Octave without windows, or None."""
    return shutil.which("octave-cli") or shutil.which("octave")


@final
class OctaveProcess(LineProcess):
    """One way of ``question.m`` in an Octave process of its own, on one thread; answers as a `TaskProcess` does."""

    def __init__(self, way: str, inputs: BackpropInputs) -> None:
        from scipy.io import savemat

        self._inputs, self._call = inputs, _CALL.format(way=way)
        self._folder = tempfile.TemporaryDirectory(prefix="sparsae-question-")
        given = Path(self._folder.name) / "given.mat"
        numbers = {"data": inputs.a1, "a2": inputs.a2, "a3": inputs.a3, "W2": inputs.W2}
        savemat(given, {**numbers, "rho": inputs.rho, "beta": inputs.beta, "rhohat": inputs.rho_hat[None, :]})
        command = [find_octave() or "octave-cli", "--no-gui", "--quiet", "--norc", "--no-history"]
        name = WAYS.get(way, f"Octave ({way})")
        super().__init__(command, environment=thread_environment(1), cpus=choose_cpus(1), name=name)
        self.send(f"load('{given.as_posix()}'); addpath('{SCRIPT.parent.as_posix()}');")

    def prepare(self) -> dict[str, Any]:
        """Wait until Octave has run it once; return its version and its BLAS."""
        version = self._answer(f"{self._call} printf('{_MARK} %s\\n', OCTAVE_VERSION);")
        blas = self._answer(f"printf('{_MARK} %s\\n', version('-blas'));")
        return {"octave_version": version, "octave_blas": blas}

    def error(self) -> float:
        """Largest error of Octave's sums against the reference, in units of what rounding explains."""
        from scipy.io import loadmat

        found = Path(self._folder.name) / "found.mat"
        names = ", ".join(f"'{name}'" for name in _SUMS)
        self._answer(f"{self._call} save('-v6', '{found.as_posix()}', {names}); printf('{_MARK} saved\\n');")
        sums = loadmat(found)
        return self._inputs.error(np.asarray(sums[name]) for name in _SUMS)

    def shortest_call(self) -> float:
        """Seconds of the shortest of three calls."""
        return min(self.time(1).seconds for _ in range(3))

    def time(self, loops: int) -> TimedBatch:
        """Call once untimed, then `loops` times between tic and toc."""
        timed = f"tic; for turn = 1:{loops}, {self._call} end, took = toc;"
        before = self.waited()
        answer = self._answer(f"{self._call} {timed} printf('{_MARK} %.9e\\n', took);")
        after = self.waited()
        try:
            wall = float(answer)
        except ValueError:
            raise ProbeError(f"{self.name}: expected seconds, got {printable(answer[:80])!r}.") from None
        return TimedBatch(loops, max(wall, 1e-9), delay=None if before is None or after is None else after - before)

    def kill(self, *, wait: bool = True) -> None:
        """End the process at once and remove its files."""
        super().kill(wait=wait)
        self._folder.cleanup()

    def close(self) -> None:
        """End the process and remove its files."""
        super().close()
        self._folder.cleanup()

    def _answer(self, line: str) -> str:
        """Send a line and return what follows the mark in the answer; other lines that Octave prints are skipped."""
        self.send(f"{line} fflush(stdout);")
        while True:
            mark, _, rest = self.read().partition(" ")
            if mark == _MARK:
                return rest.strip()
