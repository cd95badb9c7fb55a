"""Known factors: how many of them are found, by sparsae and by torch.

python tests/prove/factors.py [ours|torch] [EPOCHS] [BACKEND]; "torch" needs the environment that has torch.

4,096 top-k units (k = 32) on 20,000 rows of 768 inputs, each the sum of 16 of 2,048 known directions.  A plain torch
loop does the same mathematics (pre-bias, columns of unit length with the gradient's radial part removed, no auxiliary
loss) from the same start, with the same mini-batch size and number of steps, in an order of its own.  Found is a factor
that a column of the decoder is parallel to, with a cosine above 0.9.
"""

from __future__ import annotations

import sys
import time
import warnings
from typing import Any

import numpy as np

import sparsae
from sparsae.optimize import Adam

N, P, K, ROWS, FACTORS, ACTIVE, BATCH, RATE = 768, 4096, 32, 20_000, 2048, 16, 250, 3e-3


def make_data() -> tuple[Any, Any]:
    """Rows (20,000, 768) and factors (2,048, 768), from a seed."""
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((FACTORS, N), dtype=np.float32)
    factors /= np.linalg.norm(factors, axis=1, keepdims=True)
    X = np.zeros((ROWS, N), np.float32)
    for _ in range(ACTIVE):
        X += rng.uniform(0.5, 1.5, (ROWS, 1)).astype(np.float32) * factors[rng.integers(FACTORS, size=ROWS)]
    return X, factors


def found(W2: Any, factors: Any) -> float:
    """Share of the factors that a column of W2 (n, p) is parallel to."""
    columns = W2 / np.linalg.norm(W2, axis=0)
    return float(np.mean((factors @ columns).max(axis=1) > 0.9))


def torch_loop(X: Any, start: sparsae.Parameters, epochs: int) -> tuple[Any, float]:
    """Train with torch; return W2 and the mean cost of the last epoch."""
    import torch

    parts = [torch.tensor(np.asarray(part, np.float32), requires_grad=True) for part in start]
    W1, b1, W2, b2 = parts
    optimiser, rows = torch.optim.Adam(parts, lr=RATE), torch.from_numpy(X)
    for epoch in range(epochs):
        order, total = torch.randperm(ROWS, generator=torch.Generator().manual_seed(epoch)), 0.0
        for batch in order.split(BATCH):
            x = rows[batch]
            values, index = torch.topk(torch.relu((x - b2) @ W1.T + b1), K, dim=1)
            decoded = torch.nn.functional.embedding_bag(index, W2.T, per_sample_weights=values, mode="sum") + b2
            loss = ((decoded - x) ** 2).sum() / (2 * len(x))
            optimiser.zero_grad()
            loss.backward()
            with torch.no_grad():
                W2.grad -= (W2.grad * W2).sum(0) * W2
            optimiser.step()
            with torch.no_grad():
                W2 /= W2.norm(dim=0)
            total += float(loss.detach()) * len(x)
    return W2.detach().numpy(), total / ROWS


def main(who: str = "ours", epochs: int = 15, backend: str = "fused") -> None:
    """Train with one of them and print what was found."""
    warnings.simplefilter("ignore", sparsae.ConvergenceWarning)
    X, factors = make_data()
    options: dict[str, Any] = {"activation": "topk", "k": K, "aux": 0.0}
    start = sparsae.Objective(X, P, **options).random_parameters(0)
    before = time.perf_counter()
    if who == "torch":
        W2, cost = torch_loop(X, start, epochs)
    else:
        method = Adam(learning_rate=RATE, batch_rows=BATCH)
        result = sparsae.train(X, P, method=method, max_iter=epochs, backend=backend, initial=start, **options)
        W2, cost = result.parameters.W2, float(result.history.cost[-1])
    seconds = time.perf_counter() - before
    print(
        f"{who if who == 'torch' else backend}: {epochs} epochs of {ROWS // BATCH} steps, {seconds:.0f} s, "
        f"cost {cost:.4f}, "
        f"found {found(W2, factors):.1%} of {FACTORS} factors (at the start {found(start.W2, factors):.1%})"
    )


if __name__ == "__main__":
    main(*(int(word) if word.isdigit() else word for word in sys.argv[1:]))  # type: ignore[arg-type]  # as in the usage
