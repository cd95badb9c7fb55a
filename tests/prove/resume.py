"""Evidence that a killed fit goes on bit for bit: kill -9 at iteration 137 of 400, and fifty kills at random moments.

python tests/prove/resume.py [--kills 50] [--seed 0]
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

import sparsae
from sparsae.data import load as load_data
from sparsae.errors import SparsaeError
from sparsae.optimize import get_method
from sparsae.training.checkpoint import load, previous
from sparsae.training.json_log import JsonLog

EXACT = ("iteration", "evaluations", "cost", "squared_error", "weight_decay", "sparsity", "gradient_max")
SETTINGS = {"lbfgs": {}, "adam": {"batch_rows": 1024}}  # ten mini-batches an epoch: quick enough to be killed often
NO_RULES = sparsae.Stop(gradient=0, decrease=0)


def child(out: str, method: str, threads: int, max_iter: int, *, path: str, every: int, die_at: int, log: str) -> None:
    """Train, perhaps from a checkpoint; perhaps killed by its own hand at an iteration; write the bits to compare."""
    warnings.simplefilter("ignore")
    observers = [JsonLog(log)] if log else []

    def die(progress: sparsae.observers.Progress) -> None:
        if progress.iteration == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    result = sparsae.train(
        load_data("patches").X,
        25,
        method=get_method(method, **SETTINGS[method]),
        threads=threads,
        max_iter=max_iter,
        stop=NO_RULES,
        checkpoint=sparsae.Checkpoint(path, every=every) if path else None,
        resume=bool(path),
        observers=[*observers, die],
    )
    arrays = {name: getattr(result.history, name) for name in EXACT}
    np.savez(out, theta=result.parameters.flatten(), reason=result.status.reason, **arrays)


def start(
    *arguments: object, path: object = "", every: int = 10, die_at: int = -1, log: object = ""
) -> subprocess.Popen:
    """Start `child` in a process of its own."""
    words = [*arguments, path, every, die_at, log]
    return subprocess.Popen([sys.executable, __file__, "--child", *map(str, words)])


def same(a: Path, b: Path) -> list[str]:
    """Names of the arrays that differ."""
    with np.load(a) as one, np.load(b) as two:
        return [name for name in one.files if one[name].tobytes() != two[name].tobytes()]


def kill_at_137(folder: Path, method: str, before: int, after: int) -> bool:
    """400 iterations against 137, kill -9, resume to 400, with these thread counts."""
    whole, path, out = folder / f"{method}.npz", folder / "fit.ckpt", folder / "out.npz"
    if not whole.exists():
        assert start(whole, method, 1, 400).wait() == 0
    for file in (path, previous(path)):
        file.unlink(missing_ok=True)
    killed = start(out, method, before, 400, path=path, die_at=137).wait()
    assert killed == -signal.SIGKILL, f"the child ended with {killed}"
    stood = load(path).header["iteration"]
    assert start(out, method, after, 400, path=path).wait() == 0
    different = same(whole, out)
    print(
        f"  {method}: {before} threads, kill -9 at 137 (checkpoint at {stood}), {after} threads to 400: "
        f"{'identical bits of parameters and history' if not different else f'DIFFERENT: {different}'}",
        flush=True,
    )
    return not different


def random_kills(folder: Path, method: str, kills: int, rng: random.Random) -> bool:
    """Kill again and again; the checkpoint is whole each time, loses at most an interval, and the end has the bits."""
    path, out, log = folder / f"{method}.ckpt", folder / "out.npz", folder / f"{method}.jsonl"
    reached, in_start, lost_most, torn, parts = -1, 0, 0, 0, 0
    for kill in range(kills):
        process = start(out, method, 1 + kill % 2, 10**6, path=path, every=2, log=log)
        time.sleep(rng.uniform(0.4, 2.4))
        process.send_signal(signal.SIGKILL)
        process.wait()
        part = path.with_name(path.name + ".part")
        parts += part.exists()
        part.unlink(missing_ok=True)
        if not path.exists() and not previous(path).exists():
            in_start += 1
            continue
        try:
            stands = load(path).header["iteration"]
        except SparsaeError:
            torn += 1
            stands = load(previous(path)).header["iteration"]
        lines = log.read_text().splitlines()
        last = int(lines[-1].split('"iteration": ')[1].split(",")[0])
        in_start += stands == reached
        lost_most = max(lost_most, last - stands) if stands > reached else lost_most
        if stands < reached:
            print(f"  {method}: kill {kill + 1} threw the fit back from {reached} to {stands}")
            return False
        reached = stands
    end = reached + 5
    assert start(out, method, 2, end, path=path).wait() == 0
    whole = folder / "whole.npz"
    assert start(whole, method, 1, end).wait() == 0
    different = same(whole, out)
    print(
        f"  {method}: {kills} kills at random moments ({in_start} before a new checkpoint, {parts} amid writing "
        f"one), {torn} broken files, at most {lost_most} iterations lost (a checkpoint every 2), then "
        f"to {end}: {'identical bits' if not different else f'DIFFERENT: {different}'}",
        flush=True,
    )
    return not different and torn == 0 and lost_most <= 3


def main() -> int:
    """Run all parts; the exit code is 0 when every claim held."""
    if sys.argv[1:2] == ["--child"]:
        out, method, threads, max_iter, path, every, die_at, log = sys.argv[2:]
        child(out, method, int(threads), int(max_iter), path=path, every=int(every), die_at=int(die_at), log=log)
        return 0
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    held = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("400 iterations = 137, kill -9, resume to 400 (patches, default backend)")
        for method in ("lbfgs", "adam"):
            for before, after in ((1, 1), (1, 2), (2, 1)):
                held &= kill_at_137(folder, method, before, after)
        print(f"{options.kills} kills in a row, thread counts changing each time")
        rng = random.Random(options.seed)
        for method in ("lbfgs", "adam"):
            held &= random_kills(folder, method, options.kills, rng)
    print("HELD" if held else "FAILED")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
