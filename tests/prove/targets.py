"""Evidence: the speed targets, each competitor in a process of its own, pinned before anything is imported.

Turns are interleaved in a fresh random order each round; a ratio is the median over rounds of the ratio within a round.
JAX is taken at its best: data on its side, `jit` of the closed form and of `value_and_grad`, whichever is faster.
Needs jax; run it with the peers' environment, on a quiet machine, with and without a preset BLAS kernel:

    .venv-peers-3.11/bin/python tests/prove/targets.py [--rounds 15] [--threads 1,2]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time

M, N, P = 10_000, 64, 25
TURN = 0.03  # seconds of a turn
WARM = 0.1  # seconds of calls before it, where there are more threads than one: until then they share a CPU
TARGETS = {  # (case, dtype): {(ours, theirs): least ratio}
    ("backprop", "f8"): {
        ("fused", "loop"): 40, ("fused", "numpy"): 1.9, ("fused", "jax"): 1.5,
        ("numba", "loop"): 55, ("numba", "numpy"): 2.5, ("numba", "jax"): 2.0,
    },
    ("objective", "f8"): {("fused", "jax"): 1.7, ("numba", "jax"): 2.5},
    ("objective", "f4"): {("fused", "jax"): 1.4, ("numba", "jax"): 1.8},
}  # fmt: skip
SHARES = {"fused": 55, "numba": 75}


def serve(kind: str, case: str, dtype: str, threads: int, size: tuple[int, int, int]) -> None:
    """Prepare one competitor, then time a turn for each line that comes."""
    function = COMPETITORS[kind](kind, case, dtype, threads, size)
    for _ in range(3):
        function()
    print("ready", flush=True)
    for _ in sys.stdin:
        begun = time.perf_counter()
        function()
        while threads > 1 and time.perf_counter() - begun < WARM:
            function()
        seconds = []
        begun = time.perf_counter()
        while time.perf_counter() - begun < TURN or len(seconds) < 2:
            start = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - start)
        print(json.dumps(statistics.median(seconds)), flush=True)


def arrays(dtype: str, size: tuple[int, int, int]):
    """Rows, activations, weights, sparsity vector."""
    import numpy as np

    m, n, p = size
    rng = np.random.default_rng(0)
    made = rng.random((m, n)), rng.random((m, p)), rng.random((m, n)), rng.normal(size=(n, p)), rng.normal(size=p)
    return [a.astype(dtype) for a in made]


def ours(kind, case, dtype, threads, size):
    """A backend, through the public interface."""
    import sparsae

    given = arrays(dtype, size)
    if case == "backprop":
        return lambda: sparsae.backprop(*given, backend=kind, threads=threads)
    objective = sparsae.Objective(given[0], size[2], backend=kind, threads=threads)
    objective.__enter__()
    theta = sparsae.Parameters.random(size[1], size[2]).flatten()
    return lambda: objective(theta)


def jax_closed(kind, case, dtype, threads, size):
    """JAX with the closed form, everything on its side."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", dtype == "f8")
    x, a2, a3, W2, s = (jnp.asarray(a) for a in arrays(dtype, size))

    @jax.jit
    def backprop(a1, a2, a3, W2, s):
        delta3 = (a3 - a1) * a3 * (1 - a3)
        delta2 = (delta3 @ W2 + s) * a2 * (1 - a2)
        return delta2.T @ a1, delta2.sum(0), delta3.T @ a2, delta3.sum(0)

    if case == "backprop":
        return lambda: jax.block_until_ready(backprop(x, a2, a3, W2, s))
    W1, b1, b2 = W2.T * 0.1, s * 0, jnp.zeros(size[1], x.dtype)

    @jax.jit
    def evaluate(W1, b1, W2, b2):
        a2 = jax.nn.sigmoid(x @ W1.T + b1)
        a3 = jax.nn.sigmoid(a2 @ W2.T + b2)
        r = a2.mean(0)
        s = 3.0 * ((1 - 0.01) / (1 - r) - 0.01 / r)
        kl = (0.01 * jnp.log(0.01 / r) + 0.99 * jnp.log(0.99 / (1 - r))).sum()
        cost = ((a3 - x) ** 2).sum() / (2 * len(x)) + 5e-5 * ((W1**2).sum() + (W2**2).sum()) + 3.0 * kl
        g = backprop(x, a2, a3, W2, s)
        return cost, (g[0] / len(x) + 1e-4 * W1, g[1] / len(x), g[2] / len(x) + 1e-4 * W2, g[3] / len(x))

    return lambda: jax.block_until_ready(evaluate(W1, b1, W2 * 0.1, b2))


