"""Evidence: rows a second of Adam on mini-batches, against the torch loop that anybody would write.

Each competitor is a process of its own, held to T CPUs before anything is imported.  Rounds are interleaved in a fresh
random order; a ratio is the median over rounds of the ratio within a round, with the 10th and 90th percentile.
The torch loop is eager, with fused Adam and the same cost; `--peers torch,compiled,jax` adds torch.compile (needs a C++
compiler) and one jitted step of JAX with donated buffers.  Needs torch; run it on a quiet machine:

    .venv-peers-3.11/bin/python tests/prove/minibatches.py [--rounds 7] [--threads 1,2] [--sizes 64x25,784x196,768x4096]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.support.pinned import answer, ask_in_turns, pin, ratio

WORK = 4e10  # multiplications of a turn, about: 10 n p for each row; short turns measure how threads start


def rows_of_turn(n: int, p: int, batch: int) -> int:
    """Whole batches, at least two; at most 100,000 rows."""
    return max(2, round(min(WORK / (10 * n * p), 100_000) / batch)) * batch


RHO, BETA, DECAY = 0.01, 3.0, 1e-4
PEERS = ("torch", "compiled", "jax")


def torch_epoch(n: int, p: int, batch: int, threads: int, *, compiled: bool = False):
    """Return a function that trains on the rows of a turn once; with its step compiled, if asked for."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    m = rows_of_turn(n, p, batch)
    X = torch.rand(m, n) * 0.8 + 0.1
    r = (6 / (n + p + 1)) ** 0.5
    W1, W2 = (torch.nn.Parameter((torch.rand(shape) * 2 - 1) * r) for shape in ((p, n), (n, p)))
    b1, b2 = torch.nn.Parameter(torch.zeros(p)), torch.nn.Parameter(torch.zeros(n))
    adam = torch.optim.Adam([W1, b1, W2, b2], lr=1e-3, fused=True)

    def cost(x):
        a2 = torch.sigmoid(x @ W1.T + b1)
        a3 = torch.sigmoid(a2 @ W2.T + b2)
        q = a2.mean(0)
        divergence = (RHO * torch.log(RHO / q) + (1 - RHO) * torch.log((1 - RHO) / (1 - q))).sum()
        loss = ((a3 - x) ** 2).sum() / (2 * len(x)) + BETA * divergence
        return loss + DECAY / 2 * ((W1**2).sum() + (W2**2).sum())

    if compiled:
        cost = torch.compile(cost, mode="max-autotune-no-cudagraphs")

    def epoch() -> None:
        order = torch.randperm(m)
        for start in range(0, m, batch):
            loss = cost(X[order[start : start + batch]])
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()

    return m, epoch


def jax_epoch(n: int, p: int, batch: int):
    """Return a function that trains on the rows of a turn once: one jitted step with donated buffers."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    m = rows_of_turn(n, p, batch)
    rng = np.random.default_rng(0)
    X = rng.random((m, n), dtype=np.float32) * np.float32(0.8) + np.float32(0.1)
    r = (6 / (n + p + 1)) ** 0.5
    shapes = ((p, n), (p,), (n, p), (n,))
    weights = [jnp.asarray(rng.uniform(-r, r, shape) * (len(shape) == 2), jnp.float32) for shape in shapes]
    state = weights, *([jnp.zeros(shape) for shape in shapes] for _ in range(2)), jnp.zeros(())

    def cost(parameters, x):
        W1, b1, W2, b2 = parameters
        a2 = jax.nn.sigmoid(x @ W1.T + b1)
        a3 = jax.nn.sigmoid(a2 @ W2.T + b2)
        q = a2.mean(0)
        divergence = (RHO * jnp.log(RHO / q) + (1 - RHO) * jnp.log((1 - RHO) / (1 - q))).sum()
        loss = ((a3 - x) ** 2).sum() / (2 * len(x)) + BETA * divergence
        return loss + DECAY / 2 * ((W1**2).sum() + (W2**2).sum())

    def step(state, x):
        parameters, first, second, t = state
        gradient, t = jax.grad(cost)(parameters, x), t + 1
        first = [0.9 * a + 0.1 * g for a, g in zip(first, gradient, strict=True)]
        second = [0.999 * a + 0.001 * g * g for a, g in zip(second, gradient, strict=True)]
        rate = 1e-3 * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        steps = (rate * a / (jnp.sqrt(b) + 1e-8) for a, b in zip(first, second, strict=True))
        return [a - b for a, b in zip(parameters, steps, strict=True)], first, second, t

    step = jax.jit(step, donate_argnums=0)

    def epoch() -> None:
        nonlocal state
        order = rng.permutation(m)
        for start in range(0, m, batch):
            state = step(state, X[order[start : start + batch]])
        jax.block_until_ready(state)

    return m, epoch


def our_epoch(backend: str, n: int, p: int, batch: int, threads: int):
    """Return a function that trains on the rows of a turn once, through the optimiser's own steps."""
    import numpy as np

    import sparsae
    from sparsae.optimize import Adam
    from sparsae.training.curve import FitCounts, MeteredObjective  # what `train` gives to a method

    m = rows_of_turn(n, p, batch)
    X = np.random.default_rng(0).random((m, n), dtype=np.float32) * np.float32(0.8) + np.float32(0.1)
    objective = sparsae.Objective(X, p, backend=backend, threads=threads).__enter__()
    bound = Adam(learning_rate=1e-3, batch_rows=batch).bind(MeteredObjective(objective, FitCounts()), 0)
    state = bound.init(sparsae.Parameters.random(n, p, seed=0).flatten())

    def epoch() -> None:
        nonlocal state
        done = state.iteration + 1
        while state.iteration < done:
            state = bound.step(state)

    return m, epoch


def serve(kind: str, n: int, p: int, batch: int, threads: int) -> None:
    """Train on one turn for each line that comes; answer with rows a second."""
    pin(threads)
    if kind == "jax":
        m, epoch = jax_epoch(n, p, batch)
    elif kind in PEERS:
        m, epoch = torch_epoch(n, p, batch, threads, compiled=kind == "compiled")
    else:
        m, epoch = our_epoch(kind, n, p, batch, threads)
    epoch()

    def rows_a_second() -> float:
        start = time.perf_counter()
        epoch()
        return m / (time.perf_counter() - start)

    answer(rows_a_second)


def main() -> None:
    """Race every size, batch and number of threads."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--sizes", default="64x25,784x196,768x4096")
    parser.add_argument("--batches", default="256,4096")
    parser.add_argument("--backends", default="fused,numba")
    parser.add_argument("--peers", default="torch", help="of torch (eager), compiled (torch.compile), jax (jit)")
    asked = parser.parse_args()
    peers = asked.peers.split(",")
    kinds = [*peers, *asked.backends.split(",")]
    for size in asked.sizes.split(","):
        n, p = map(int, size.split("x"))
        for batch in map(int, asked.batches.split(",")):
            for threads in map(int, asked.threads.split(",")):
                commands = {kind: [__file__, "--serve", kind, n, p, batch, threads] for kind in kinds}
                speed = ask_in_turns(commands, asked.rounds)
                for peer in peers:
                    words = [f"{peer} {statistics.median(speed[peer]):,.0f} rows/s"]
                    words += [f"{kind} {ratio(speed[kind], speed[peer])[1]}" for kind in asked.backends.split(",")]
                    print(f"{size}, batches of {batch}, T={threads}: {'; '.join(words)}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], *map(int, sys.argv[3:7]))
    else:
        main()
