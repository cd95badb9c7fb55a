"""A file that is cut short while a fit reads it costs that fit, not the process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

CODE = """
import sys
from sparsae.machine import resources
resources.memory_limit = lambda: 8 << 20  # less than the file needs, so that it is read in each evaluation
from sparsae.cli import main
main(sys.argv[1:])
"""


def test_a_truncated_file_is_a_data_error_and_the_checkpoint_is_whole(tmp_path: Path) -> None:
    """Exit 2 with one line that names the rows; the last checkpoint can be read."""
    from sparsae.training import checkpoint as checkpoints

    data = tmp_path / "long.npy"
    np.save(data, np.random.default_rng(0).uniform(0.1, 0.9, (40_000, 32)))
    options = ["--hidden", "8", "--max-iter", "100000", "--checkpoint", "c.ckpt", "--checkpoint-every", "1", "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, "train", str(data), "-o", "m.npz", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    checkpoint = tmp_path / "c.ckpt"
    deadline = time.monotonic() + 60
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.truncate(data, 100_000)
    try:
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 2, (process.returncode, out, err)
    assert "Traceback" not in err
    assert "row" in err
    assert checkpoints.load(checkpoint).header["iteration"] >= 0
