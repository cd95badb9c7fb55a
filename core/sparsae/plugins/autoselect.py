"""`auto`: times the backends that can take a problem for a moment on the problem itself, and picks the fastest."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from sparsae.errors import BackendNotFoundError, SparsaeError

WARM_UP = 2  # evaluations: libraries load, compilers compile, scratch is touched
HOPELESS = 2.0  # times the best after the warm-up: not timed further
ROUNDS = 9
SECONDS = 3.0  # no further round is begun after that


class Choice(NamedTuple):
    """What `fastest` found: a name, and one sentence for each candidate that was not taken."""

    name: str
    notes: tuple[str, ...]


def fastest(names: Sequence[str], enter: Callable[[str, ExitStack], Callable[[], object]]) -> Choice:
    """Time candidates and return the fastest.

    Candidates far behind after a warm-up are dropped; the others are timed in turns, round by round,
    and compared by the least time, so that a disturbance hits none of them more than the others.

    Parameters
    ----------
    names : sequence of str
    enter : callable
        ``enter(name, stack)`` prepares a candidate, leaves on `stack` what must be undone,
        and returns a function that evaluates once.  What it raises rejects the candidate.

    Raises
    ------
    BackendNotFoundError
        When no candidate can take the problem; says why for each.
    """
    best: dict[str, float] = {}
    notes: dict[str, str] = {}
    for name in names:
        try:
            best[name] = min(_time(name, enter, WARM_UP))
        except Exception as error:  # noqa: BLE001 (a candidate may raise anything; the others are still there)
            kind = "" if isinstance(error, SparsaeError) else f"{type(error).__name__}: "
            notes[name] = f"auto: {name} was rejected: {kind}{error}"
    if not best:
        raise BackendNotFoundError("auto found no backend for this problem. " + " ".join(notes.values()))
    close = [name for name in best if best[name] <= HOPELESS * min(best.values())]
    begun = time.perf_counter()
    for _ in range(ROUNDS if len(close) > 1 else 0):
        for name in close:
            best[name] = min(best[name], *_time(name, enter, 2))
        if time.perf_counter() - begun > SECONDS:
            break
    chosen = min(best, key=lambda name: best[name])
    for name in best:
        if name != chosen:
            notes[name] = f"auto: {name} took {best[name] / best[chosen]:.2f} times as long as {chosen}"
    return Choice(chosen, (f"auto: {chosen} was the fastest of {len(best)}", *notes.values()))


def _time(name: str, enter: Callable[[str, ExitStack], Callable[[], object]], repeats: int) -> list[float]:
    """Evaluate a few times with the candidate's own thread limits in force; seconds of each."""
    seconds = []
    with ExitStack() as stack:
        evaluate = enter(name, stack)
        for _ in range(repeats):
            begun = time.perf_counter()
            evaluate()
            seconds.append(time.perf_counter() - begun)
    return seconds
