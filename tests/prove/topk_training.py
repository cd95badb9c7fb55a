"""Evidence: training of top-k units (Adam, unit columns, auxiliary loss) against a torch loop that does the same.

Both start at the same parameters and see the same mini-batches, so that the loss after equal steps can be compared.
Each competitor is a process of its own, held to T CPUs; rounds are interleaved.  Needs torch; on a quiet machine:

    .venv-peers-3.11/bin/python tests/prove/topk_training.py [--rounds 3] [--threads 1,2] [--backends fused,numba]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.support.pinned import answer, ask_in_turns, pin, ratio

N, P, K, BATCH, ROWS, RATE = 768, 4096, 32, 4096, 8192, 1e-3
K_AUX, AUX, DEAD_AFTER, SEED = 512, 1 / 32, 4096, 0


def data() -> np.ndarray:
    """Rows that are sums of few of 2,048 known factors, and noise."""
    rng = np.random.default_rng(1)
    factors = rng.normal(size=(2048, N)).astype(np.float32) / np.float32(N**0.5)
    active = rng.random((ROWS, 2048), dtype=np.float32)
    active *= active > 0.99
    return active @ factors + np.float32(0.01) * rng.normal(size=(ROWS, N)).astype(np.float32)


def start():
    """Return the starting parameters, float32."""
    import sparsae

    objective = sparsae.Objective(data(), P, activation="topk", k=K, backend="numpy")
    return objective.random_parameters(SEED).astype(np.float32)


def our_epoch(backend: str, threads: int):
    """Return a function that trains on all rows once and returns the mean squared error term."""
    import sparsae
    from sparsae.optimize import Adam
    from sparsae.training.curve import FitCounts, MeteredObjective

    options = {"activation": "topk", "k": K, "k_aux": K_AUX, "aux": AUX, "dead_after": DEAD_AFTER}
    objective = sparsae.Objective(data(), P, backend=backend, threads=threads, **options).__enter__()
    bound = Adam(learning_rate=RATE, batch_rows=BATCH).bind(MeteredObjective(objective, FitCounts(), 100), SEED)
    state = bound.init(start().flatten())

    def epoch() -> float:
        nonlocal state
        done = state.iteration + 1
        while state.iteration < done:
            state = bound.step(state)
        return state.terms.squared_error

    return epoch


def torch_epoch(threads: int):
    """The same in torch: eager, fused Adam, dense decoder, autograd."""
    import torch

    torch.set_num_threads(threads)
    X = torch.from_numpy(data())
    W1, b1, W2, b2 = (torch.nn.Parameter(torch.from_numpy(part.copy())) for part in start())
    adam = torch.optim.Adam([W1, b1, W2, b2], lr=RATE, fused=True)
    silent, number = torch.zeros(P, dtype=torch.int64), 0

    def epoch() -> float:
        nonlocal silent, number
        order = np.random.default_rng([SEED, 1, number]).permutation(ROWS)
        number, losses = number + 1, []
        for first in range(0, ROWS, BATCH):
            x = X[torch.from_numpy(np.sort(order[first : first + BATCH]))]
            z = (x - b2) @ W1.T + b1
            top = torch.topk(z, K, sorted=False)
            values = torch.relu(top.values)
            a2 = torch.zeros_like(z).scatter(1, top.indices, values)
            error = x - (a2 @ W2.T + b2)
            loss = (error**2).sum() / (2 * len(x))
            losses.append(loss.item())
            dead = torch.nonzero(silent >= DEAD_AFTER).flatten()
            if len(dead):
                left = error.detach()
                some = torch.topk(z[:, dead], min(K_AUX, len(dead)), sorted=False)
                a_dead = torch.zeros_like(z[:, dead]).scatter(1, some.indices, torch.relu(some.values))
                share = AUX * min(len(dead) / K_AUX, 1)
                loss = loss + share * ((left - a_dead @ W2[:, dead].T) ** 2).sum() / (2 * len(x))
            adam.zero_grad(set_to_none=True)
            loss.backward()
            with torch.no_grad():
                W2.grad.sub_((W2.grad * W2).sum(0) * W2)
                fired = torch.zeros(P).scatter_add(0, top.indices.flatten(), (values > 0).float().flatten())
                silent = torch.where(fired > 0, 0, silent + len(x))
                adam.step()
                W2.div_(W2.norm(dim=0))
        return statistics.mean(losses)

    return epoch


def serve(kind: str, threads: int) -> None:
    """Train on one epoch for each line that comes; answer with rows a second and the loss."""
    pin(threads)
    epoch = torch_epoch(threads) if kind == "torch" else our_epoch(kind, threads)

    def turn() -> tuple[float, float]:
        before = time.perf_counter()
        loss = epoch()
        return ROWS / (time.perf_counter() - before), loss

    answer(turn)


def main() -> None:
    """Race every number of threads."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--backends", default="fused,numba")
    asked = parser.parse_args()
    kinds = ["torch", *asked.backends.split(",")]
    for threads in asked.threads.split(","):
        commands = {kind: [__file__, "--serve", kind, threads] for kind in kinds}
        found = ask_in_turns(commands, asked.rounds + 1)  # the first is not timed, but counts as steps
        speed = {kind: [rows for rows, _ in answers[1:]] for kind, answers in found.items()}
        words = [f"torch {statistics.median(speed['torch']):,.0f} rows/s, loss {found['torch'][-1][1]:.5g}"]
        for kind in kinds[1:]:
            apart = found[kind][-1][1] / found["torch"][-1][1] - 1
            words.append(f"{kind} {ratio(speed[kind], speed['torch'])[1]}, loss {100 * apart:+.2g} %")
        print(f"top-k {N}/{P}, k = {K}, batches of {BATCH}, T={threads}: {'; '.join(words)}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        main()
