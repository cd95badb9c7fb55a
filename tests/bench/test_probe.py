"""Probes: a process of its own for each timed thing, and what happens when it misbehaves."""

from __future__ import annotations

import os
import sys

import pytest

from sparsae.bench.probe import Lines, Probe, Sample, one_thread
from sparsae.bench.rounds import Ratio, paired_ratio, take_turns
from sparsae.errors import ProbeError

HERE = "sparsae.bench.question.tasks"
SMALL = {"size": [50, 8, 3], "seed": 0}


def test_a_probe_sees_its_own_environment_and_cpus() -> None:
    """The variables and the affinity are in force before libraries load: BLAS has one thread, and one CPU is seen."""
    cpus = sorted(os.sched_getaffinity(0))[:1]
    settings = {**SMALL, "name": "vectorised"}
    with Probe(f"{HERE}:variant", settings, environment=one_thread(), cpus=cpus, name="one") as probe:
        ready = probe.ready()
        assert ready["affinity"] == cpus
        assert {pool["num_threads"] for pool in ready["pools"] if pool["user_api"] == "blas"} == {1}
        assert probe.error() <= 1
        sample = probe.time(3)
    assert sample.loops == 3
    assert sample.seconds == pytest.approx(sample.wall / 3)


def test_a_probe_s_variables_are_changed_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable is set, another is removed, the rest stay, and our own environment is as before."""
    monkeypatch.setenv("SPARSAE_KEPT", "kept")
    monkeypatch.setenv("SPARSAE_GONE", "here")
    before = dict(os.environ)
    show = "import os; print([os.environ.get('SPARSAE_' + name) for name in ('KEPT', 'GONE', 'NEW')], flush=True)"
    changes = {"SPARSAE_GONE": None, "SPARSAE_NEW": "new"}
    with Lines([sys.executable, "-c", show], environment=changes, name="env") as lines:
        assert lines.read() == "['kept', None, 'new']"
    assert dict(os.environ) == before


def test_a_task_that_raises_says_so() -> None:
    """The error of the child reaches the parent, with the name of the probe."""
    with (
        Probe(f"{HERE}:variant", {**SMALL, "name": "nothing"}, environment={}, name="mine") as probe,
        pytest.raises(ProbeError, match="mine: KeyError: 'nothing'"),
    ):
        probe.ready()


def test_a_process_that_dies_says_how() -> None:
    """Exit code and last words are in the message."""
    command = [sys.executable, "-c", "import sys; sys.exit('no more')"]
    with Lines(command, environment={}, name="mortal") as lines, pytest.raises(ProbeError, match=r"code 1\. no more"):
        lines.read()


def test_a_process_that_hangs_is_given_up_and_killed() -> None:
    """Waiting ends, and closing does not wait for ever either."""
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    lines = Lines(command, environment={}, name="slow")
    with pytest.raises(ProbeError, match=r"slow: no answer within 0\.05 s"):
        lines.read(timeout=0.05)
    lines.close()
    assert lines._process.returncode is not None


def test_garbage_on_the_pipe_is_refused(tmp_path: object) -> None:
    """An answer that is not JSON is an error with a piece of it."""
    probe = Probe("os:nothing", {}, environment={}, name="odd")
    try:
        with pytest.raises(ProbeError, match="odd: expected JSON, got 'hello'"):
            probe._answer("hello")
    finally:
        probe.close()


def test_what_a_task_prints_does_not_disturb() -> None:
    """Answers travel on a pipe of their own: a library that prints does no harm."""
    with Probe("tests.support.loud:make", {}, environment={"PYTHONPATH": _root()}, name="loud") as probe:
        probe.ready()
        assert probe.error() == 0.0


class Clock:
    """A probe whose time is known."""

    def __init__(self, seconds: float, *, fails_at: int = -1) -> None:
        self.seconds, self.calls, self.fails_at = seconds, 0, fails_at

    def time(self, loops: int) -> Sample:
        """Return a batch at that speed."""
        self.calls += 1
        if self.calls == self.fails_at:
            raise ProbeError("enough")
        return Sample(loops, loops * self.seconds)


def test_every_round_visits_every_probe_in_an_order_of_its_own() -> None:
    """Randomised complete blocks, the same for the same seed."""
    visits: list[str] = []

    class Noted(Clock):
        def __init__(self, name: str) -> None:
            super().__init__(1.0)
            self.name = name

        def time(self, loops: int) -> Sample:
            """Note the visit."""
            visits.append(self.name)
            return super().time(loops)

    names = "abcdef"
    list(take_turns({name: Noted(name) for name in names}, rounds=5, seed=3))
    rounds = ["".join(visits[i : i + 6]) for i in range(12, len(visits), 6)]
    assert len(rounds) == 5
    assert {"".join(sorted(turn)) for turn in rounds} == {names}
    assert len(set(rounds)) > 1
    first = visits.copy()
    visits.clear()
    list(take_turns({name: Noted(name) for name in names}, rounds=5, seed=3))
    assert visits == first


def test_a_probe_that_fails_leaves_and_the_others_go_on() -> None:
    """Its reason is kept; without a place for reasons the failure is raised."""
    dropped: dict[str, str] = {}
    turns = list(take_turns({"a": Clock(1), "b": Clock(1, fails_at=4)}, rounds=3, seed=0, dropped=dropped))
    assert [sorted(turn) for turn in turns] == [["a", "b"], ["a"], ["a"]]
    assert dropped == {"b": "enough"}
    with pytest.raises(ProbeError, match="enough"):
        list(take_turns({"b": Clock(1, fails_at=4)}, rounds=3, seed=0))


def test_a_disturbed_batch_is_repeated_for_its_waiting_alone() -> None:
    """A batch that waited for a CPU is timed again, twice at most; a slow one that did not wait stands."""

    class Disturbed(Clock):
        def __init__(self, waits: list[float]) -> None:
            super().__init__(1.0)
            self.waits = iter(waits)

        def time(self, loops: int) -> Sample:
            """Wait that long."""
            self.calls += 1
            return Sample(loops, float(self.calls), next(self.waits))

    twice = Disturbed([0, 0, 1, 1, 0.001])  # the first two choose the loops
    always = Disturbed([0, 0, 1, 1, 1])
    (turn,) = take_turns({"twice": twice, "always": always}, rounds=1, seed=0)
    assert (turn["twice"].wall, turn["twice"].clean) == (5, True)
    assert (turn["always"].wall, turn["always"].clean) == (5, False)


def test_waiting_is_seen_from_outside() -> None:
    """Two busy processes on one CPU: each is told to have waited; where nobody watches, nothing is claimed."""
    cpus = sorted(os.sched_getaffinity(0))[:1]
    settings = {"size": [4000, 64, 25], "seed": 0, "name": "vectorised"}
    busy = [sys.executable, "-c", "while True: pass"]
    with (
        Lines(busy, environment={}, cpus=cpus, name="busy") as other,
        Probe(f"{HERE}:variant", settings, environment=one_thread(), cpus=cpus, name="one") as watched,
        Probe(f"{HERE}:variant", settings, environment=one_thread(), cpus=cpus, name="two", watch=False) as unwatched,
    ):
        watched.ready()
        unwatched.ready()
        samples = [watched.time(20) for _ in range(3)]
        assert unwatched.time(1).waited is None
        other.kill()
    assert not all(sample.clean for sample in samples)


def test_a_ratio_is_taken_within_rounds() -> None:
    """A machine that becomes three times as slow half way changes both of a round and no ratio."""
    drift = [1.0, 1.0, 3.0, 3.0]
    assert paired_ratio(samples([2 * d for d in drift]), samples(drift)) == pytest.approx(Ratio(2, 2, 2, 4, 4))
    low = paired_ratio(samples([1, 2, 3]), samples([1, 1, 1]))
    assert (low.median, low.rounds, low.wins) == (pytest.approx(2), 3, 2)
    assert 1 < low.low < 2 < low.high < 3


def test_disturbed_rounds_do_not_count_while_enough_remain() -> None:
    """With five undisturbed rounds the others are left out; with fewer all count, and the ratio says so."""
    own = samples([1.0] * 6)
    other = [*samples([2.0] * 5), Sample(1, 40.0, waited=38.0)]
    assert paired_ratio(other, own) == pytest.approx(Ratio(2, 2, 2, 5, 5))
    few = paired_ratio(other[2:], own[2:])
    assert (few.rounds, few.clean) == (4, False)


def samples(seconds: list[float]) -> list[Sample]:
    return [Sample(1, value) for value in seconds]


def _root() -> str:
    from pathlib import Path

    return str(Path(__file__).parents[2])
