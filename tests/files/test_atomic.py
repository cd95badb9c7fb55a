"""Writing: whole or not at all, through links, with the mode and owner of the old file; what is not a file is kept."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from sparsae.errors import FileAccessError
from sparsae.files import atomic_write, atomic_write_text, check_writable, locks, temporary

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes and changes owners")


def put(path: Path, content: bytes = b"new") -> None:
    atomic_write(path, lambda file: file.write(content))


@pytest.fixture(params=["unnamed", "named"])
def kind_of_temporary(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both kinds of temporary files."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    return str(request.param)


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path, kind_of_temporary: str) -> None:
    """The target is replaced beside itself, in its own folder; a dangling link makes its target."""
    (tmp_path / "far").mkdir()
    target = tmp_path / "far" / "target"
    target.write_bytes(b"old")
    os.link(target, tmp_path / "before")
    for name, to in (("link", target), ("chain", tmp_path / "link"), ("dangling", tmp_path / "far" / "new")):
        link = tmp_path / name
        link.symlink_to(to)
        put(link, name.encode())
        assert link.is_symlink()
        assert link.read_bytes() == name.encode()
    assert (tmp_path / "before").read_bytes() == b"old"  # replaced, not written over
    assert {p.name for p in (tmp_path / "far").iterdir()} == {"target", "new"}


def test_mode_and_owner_of_an_existing_file_are_kept(tmp_path: Path, kind_of_temporary: str) -> None:
    """Mode in any case; owner and group where root writes another user's file."""
    path = tmp_path / "x"
    path.write_bytes(b"old")
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 4321, 1234)
    before = path.stat()
    put(path)
    after = path.stat()
    assert path.read_bytes() == b"new"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


@AS_ROOT
@pytest.mark.parametrize(
    ("mode", "owner", "words"),
    [(0o666, 0, "it belongs to another user or group"), (0o444, 4321, "Permission denied")],
    ids=["foreign", "write-protected"],
)
def test_what_a_user_may_not_replace_is_refused_before_the_work(
    tmp_path: Path, mode: int, owner: int, words: str
) -> None:
    """Another's file, since a new one would not belong to the other; one of their own that is write-protected."""
    tmp_path.chmod(0o777)
    path = tmp_path / "x"
    path.write_bytes(b"old")
    os.chown(path, owner, 0 if owner == 0 else 1234)
    path.chmod(mode)
    program = (
        "import os, sys\n"
        "from sparsae.errors import FileAccessError\nfrom sparsae.files import check_writable\n"
        "os.setgid(1234); os.setuid(4321)\n"
        "try: check_writable('x', force=True)\nexcept FileAccessError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True, umask=0
    )
    assert done.stdout.startswith(f"Cannot write x: {words}")
    assert path.read_bytes() == b"old"


@AS_ROOT
def test_devices_and_pipes_are_refused_and_stay_what_they_are(tmp_path: Path) -> None:
    """With force too; a device of the kind of /dev/full, a named pipe, a folder."""
    full, pipe, folder = tmp_path / "full", tmp_path / "pipe", tmp_path / "folder"
    os.mknod(full, stat.S_IFCHR | 0o666, os.makedev(1, 7))
    os.mkfifo(pipe)
    folder.mkdir()
    (tmp_path / "link").symlink_to(pipe)
    for name, kind in (
        ("full", "a device"),
        ("pipe", "a named pipe"),
        ("link", "a named pipe"),
        ("folder", "a folder"),
    ):
        before = (tmp_path / name).lstat()
        with pytest.raises(FileAccessError, match=f"{name} is {kind}; give the name of a"):
            check_writable(tmp_path / name, force=True)
        with pytest.raises(FileAccessError, match=f"{name} is {kind}; give the name of a"):
            put(tmp_path / name)
        after = (tmp_path / name).lstat()
        assert (before.st_ino, before.st_mode) == (after.st_ino, after.st_mode)


