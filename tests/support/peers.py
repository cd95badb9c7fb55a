"""What the proofs of speed time: backends, JAX, torch, and the limits of this machine, all on the same numbers.

Each maker takes a `Job` and returns a function of nothing that does the work once.  It returns a tuple whose first item
is the cost (case "objective") or the sums of W1 (case "backprop"); limits return seconds.
JAX is taken at its best: data on its side, `jit` of the closed form and of `value_and_grad`.  torch runs eager with a
dense decoder and, for top-k, with an `embedding_bag` as the decoder; both once more under `torch.compile`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

RHO, BETA, DECAY = 0.01, 3.0, 1e-4
L1 = 0.01
Call = Callable[[], Any]


class Job(NamedTuple):
    """What a competitor does: its name, the case and hidden unit, "f4" or "f8", threads, and (m, n, p)."""

    kind: str
    case: str
    activation: str
    k: int | None
    dtype: str
    threads: int
    size: tuple[int, int, int]


def model(job: Job) -> list[Any]:
    """Data and parameters (X, W1, b1, W2, b2), the same in every process."""
    import numpy as np

    m, n, p = job.size
    rng = np.random.default_rng(0)
    X = rng.random((m, n)) if job.activation == "sigmoid" else rng.standard_normal((m, n))
    shapes, scales = ((p, n), (p,), (n, p), (n,)), (n**-0.5, 0.1, n**-0.5, 0.1)
    parts = [rng.standard_normal(shape) * scale for shape, scale in zip(shapes, scales, strict=True)]
    return [part.astype(job.dtype) for part in (X, *parts)]


def activations(job: Job) -> list[Any]:
    """Rows, activations, decoder weights and sparsity vector, for the case "backprop"."""
    import numpy as np

    m, n, p = job.size
    rng = np.random.default_rng(0)
    made = rng.random((m, n)), rng.random((m, p)), rng.random((m, n)), rng.normal(size=(n, p)), rng.normal(size=p)
    return [a.astype(job.dtype) for a in made]


def ours(job: Job) -> Call:
    """A backend, through the public interface."""
    import sparsae

    if job.case == "backprop":
        given = activations(job)
        return lambda: sparsae.backprop(*given, backend=job.kind, threads=job.threads)
    X, *weights = model(job)
    options: dict[str, Any] = {"backend": job.kind, "threads": job.threads}
    if job.activation != "sigmoid":
        options |= {"activation": job.activation, "output": "linear", "weight_decay": 0.0, "pre_bias": False}
        options |= {"k": job.k} if job.activation == "topk" else {"l1": L1, "l1_weighted": False}
    objective = sparsae.Objective(X, job.size[2], **options)
    objective.__enter__()
    theta = sparsae.Parameters(*weights).flatten()
    return lambda: objective(theta)


def _sigmoid_cost(np: Any, X: Any, W1: Any, W2: Any, a2: Any, a3: Any) -> Any:
    """Cost of sigmoid units in the arrays of `np`, NumPy or JAX."""
    r = a2.mean(0)
    divergence = (RHO * np.log(RHO / r) + (1 - RHO) * np.log((1 - RHO) / (1 - r))).sum()
    return ((a3 - X) ** 2).sum() / (2 * len(X)) + DECAY / 2 * ((W1**2).sum() + (W2**2).sum()) + BETA * divergence


def jax_closed(job: Job) -> Call:
    """JAX with the closed form of sigmoid units, everything on its side."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", job.dtype == "f8")

    @jax.jit
    def backprop(a1, a2, a3, W2, s):
        delta3 = (a3 - a1) * a3 * (1 - a3)
        delta2 = (delta3 @ W2 + s) * a2 * (1 - a2)
        return delta2.T @ a1, delta2.sum(0), delta3.T @ a2, delta3.sum(0)

    @jax.jit
    def evaluate(X, W1, b1, W2, b2):
        a2 = jax.nn.sigmoid(X @ W1.T + b1)
        a3 = jax.nn.sigmoid(a2 @ W2.T + b2)
        r = a2.mean(0)
        g = backprop(X, a2, a3, W2, BETA * ((1 - RHO) / (1 - r) - RHO / r))
        m = len(X)
        gradient = g[0] / m + DECAY * W1, g[1] / m, g[2] / m + DECAY * W2, g[3] / m
        return _sigmoid_cost(jnp, X, W1, W2, a2, a3), gradient

    run, made = (backprop, activations(job)) if job.case == "backprop" else (evaluate, model(job))
    given = [jnp.asarray(part) for part in made]
    return lambda: jax.block_until_ready(run(*given))


