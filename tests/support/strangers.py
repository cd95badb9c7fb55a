"""Backends that misbehave, in a distribution that is made in a temporary folder."""

from __future__ import annotations

from pathlib import Path

NAMES = ("greedy", "wrong", "later", "sleepy", "mortal", "hanging", "garbage", "chatty", "marked", "liar")

SOURCE = '''
import os, time
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import sparsae

class Good(sparsae.SimpleKernel):
    def backprop(self, a1, a2, a3, W2, sparsity, target):
        delta3 = (a3 - target) * a3 * (1 - a3)
        delta2 = (delta3 @ W2 + sparsity) * a2 * (1 - a2)
        return sparsae.Parameters(delta2.T @ a1, delta2.sum(0), delta3.T @ a2, delta3.sum(0))

class Greedy(Good):
    """Three busy threads, whatever the limit; they stay, so that a reader that comes late sees what they used."""
    threads = ThreadPoolExecutor(3)
    def backprop(self, *arrays):
        def burn(_):
            end = time.perf_counter() + 0.02
            while time.perf_counter() < end:
                np.ones((300, 300)) @ np.ones((300, 300))
        list(self.threads.map(burn, range(3)))
        return super().backprop(*arrays)

class Wrong(Good):
    """Forgets half of the hidden layer's error."""
    def backprop(self, *arrays):
        W1, b1, W2, b2 = super().backprop(*arrays)
        return sparsae.Parameters(W1 / 2, b1, W2, b2)

class Later(Good):
    """Right at first, wrong after a while: what a check before timing alone would miss."""
    calls = 0
    def backprop(self, *arrays):
        Later.calls += 1
        W1, b1, W2, b2 = super().backprop(*arrays)
        return sparsae.Parameters(W1 * (1 if Later.calls < 10 else 1.01), b1, W2, b2)

class Sleepy(Good):
    def backprop(self, *arrays):
        time.sleep(0.02)
        return super().backprop(*arrays)

class Mortal(Good):
    calls = 0
    def backprop(self, *arrays):
        Mortal.calls += 1
        if Mortal.calls > 10:
            os._exit(9)
        return super().backprop(*arrays)

class Hanging(Good):
    calls = 0
    def backprop(self, *arrays):
        Hanging.calls += 1
        if Hanging.calls > 10:
            time.sleep(600)
        return super().backprop(*arrays)

class Garbage(Good):
    """Writes to every pipe that it can find."""
    def backprop(self, *arrays):
        for handle in range(1, 20):
            try:
                os.write(handle, b"%%% garbage %%%\\n")
            except OSError:
                pass
        return super().backprop(*arrays)

class Chatty(Good):
    """Prints on standard output, as libraries do."""
    def backprop(self, *arrays):
        print("hello from the kernel", flush=True)
        os.write(1, b"hello from C\\n")
        return super().backprop(*arrays)

class Marked(Good):
    """Fails with a text that a terminal would obey."""
    def backprop(self, *arrays):
        raise ValueError("no [/x] \\x1b[2J luck")

class Liar(Good):
    """Writes what could be an answer to every pipe that it can find."""
    def backprop(self, *arrays):
        answer = b'{"kind": "end", "cell": "numpy x1", "error": 0.5, "loops": 1, "pools_after_call": []}\\n'
        for handle in range(1, 20):
            try:
                os.write(handle, answer)
            except OSError:
                pass
        return super().backprop(*arrays)

def make(name, kernel):
    class Plugin:
        @staticmethod
        @sparsae.hookimpl
        def sparsae_backend():
            return sparsae.Backend(name, kernel, threading="none")
    return Plugin()

for kernel in (Greedy, Wrong, Later, Sleepy, Mortal, Hanging, Garbage, Chatty, Marked, Liar):
    globals()[kernel.__name__.lower()] = make(kernel.__name__.lower(), kernel)
'''


def install(folder: Path) -> None:
    """Make the distribution in a folder that will be on the path."""
    (folder / "strangers.py").write_text(SOURCE)
    info = folder / "strangers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers\nVersion: 1.0\n")
    for name in NAMES:
        (folder / f"strangers_{name}.py").write_text(
            f"from strangers import {name} as _p\nsparsae_backend = _p.sparsae_backend\n"
        )
    points = "".join(f"{name} = strangers_{name}\n" for name in NAMES)
    (info / "entry_points.txt").write_text(f"[sparsae.backends]\n{points}")


def install_trap(folder: Path) -> Path:
    """Make a distribution whose only plugin leaves a file and hangs when it is imported; return the file's path."""
    mark = folder / "was-imported"
    (folder / "trap.py").write_text(f"import time\nopen({str(mark)!r}, 'w').close()\ntime.sleep(600)\n")
    info = folder / "trap-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: trap\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[sparsae.backends]\ntrap = trap\n")
    return mark
