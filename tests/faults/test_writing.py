"""Writing replaces nothing but a plain file, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import stat
import time
from pathlib import Path

import pytest


def test_a_link_keeps_pointing_and_its_target_is_written(run, rows: Path) -> None:
    """``-o LINK --force`` writes the target; the link stays a link."""
    target, link = rows.with_name("real.npz"), rows.with_name("link.npz")
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    assert run("train", rows, "-o", link, "--hidden", 3, "--max-iter", 1, "--force").code == 0
    assert link.is_symlink()
    assert target.read_bytes().startswith(b"PK")
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


@pytest.mark.parametrize("option", ["-o", "--checkpoint", "--log"])
def test_a_fifo_is_refused_before_training(run, rows: Path, option: str) -> None:
    """A named pipe as output is refused in one line, and stays a pipe."""
    pipe = rows.with_name("pipe")
    os.mkfifo(pipe)
    said = run("train", rows, option, pipe, "--hidden", 3, "--max-iter", 1, "--force")
    assert (said.code, said.is_one_error_line) == (2, True), said
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="mknod needs root")
def test_a_device_node_stays_a_device(run, rows: Path) -> None:
    """A device as output is not replaced by a file, ``--force`` or not."""
    node = rows.with_name("full")
    os.mknod(node, stat.S_IFCHR | 0o600, os.makedev(1, 7))
    said = run("train", rows, "-o", node, "--hidden", 3, "--max-iter", 1, "--force")
    assert said.code in (1, 2), said
    assert said.is_one_error_line, said.err
    assert stat.S_ISCHR(node.stat().st_mode)


def test_a_killed_writer_leaves_nothing_for_long(start, run, rows: Path) -> None:
    """Temporary files of dead processes are gone after the next write into the folder."""
    for _ in range(3):
        process = start("train", rows, "-o", "k.npz", "--hidden", 3, "--max-iter", 100_000, "--force")
        time.sleep(1.5)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        process.stderr.close()
    assert run("train", rows, "-o", "k.npz", "--hidden", 3, "--max-iter", 1, "--force").code == 0
    assert sorted(path.name for path in rows.parent.iterdir()) == ["k.npz", "rows.npy"]
