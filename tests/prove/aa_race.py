"""Evidence: a backend against itself, again and again, quietly and with another process on one core.

    python tests/prove/aa_race.py --races 20            # the machine to itself
    python tests/prove/aa_race.py --races 20 --load     # another process keeps one core busy

Each race is a quick one of a backend that is given twice.  Verdicts are counted for each number of threads, and for
whole races: a win when either is called faster, a tie when every number of threads says tie, and unknown otherwise.
With load, as many threads as CPUs cannot but wait for one, so that "unknown" is the honest answer there.
Exit code 1 when fewer than 19 of 20 are ties where a CPU is left for each thread, or more than 1 of 20 is a win.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import sys
import time
from collections import Counter
from pathlib import Path

from sparsae.bench.plan import RacePlan
from sparsae.bench.race import run
from sparsae.bench.record import RaceRecorder
from sparsae.machine.facts import affinity


def spin() -> None:
    """Keep one core busy."""
    while True:
        sum(range(1000))


@contextlib.contextmanager
def load(wanted: bool):
    """Another process on one core, while it is wanted."""
    process = multiprocessing.get_context("spawn").Process(target=spin, daemon=True)
    if wanted:
        process.start()
    try:
        yield
    finally:
        if wanted:
            process.kill()
            process.join()


def one(number: int, arguments: argparse.Namespace) -> tuple[str, dict[str, object]]:
    """Run one race and say what it found."""
    plan = RacePlan.checked(
        backends=[arguments.backend, arguments.backend],
        threads=[int(word) for word in arguments.threads.split(",")] if arguments.threads else (),
        sizes=[arguments.size],
        cases=[arguments.case],
        preset="quick",
        rounds=arguments.rounds,
        launches=arguments.launches,
        seed=arguments.seed + number,
    )
    with RaceRecorder() as recorder:
        run(plan, recorder)
    found = {}
    for group in recorder.sessions()[0].standings():
        row = next(row for row in group.rows if row.label == f"{arguments.backend}#2")
        effect = row.effect
        found[f"x{group.threads}"] = {
            "verdict": row.verdict or row.state,
            "ratio": effect and round(effect.ratio, 4),
            "interval": effect and [round(end, 4) for end in effect.interval],
            "floor": group.floor and round(group.floor, 4),
            "kept": row.kept and round(row.kept, 2),
            "why": row.why,
        }
    verdicts = [str(cell["verdict"]) for cell in found.values()]
    said = "win" if {"faster", "slower"} & set(verdicts) else "tie" if set(verdicts) == {"tie"} else "unknown"
    return said, found


def main() -> int:
    """Run the races and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--races", type=int, default=20)
    parser.add_argument("--load", action="store_true", help="with another process on one core")
    parser.add_argument("--backend", default="dot")
    parser.add_argument("--threads", default="", help="with commas; default: 1 and the CPU budget")
    parser.add_argument("--size", default="question")
    parser.add_argument("--case", default="objective")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--launches", type=int)
    parser.add_argument("--seed", type=int, default=0, help="of the first race; each has its own")
    parser.add_argument("--log", type=Path, help="append the lines to this file too")
    arguments = parser.parse_args()
    counts: Counter[str] = Counter()
    apart: dict[str, Counter[str]] = {}
    with load(arguments.load):
        for number in range(arguments.races):
            start = time.monotonic()
            said, found = one(number, arguments)
            counts[said] += 1
            for threads, cell in found.items():
                apart.setdefault(threads, Counter())[str(cell["verdict"])] += 1
            line = f"{number + 1:3d} {said:8s} {time.monotonic() - start:5.1f} s  {json.dumps(found)}"
            print(line, flush=True)
            if arguments.log:
                with arguments.log.open("a") as file:
                    file.write(line + "\n")
    n, cpus = arguments.races, len(affinity()) - arguments.load
    print(f"{'with load' if arguments.load else 'quiet'}: {dict(counts)} of {n}")
    for threads, verdicts in apart.items():
        print(f"  {threads}: {dict(verdicts)}")
    undisturbed = [verdicts for threads, verdicts in apart.items() if int(threads[1:]) <= cpus]
    enough = all(verdicts["tie"] >= 0.95 * n for verdicts in undisturbed)
    return 0 if enough and counts["win"] <= 0.05 * n else 1


if __name__ == "__main__":
    sys.exit(main())
