"""Child processes that measure, and what happens when they misbehave."""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sparsae.bench import task_process
from sparsae.bench.process import LineProcess, thread_environment
from sparsae.bench.task_process import TaskProcess
from sparsae.errors import ProbeError

SMALL = {"size": [50, 8, 3], "seed": 0}


def test_a_process_has_its_own_environment_and_cpus() -> None:
    """The variables and the affinity are in force before libraries load: BLAS has one thread, and one CPU is seen."""
    cpus = sorted(os.sched_getaffinity(0))[:1]
    with closing(start("variant_task", name="vectorised", cpus=cpus)) as process:
        facts = process.prepare()
        assert facts["affinity"] == cpus
        assert facts["variables"]["OMP_NUM_THREADS"] == "1"
        assert {pool["num_threads"] for pool in facts["pools_after_call"] if pool["user_api"] == "blas"} == {1}
        assert process.error() <= 1
        batch = process.time(3)
        wall, cpu, shortest = process.work(0.01)
        assert 0 < process.shortest_call() < 0.1
    assert batch.loops == 3
    assert batch.seconds == pytest.approx(batch.wall / 3)
    assert batch.cpus == 1
    assert batch.quiet_after is not None
    assert wall >= 0.01
    assert cpu > 0
    assert 0 < shortest <= wall


def test_variables_are_changed_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable is set, another is removed, the rest stay, and our own environment is as before."""
    monkeypatch.setenv("SPARSAE_KEPT", "kept")
    monkeypatch.setenv("SPARSAE_GONE", "here")
    before = dict(os.environ)
    show = "import os; print([os.environ.get('SPARSAE_' + name) for name in ('KEPT', 'GONE', 'NEW')], flush=True)"
    changes = {"SPARSAE_GONE": None, "SPARSAE_NEW": "new"}
    with closing(LineProcess([sys.executable, "-c", show], environment=changes, name="env")) as lines:
        assert lines.read() == "['kept', None, 'new']"
    assert dict(os.environ) == before


def test_a_task_that_raises_says_so() -> None:
    """The error of the child reaches the parent, with the name of the process."""
    with (
        closing(start("variant_task", name="nothing")) as process,
        pytest.raises(ProbeError, match="mine: KeyError: 'nothing'"),
    ):
        process.prepare()


def test_a_process_that_dies_says_how() -> None:
    """Exit code and last words are in the message."""
    command = [sys.executable, "-c", "import sys; sys.exit('no more')"]
    with (
        closing(LineProcess(command, environment={}, name="mortal")) as lines,
        pytest.raises(ProbeError, match=r"code 1\. no more"),
    ):
        lines.read()


def test_a_process_that_hangs_is_given_up_and_killed() -> None:
    """Waiting ends, and closing does not wait for ever either."""
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    lines = LineProcess(command, environment={}, name="slow")
    with pytest.raises(ProbeError, match=r"slow: no answer within 0\.05 s"):
        lines.read(timeout=0.05)
    lines.close()
    assert lines._process.returncode is not None


@pytest.mark.parametrize(
    "line",
    [
        "hello",
        "[1]",
        "[" * 100_000,
        '{"loops": 1}',
        '{"loops": 1, "wall": NaN, "cpu": 0, "delay": 0, "cpus": 1, "switches": null}',
        '{"loops": 0, "wall": 1, "cpu": 0, "delay": 0, "cpus": 1, "switches": null}',
        '{"loops": 1, "wall": "\\u001b[31m", "cpu": 0, "delay": 0, "cpus": 1, "switches": null}',
    ],
)
def test_garbage_on_the_pipe_is_refused(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    """An answer that is not the JSON that was asked for is an error with a piece of it, whatever it is."""
    monkeypatch.setattr(task_process, "_SERVE", f"print({line!r}, flush=True); input()")
    with closing(start("variant_task", name="mine")) as process, pytest.raises(ProbeError) as caught:
        process.time(1)
    assert str(caught.value).startswith("mine: printed something else than an answer: ")
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


def test_a_process_that_never_stops_printing_fills_no_memory() -> None:
    """Lines wait in the pipe until they are read; an endless line is an error; the process can be ended."""
    noise = [sys.executable, "-c", "while True: print('noise')"]
    with closing(LineProcess(noise, environment={}, name="loud")) as process:
        assert process.read() == "noise"
    endless = "import sys\nwhile True: sys.stdout.write('noise' * 1000)"
    with (
        closing(LineProcess([sys.executable, "-c", endless], environment={}, name="loud")) as process,
        pytest.raises(ProbeError, match="loud: an endless line"),
    ):
        process.read()


def test_children_of_a_killed_process_end_with_it() -> None:
    """A process that hangs takes those that it started with it, so that nothing disturbs the others."""
    fork = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        "print(p.pid, flush=True); p.wait()"
    )
    process = LineProcess([sys.executable, "-c", fork], environment={}, name="parent")
    grandchild = int(process.read())
    process.kill()
    deadline = time.monotonic() + 20
    while is_alive(grandchild) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_alive(grandchild)


def test_what_a_task_prints_does_not_disturb(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers travel on a pipe of their own: a library that prints does no harm."""
    patch = "import sparsae.bench.tasks as t; run = t.BackpropTask.run; "
    patch += "t.BackpropTask.run = lambda self: (print('LOUD'), run(self))[1]; "
    monkeypatch.setattr(task_process, "_SERVE", patch + task_process._SERVE)
    with closing(start("variant_task", name="vectorised")) as process:
        process.prepare()
        assert process.error() <= 1
        assert process.time(2).loops == 2


def test_waiting_is_seen() -> None:
    """Two busy processes on one CPU: each is told to have waited; where waiting is ignored, nothing is claimed."""
    cpus = sorted(os.sched_getaffinity(0))[:1]
    size = [4000, 64, 25]
    busy = [sys.executable, "-c", "while True: pass"]
    with (
        closing(LineProcess(busy, environment={}, cpus=cpus, name="busy")) as other,
        closing(start("variant_task", name="vectorised", cpus=cpus, size=size)) as watched,
        closing(start("variant_task", name="vectorised", cpus=cpus, size=size, ignore_waiting=True)) as unwatched,
    ):
        watched.prepare()
        unwatched.prepare()
        batches = [watched.time(20) for _ in range(3)]
        assert unwatched.time(1).delay is None
        other.kill()
    assert not all(batch.undisturbed for batch in batches)


def start(factory: str, *, name: str, cpus: Any = (), size: Any = (50, 8, 3), **options: Any) -> TaskProcess:
    settings = {"size": size, "seed": 0, "name": name}
    environment = thread_environment(1)
    factory = f"sparsae.bench.question.tasks:{factory}"
    return TaskProcess(factory, settings, threads=1, environment=environment, cpus=cpus, name="mine", **options)


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except OSError:
        return False
