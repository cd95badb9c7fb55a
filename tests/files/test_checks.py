"""Paths are checked before work begins: what can be read, what can be written, and that they are not the same."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from sparsae.errors import FileAccessError, FileMissingError, OutputExistsError, ParameterError
from sparsae.files import check_distinct, check_readable, check_writable, resolve_output


def test_outputs_are_checked_before_the_work(tmp_path: Path) -> None:
    """Existing, no such folder, a folder itself; and the check leaves nothing behind and changes nothing."""
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with pytest.raises(OutputExistsError, match=r"exists and would be overwritten; use another name, or --force"):
        check_writable(path)
    assert check_writable(path, force=True) == path
    with pytest.raises(FileAccessError, match=r"Cannot write .*/none/x: No such file or directory \(folder .*none\)"):
        check_writable(tmp_path / "none" / "x")
    with pytest.raises(FileAccessError, match=r"Cannot write .*/x/y: Not a directory"):
        check_writable(path / "y")
    with pytest.raises(FileAccessError, match="is a folder; give the name of a file in it"):
        check_writable(tmp_path)
    check_writable(tmp_path / "y")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("x", b"old")]


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    """Too long, a loop of links, a zero byte: one sentence each, for input and output."""
    (tmp_path / "loop").symlink_to(tmp_path / "pool")
    (tmp_path / "pool").symlink_to(tmp_path / "loop")
    names = {"n" * 300: "File name too long", "loop": "Too many levels of symbolic links", "a\0b": ".*embedded null"}
    for name, words in names.items():
        with pytest.raises(FileAccessError, match=f"Cannot write .*: {words}"):
            check_writable(tmp_path / name)
        with pytest.raises(FileAccessError, match=f"cannot be read: {words}"):
            check_readable(tmp_path / name)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """A named pipe would be waited for, and a device read without end; nothing is opened."""
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    for path, kind in (
        (tmp_path, "a folder"),
        (tmp_path / "pipe", "a named pipe"),
        (tmp_path / "socket", "a socket"),
        (Path("/dev/zero"), "a device"),
    ):
        with pytest.raises(FileAccessError, match=rf"{path.name} is {kind}; a record must be a regular file"):
            check_readable(path, what="record")
    with pytest.raises(FileMissingError, match=r"There is no record none\."):
        check_readable("none", what="record")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    with pytest.raises(FileMissingError, match=r"There is no file .*/gone, to which the link .*/dangling points\."):
        check_readable(tmp_path / "dangling")
    (tmp_path / "file").touch()
    assert check_readable(tmp_path / "file") == tmp_path / "file"


def test_two_names_of_one_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same words, another spelling, a link, a hard link, a file that does not exist yet."""
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data.csv"
    data.write_text("1,2\n")
    (tmp_path / "link").symlink_to(data)
    os.link(data, tmp_path / "hard")
    for name in ("data.csv", "./data.csv", str(data), "link", "hard"):
        with pytest.raises(ParameterError, match=r"--log \(.*\) and DATA \(data.csv\) are the same file; name"):
            check_distinct({"-o": "m.npz", "--log": name}, {"DATA": "data.csv"})
    (tmp_path / "new-link").symlink_to("m.npz")
    for name in ("m.npz", "./m.npz", "new-link"):
        with pytest.raises(ParameterError, match=r"--log \(.*\) and -o \(m.npz\) are the same file"):
            check_distinct({"-o": "m.npz", "--log": name})
    check_distinct({"-o": "m.npz", "--log": "log", "--checkpoint": None}, {"DATA": "digits"})


def test_a_file_of_an_input_folder_is_refused(tmp_path: Path) -> None:
    """Pictures are given as a folder: none of them may be replaced."""
    (tmp_path / "a.png").touch()
    with pytest.raises(ParameterError, match=r"-o .* and DATA \(.*a.png\) are the same file"):
        check_distinct({"-o": tmp_path / "a.png"}, {"DATA": tmp_path})
    check_distinct({"-o": tmp_path / "b.png"}, {"DATA": tmp_path})


def test_several_outputs_may_share_the_null_device() -> None:
    """And streams of the process."""
    check_distinct({"-o": "/dev/null", "--log": "/dev/null"})
    check_distinct({"-o": "/dev/stderr", "--log": "/dev/stderr"})


def test_the_target_of_an_output_is_the_end_of_its_links(tmp_path: Path) -> None:
    """For what is written by other means, such as logs."""
    (tmp_path / "link").symlink_to("target")
    assert resolve_output(tmp_path / "link") == tmp_path / "target"