def jax_grad(kind, case, dtype, threads, size):
    """JAX with automatic differentiation of the cost."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", dtype == "f8")
    x, _, _, W2, s = (jnp.asarray(a) for a in arrays(dtype, size))

    def cost(W1, b1, W2, b2):
        a2 = jax.nn.sigmoid(x @ W1.T + b1)
        a3 = jax.nn.sigmoid(a2 @ W2.T + b2)
        r = a2.mean(0)
        kl = (0.01 * jnp.log(0.01 / r) + 0.99 * jnp.log(0.99 / (1 - r))).sum()
        return ((a3 - x) ** 2).sum() / (2 * len(x)) + 5e-5 * ((W1**2).sum() + (W2**2).sum()) + 3.0 * kl

    evaluate = jax.jit(jax.value_and_grad(cost, argnums=(0, 1, 2, 3)))
    given = W2.T * 0.1, s * 0, W2 * 0.1, jnp.zeros(size[1], x.dtype)
    return lambda: jax.block_until_ready(evaluate(*given))


def gemm(kind, case, dtype, threads, size):
    """Seconds that the useful work would take at the best product speed of this BLAS, over several shapes."""
    import numpy as np
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)
    _, n, p = size
    shapes = [(500, n, p), (512, n, p), (1024, n, p), (512, 512, 512), (500, p, n), (1000, 784, 196)]
    rng = np.random.default_rng(0)
    pairs = [(rng.random((a, k)).astype(dtype), rng.random((k, b)).astype(dtype)) for a, k, b in shapes]

    def best() -> float:
        speeds = []
        for a, b in pairs:
            out = np.empty((len(a), b.shape[1]), a.dtype)
            flops = 2 * a.shape[0] * a.shape[1] * b.shape[1]
            count = max(1, int(2e8 / flops))
            begun = time.perf_counter()
            for _ in range(count):
                np.dot(a, b, out=out)
            speeds.append(flops * count / (time.perf_counter() - begun))
        return max(speeds)

    return best


COMPETITORS = dict.fromkeys(("loop", "numpy", "dot", "fused", "numba", "torch"), ours)
COMPETITORS |= {"jax closed": jax_closed, "jax grad": jax_grad, "peak": gemm}


def start(kind: str, case: str, dtype: str, threads: int, size: tuple[int, int, int]) -> subprocess.Popen[str]:
    """Start a competitor, pinned to `threads` CPUs before Python begins."""
    cpus = sorted(os.sched_getaffinity(0))[-threads:]
    words = [sys.executable, __file__, "--serve", json.dumps([kind, case, dtype, threads, list(size)])]
    environment = os.environ | {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL")}
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        preexec_fn=lambda: os.sched_setaffinity(0, cpus),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready", kind
    return process


def race(names, case: str, dtype: str, threads: int, size, rounds: int) -> dict[str, list[float]]:
    """Seconds of each competitor in each round."""
    workers = {name: start(name, case, dtype, threads, size) for name in names}
    found: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in random.sample(names, len(names)):
            worker = workers[name]
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
            found[name].append(float(json.loads(worker.stdout.readline())))
            time.sleep(0.12)  # helpers of a BLAS spin for 105 ms and would slow the next one
    for worker in workers.values():
        worker.kill()
        worker.wait()
    return found


def peak_speed(dtype: str, size, rounds: int) -> float:
    """Best product speed of one thread, in flop a second."""
    worker = start("peak", "", dtype, 1, size)
    worker.kill()
    worker.wait()
    words = [sys.executable, __file__, "--peak", json.dumps([dtype, list(size), rounds])]
    cpus = sorted(os.sched_getaffinity(0))[-1:]
    done = subprocess.run(
        words, capture_output=True, text=True, check=True, preexec_fn=lambda: os.sched_setaffinity(0, cpus)
    )
    return float(done.stdout)


def ratio(found, theirs: str, mine: str) -> tuple[float, float, float]:
    """Median and quartiles of the ratio within a round; JAX is the faster of its two."""
    reference = found.get(theirs)
    if theirs == "jax":
        ways = [found[way] for way in ("jax closed", "jax grad") if way in found]
        reference = min(ways, key=statistics.median)
    low, middle, high = statistics.quantiles([a / b for a, b in zip(reference, found[mine], strict=True)], n=4)
    return middle, low, high


def main() -> None:
    """Race every case and print it beside its targets."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--serve", type=json.loads)
    parser.add_argument("--peak", type=json.loads)
    options = parser.parse_args()
    if options.serve:
        kind, case, dtype, threads, size = options.serve
        serve(kind, case, dtype, threads, tuple(size))
        return
    if options.peak:
        dtype, size, rounds = options.peak
        best = gemm("peak", "", dtype, 1, tuple(size))
        print(max(best() for _ in range(rounds)))
        return
    print(f"OPENBLAS_CORETYPE={os.environ.get('OPENBLAS_CORETYPE', '(not set)')}, {M} x {N} inputs, {P} hidden units")
    for (case, dtype), targets in TARGETS.items():
        for threads in [int(word) for word in options.threads.split(",")]:
            if case == "backprop" and threads > 1:
                continue
            names = ["numpy", "fused", "numba", "jax closed", "dot"]
            names += ["loop"] if case == "backprop" else ["jax grad"]
            found = race(names, case, dtype, threads, (M, N, P), options.rounds)
            times = ", ".join(f"{name} {statistics.median(found[name]) * 1e3:.2f}" for name in names)
            print(f"{case} {dtype} T={threads}, median ms: {times}", flush=True)
            for (mine, theirs), least in targets.items():
                middle, low, high = ratio(found, theirs, mine)
                met = "met" if middle >= least else "MISSED"
                print(f"  {mine} over {theirs}: {middle:.2f} ({low:.2f} to {high:.2f}); target {least}: {met}")
    for size in ((M, N, P), (M, 784, 196)):
        peak = peak_speed("f8", size, 5)
        found = race(["fused", "numba"], "objective", "f8", 1, size, max(5, options.rounds // 2))
        for name, seconds in found.items():
            share = 100 * 10 * size[0] * size[1] * size[2] / statistics.median(seconds) / peak
            least = SHARES[name] if size[1] == N else 90
            print(
                f"share of the gemm peak ({peak / 1e9:.0f} GFLOP/s) at {size[1]}/{size[2]}, {name}: {share:.0f} %; "
                f"target {least} %: {'met' if share >= least else 'MISSED'}"
            )


if __name__ == "__main__":
    main()
