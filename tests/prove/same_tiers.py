"""Evidence: two default sessions of the race, one after the other, give the same tiers.

    python tests/prove/same_tiers.py                       # all ready backends, as `sparsae bench` would
    python tests/prove/same_tiers.py --backends dot,fused,numpy --rounds 30 --record two.jsonl

Exit code 1 when a backend's tier or state differs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sparsae.bench.compare import compare_sessions, same_tiers
from sparsae.bench.plan import RacePlan
from sparsae.bench.race import run
from sparsae.bench.record import RaceRecorder
from sparsae.cli.race_table import print_changes, print_session


def words(text: str) -> list[str]:
    """Split a list with commas."""
    return [word for word in text.split(",") if word]


def main() -> int:
    """Run both sessions, print both tables and the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", type=words, default=[])
    parser.add_argument("--threads", type=words, default=[])
    parser.add_argument("--case", type=words, default=["objective"])
    parser.add_argument("--size", type=words, default=["question"])
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--launches", type=int)
    parser.add_argument("--record", type=Path, help="keep both sessions in this file")
    arguments = parser.parse_args()
    plan = RacePlan.checked(
        backends=arguments.backends,
        threads=[int(word) for word in arguments.threads],
        cases=arguments.case,
        sizes=arguments.size,
        rounds=arguments.rounds,
        launches=arguments.launches,
    )
    with RaceRecorder(arguments.record, force=True) as recorder:
        for number in range(2):
            run(plan.with_seed(number), recorder)
    sessions = recorder.sessions()
    for session in sessions:
        print_session(session)
    changes = compare_sessions(*sessions)
    print_changes(changes)
    same = same_tiers(changes)
    print("the same tiers" if same else "the tiers differ")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
