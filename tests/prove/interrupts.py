"""Evidence that Ctrl-C and kill -9 at random moments lose nothing: 200 and 50 a method.

TMPDIR=/dev/shm python tests/prove/interrupts.py [--signals 200] [--kills 50] [--commands 10] [--seed 0] [METHOD ...]

(Checkpoints are written through to the disk: in memory it takes minutes, on a busy disk hours.)

- Ctrl-C within this process: a result or KeyboardInterrupt; handlers, thread limits, threads and open files as before;
  the checkpoint that is left resumes to the bits of a fit that never stopped.
- SIGKILL of a child at work: what is left is a whole checkpoint, or none yet, and resumes to the same bits.
- Ctrl-C of the command `sparsae train`: exit code 130 or 0, no traceback, no file that is a part, and --resume goes on.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import sparsae
from sparsae.errors import CheckpointError
from sparsae.machine.limits import pools
from sparsae.optimize import SGD, Adam
from sparsae.training import checkpoint

METHODS: dict[str, dict[str, Any]] = {
    "lbfgs": {"method": "lbfgs", "max_iter": 16},
    "adam": {"method": Adam(batch_rows=32), "max_iter": 6},
    "sgd": {"method": SGD(batch_rows=32), "max_iter": 6},
    "adam, held out, decay": {"method": Adam(batch_rows=32, held_out=0.2, decay=0.5), "max_iter": 6},
    "relu, lbfgs": {"method": "lbfgs", "activation": "relu", "max_iter": 16},
    "relu": {"method": Adam(batch_rows=32), "activation": "relu", "max_iter": 6},
    "topk": {"method": Adam(batch_rows=32), "activation": "topk", "k": 2, "aux": 0.1, "dead_after": 50, "max_iter": 6},
    "batchtopk": {"method": Adam(batch_rows=32), "activation": "batchtopk", "k": 2, "max_iter": 6},
    "jumprelu": {"method": Adam(batch_rows=32), "activation": "jumprelu", "max_iter": 6},
    "scipy:L-BFGS-B": {"method": "scipy:L-BFGS-B", "max_iter": 16},
}
COMMANDS = {"lbfgs": ["--method", "lbfgs"], "adam": ["--method", "adam"], "sgd": ["--method", "sgd"]}
EXACT = ("iteration", "evaluations", "cost", "squared_error", "weight_decay", "sparsity", "gradient_max", "l0")
X = np.random.default_rng(0).uniform(0.1, 0.9, (128, 8))


def fit(name: str, path: Path | None = None, *, resume: bool = False) -> sparsae.TrainResult:
    """Train with two workers, saving each iteration."""
    saving = None if path is None else sparsae.Checkpoint(path, every=1)
    options = {"threads": 2, "block_rows": 32, "stop": sparsae.Stop(gradient=0, decrease=0), **METHODS[name]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sparsae.train(X, 5, checkpoint=saving, resume=resume, **options)


def bits(result: sparsae.TrainResult) -> list[bytes]:
    """The bits that must not depend on where a fit stopped."""
    return [result.parameters.flatten().tobytes(), *(getattr(result.history, name).tobytes() for name in EXACT)]


def clean(folder: Path) -> None:
    """Remove what a fit has left."""
    for file in folder.iterdir():
        file.unlink()


def resumes(name: str, path: Path, whole: list[bytes]) -> str:
    """Resume from what was left; what is different from a fit that never stopped, or nothing."""
    if name.startswith("scipy:"):  # keeps its state to itself: only the parameters are saved
        return "" if fit(name, path, resume=True).n_iter == METHODS[name]["max_iter"] else "ended early"
    found = bits(fit(name, path, resume=True))
    return "" if found == whole else "OTHER BITS after the resume"


def held() -> tuple[Any, ...]:
    """What a process holds that a fit must give back."""
    return (
        signal.getsignal(signal.SIGINT),
        tuple(pool["num_threads"] for pool in pools()),
        len(list(Path("/proc/self/fd").iterdir())),
        sum(thread.name.startswith("sparsae") for thread in threading.enumerate()),
    )


def undisturbed(name: str, path: Path) -> tuple[list[bytes], float]:
    """Return the bits of a fit that nothing stops, and the seconds that it takes with checkpoints."""
    whole = bits(fit(name))
    clean(path.parent)
    started = time.perf_counter()
    fit(name, path)
    return whole, time.perf_counter() - started


def interrupt_fits(name: str, n_fits: int, rng: random.Random, folder: Path) -> Counter[str]:
    """Ctrl-C at a random moment of each fit."""
    seen: Counter[str] = Counter()
    path = folder / "run.checkpoint"
    whole, usual = undisturbed(name, path)
    before = held()
    for _ in range(n_fits):
        clean(folder)
        outcome = interrupted(name, path, rng.uniform(0, 1.1 * usual))
        after = held()
        if after != before:
            outcome = f"LEFT CHANGED: {before} -> {after}"
        left = {file.name for file in folder.iterdir()} - {path.name, checkpoint.previous(path).name}
        if left:
            outcome = f"LEFT FILES: {sorted(left)}"
        different = resumes(name, path, whole)
        seen[different or outcome] += 1
    return seen


def interrupted(name: str, path: Path, delay: float) -> str:
    """Fit while a thread sends SIGINT after a delay; return how it ended."""
    sender = threading.Thread(target=lambda: (time.sleep(delay), os.kill(os.getpid(), signal.SIGINT)))
    outcome = ""
    try:
        sender.start()
        outcome = fit(name, path).status.reason
        sender.join()
        time.sleep(0.001)  # a signal that comes after the fit is handled here
    except KeyboardInterrupt:
        outcome = outcome or "KeyboardInterrupt"
    except Exception as error:  # noqa: BLE001  what must not happen is counted
        outcome = f"FAILED: {type(error).__name__}: {error}"
    sender.join()
    return outcome


def child(name: str, path: Path) -> None:
    """Wait for the word, then fit."""
    fit(name)
    print("ready", flush=True)
    sys.stdin.readline()
    fit(name, path)


def start_child(name: str, path: Path) -> subprocess.Popen[str]:
    """Start `child`."""
    words = [sys.executable, __file__, "--child", name, str(path)]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def kill_fits(name: str, n_kills: int, rng: random.Random, folder: Path) -> Counter[str]:
    """SIGKILL at a random moment of each fit; the next child starts meanwhile."""
    seen: Counter[str] = Counter()
    path = folder / "run.checkpoint"
    whole, usual = undisturbed(name, path)
    following = start_child(name, path)
    for number in range(n_kills):
        process, following = following, start_child(name, path) if number + 1 < n_kills else following
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        clean(folder)
        process.stdin.write("go\n")
        process.stdin.flush()
        time.sleep(rng.uniform(0, usual))
        process.send_signal(signal.SIGKILL)
        ended = "killed" if process.wait() == -signal.SIGKILL else "ended before"
        process.stdin.close()
        process.stdout.close()
        seen[left_by_kill(name, path, whole, ended)] += 1
    return seen


def left_by_kill(name: str, path: Path, whole: list[bytes], ended: str) -> str:
    """Look at what a killed fit has left, and resume from it."""
    parts = " amid writing" if path.with_name(path.name + checkpoint.PART).exists() else ""
    try:
        search = checkpoint.find(path)
    except CheckpointError as error:
        return f"TORN: {error}"
    if search.damaged:
        return "TORN: the newest checkpoint"
    where = f"{ended} {'with a checkpoint' if search.saved else 'before the first checkpoint'}{parts}"
    return resumes(name, path, whole) or where


def interrupt_commands(name: str, n_commands: int, rng: random.Random, folder: Path) -> Counter[str]:
    """Ctrl-C of `sparsae train` at a random moment of its life."""
    seen: Counter[str] = Counter()
    data = folder.parent / "rows.npy"
    np.save(data, np.random.default_rng(0).uniform(0.1, 0.9, (2000, 16)))
    names = {"out": "model.npz", "checkpoint": "run.checkpoint", "log": "run.jsonl"}
    words = [sys.executable, "-m", "sparsae", "train", str(data), "--hidden", "8", "--max-iter", "60", *COMMANDS[name]]
    words += [word for option, file in names.items() for word in (f"--{option}", str(folder / file))]
    clean(folder)
    started = time.perf_counter()
    subprocess.run(words, check=True, capture_output=True)
    usual = time.perf_counter() - started
    for _ in range(n_commands):
        clean(folder)
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(rng.uniform(0, usual))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=300)
        seen[ended_command(process.returncode, said, folder, words)] += 1
    return seen


def ended_command(code: int, said: str, folder: Path, words: list[str]) -> str:
    """Look at what an interrupted command has left and said, and go on with it."""
    if "Traceback" in said:
        mine = "sparsae" in said.split("Traceback")[1]
        return f"{'TRACEBACK' if mine else 'Python was starting'}: {said[-300:] if mine else ''}"
    if code not in (0, 130, -signal.SIGINT):
        return f"EXIT CODE {code}: {said[-200:]}"
    wanted = {"model.npz", "run.checkpoint", "run.checkpoint.previous", "run.jsonl"}
    found = {file.name for file in folder.iterdir()}
    if found - wanted:
        return f"LEFT FILES: {sorted(found - wanted)}"
    if "model.npz" in found:
        sparsae.load(folder / "model.npz")
    done = subprocess.run([*words, "--resume"], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        return f"NO RESUME: {done.stderr[-300:]}"
    return f"exit code {code}, {'with' if 'model.npz' in found else 'without'} a model"


def main() -> int:
    """Run all parts; the exit code is 0 when every claim held."""
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signals", type=int, default=200, help="Ctrl-C within this process, a method")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--commands", type=int, default=10, help="Ctrl-C of the command, a method")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("methods", nargs="*", help="all when left out")
    given = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts it in the background ignores Ctrl-C
    held_everywhere = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "fits"
        folder.mkdir()
        parts = (
            ("Ctrl-C", given.signals, interrupt_fits, METHODS),
            ("kill -9", given.kills, kill_fits, METHODS),
            ("Ctrl-C of the command", given.commands, interrupt_commands, COMMANDS),
        )
        for what, count, run, methods in parts:
            for method in [method for method in methods if count and (not given.methods or method in given.methods)]:
                started = time.monotonic()
                seen = run(method, count, random.Random(given.seed), folder)
                right = not any(outcome.split()[0].isupper() for outcome in seen)
                right &= what != "Ctrl-C" or seen["interrupted"] > count // 10  # else it proves nothing
                held_everywhere &= right
                words = ", ".join(f"{number} {outcome}" for outcome, number in seen.most_common())
                print(
                    f"{'ok' if right else 'FAILED':6} {what}, {method}: {words} ({time.monotonic() - started:.0f} s)",
                    flush=True,
                )
    print("HELD" if held_everywhere else "FAILED")
    return 0 if held_everywhere else 1


if __name__ == "__main__":
    sys.exit(main())
