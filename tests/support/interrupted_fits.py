"""Fits that receive one SIGINT at a random moment, and what is different afterwards.

``python -m tests.support.interrupted_fits N SEED`` prints a count of outcomes and leaks as JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections import Counter

import numpy as np

import sparsae
from sparsae.machine.limits import pools


def run(n_fits: int, seed: int) -> Counter[str]:
    """Return how often each outcome and each leak was seen."""
    warnings.simplefilter("ignore")
    rng = random.Random(seed)
    X = np.random.default_rng(0).uniform(0.1, 0.9, (600, 16))
    options = {"max_iter": 1, "block_rows": 64, "threads": 2}
    sparsae.train(X, 5, **options)
    started = time.perf_counter()
    sparsae.train(X, 5, **options)
    usual = time.perf_counter() - started
    threads = [pool["num_threads"] for pool in pools()]
    seen: Counter[str] = Counter()
    for _ in range(n_fits):
        seen[_interrupted_fit(X, options, rng.uniform(0, 1.2 * usual))] += 1
        if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            seen["LEAK: handler"] += 1
        if [pool["num_threads"] for pool in pools()] != threads:
            seen["LEAK: thread limits"] += 1
        if any(thread.name.startswith("sparsae") for thread in threading.enumerate()):
            seen["LEAK: workers"] += 1
    return seen


def _interrupted_fit(X: np.ndarray, options: dict[str, int], delay: float) -> str:
    """Train while a thread sends the signal after the delay; return the outcome."""
    sender = threading.Thread(target=lambda: (time.sleep(delay), os.kill(os.getpid(), signal.SIGINT)))
    outcome = "no outcome"
    try:
        sender.start()
        outcome = sparsae.train(X, 5, **options).status.reason
        sender.join()
        time.sleep(0.001)
    except KeyboardInterrupt:
        outcome = "KeyboardInterrupt" if outcome == "no outcome" else outcome
    except BaseException as error:  # noqa: BLE001
        outcome = f"LEAK: {type(error).__name__}: {error}"
    sender.join()
    return outcome


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]))))
