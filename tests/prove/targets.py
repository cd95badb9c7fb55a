"""Evidence: the speed targets, each competitor in a process of its own, pinned before anything is imported.

Turns are interleaved in a fresh random order each round; a ratio is the median over rounds of the ratio within a round.
JAX is taken at its best: data on its side, `jit` of the closed form and of `value_and_grad`, whichever is faster.
``--isa native,avx2`` runs all of it once for each instruction set; every process says what it really uses.
``--clock cpu`` counts the processor time of the process, which tells more than the wall clock where others compete for
the processor; for one thread only.
The limit is the time of 10mnp flop at the best product speed of BLAS and of m(n + p) powers at that of the compiled
loop of `numba`, both measured in the same run.
Needs jax and numba; run it with the peers' environment, on a quiet machine:

    .venv-peers-3.11/bin/python tests/prove/targets.py [--rounds 15] [--threads 1,2] [--isa native,avx2]
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
from concurrent.futures import ThreadPoolExecutor

M, N, P = 10_000, 64, 25
TURN = 0.03  # seconds of a turn
WARM = 0.1  # seconds of calls before it, where there are more threads than one: until then they share a CPU
LARGE = ((10_000, 784, 196), (10_000, 784, 1024), (4_096, 768, 4_096))
TARGETS = {  # (case, dtype): {(ours, theirs): least ratio}
    ("backprop", "f8"): {("fused", "numpy"): 2.2, ("numba", "numpy"): 3.0},
    ("objective", "f8"): {("fused", "jax"): 1.3, ("numba", "jax"): 1.8},
    ("objective", "f4"): {("fused", "jax"): 1.3, ("numba", "jax"): 1.8},
}
SHARE = {(N, P): 80}  # least share of the limit, in percent, of `numba`; else LARGE_SHARE, of any backend
LARGE_SHARE = 90
AVX2 = {
    "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "",
    "ATEN_CPU_CAPABILITY": "avx2",
}


def environment_of(isa: str) -> dict[str, str]:
    """Variables that hold every library to an instruction set."""
    if isa == "native":
        return {}
    found = numpy_avx512()
    return AVX2 | ({"NPY_DISABLE_CPU_FEATURES": " ".join(found)} if found else {})


def numpy_avx512() -> list[str]:
    """Groups of AVX-512 instructions that NumPy dispatches to; the list of features names what it was not built for."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    wide = [name for name in __cpu_dispatch__ if "AVX512" in name or name == "X86_V4"]
    return [name for name in wide if __cpu_features__.get(name)]


def instruction_sets() -> dict[str, str]:
    """What the libraries loaded here use, as they say themselves."""
    import threadpoolctl
    from numpy._core._multiarray_umath import __cpu_features__

    said = {pool["internal_api"]: pool.get("architecture", "") for pool in threadpoolctl.threadpool_info()}
    said["numpy"] = "AVX-512" if numpy_avx512() else "AVX2" if __cpu_features__.get("AVX2") else "baseline"
    if "sparsae_backends.numba.target" in sys.modules:
        said["numba"] = f"{8 * sys.modules['sparsae_backends.numba.target'].TARGET.register_bytes}-bit registers"
    if "jax" in sys.modules:
        said["jax"] = os.environ.get("XLA_FLAGS", "native")
    if "torch" in sys.modules:
        said["torch"] = sys.modules["torch"].backends.cpu.get_cpu_capability()
    return said


def serve(kind: str, case: str, dtype: str, threads: int, size: tuple[int, int, int], clock: str) -> None:
    """Prepare one competitor, then time a turn for each line that comes."""
    now = time.perf_counter if clock == "wall" else time.process_time
    function = COMPETITORS[kind](kind, case, dtype, threads, size)
    for _ in range(3):
        function()
    print("ready", json.dumps(instruction_sets()), flush=True)
    for _ in sys.stdin:
        begun = time.perf_counter()
        function()
        while threads > 1 and time.perf_counter() - begun < WARM:
            function()
        seconds = []
        begun = time.perf_counter()
        while time.perf_counter() - begun < TURN or len(seconds) < 2:
            start = now()
            rate = function()
            seconds.append(rate if kind in LIMITS else now() - start)
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
    """Seconds that the useful work takes at the best product speed of BLAS, over several shapes."""
    import numpy as np
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)
    m, n, p = size
    shapes = [(500, n, p), (1024, n, p), (512, 512, 512), (500, p, n)]
    rng = np.random.default_rng(0)
    pairs = [(rng.random((a, k)).astype(dtype), rng.random((k, b)).astype(dtype)) for a, k, b in shapes]

    def fastest() -> float:
        speeds = []
        for a, b in pairs:
            out = np.empty((len(a), b.shape[1]), a.dtype)
            flops = 2 * a.shape[0] * a.shape[1] * b.shape[1]
            count = max(1, int(5e7 / flops))
            begun = time.thread_time()
            for _ in range(count):
                np.dot(a, b, out=out)
            speeds.append(flops * count / (time.thread_time() - begun))
        return max(speeds)

    def seconds() -> float:  # of as many products at once as there are threads: CPUs may share what makes them fast
        with ThreadPoolExecutor(threads) as pool:
            return 10 * m * n * p / sum(pool.map(lambda _: fastest(), range(threads)))

    return seconds


