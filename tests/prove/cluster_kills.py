"""Fits on a real Dask cluster whose workers are killed or stopped at random moments: right bits, bounded time.

Run by hand: ``python tests/prove/cluster_kills.py [kills] [stops] [storms]``, as a rule 20 fits with SIGKILL, 5 with
SIGSTOP for longer than a worker may be silent, and 2 in a storm: each worker is killed as soon as its nanny has started
it, until the fit ends in an error, from whose checkpoint it goes on.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import sparsae
from sparsae.distributed.connection import Connection

ROWS, COLUMNS, HIDDEN = 20_000, 32, 12
PATIENCE = 3.0  # seconds without a heartbeat until a worker is given up
MOST_SECONDS = 90.0  # of a fit
DEADLINE = 20.0  # without progress, in a storm
NANNY_SECONDS = 30.0  # in which a nanny starts a worker, or has given up
FITS: dict[str, dict[str, Any]] = {
    "lbfgs": {"max_iter": 25, "passes": 1},
    "two rounds": {"max_iter": 15, "passes": 2},
    "adam": {"method": sparsae.optimize.Adam(batch_rows=4000), "max_iter": 5},
    "topk adam": {
        "method": sparsae.optimize.Adam(batch_rows=4000),
        "max_iter": 5,
        "activation": "topk",
        "k": 3,
        "aux": 0.1,
        "dead_after": 2000,
    },
}


@dataclass
class Harm:
    """A worker that is sent a signal in the middle of a fit.

    Attributes
    ----------
    number, victim : int
        The signal, and the process.
    iteration : int
        When it is sent.
    delay : float
        Seconds after the end of that iteration: somewhere in the next one.
    sent : bool
    """

    number: int
    victim: int
    iteration: int
    delay: float
    sent: bool = False

    def __call__(self, progress: Any) -> None:
        """Send it when its time has come; an observer of the fit."""
        if progress.iteration == self.iteration:
            threading.Timer(self.delay, self._send).start()

    def _send(self) -> None:
        try:
            os.kill(self.victim, self.number)
        except ProcessLookupError:  # silent for too long on a busy machine: given up, and started anew by its nanny
            say(f"process {self.victim} had gone before")
        self.sent = True


def fit(
    X: NDArray[np.float64], kind: str, cluster: Connection | None, harm: Harm | None = None
) -> tuple[NDArray[np.float64], float]:
    """Return the parameters that a fit ends with, and how long it took."""
    started = time.monotonic()
    observers = [] if harm is None else [harm]
    result = sparsae.train(
        X, HIDDEN, backend="fused", block_rows=500, cluster=cluster, observers=observers, **FITS[kind]
    )
    return result.parameters.flatten(), time.monotonic() - started


def harm_fit(
    connection: Connection, X: NDArray[np.float64], kind: str, harm: Harm
) -> tuple[NDArray[np.float64], float]:
    """Run a fit while a worker is harmed; return what `fit` does."""
    try:
        return fit(X, kind, connection, harm)
    finally:
        while not harm.sent:
            time.sleep(0.01)
        if harm.number == signal.SIGSTOP:
            with suppress(ProcessLookupError):
                os.kill(harm.victim, signal.SIGKILL)  # its nanny starts another


@contextmanager
def storm(connection: Connection) -> Iterator[None]:
    """Kill every worker process of a local cluster as soon as there is one, until the block ends."""
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.1):
            for nanny in list(connection._owned.workers.values()):
                pid = nanny.pid
                if pid is not None:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def storm_fit(X: NDArray[np.float64], kind: str, iteration: int) -> tuple[str, float, NDArray[np.float64]]:
    """Return the error of a fit in a storm that begins at an iteration, its seconds, and where a resumed fit ends."""
    connection, began = Connection.open("local:2", patience=PATIENCE, deadline=DEADLINE), threading.Event()
    begun_at = []

    def begin(progress: Any) -> None:
        if progress.iteration == iteration:
            begun_at.append(time.monotonic())
            began.set()
            threading.Event().wait(0.3)  # until the first workers are gone

    def blow() -> None:
        began.wait()
        with storm(connection):
            over.wait()

    over = threading.Event()
    thread = threading.Thread(target=blow, daemon=True)
    thread.start()
    options = {"backend": "fused", "block_rows": 500, **FITS[kind]}
    with tempfile.TemporaryDirectory() as folder:
        path, error = Path(folder) / "fit.ckpt", "none"
        try:
            sparsae.train(X, HIDDEN, cluster=connection, checkpoint=path, observers=begin, **options)
        except sparsae.SparsaeError as raised:
            error = f"{type(raised).__name__}: {raised}"
        seconds = time.monotonic() - begun_at[0]
        over.set()
        thread.join()
        connection.close()
        resumed = sparsae.train(X, HIDDEN, checkpoint=path, resume=True, **options)
    return error, seconds, resumed.parameters.flatten()


def two_workers(connection: Connection) -> Connection:
    """Return a connection with two workers: this one, or a new one where a nanny gave up."""
    with suppress(TimeoutError):
        connection.client.wait_for_workers(2, timeout=NANNY_SECONDS)
        return connection
    connection.close()
    return connect()


def connect() -> Connection:
    """Start two workers."""
    return Connection.open("local:2", patience=PATIENCE, deadline=60.0)


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


def survives_storm(X: Any, expected: Any, number: str, kind: str, out: Callable[[str], None]) -> bool:
    """Kill every worker of a fit, again and again, and resume it here; return whether it ended as it should."""
    error, seconds, end = storm_fit(X, kind, iteration=3)
    same = np.array_equal(end, expected[kind])
    good = same and "ClusterError" in error and "resume=True" in error and seconds < MOST_SECONDS
    out(
        f"storm {number} {kind}: after {seconds:.1f} s {error!r}; resumed here: "
        f"{'same bits' if same else 'OTHER BITS'}{'' if good else '  FAILED'}"
    )
    return good


def main(kills: int, stops: int, storms: int, out: Callable[[str], None] = say) -> int:
    """Run the fits; return the number of failures."""
    warnings.simplefilter("ignore", sparsae.ConvergenceWarning)
    X = np.random.default_rng(0).random((ROWS, COLUMNS)) * 0.8 + 0.1
    expected = {kind: fit(X, kind, None)[0] for kind in FITS}
    connection = connect()
    usual, rng, failures = {}, np.random.default_rng(1), 0
    for kind in [*FITS, *FITS]:  # twice: workers import and compile first
        found, usual[kind] = fit(X, kind, connection)
        failures += not np.array_equal(found, expected[kind])
    out("undisturbed, seconds: " + ", ".join(f"{kind} {seconds:.1f}" for kind, seconds in usual.items()))
    for number, count in ((signal.SIGKILL, kills), (signal.SIGSTOP, stops)):
        for i in range(count):
            kind = list(FITS)[i % len(FITS)]
            iterations, connection = FITS[kind]["max_iter"], two_workers(connection)
            pids: list[int] = []
            while len(pids) < 2:  # one that was killed at the end of a fit is listed for a moment
                pids = list(connection.client.run(os.getpid, on_error="ignore").values())
            harm = Harm(
                number,
                victim=int(rng.choice(pids)),
                iteration=int(rng.integers(1, iterations - 1)),
                delay=float(rng.uniform(0, usual[kind] / iterations)),
            )
            found, seconds = harm_fit(connection, X, kind, harm)
            same = np.array_equal(found, expected[kind])
            good = same and seconds < MOST_SECONDS
            failures += not good
            out(
                f"{number.name} {i + 1}/{count} {kind}: {1000 * harm.delay:.0f} ms after iteration {harm.iteration} of "
                f"{iterations}, {'same bits' if same else 'OTHER BITS'}, {seconds:.1f} s{'' if good else '  FAILED'}"
            )
    connection.close()
    for i in range(storms):
        failures += not survives_storm(X, expected, f"{i + 1}/{storms}", ("lbfgs", "topk adam")[i % 2], out)
    out(f"{failures} of {kills + stops + storms} failed")
    return failures


if __name__ == "__main__":
    sys.exit(main(*(int(a) for a in (sys.argv[1:] or ["20", "5", "2"]))) > 0)