def jax_grad(job: Job) -> Call:
    """JAX with automatic differentiation of the cost; top-k by `lax.top_k` with a dense decoder."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", job.dtype == "f8")
    X, *weights = (jnp.asarray(part) for part in model(job))

    def cost(weights, X):
        W1, b1, W2, b2 = weights
        z = X @ W1.T + b1
        if job.activation == "sigmoid":
            a2 = jax.nn.sigmoid(z)
            return _sigmoid_cost(jnp, X, W1, W2, a2, jax.nn.sigmoid(a2 @ W2.T + b2))
        if job.activation == "relu":
            a2 = jax.nn.relu(z)
            return ((a2 @ W2.T + b2 - X) ** 2).sum() / (2 * len(X)) + L1 * a2.sum() / len(X)
        values, kept = jax.lax.top_k(z, job.k)
        a2 = jnp.zeros_like(z).at[jnp.arange(len(X))[:, None], kept].set(jax.nn.relu(values))
        return ((a2 @ W2.T + b2 - X) ** 2).sum() / (2 * len(X))

    run = jax.jit(jax.value_and_grad(cost))
    return lambda: jax.block_until_ready(run(weights, X))


def torch_grad(job: Job) -> Call:
    """torch, eager or compiled; W2 is stored (p, n), as `embedding_bag` and the usual code have it."""
    import torch

    torch.set_num_threads(job.threads)
    X, W1, b1, W2, b2 = (torch.from_numpy(part) for part in model(job))
    weights = [W1, b1, W2.T.contiguous(), b2]
    for one in weights:
        one.requires_grad_()

    def cost(W1, b1, W2, b2):
        z = X @ W1.T + b1
        if job.activation == "relu":
            a2 = torch.relu(z)
            return ((a2 @ W2 + b2 - X) ** 2).sum() / (2 * len(X)) + L1 * a2.sum() / len(X)
        values, kept = torch.topk(z, job.k, dim=1)
        values = torch.relu(values)
        if "bag" in job.kind:
            a3 = torch.nn.functional.embedding_bag(kept, W2, per_sample_weights=values, mode="sum") + b2
        else:
            a3 = torch.zeros_like(z).scatter(1, kept, values) @ W2 + b2
        return ((a3 - X) ** 2).sum() / (2 * len(X))

    run = torch.compile(cost) if "compiled" in job.kind else cost

    def call() -> tuple[float]:
        for one in weights:
            one.grad = None
        value = run(*weights)
        value.backward()
        return (float(value),)

    return call


def product(job: Job) -> Call:
    """Seconds of the dense product of the encoder, for all rows at once: the fastest way to call it."""
    import numpy as np
    import threadpoolctl

    threadpoolctl.threadpool_limits(job.threads)
    X, W1, *_ = model(job)
    out = np.empty((job.size[0], job.size[2]), X.dtype)

    def seconds() -> float:
        begun = time.perf_counter()
        np.dot(X, W1.T, out=out)
        return time.perf_counter() - begun

    return seconds


def gemm(job: Job) -> Call:
    """Seconds that the useful work takes at the best product speed of BLAS, over several shapes."""
    import numpy as np
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)
    m, n, p = job.size
    shapes = [(500, n, p), (1024, n, p), (512, 512, 512), (500, p, n)]
    rng = np.random.default_rng(0)
    pairs = [(rng.random((a, k)).astype(job.dtype), rng.random((k, b)).astype(job.dtype)) for a, k, b in shapes]

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
        with ThreadPoolExecutor(job.threads) as pool:
            return 10 * m * n * p / sum(pool.map(lambda _: fastest(), range(job.threads)))

    return seconds


def powers(job: Job) -> Call:
    """Seconds that the sigmoids of an evaluation take in the fastest loop there is here, that of `numba`, in cache."""
    import numba
    import numpy as np

    from sparsae_backends.numba import emit
    from sparsae_backends.numba.activations import sigmoids

    @numba.njit(nogil=True, error_model="numpy")
    def loop(a, columns):
        sigmoids(emit.at(a, 0), columns)

    m, n, p = job.size
    columns = 2400 // emit.width(np.dtype(job.dtype))
    a = np.random.default_rng(0).normal(size=columns * emit.width(np.dtype(job.dtype))).astype(job.dtype)
    loop(a, columns)

    def seconds() -> float:
        begun = time.process_time()
        for _ in range(600):
            loop(a, columns)
        return (time.process_time() - begun) / (600 * len(a)) * m * (n + p) / job.threads

    return seconds


LIMITS: dict[str, Callable[[Job], Call]] = {"product": product, "peak": gemm, "powers": powers}
PEERS: dict[str, Callable[[Job], Call]] = {"jax closed": jax_closed, "jax grad": jax_grad}
PEERS |= dict.fromkeys(("torch eager", "torch bag", "torch eager compiled", "torch bag compiled"), torch_grad)


def make_call(job: Job) -> Call:
    """Return the function of a competitor; whatever is neither a peer nor a limit is the name of a backend."""
    return (PEERS | LIMITS).get(job.kind, ours)(job)
