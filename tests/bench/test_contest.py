"""One launch: checks before and after, turns in random order, and what happens to those that fail."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest

from sparsae.bench.contest import Contest, ContestResults
from sparsae.bench.task_process import DeclinedError
from sparsae.bench.timing import TimedBatch
from sparsae.errors import ProbeError


class Scripted:
    """A process whose answers are known: errors of its results and seconds that its batches waited for a CPU."""

    def __init__(
        self, *, errors: tuple[float, ...] = (0.1, 0.2), waits: tuple[float, ...] = (), fails_at: int = -1
    ) -> None:
        self.name = "scripted"
        self._errors, self._waits, self._fails_at = iter(errors), iter(waits), fails_at
        self.calls = 0
        self.ended = ""

    def prepare(self) -> dict[str, Any]:
        return {"kind of machine": "imaginary"}

    def error(self) -> float:
        return next(self._errors)

    def shortest_call(self) -> float:
        return 0.004

    def time(self, loops: int) -> TimedBatch:
        self.calls += 1
        if self.calls == self._fails_at:
            raise ProbeError("scripted: enough")
        return TimedBatch(loops, float(self.calls), delay=next(self._waits, 0.0))

    def kill(self, *, wait: bool = True) -> None:
        self.ended = "killed" if wait else "killed at once"

    def close(self) -> None:
        self.ended = "closed"


def hold(processes: Mapping[str, Scripted], *, rounds: int, seed: int = 3) -> tuple[ContestResults, list[str]]:
    """Return the results of a contest, and who had a turn, in order."""
    results, visits = ContestResults(), []

    def report(kind: str, name: str, values: Mapping[str, Any]) -> None:
        results(kind, name, values)
        if kind == "sample":
            visits.append(name)

    start = {name: lambda process=process: process for name, process in processes.items()}
    contest = Contest(start, report, rng=random.Random(seed))
    contest.run(rounds, lambda what, share: None)
    contest.close()
    return results, visits


def test_every_round_visits_everything_in_an_order_of_its_own() -> None:
    """Randomised complete blocks, the same for the same seed."""
    _, visits = hold({name: Scripted() for name in "abcdef"}, rounds=5)
    rounds = ["".join(visits[i : i + 6]) for i in range(0, len(visits), 6)]
    assert len(rounds) == 5
    assert {"".join(sorted(turn)) for turn in rounds} == {"abcdef"}
    assert len(set(rounds)) > 1
    assert hold({name: Scripted() for name in "abcdef"}, rounds=5)[1] == visits


def test_what_fails_leaves_and_the_others_go_on() -> None:
    """Its reason is kept without its name, it is killed, and the others end in order."""
    processes = {"a": Scripted(), "b": Scripted(fails_at=2)}
    results, _ = hold(processes, rounds=3)
    assert [sorted(turn) for turn in results.rounds.values()] == [["a", "b"], ["a"], ["a"]]
    assert results.dropped == {"b": "enough"}
    assert {name: process.ended for name, process in processes.items()} == {"a": "closed", "b": "killed"}


@pytest.mark.parametrize(("errors", "turns"), [((7.0,), 0), ((float("nan"),), 0), ((0.1, 7.0), 2)])
def test_what_is_wrong_is_dropped(errors: tuple[float, ...], turns: int) -> None:
    """Before timing it has no turn; the check after timing counts too."""
    results, visits = hold({"a": Scripted(errors=errors)}, rounds=2)
    assert results.dropped == {"a": f"wrong result: {errors[-1]:.3g} times the error that rounding explains"}
    assert len(visits) == turns


def test_what_is_declined_is_told_without_the_name_of_the_exception() -> None:
    """A backend that does not compute this has not failed."""

    class Declining(Scripted):
        def prepare(self) -> dict[str, Any]:
            raise DeclinedError("scripted: BackendDeclinedError: No such units: here.")

    events: list[tuple[str, Mapping[str, Any]]] = []
    contest = Contest({"a": Declining}, lambda kind, name, values: events.append((kind, values)), rng=random.Random(0))
    contest.run(1, lambda what, share: None)
    assert events == [("failure", {"state": "declined", "why": "No such units: here."})]


def test_a_report_that_is_refused_drops_the_process() -> None:
    """The race refuses what its record cannot have."""
    events: list[str] = []

    def report(kind: str, name: str, values: Mapping[str, Any]) -> None:
        if kind == "worker":
            raise ProbeError("no usable answer")
        events.append(kind)

    contest = Contest({"a": Scripted}, report, rng=random.Random(0))
    contest.run(1, lambda what, share: None)
    assert events == ["failure"]


def test_a_disturbed_batch_is_repeated_for_its_waiting_alone() -> None:
    """A batch that waited for a CPU is timed again, twice at most; a slow one that did not wait stands."""
    results, _ = hold({"twice": Scripted(waits=(1, 1, 0.001)), "always": Scripted(waits=(1, 2, 3))}, rounds=1)
    last = results.rounds[0]
    assert (last["twice"].wall, last["twice"].undisturbed) == (3, True)
    assert (last["always"].wall, last["always"].undisturbed) == (3, False)
    assert last["twice"].loops == 5  # 20 ms


def test_pairs_are_those_of_rounds_that_both_finished() -> None:
    """After one has failed the other's rounds count no more."""
    results, _ = hold({"a": Scripted(), "b": Scripted(fails_at=2)}, rounds=3)
    assert [(a.wall, b.wall) for a, b in results.pairs("a", "b")] == [(1, 1)]


def test_progress_goes_from_nothing_to_all() -> None:
    """Shares rise to one."""
    shares: list[float] = []
    Contest(dict.fromkeys("abc", Scripted), ContestResults(), rng=random.Random(0)).run(
        4, lambda what, share: shares.append(share)
    )
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)


def test_a_second_ctrl_c_leaves_no_process_behind() -> None:
    """Interrupted while it ends its processes, a launch kills all of them, those that it had not come to included."""

    class Stubborn(Scripted):
        def close(self) -> None:
            raise KeyboardInterrupt

    processes = [Stubborn(), Scripted(), Scripted()]
    start = {name: lambda process=process: process for name, process in zip("abc", processes, strict=True)}
    contest = Contest(start, ContestResults(), rng=random.Random(0))
    contest.run(1, lambda what, share: None)
    with pytest.raises(KeyboardInterrupt):
        contest.close()
    assert [process.ended for process in processes] == ["killed at once"] * 3
