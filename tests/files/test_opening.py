"""Ctrl-C while the system opens a file: what it opened is closed."""

from __future__ import annotations

import gc
import os
import signal
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsae.bench import record
from sparsae.data import load
from sparsae.engine import temporary_copy
from sparsae.engine.map_file import file_of_map
from sparsae.engine.npy_file import open_npy
from sparsae.files import atomic_write, check_readable, check_writable
from sparsae.files.opening import open_unbuffered, pipe
from sparsae.training import checkpoint
from sparsae.training.checkpoint_lock import lock_checkpoint
from sparsae.training.json_log import JsonLog

X = np.random.default_rng(0).uniform(size=(6, 3))


def enter(block: Any) -> None:
    with block:
        pass


OPENERS: dict[str, Callable[[Path], object]] = {
    "write": lambda folder: atomic_write(folder / "new", lambda file: file.write(b"x")),
    "write over": lambda folder: atomic_write(folder / "x.npy", lambda file: file.write(b"x")),
    "write through": lambda _: atomic_write("/dev/stdout", lambda file: file.write(b"")),
    "check an output": lambda folder: check_writable(folder / "x.npy", force=True),
    "check an input": lambda folder: check_readable(folder / "x.npy", what="model"),
    "log": lambda folder: JsonLog(folder / "log.jsonl"),
    "lock": lambda folder: enter(lock_checkpoint(folder / "run.checkpoint")),
    "place of a checkpoint": lambda folder: checkpoint.check_place(folder / "run.checkpoint", resume=False),
    "rows of a file": lambda folder: open_npy(folder / "x.npy"),
    "rows of a map": lambda folder: file_of_map(np.load(folder / "x.npy", mmap_mode="r")),
    "transposed rows": lambda folder: open_npy(folder / "x.npy").transposed(),
    "a table": lambda folder: load(folder / "x.csv"),
    "a copy": lambda folder: temporary_copy._copy("x", X.shape, X.dtype, [X], str(folder)),
    "a race": lambda _: enter(record.RaceRecorder(Path("/dev/stdout"))),
}


class InterruptedAt:
    """Counts what is opened by `os.open` and `os.dup`; a signal comes before the call of that number returns."""

    def __init__(self, number: int, patch: pytest.MonkeyPatch) -> None:
        self._number, self._calls = number, 0
        self.opened: list[tuple[int, os.stat_result]] = []
        for name in ("open", "dup"):
            patch.setattr(os, name, partial(self._call, getattr(os, name)))

    def _call(self, function: Callable[..., int], *args: Any, **options: Any) -> int:
        descriptor = function(*args, **options)
        self.opened.append((descriptor, os.fstat(descriptor)))
        self._calls += 1
        if self._calls == self._number:
            os.kill(os.getpid(), signal.SIGINT)  # Python runs the handler before the next instruction
        return descriptor

    def came(self) -> bool:
        """Whether so many calls were made."""
        return self._calls >= self._number

    def left_open(self) -> list[int]:
        """What is open still."""
        return [descriptor for descriptor, was in self.opened if is_open(descriptor, was)]


def is_open(descriptor: int, was: os.stat_result) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), was)
    return False


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("what", OPENERS)
def test_an_interrupt_while_a_file_is_opened_leaves_nothing_open(
    what: str, named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of its files is being opened; where the system has no unnamed files, the folder stays clean too."""
    np.save(tmp_path / "x.npy", X)
    np.savetxt(tmp_path / "x.csv", X, delimiter=",")
    if named:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
        monkeypatch.setattr(tempfile, "_O_TMPFILE_WORKS", False)
    for number in range(1, 100):
        with monkeypatch.context() as patch:
            interrupted = InterruptedAt(number, patch)
            with suppress(KeyboardInterrupt):
                OPENERS[what](tmp_path)
                assert not interrupted.came(), "the interrupt was lost"
        gc.collect()  # the exception's frames and what they held
        assert interrupted.left_open() == []
        assert not list(tmp_path.glob(".*.part"))
        if not interrupted.came():
            break
    assert 1 < number < 99


def test_an_interrupt_while_a_pipe_is_opened_closes_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undisturbed, what is written to one end is read from the other."""
    reader, writer = pipe()
    with reader, writer:
        writer.write(b"x")
        assert reader.read(1) == b"x"
    opened: list[tuple[int, os.stat_result]] = []
    open_pipe = os.pipe

    def interrupted() -> tuple[int, int]:
        ends = open_pipe()
        opened.extend((end, os.fstat(end)) for end in ends)
        os.kill(os.getpid(), signal.SIGINT)
        return ends

    monkeypatch.setattr(os, "pipe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pipe()
    assert len(opened) == 2
    assert not [end for end, was in opened if is_open(end, was)]


def test_a_folder_is_not_opened(tmp_path: Path) -> None:
    """The system opens folders for reading; what it opened is closed."""
    with pytest.raises(IsADirectoryError):
        open_unbuffered(tmp_path, "r", os.O_RDONLY)
