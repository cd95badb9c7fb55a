"""Evidence: the question replayed; with --write its tables go into README.md and docs/question.md.

python tests/prove/question.py [--rounds 12] [--launches 5] [--write]

Run it on a quiet machine, with the BLAS kernels that suit the CPU (`sparsae doctor` says how).
Exit code 1 when a ratio rests on fewer than five undisturbed rounds; then nothing is written, unless with --busy.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from sparsae.bench.question import QuestionReport, run_question
from sparsae.bench.question.report import QuestionTable

ROOT = Path(__file__).parents[2]
MARKS = re.compile(r"(<!-- question:begin -->\n).*?(<!-- question:end -->)", re.DOTALL)


def short(report: QuestionReport) -> str:
    """The first table without threads and errors, for the README."""
    table = report.tables()[0]
    keep = [table.columns.index(name) for name in ("way", "ms", "times as fast", "published in 2013")]
    rows = tuple(tuple(cells[i] for i in keep) for cells in table.rows)
    return QuestionTable(table.title, tuple(table.columns[i] for i in keep), rows).markdown() + "\n"


def main() -> int:
    """Replay, print, and write where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--launches", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--busy", action="store_true")
    options = parser.parse_args()
    report = run_question(rounds=options.rounds, launches=options.launches)
    print(report.markdown())
    quiet = all(row.ratio.undisturbed for row in (*report.ways, *report.scratch, *report.orders))
    if options.write and (quiet or options.busy):
        for page, text in (("README.md", short(report)), ("docs/question.md", report.markdown())):
            path = ROOT / page
            path.write_text(MARKS.sub(lambda found, text=text: found[1] + text + found[2], path.read_text()))
    return 0 if quiet else 1


if __name__ == "__main__":
    sys.exit(main())