@AS_ROOT
def test_the_null_device_is_written_through(tmp_path: Path) -> None:
    """It takes everything, needs no force, and stays a device."""
    null = tmp_path / "null"
    os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    check_writable(null)
    atomic_write(null, lambda file: np.savez(file, X=np.zeros(5)))
    assert stat.S_ISCHR(null.stat().st_mode)


def test_a_stream_of_the_process_is_written_through(tmp_path: Path) -> None:
    """/dev/fd/N leads to a pipe, into which an archive, which needs seeking, is copied; a closed one is refused."""
    ours, theirs = os.pipe()
    check_writable(f"/dev/fd/{theirs}")
    atomic_write(f"/dev/fd/{theirs}", lambda file: np.savez(file, X=np.arange(5)))
    os.close(theirs)
    with pytest.raises(FileAccessError, match=rf"Cannot write /dev/fd/{ours}: it is open for reading only"):
        check_writable(f"/dev/fd/{ours}")
    with os.fdopen(ours, "rb") as stream:
        (tmp_path / "x.npz").write_bytes(stream.read())
    np.testing.assert_array_equal(np.load(tmp_path / "x.npz")["X"], np.arange(5))
    with pytest.raises(FileAccessError, match=rf"Cannot write /dev/fd/{theirs}: Bad file descriptor"):
        check_writable(f"/dev/fd/{theirs}")


def test_what_a_stream_is_open_for_is_not_asked_where_the_system_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without fcntl, as on Windows: a closed descriptor is still refused, one open for reading is taken."""
    monkeypatch.setattr("sparsae.files.status.fcntl", None)
    ours, theirs = os.pipe()
    os.close(theirs)
    try:
        check_writable(f"/dev/fd/{ours}")
        with pytest.raises(FileAccessError, match="Bad file descriptor"):
            check_writable(f"/dev/fd/{theirs}")
    finally:
        os.close(ours)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, kind_of_temporary: str) -> None:
    """An exception in the middle; a limit on the size of files, met by Python, by NumPy, and without its reason."""
    path = tmp_path / "x.bin"
    path.write_bytes(b"old")

    def fail(file: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        atomic_write(path, fail)

    def fail_without_a_reason(file: BinaryIO) -> None:  # as NumPy 1 reports it
        with suppress(OSError):
            file.write(bytes(100_000))
        raise OSError("100000 requested and 4096 written")

    writers = (lambda file: file.write(bytes(100_000)), lambda file: np.save(file, np.zeros(100_000)))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        for write in (*writers, fail_without_a_reason):
            with pytest.raises(FileAccessError, match=r"Cannot write .*x.bin: File too large"):
                atomic_write(path, write)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.bin"]


def test_an_error_without_a_reason_is_passed_on_when_the_system_sees_none(
    tmp_path: Path, kind_of_temporary: str
) -> None:
    """There is space again when the system is asked; its own words are given, and nothing is left."""

    def fail(file: BinaryIO) -> None:
        raise OSError("100000 requested and 4096 written")

    with pytest.raises(FileAccessError, match=r"Cannot write .*x: 100000 requested and 4096 written\."):
        atomic_write(tmp_path / "x", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_becomes_a_folder_meanwhile_is_an_error(tmp_path: Path, kind_of_temporary: str) -> None:
    """What the system says when the new file is renamed; only the folder is left."""
    with pytest.raises(FileAccessError, match=r"Cannot write .*x: Is a directory"):
        atomic_write(tmp_path / "x", lambda file: (tmp_path / "x").mkdir())
    assert [(p.name, p.is_dir()) for p in tmp_path.iterdir()] == [("x", True)]


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.EIO], ids=["no locks", "fails"])
def test_where_files_cannot_be_locked_writing_works_and_nothing_is_taken_for_abandoned(
    tmp_path: Path, kind_of_temporary: str, error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network file system: the file is written, and another process may still be writing the other one."""

    def refuse(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    other = temporary._temporary_name(tmp_path / "x")
    other.write_bytes(b"half")
    monkeypatch.setattr("sparsae.files.locks.fcntl.flock", refuse)
    put(tmp_path / "x")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"x": b"new", other.name: b"half"}
    if error == errno.EIO:
        with pytest.raises(OSError, match="Input/output error"):
            locks.try_lock(0)
    else:
        assert locks.try_lock(0) is None


