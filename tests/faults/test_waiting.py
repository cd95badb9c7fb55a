"""Nothing waits for ever, and a request to end is heard."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest


@pytest.mark.parametrize(
    "words",
    [
        ("train", "pipe"),
        ("info", "pipe"),
        ("plot", "pipe"),
        ("encode", "pipe", "rows.npy"),
        ("bench", "show", "pipe"),
        ("bench", "compare", "pipe", "pipe"),
        ("train", "rows.npy", "--checkpoint", "pipe", "--resume"),
    ],
    ids=lambda words: " ".join(words),
)
def test_a_pipe_where_a_file_is_read(start, rows: Path, words: tuple[str, ...]) -> None:
    """Refused in one line."""
    os.mkfifo(rows.with_name("pipe"))
    process = start(*words)
    try:
        _, err = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 2, err
    assert len(err.strip().splitlines()) == 1, err


@pytest.mark.skipif(os.geteuid() != 0, reason="mknod needs root")
def test_a_device_without_end_is_not_read(start, tmp_path: Path) -> None:
    """A record that is a device is refused, not read without end."""
    import stat

    os.mknod(tmp_path / "zero", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    for words in (("bench", "show", "zero"), ("train", "zero"), ("info", "zero")):
        _, err = start(*words).communicate(timeout=300)
        assert len(err.strip().splitlines()) == 1, (words, err)


@pytest.mark.parametrize("name", ["n" * 300 + ".npy", "structured.npy", "empty.csv", "renamed.npz"])
def test_odd_files_are_one_line(run, tmp_path: Path, name: str) -> None:
    """Names of 300 characters, structured arrays, empty tables and equal values with ``--scale``."""
    np.save(tmp_path / "structured.npy", np.zeros(5, dtype=[("a", float), ("b", int)]))
    (tmp_path / "empty.csv").write_text("a,b\n")
    np.save(tmp_path / "r.npy", np.full((9, 4), 0.5))
    (tmp_path / "r.npy").rename(tmp_path / "renamed.npz")
    said = run("train", name, "--scale", "--hidden", 2, "--max-iter", 1)
    assert (said.code, said.is_one_error_line) == (2, True), said


def test_term_while_data_is_loaded(start, tmp_path: Path) -> None:
    """SIGTERM ends the process promptly with 143, also before the first iteration."""
    lines = "\n".join(",".join("0.123456" for _ in range(200)) for _ in range(20_000))
    (tmp_path / "big.csv").write_text(lines)
    process = start("train", "big.csv", "--hidden", 2)
    time.sleep(2)
    process.send_signal(signal.SIGTERM)
    try:
        process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode in (143, -signal.SIGTERM)


def test_two_fits_on_one_checkpoint(start, rows: Path) -> None:
    """The second is refused and names the first, which is stopped meanwhile: on a busy machine it could end before."""
    words = ("train", rows, "--hidden", 3, "--max-iter", 1_000_000, "--checkpoint", "c.ckpt", "--checkpoint-every", 1)
    first = start(*words, "-o", "a.npz", "--quiet", "--gradient-tolerance", 0)
    try:
        deadline = time.monotonic() + 300
        while not rows.with_name("c.ckpt").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        first.send_signal(signal.SIGSTOP)
        second = start(*words, "-o", "b.npz", "--resume")
        _, err = second.communicate(timeout=300)
        assert second.returncode == 2, err
        assert str(first.pid) in err
    finally:
        first.kill()
        first.communicate()