def powers(kind, case, dtype, threads, size):
    """Seconds that the powers of an evaluation take in a compiled loop."""
    import numba
    import numpy as np

    from sparsae_backends.numba.lanes import power_of_two

    @numba.njit(nogil=True, error_model="numpy")
    def loop(a, out):
        for i in range(len(a)):
            out[i] = power_of_two(a[i])

    m, n, p = size
    a = np.random.default_rng(0).normal(size=8_000).astype(dtype)
    out = np.empty_like(a)
    loop(a, out)

    def seconds() -> float:
        begun = time.process_time()
        for _ in range(200):
            loop(a, out)
        return (time.process_time() - begun) / (200 * len(a)) * m * (n + p) / threads

    return seconds


LIMITS = {"peak": gemm, "powers": powers}
COMPETITORS = dict.fromkeys(("loop", "numpy", "dot", "fused", "numba", "torch"), ours)
COMPETITORS |= {"jax closed": jax_closed, "jax grad": jax_grad} | LIMITS


def start(words: list[object], threads: int, isa: str) -> subprocess.Popen[str]:
    """Start a competitor, pinned to `threads` CPUs before Python begins."""
    cpus = sorted(os.sched_getaffinity(0))[-threads:]
    environment = os.environ | {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL")}
    return subprocess.Popen(
        [sys.executable, __file__, "--serve", json.dumps(words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, env=environment | environment_of(isa), preexec_fn=lambda: os.sched_setaffinity(0, cpus),
    )  # fmt: skip


def race(names, case: str, dtype: str, threads: int, size, options) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Seconds of each competitor in each round, and the instruction sets that they use."""
    words = {name: [name, case, dtype, threads, list(size), options.clock] for name in names}
    workers = {name: start(words[name], threads, options.isa) for name in names}
    used: dict[str, str] = {}
    for name, worker in workers.items():
        first = worker.stdout.readline()
        assert first.startswith("ready"), name
        used |= json.loads(first.removeprefix("ready"))
    found: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in random.sample(names, len(names)):
            worker = workers[name]
            worker.stdin.write("go\n")
            worker.stdin.flush()
            found[name].append(float(json.loads(worker.stdout.readline())))
            time.sleep(0.12)  # helpers of a BLAS spin for 105 ms and would slow the next one
    for worker in workers.values():
        worker.kill()
        worker.wait()
    if options.isa == "avx2":
        wrong = {name: word for name, word in used.items() if "512" in word or "Skylake" in word}
        assert not wrong, f"not held to AVX2: {wrong}"
    return found, used


def ratio(found, theirs: str, mine: str) -> tuple[float, float, float]:
    """Median and quartiles of the ratio within a round; JAX is the faster of its two."""
    reference = found.get(theirs)
    if theirs == "jax":
        ways = [found[way] for way in ("jax closed", "jax grad") if way in found]
        reference = min(ways, key=statistics.median)
    low, middle, high = statistics.quantiles([a / b for a, b in zip(reference, found[mine], strict=True)], n=4)
    return middle, low, high


def report(case: str, dtype: str, threads: int, size, options) -> None:
    """Race one case and print times, ratios and shares of the limit beside the targets."""
    large = size[1:] != (N, P)
    names = ["fused", "numba", "jax closed", "jax grad"] if large else ["numpy", "fused", "numba", "jax closed", "dot"]
    names += [] if large else ["loop"] if case == "backprop" else ["jax grad"]
    names += [] if case == "backprop" else ["peak", "powers"]
    found, used = race(names, case, dtype, threads, size, options)
    times = ", ".join(f"{name} {statistics.median(found[name]) * 1e3:.2f}" for name in names)
    print(f"{case} {dtype} {size[0]} x {size[1]}/{size[2]} T={threads}, median ms: {times}", flush=True)
    print(f"  uses {', '.join(f'{name} {word}' for name, word in sorted(used.items()))}")
    for (mine, theirs), least in TARGETS[case, dtype].items():
        middle, low, high = ratio(found, theirs, mine)
        goal = "ahead" if large else f"target {least}: {'met' if middle >= least else 'MISSED'}"
        print(f"  {mine} over {theirs}: {middle:.2f} ({low:.2f} to {high:.2f}); {goal}")
    if case == "objective":
        limit = [a + b for a, b in zip(found["peak"], found["powers"], strict=True)]
        for mine in ("fused", "numba"):
            low, middle, high = statistics.quantiles(
                [100 * a / b for a, b in zip(limit, found[mine], strict=True)], n=4
            )
            print(f"  {mine}: {middle:.0f} % ({low:.0f} to {high:.0f}) of the limit; "
                  f"target {SHARE.get(size[1:], LARGE_SHARE)} %")  # fmt: skip


def main() -> None:
    """Race every case and print it beside its targets."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--isa", default="native")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--sizes", default="small,large")
    parser.add_argument("--serve", type=json.loads)
    options = parser.parse_args()
    if options.serve:
        kind, case, dtype, threads, size, clock = options.serve
        serve(kind, case, dtype, threads, tuple(size), clock)
        return
    threads = [int(word) for word in options.threads.split(",")]
    for isa in options.isa.split(","):
        options.isa = isa
        print(f"{isa}, clock: {options.clock}")
        for case, dtype in TARGETS if "small" in options.sizes else ():
            for count in threads:
                if case == "objective" or count == 1:
                    report(case, dtype, count, (M, N, P), options)
        for size in LARGE if "large" in options.sizes else ():
            for count in threads:
                report("objective", "f4", count, size, options)


if __name__ == "__main__":
    main()