@pytest.mark.parametrize("locked", [True, False])
def test_a_file_that_another_process_takes_for_abandoned_before_it_is_locked_is_left_to_it(
    tmp_path: Path, locked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other has the lock, or has removed the file already; a second file is made and becomes the target."""
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    lock, seen = temporary._lock, []

    def take(descriptor: int) -> bool:
        seen.extend(tmp_path.glob(".x.*"))
        if len(seen) > 1:
            return lock(descriptor)
        if not locked:
            seen[0].unlink()
        return not locked

    monkeypatch.setattr(temporary, "_lock", take)
    put(tmp_path / "x")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"x": b"new"} | (
        {seen[0].name: b""} if locked else {}
    )


def test_a_new_file_that_cannot_have_the_old_ones_owner_is_not_left(
    tmp_path: Path, kind_of_temporary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system refuses to give it away; the message says what to do."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    target = tmp_path / "x"
    target.touch()
    old = list(target.stat())
    old[stat.ST_UID] += 1
    target.unlink()
    monkeypatch.setattr(os, "fchown", refuse)
    refused = pytest.raises(PermissionError, match=r"belongs to another user or group, .*; use another name")
    with refused, temporary.temporary_beside(target, os.stat_result(old)):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("unnamed", [True, False])
def test_a_killed_write_leaves_nothing_behind(tmp_path: Path, unnamed: bool) -> None:
    """Unnamed: nothing at once.  Named: the next write removes it, but not what a living process is writing."""
    program = (
        ("" if unnamed else "import os; del os.O_TMPFILE\n")
        + "import sys, time\nfrom sparsae.files import atomic_write\n"
        "def write(file):\n"
        "    file.write(bytes(10_000)); file.flush(); print('half', flush=True); time.sleep(600)\n"
        "atomic_write('x', write)\n"
    )

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        return process

    killed, living = start(), start()
    try:
        killed.kill()
        killed.communicate()
        names = {p.name for p in tmp_path.iterdir()}
        assert len(names) == (0 if unnamed else 2), names
        put(tmp_path / "x")
        assert len(list(tmp_path.iterdir())) == (1 if unnamed else 2)
    finally:
        living.send_signal(signal.SIGKILL)
        living.communicate()
    put(tmp_path / "x")
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_long_and_strange_names(tmp_path: Path, kind_of_temporary: str) -> None:
    """As long as the system allows, not UTF-8, with line breaks."""
    for name in ("n" * 255, "\u00e4" * 127, "a\nb", os.fsdecode(b"\xff\xfe")):
        put(tmp_path / name)
        put(tmp_path / name)
        assert (tmp_path / name).read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 4


def test_files_get_ordinary_permissions(tmp_path: Path, kind_of_temporary: str) -> None:
    """As open() would give them, not the private ones of a temporary file."""
    put(tmp_path / "new")
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode


@AS_ROOT
def test_a_file_on_which_another_is_mounted_is_written_in_place(tmp_path: Path) -> None:
    """It cannot be replaced by renaming, as in containers; what was computed is not lost for that."""
    outer, inner = tmp_path / "outer", tmp_path / "inner"
    outer.write_bytes(b"outer")
    inner.write_bytes(b"inner")
    if subprocess.run(["mount", "--bind", inner, outer], check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        put(outer)
    finally:
        subprocess.run(["umount", outer], check=True)
    assert (outer.read_bytes(), inner.read_bytes()) == (b"outer", b"new")
    assert {p.name for p in tmp_path.iterdir()} == {"outer", "inner"}


def test_text_is_utf8_whatever_the_locale(tmp_path: Path) -> None:
    """Names that are not UTF-8 come back as they were."""
    atomic_write_text(tmp_path / "x", "\u00e4 " + os.fsdecode(b"\xff"))
    assert (tmp_path / "x").read_bytes() == b"\xc3\xa4 \xff"
