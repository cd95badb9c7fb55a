"""No state is shared where nobody would expect it."""

from __future__ import annotations

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import sparsae


def test_an_objective_called_from_two_threads(backend: str) -> None:
    """Every result is right, or the call fails with a sentence; never a wrong number."""
    data = np.random.default_rng(0).uniform(0.1, 0.9, (200, 12))
    thetas = [sparsae.Parameters.random(12, 5, seed=seed).flatten() for seed in range(4)]
    with sparsae.Objective(data, 5, backend=backend, threads=2) as objective:
        right = [objective(theta) for theta in thetas]
        start = threading.Barrier(4)

        def evaluate(index: int) -> list[object]:
            start.wait()
            found: list[object] = []
            for _ in range(25):
                try:
                    found.append(objective(thetas[index]))
                except sparsae.SparsaeError as error:
                    found.append(error)
            return found

        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(evaluate, range(4)))
    for (cost, gradient), found in zip(right, results, strict=True):
        for result in found:
            if isinstance(result, sparsae.SparsaeError):
                assert "thread" in str(result)
            else:
                assert result[0] == cost
                assert result[1].tobytes() == gradient.tobytes()


def test_a_fork_in_an_open_objective(python) -> None:
    """The child evaluates with workers of its own, or says that it cannot; it does not hang."""
    code = (
        "import os, numpy as np, sparsae, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "X = np.random.default_rng(0).uniform(.1, .9, (4000, 32)); theta = sparsae.Parameters.random(32, 9).flatten()\n"
        "with sparsae.Objective(X, 9, threads=2, backend='numpy') as objective:\n"
        "    cost, _ = objective(theta)\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        try: same = objective(theta)[0] == cost\n"
        "        except sparsae.SparsaeError as error: same = 'process' in str(error)\n"
        "        os._exit(0 if same else 7)\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert python(code, timeout=300).out.strip() == "0"


def test_use_backend_without_with(python) -> None:
    """It takes effect at once, and an unknown name fails at once."""
    code = (
        "import sparsae\n"
        "try: sparsae.use_backend('nump')\n"
        "except sparsae.SparsaeError as error: print('refused', 'numpy' in str(error))\n"
        "handle = sparsae.use_backend('numpy')\n"
        "print(sparsae.get_backend().name)\n"
    )
    assert python(code).out.split() == ["refused", "True", "numpy"]


def test_objectives_left_open_are_silent_at_exit(python) -> None:
    """No 'Exception ignored' for what was not closed."""
    code = (
        "import numpy as np, sparsae\n"
        "kept = [sparsae.Objective(np.full((500, 8), 0.5), 3, threads=2, block_rows=64) for _ in range(3)]\n"
        "for objective in kept: objective.__enter__()(np.zeros(objective.size))\n"
    )
    said = python(code)
    assert (said.code, said.err) == (0, "")


def test_a_dropped_objective_gives_its_workers_back(python) -> None:
    """Threads end and limits return when an entered Objective is garbage."""
    code = (
        "import gc, threading, time, numpy as np, sparsae\n"
        "from sparsae.machine.limits import pools\n"
        "before = [pool['num_threads'] for pool in pools()]\n"
        "for _ in range(5):\n"
        "    objective = sparsae.Objective(np.full((500, 8), 0.5), 3, threads=2, block_rows=64)\n"
        "    objective.__enter__()(np.zeros(objective.size))\n"
        "    del objective\n"
        "gc.collect(); time.sleep(0.5)\n"
        "print(threading.active_count(), [pool['num_threads'] for pool in pools()] == before)\n"
    )
    assert python(code).out.split() == ["1", "True"]


def test_float16_is_computed_in_float32_and_said() -> None:
    """The receipt names the dtype and the conversion."""
    with sparsae.Objective(np.full((50, 8), 0.5, dtype=np.float16), 3) as objective:
        objective(np.zeros(objective.size))
        receipt = objective.receipt
    assert receipt.dtype == "float32"
    assert any("float16" in note for note in receipt.notes)


def test_the_receipt_of_a_mini_batch_fit_says_what_ran(digits: np.ndarray) -> None:
    """Workers and threads are those that worked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sparsae.ConvergenceWarning)
        result = sparsae.train(digits, 5, method="adam", max_iter=1, threads=2, backend="numpy")
    text = " ".join(result.receipt.notes)
    assert result.receipt.workers == 2 or "one thread" in text or "1 worker" in text or result.receipt.workers == 1


def test_auto_does_not_race_the_slowest(python) -> None:
    """`auto` on a large problem drops `loop` after one call on few rows."""
    code = (
        "import numpy as np, sparsae, time\n"
        "X = np.random.default_rng(0).uniform(.1, .9, (2000, 256)).astype('float32')\n"
        "with sparsae.Objective(X, 512, backend='auto') as o:\n"
        "    print([note for note in o.receipt.notes if 'loop' in note])\n"
    )
    said = python(code, timeout=120)
    assert "loop" in said.out, said
    assert "Traceback" not in said.err
