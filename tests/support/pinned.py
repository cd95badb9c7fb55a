"""Competitors of a proof: processes that are pinned before anything is imported and time a turn when they are asked to.

Turns are interleaved in a fresh random order each round; a ratio is the median over rounds of the ratio within a round.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.support.instruction_sets import environment_of, instruction_sets

TURN = 0.03  # seconds of a turn
WARM = 0.1  # seconds of calls before it, where there are more threads than one: until then they share a CPU
LONG = 0.1  # seconds: a turn of one call is long enough
PAUSE = 0.12  # seconds after a turn: helpers of a BLAS spin for 105 ms and would slow the next one
SAME = 1e-4  # relative difference of two figures of the same work
Found = dict[str, list[float]]  # seconds of each competitor, round by round


class DifferentWorkError(Exception):
    """Two competitors do not compute the same."""


def serve(call: Callable[[], Any], *, threads: int, clock: str, reports_seconds: bool) -> None:
    """Call twice, say a figure of the result, then time a turn for each line that comes.

    Parameters
    ----------
    call : callable
        Returns a tuple, the first item of which is the same number or array for all that do the same work;
        seconds instead where `reports_seconds`.
    threads : int
    clock : {"wall", "cpu"}
        Whether seconds are those of the wall clock or of this process on processors.
    reports_seconds : bool
    """
    now = time.perf_counter if clock == "wall" else time.process_time
    call()
    figure = None if reports_seconds else figure_of(call())
    print("ready", json.dumps({"figure": figure, "uses": instruction_sets()}), flush=True)
    for _ in sys.stdin:
        begun = time.perf_counter()
        call()
        while threads > 1 and time.perf_counter() - begun < WARM:
            call()
        seconds: list[float] = []
        begun = time.perf_counter()
        while (passed := time.perf_counter() - begun) < TURN or (len(seconds) < 2 and passed < LONG):
            start = now()
            said = call()
            seconds.append(said if reports_seconds else now() - start)
        print(json.dumps(statistics.median(seconds)), flush=True)


def figure_of(result: Any) -> float:
    """Return one number by which results can be compared."""
    import numpy as np

    return float(np.abs(np.asarray(result[0], np.float64)).sum())


def race(
    script: str, jobs: dict[str, Sequence[Any]], *, threads: int, isa: str, rounds: int
) -> tuple[Found, dict[str, str], dict[str, str]]:
    """Start `script --serve JOB` for each job, and give each a turn in each round.

    Returns
    -------
    found : dict of str to list of float
        Seconds of each competitor in each round.
    uses : dict of str to str
        The instruction sets of the libraries.
    absent : dict of str to str
        Those that ended before they were ready, and the last line that they wrote.

    Raises
    ------
    DifferentWorkError
        When the figures of two competitors differ.
    """
    workers = {name: _start(script, job, threads, isa) for name, job in jobs.items()}
    uses: dict[str, str] = {}
    absent: dict[str, str] = {}
    figures: dict[str, float] = {}
    try:
        for name, worker in list(workers.items()):
            line = worker.stdout.readline()
            if not line.startswith("ready"):
                absent[name] = " ".join(worker.communicate()[1].strip().splitlines()[-1:])
                del workers[name]
                continue
            said = json.loads(line.removeprefix("ready"))
            uses |= said["uses"]
            if said["figure"] is not None:
                figures[name] = said["figure"]
        _check_same(figures)
        found: Found = {name: [] for name in workers}
        for _ in range(rounds):
            for name in random.sample(list(workers), len(workers)):
                workers[name].stdin.write("go\n")
                workers[name].stdin.flush()
                found[name].append(float(json.loads(workers[name].stdout.readline())))
                time.sleep(PAUSE)
    finally:
        for worker in workers.values():
            worker.kill()
            worker.communicate()
    return found, uses, absent


def pin(threads: int) -> None:
    """Hold this process to that many CPUs, before anything is imported."""
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:threads]))


def answer(turn: Callable[[], Any]) -> None:
    """Say that all is ready, then answer each line that comes with what a turn gives."""
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps(turn()), flush=True)


def ask_in_turns(commands: Mapping[str, Sequence[object]], rounds: int) -> dict[str, list[Any]]:
    """Start a script that calls `answer` for each command, and ask each once a round; return all answers."""
    workers = {
        name: subprocess.Popen(
            [sys.executable, *map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        for name, command in commands.items()
    }
    answers: dict[str, list[Any]] = {name: [] for name in workers}
    try:
        for name, worker in workers.items():
            assert worker.stdout.readline().strip() == "ready", name
        for _ in range(rounds):
            for name in random.sample(list(workers), len(workers)):
                workers[name].stdin.write("\n")
                answers[name].append(json.loads(workers[name].stdout.readline()))
    finally:
        for worker in workers.values():
            worker.stdin.close()
            worker.wait()
    return answers


def ratio(above: Sequence[float], below: Sequence[float]) -> tuple[float, str]:
    """Return the median ratio within rounds, and in words with the 10th and 90th percentile."""
    ratios = sorted(a / b for a, b in zip(above, below, strict=True))
    tenth = len(ratios) // 10
    middle = statistics.median(ratios)
    return middle, f"{middle:.2f} ({ratios[tenth]:.2f} to {ratios[-1 - tenth]:.2f})"


def _check_same(figures: dict[str, float]) -> None:
    name, first = next(iter(figures.items()), ("", 0.0))
    for other, figure in figures.items():
        if not abs(figure - first) <= SAME * abs(first):
            raise DifferentWorkError(f"{other} computes another result than {name}: {figure} for {first}")


def _start(script: str, job: Sequence[Any], threads: int, isa: str) -> subprocess.Popen[str]:
    cpus = sorted(os.sched_getaffinity(0))[-threads:]
    environment = os.environ | {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL")}
    return subprocess.Popen(
        [sys.executable, script, "--serve", json.dumps(job)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env=environment | environment_of(isa),
        preexec_fn=lambda: os.sched_setaffinity(0, cpus),
    )  # fmt: skip
