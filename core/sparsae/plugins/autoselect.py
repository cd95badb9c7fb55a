"""`auto`: times the backends that can compute a problem on the problem itself and takes the fastest.

1. Every candidate evaluates a few rows.  Those that take `SLOW` times as long as the best are dropped: a plain Python
   loop is found out in one short call.
2. The others are timed in turns, on as many rows as the best evaluates in about `CALL_SECONDS`, and compared by their
   least time, so that a disturbance hits none of them more than the others.

After `BUDGET` seconds no further call is begun.  The time that a library takes to load or compile can come on top.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from sparsae._types import THREADINGS
from sparsae.errors import BackendNotFoundError, SparsaeError, ThreadsWarning
from sparsae.plugins.selection import FALLBACK, Selected, list_backends, select

BUDGET = 3.0  # seconds of measuring
FEW_ROWS = 64
FEW_FLOP = 3e9  # of very large layers fewer rows: a matrix-vector product for each is slow
MOST_ROWS = 20_000
FEW_SECONDS = 0.005  # the first candidate takes at least that long on them
CALL_SECONDS = 0.05
SLOW = 5.0  # times the best on few rows: dropped
ROUNDS = 9

Prepare = Callable[[str, int, ExitStack], Callable[[], object]]


class Choice(NamedTuple):
    """What `fastest` found: a name, and one sentence for each candidate that was not taken."""

    name: str
    notes: tuple[str, ...]


def fastest(names: Sequence[str], n_samples: int, prepare: Prepare, *, flop_per_row: float = 1.0) -> Choice:
    """Time candidates and return the fastest.

    Parameters
    ----------
    names : sequence of str
    n_samples : int
        Rows that there are.
    prepare : callable
        ``prepare(name, rows, stack)`` prepares a candidate for the first rows, leaves on `stack` what must be undone,
        and returns a function that evaluates once.  What it raises rejects the candidate.
    flop_per_row : float
        Floating-point operations of an evaluation for one row.

    Raises
    ------
    BackendNotFoundError
        When no candidate can compute the problem; says why for each.
    """
    end = time.perf_counter() + BUDGET
    notes: dict[str, str] = {}
    few = min(FEW_ROWS, n_samples, max(4, int(FEW_FLOP / flop_per_row)))
    best: dict[str, float] = {}
    for name in names:
        if best and time.perf_counter() > end:
            notes[name] = f"auto: {name} was not timed: {BUDGET:g} seconds had passed"
            continue
        enough = SLOW * min(best.values(), default=0.0)
        seconds = _time(name, few, prepare, notes, enough=enough)
        if seconds is not None and not best and seconds < FEW_SECONDS and few < n_samples:
            few = min(n_samples, MOST_ROWS, round(few * FEW_SECONDS / seconds))  # else fixed costs would be compared
            seconds = _time(name, few, prepare, notes)
        if seconds is not None:
            best[name] = seconds
    if not best:
        raise BackendNotFoundError("auto found no backend for this problem. " + " ".join(notes.values()))
    least = min(best.values())
    for name in [name for name in best if best[name] > SLOW * least]:
        notes[name] = f"auto: {name} was dropped: {best.pop(name) / least:.1f} times as long as the best on {few} rows"
    rows = min(n_samples, MOST_ROWS, max(few, round(few * CALL_SECONDS / least)))
    close = sorted(best, key=lambda name: best[name])
    best = _race(close, rows, prepare, notes, end) if len(close) > 1 else best
    chosen = min(best, key=lambda name: best[name])
    for name in best.keys() - {chosen}:
        notes[name] = f"auto: {name} took {best[name] / best[chosen]:.2f} times as long as {chosen}"
    return Choice(chosen, (f"auto: {chosen} was the fastest of {len(names)}", *notes.values()))


def _race(names: list[str], rows: int, prepare: Prepare, notes: dict[str, str], end: float) -> dict[str, float]:
    """Return the least time of each candidate, the one that was best on few rows first, until the time is up."""
    best: dict[str, float] = {}
    for _ in range(ROUNDS):
        for name in names:
            if best and time.perf_counter() > end:
                break
            if name not in notes and (seconds := _time(name, rows, prepare, notes)) is not None:
                best[name] = min(best.get(name, seconds), seconds)
        least = min(best.values(), default=0.0)
        names = [name for name in names if best.get(name, least) <= 2 * least]  # far behind: not timed further
    for name in names:
        if name not in best and name not in notes:
            notes[name] = f"auto: {name} was not timed on {rows} rows: {BUDGET:g} seconds had passed"
    if not best:
        raise BackendNotFoundError("auto found no backend for this problem. " + " ".join(notes.values()))
    return best


def _time(name: str, rows: int, prepare: Prepare, notes: dict[str, str], *, enough: float = 0.0) -> float | None:
    """Return the seconds of an evaluation; None and a note when the candidate fails.

    The first evaluation counts when it takes no longer than `enough`, else the second: the first may load a library.
    """
    try:
        with ExitStack() as stack:
            evaluate = prepare(name, rows, stack)
            for _ in range(2):
                begun = time.perf_counter()
                evaluate()
                seconds = time.perf_counter() - begun
                if seconds <= enough:
                    break
            return seconds
    except Exception as error:  # noqa: BLE001 (a candidate may raise anything; the others are still there)
        kind = "" if isinstance(error, SparsaeError) else f"{type(error).__name__}: "
        notes[name] = f"auto: {name} was rejected: {kind}{error}"
        return None


def select_fastest(how: str, n_samples: int, prepare: Prepare, *, flop_per_row: float) -> Selected:
    """Select the fastest of the backends that are ready; parameters as of `fastest`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ThreadsWarning)  # given once, for the one that is chosen
        ready = [record for record in list_backends() if record.state == "ready"]
        ready.sort(key=lambda record: (record.name != FALLBACK, THREADINGS.index(record.threading)))
        choice = fastest([record.name for record in ready], n_samples, prepare, flop_per_row=flop_per_row)
    chosen = select(choice.name)
    return Selected(chosen.backend, chosen.record, f"auto ({how})", choice.notes)
