"""Evidence: what pinning, turns and processes of their own are for; draws the plot of the documentation.

python tests/prove/aa_study.py --trials 20 --plot docs/images/aa_study.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.support.timing_study import MODES, draw, study


def main() -> int:
    """Run the study, print each trial and the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    trials = study(
        trials=arguments.trials,
        rounds=arguments.rounds,
        backend=arguments.backend,
        threads=arguments.threads,
        progress=lambda t: print(f"{t.mode:12s} {t.ratio:.4f} {'different' if t.alarm else ''}", flush=True),
    )
    for mode, meaning in MODES.items():
        mine = [trial for trial in trials if trial.mode == mode]
        ratios = [trial.ratio for trial in mine]
        alarms = sum(trial.alarm for trial in mine)
        print(f"{mode}: {alarms} of {len(mine)} called different, {min(ratios):.3f} to {max(ratios):.3f} ({meaning})")
    if arguments.plot:
        draw(trials, arguments.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
