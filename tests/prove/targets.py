"""Evidence: the speed targets of sigmoid, relu and top-k units against JAX, torch and the limits of this machine.

Each competitor is a process of its own, pinned before anything is imported; turns are interleaved in a fresh random
order each round; a ratio is the median over rounds of the ratio within a round, with the 10th and 90th percentile.
All results are compared before anything is timed.  See `tests/support/peers.py` for what each competitor does.
``--isa native,avx2`` runs all of it once for each instruction set; every process says what it really uses.
``--clock cpu`` counts the processor time of the process, which tells more than the wall clock where others compete for
the processor; for one thread only.
The limit of sigmoid units is the time of 10mnp flop at the best product speed of BLAS and of m(n + p) sigmoids at that
of the compiled loop of `numba`; that of top-k units is the encoder's dense product.  Both are measured in the same run.
Needs jax, torch and numba; run it with the peers' environment, on a quiet machine:

    .venv-peers-3.11/bin/python tests/prove/targets.py [--rounds 15] [--threads 1,2] [--isa native,avx2]
    .venv-peers-3.11/bin/python tests/prove/targets.py --activation topk,relu --k 32 [--sizes 2048x784x4096]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.support.peers import LIMITS, Job, make_call
from tests.support.pinned import Found, race, ratio, serve

SMALL = (10_000, 64, 25)
LARGE = ((10_000, 784, 196), (10_000, 784, 1024), (4_096, 768, 4_096))
UNITS_SIZE = "2048x784x4096"
TARGETS = {  # of sigmoid units at the small size, (case, dtype): {(ours, theirs): least ratio}
    ("backprop", "f8"): {("fused", "numpy"): 2.2, ("numba", "numpy"): 3.0},
    ("objective", "f8"): {("fused", "jax"): 1.3, ("numba", "jax"): 1.8},
    ("objective", "f4"): {("fused", "jax"): 1.3, ("numba", "jax"): 1.8},
}
SMALL_SHARE = 0.8  # of the limit, at least, of `numba` at the small size
LARGE_SHARE = 0.9  # of the faster of `fused` and `numba` at the others
UNIT_PEERS = {
    "topk": ("torch eager", "torch bag", "torch eager compiled", "torch bag compiled", "jax grad"),
    "relu": ("torch eager", "torch eager compiled", "jax grad"),
}
UNIT_TARGETS = {  # over the fastest peer: (unit, backend, threads)
    ("topk", "numba", 1): 2.7,
    ("topk", "numba", 2): 2.4,
    ("topk", "fused", 1): 1.0,
    ("topk", "fused", 2): 1.0,
    ("relu", "numba", 1): 1.0,
    ("relu", "numba", 2): 1.0,
}
OVER_PRODUCT = {("topk", "numba", 1): 1.3}  # time over that of the encoder's product, at most


def run_jobs(names: list[str], template: Job, options: argparse.Namespace) -> Found:
    """Race competitors that differ in their name; say what they use and which do not work here."""
    jobs = {name: [*template._replace(kind=name), options.clock] for name in names}
    found, used, absent = race(
        __file__, jobs, threads=template.threads, isa=options.isa, rounds=options.rounds
    )  # fmt: skip
    print(f"  uses {', '.join(f'{name} {word}' for name, word in sorted(used.items()))}")
    for name, reason in absent.items():
        assert "compiled" in name, f"{name}: {reason}"
        print(f"  {name} does not work here: {reason}")
    if options.isa == "avx2":
        wrong = {name: word for name, word in used.items() if "512" in word or "Skylake" in word}
        assert not wrong, f"not held to AVX2: {wrong}"
    return found


def judge(words: str, middle: float, *, least: float | None = None, most: float | None = None) -> bool:
    """Print a ratio beside its target, where it has one; returns whether it is met."""
    met = (least is None or middle >= least) and (most is None or middle <= most)
    goal = f"at least {least}" if least is not None else f"at most {most}" if most is not None else ""
    print(f"  {words}{f'; target {goal}: ' + ('met' if met else 'MISSED') if goal else ''}", flush=True)
    return met


def fastest(found: Found, names: list[str]) -> str:
    """Return the name of the competitor with the least median."""
    return min((name for name in names if name in found), key=lambda name: statistics.median(found[name]))


def report_sigmoid(case: str, dtype: str, threads: int, size: tuple[int, int, int], options) -> bool:
    """Race sigmoid units and print times, ratios and shares of the limit beside the targets."""
    large = size != SMALL
    names = ["fused", "numba", "jax closed", "jax grad"] if large else ["numpy", "fused", "numba", "jax closed", "dot"]
    names += [] if large else ["loop"] if case == "backprop" else ["jax grad"]
    names += [] if case == "backprop" else ["peak", "powers"]
    print(f"{case} {dtype} {size[0]} x {size[1]}/{size[2]} T={threads}")
    found = run_jobs(names, Job("", case, "sigmoid", None, dtype, threads, size), options)
    print(f"  median ms: {', '.join(f'{name} {statistics.median(found[name]) * 1e3:.2f}' for name in names)}")
    met = True
    for (mine, theirs), least in TARGETS[case, dtype].items():
        other = fastest(found, ["jax closed", "jax grad"]) if theirs == "jax" else theirs
        middle, words = ratio(found[other], found[mine])
        met &= judge(f"{mine} over {other}: {words}", middle, least=None if large else least)
    if case == "objective":
        limit = [a + b for a, b in zip(found["peak"], found["powers"], strict=True)]
        shares = {mine: ratio(limit, found[mine]) for mine in ("fused", "numba")}
        judged = max(shares, key=lambda mine: shares[mine][0]) if large else "numba"
        for mine, (middle, words) in shares.items():
            least = (LARGE_SHARE if large else SMALL_SHARE) if mine == judged else None
            met &= judge(f"{mine}, share of the limit: {words}", middle, least=least)
    return met


def report_unit(activation: str, threads: int, size: tuple[int, int, int], options) -> bool:
    """Race another unit and print times and ratios beside the targets."""
    k = options.k if activation == "topk" else None
    backends = options.backends.split(",")
    print(f"{activation}{f' k={k}' if k else ''} f4 {size[0]} x {size[1]}/{size[2]} T={threads}, microseconds a row")
    job = Job("", "objective", activation, k, "f4", threads, size)
    found = run_jobs([*backends, *UNIT_PEERS[activation], "product"], job, options)
    for name, seconds in sorted(found.items(), key=lambda item: statistics.median(item[1])):
        print(f"  {name:20} {1e6 * statistics.median(seconds) / size[0]:8.1f}")
    peer, met = fastest(found, list(UNIT_PEERS[activation])), True
    for mine in backends:
        key = (activation, mine, threads)
        middle, words = ratio(found[peer], found[mine])
        met &= judge(f"{mine} over {peer}: {words}", middle, least=UNIT_TARGETS.get(key))
        middle, words = ratio(found[mine], found["product"])
        met &= judge(f"{mine}, time over the product: {words}", middle, most=OVER_PRODUCT.get(key))
    return met


def report_all(options: argparse.Namespace) -> bool:
    """Race everything that was asked for with one instruction set."""
    threads = [int(word) for word in options.threads.split(",")]
    met = True
    for activation in options.activation.split(","):
        if activation != "sigmoid":
            for size in (options.sizes or UNITS_SIZE).split(","):
                for count in threads:
                    met &= report_unit(activation, count, tuple(map(int, size.split("x"))), options)
            continue
        sizes = (options.sizes or "small,large").split(",")
        for case, dtype in TARGETS if "small" in sizes else ():
            for count in threads:
                if case == "objective" or count == 1:
                    met &= report_sigmoid(case, dtype, count, SMALL, options)
        given = [tuple(map(int, word.split("x"))) for word in sizes if word not in ("small", "large")]
        for size in (*(LARGE if "large" in sizes else ()), *given):
            for count in threads:
                met &= report_sigmoid("objective", "f4", count, size, options)
    return met


def main() -> int:
    """Race every case and print it beside its targets; returns 1 where one is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--activation", default="sigmoid", help="sigmoid, relu, topk; with commas")
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--isa", default="native")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--sizes", help="small, large or MxNxP; with commas")
    parser.add_argument("--backends", default="numba,fused", help="of relu and topk")
    parser.add_argument("--serve", type=json.loads)
    options = parser.parse_args()
    if options.serve:
        *parts, size, clock = options.serve
        job = Job(*parts, tuple(size))
        serve(make_call(job), threads=job.threads, clock=clock, reports_seconds=job.kind in LIMITS)
        return 0
    met = True
    for isa in options.isa.split(","):
        options.isa = isa
        print(f"{isa}, clock: {options.clock}")
        met &= report_all(options)
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
