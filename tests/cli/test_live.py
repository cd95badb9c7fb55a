"""The command as a process: interrupts and terminals."""

import os
import pty
import signal
import subprocess
import sys
import time

from tests.support.terminal import read_all

import sparsae


def start(folder, *words, **options):
    """Start the command as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "sparsae", *(str(word) for word in words)],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def test_ctrl_c_keeps_the_model_so_far(tmp_path):
    """Without a checkpoint too: the model is written, its place is said, the exit code is the shell's."""
    process = start(tmp_path, "train", "digits", "--max-iter", 1_000_000, "--hidden", 20, "--log", "log.jsonl")
    deadline = time.monotonic() + 60
    while not (tmp_path / "log.jsonl").exists() or (tmp_path / "log.jsonl").stat().st_size < 500:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, (out, err)
    assert "model.npz" in out + err
    model = sparsae.load(tmp_path / "model.npz")
    assert model.status.reason == "interrupted"
    assert len(model.history) >= 2
    assert "Traceback" not in err


def test_a_terminal_gets_a_live_line_and_a_pipe_does_not(tmp_path):
    """On a terminal progress is drawn in place; a pipe gets plain lines without control characters."""
    process = start(tmp_path, "train", "digits", "--hidden", 5, "--max-iter", 30)
    _, err = process.communicate(timeout=300)
    assert "\x1b" not in err
    assert "iteration 0/30" in err
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "sparsae", "train", "digits", "--hidden", "5", "--max-iter", "100", "--force"],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=theirs, env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    drawn = read_all(ours)
    assert process.wait(300) == 0
    assert b"\x1b[" in drawn
    assert b"it/s" in drawn
