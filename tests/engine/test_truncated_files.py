"""A file that is truncated while it is used: one error, a whole checkpoint, no crash."""

import os
import re
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

import sparsae
from sparsae import DataError, Objective
from sparsae.engine import storage
from sparsae.engine.npy_file import open_npy

TRUNCATED = """
    import os, sys, sparsae.objective
    from sparsae.engine import storage
    from sparsae.engine.npy_file import open_npy
    storage.SHARE = 1 << 60  # as if the file were larger than the memory share
    path, checkpoint = sys.argv[1:3]
    def truncate(progress):
        if progress.iteration == 5:
            os.truncate(path, os.path.getsize(path) // 2)
    try:
        sparsae.train(
            open_npy(path), 8, threads=2, block_rows=200, max_iter=1000, observers=[truncate],
            checkpoint=sparsae.Checkpoint(checkpoint, every=1),
        )
    except sparsae.DataError as error:
        print(error)
        sys.exit(2)
"""


def test_a_file_that_is_truncated_in_mid_fit_is_an_error_and_the_checkpoint_is_whole(tmp_path):
    """In a process of its own, with two workers: a memory map would end it with a bus error."""
    X = np.random.default_rng(0).random((20_000, 16))
    np.save(tmp_path / "x.npy", X)
    command = [sys.executable, "-c", textwrap.dedent(TRUNCATED), str(tmp_path / "x.npy"), str(tmp_path / "fit.npz")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2, done.stderr
    message = r"x\.npy was truncated while it was read: row (9999|1\d{4}) \(counted from 0\) is not whole any more"
    assert re.search(message, done.stdout), done.stdout
    np.save(tmp_path / "x.npy", X)
    options = {"block_rows": 200, "passes": 1, "checkpoint": tmp_path / "fit.npz", "resume": True, "max_iter": 6}
    with pytest.warns(sparsae.ConvergenceWarning):
        result = sparsae.train(X, 8, **options)
    assert result.history.iteration[-1] == 6
    assert any(note.startswith("Resumed at iteration 5") for note in result.receipt.notes)


COMMAND = """
    import os, sys, sparsae.objective
    from sparsae.engine import binary_file, npy_file, storage
    from sparsae.cli import main
    from sparsae.data.readers import limits
    storage.SHARE = 1 << 60  # as if the file were larger than the memory share
    limits.memory_limit = lambda: 1
    path, read = sys.argv[1], binary_file.BinaryFile.read_into
    counts = []
    def read_into(self, start, stop, out):
        counts.append(None)
        if len(counts) == 2000:
            os.truncate(path, os.path.getsize(path) // 2)
        read(self, start, stop, out)
    binary_file.BinaryFile.read_into = read_into
    main(["train", path, "--hidden", "8", "--block-rows", "200", "--max-iter", "10000", "--quiet", *sys.argv[2:]])
"""


def test_the_command_ends_with_one_line_and_exit_code_2_when_its_file_is_truncated(tmp_path):
    """No traceback, no signal; the checkpoint holds a whole fit."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((20_000, 16)))
    checkpoint = tmp_path / "fit.npz"
    arguments = [
        tmp_path / "x.npy",
        "--checkpoint",
        checkpoint,
        "--checkpoint-every",
        "1",
        "-o",
        tmp_path / "model.npz",
    ]
    command = [sys.executable, "-c", textwrap.dedent(COMMAND), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2, done.stderr
    message = " ".join(done.stderr.split())
    assert re.search(r"was truncated while it was read: row \d+ \(counted from 0\) is not whole any more", message)
    assert "Traceback" not in done.stderr
    assert np.load(checkpoint, allow_pickle=False).files


def test_a_file_is_read_by_several_workers_while_another_thread_truncates_it(monkeypatch, tmp_path):
    """Either numbers or a DataError, at whatever moment."""
    monkeypatch.setattr(storage, "SHARE", 1 << 60)
    path = tmp_path / "x.npy"
    for delay in (0.0, 0.002, 0.01):
        np.save(path, np.random.default_rng(0).random((20_000, 16)))
        objective = Objective(open_npy(path), 4, threads=2, block_rows=50)
        thread = threading.Thread(target=lambda delay=delay: (time.sleep(delay), os.truncate(path, 100_000)))
        thread.start()
        try:
            for _ in range(200):
                objective(np.zeros(objective.size))
        except DataError as error:
            assert "was truncated while it was read" in str(error)  # noqa: PT017
        else:
            pytest.fail("the truncated file was read to its end")
        thread.join()
