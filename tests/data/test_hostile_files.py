"""Files that are too large, that change, that crash a parser, or that are no files: one line, and nothing is left."""

import os
import signal
import struct
import subprocess
import sys
import threading
import zlib

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from tests.support.sound_files import X, mat_bytes

from sparsae import DataError
from sparsae.data import load
from sparsae.data.readers import limits, matlab, npy, parser_process, source_file
from sparsae.data.readers.parser_process import describe_ending
from sparsae.errors import FileAccessError, FileFormatError, FileMissingError
from sparsae.files.opening import open_unbuffered


def test_numbers_beyond_the_memory_share_are_refused_before_they_are_read(tmp_path, monkeypatch):
    """Every reader compares what a file declares with the memory; the message says both figures."""
    monkeypatch.setattr(limits, "memory_limit", lambda: 2048)
    made = {
        "x.npz": lambda path: np.savez(path, X=np.zeros((40, 4))),
        "x.mat": lambda path: scipy.io.savemat(path, {"X": np.zeros((40, 4))}),
        "x.csv": lambda path: path.write_text("0.5,1.5,2,3\n" * 2000),
        "x.idx": lambda path: path.write_bytes(struct.pack(">HBBII", 0, 14, 2, 40, 4) + bytes(1280)),
    }
    for name, write in made.items():
        write(tmp_path / name)
        with pytest.raises(FileFormatError, match=rf"{name}.* needs [\d.]+ kB in memory; at most 1.02 kB are used"):
            load(tmp_path / name)


def test_a_large_npy_file_stays_in_the_file(tmp_path, monkeypatch):
    """It is read in blocks, and not through a memory map: a truncated file is an error, not a dead process."""
    np.save(tmp_path / "x.npy", X)
    assert type(load(tmp_path / "x.npy").X) is np.ndarray
    monkeypatch.setattr(limits, "memory_limit", lambda: 300)
    streamed = load(tmp_path / "x.npy").X
    assert type(streamed).__name__ == "BinaryFile"
    np.testing.assert_array_equal(streamed[2:5], X[2:5])
    scaled = load(tmp_path / "x.npy", scale=True).X[:]
    assert (scaled.min(), scaled.max()) == (0.1, 0.9)
    os.truncate(tmp_path / "x.npy", 200)
    with pytest.raises(DataError, match=r"x.npy was truncated while it was read"):
        streamed[2:5]


def test_a_file_that_is_truncated_while_it_is_loaded_is_an_error(tmp_path, monkeypatch):
    """Between the look at the header and the numbers."""
    np.save(tmp_path / "x.npy", np.zeros((5000, 4)))
    original = npy.read_header

    def read_and_truncate(stream, label):
        header = original(stream, label)
        os.truncate(tmp_path / "x.npy", header.offset + 80_000)
        return header

    monkeypatch.setattr(npy, "read_header", read_and_truncate)
    with pytest.raises(FileFormatError, match=r"is truncated: .* needs 160000 bytes, the file has 80000"):
        load(tmp_path / "x.npy")


def test_memory_that_the_system_refuses_is_one_line(tmp_path):
    """Under a limit on the address space that is set while the process runs; one that is set before is believed."""
    np.save(tmp_path / "x.npy", np.zeros((20_000_000, 2)))
    code = (
        "import resource, sys, numpy, sparsae.data\n"
        "from sparsae.machine.resources import memory_limit\n"
        "if sys.argv[2] == 'while': memory_limit()\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 27), used + (1 << 27)))\n"
        "try: print(type(sparsae.data.load(sys.argv[1]).X).__name__)\n"
        "except sparsae.SparsaeError as error: print(type(error).__name__, error)\n"
    )
    for when, start in (("while", "FileFormatError"), ("before", "BinaryFile")):
        command = [sys.executable, "-c", code, tmp_path / "x.npy", when]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.stdout.startswith(start), done.stderr
        assert ("the memory does not suffice" in done.stdout) == (when == "while")


def test_a_picture_that_expands_is_refused_by_its_declared_size(tmp_path):
    """A PNG of 10 kB that declares 80,000,000 pixels is not decoded."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 10_000, 8_000, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10_000_000))) + chunk(b"IEND", b"")
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    with pytest.raises(
        FileFormatError, match=r"x.png has .* that expand to more than 268 MB, the limit for compressed"
    ):
        load(f"patches:{tmp_path}/x.png")


# Matlab


def test_a_parser_that_crashes_costs_only_that_read(tmp_path, monkeypatch):
    """A child that ends by SIGSEGV, one that never answers, one that answers nonsense: FileFormatError each."""
    (tmp_path / "x.mat").write_bytes(mat_bytes())
    script = tmp_path / "parser.py"
    monkeypatch.setattr(parser_process.parser_script, "__file__", str(script))
    monkeypatch.setattr(parser_process, "SECONDS", 5)
    listing = 'print(\'{"variables": [["X", [6, 4], "double"]]}\', flush=True)\n'
    for code, message in (
        ("import os; os.kill(os.getpid(), 11)", "its reader ended with SIGSEGV"),
        ("import time; time.sleep(600)", r"its reader ended with SIGKILL \(the time limit, or the system's memory\)"),
        ("print('nonsense', flush=True); input()", "damaged or not a .mat file"),
        ("print('{\"variables\": 5}', flush=True); input()", "damaged or not a .mat file"),
        (listing + "import os; os.kill(os.getpid(), 11)", "its reader ended with SIGSEGV"),
        (listing + "input(); import sys; sys.stdout.write('\\x93NUMPY')", "damaged or not a .npy file|.mat file"),
        ("raise SystemExit(3)", "its reader ended with exit code 3"),
    ):
        script.write_text(code)
        with pytest.raises(FileFormatError, match=message):
            load(tmp_path / "x.mat")


def test_no_process_is_left_after_a_read(tmp_path, monkeypatch):
    """Whether it was read, refused, or interrupted."""
    started = []
    original = subprocess.Popen

    def keep(*args, **kwargs):
        started.append(original(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(parser_process.subprocess, "Popen", keep)
    (tmp_path / "x.mat").write_bytes(mat_bytes())
    load(tmp_path / "x.mat")
    with pytest.raises(DataError):
        load(f"{tmp_path}/x.mat:none")
    monkeypatch.setattr(matlab, "choose_entry", lambda *args: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        load(tmp_path / "x.mat")
    assert len(started) == 3
    assert all(process.poll() is not None for process in started)
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]


def test_matlab_bombs_are_limited_in_the_child(tmp_path, monkeypatch):
    """400 MB of zeros in 0.4 MB: more than the child may allocate when the limit is small."""
    monkeypatch.setattr(limits, "EXPANSION_FLOOR", 1 << 20)
    monkeypatch.setattr(limits, "EXPANSION_RATIO", 1)
    scipy.io.savemat(tmp_path / "x.mat", {"X": np.zeros((50_000, 1000))}, do_compression=True)
    scipy.io.savemat(tmp_path / "sparse.mat", {"X": scipy.sparse.eye(3000).tocsc()})
    monkeypatch.setattr(parser_process, "PARSER_BYTES", 1 << 25)
    assert load(tmp_path / "sparse.mat").X.trace() == 3000  # 72 MB, which the limit on expansion is not for
    with pytest.raises(FileFormatError, match=r"x.mat is damaged or not a .mat file: the memory does not suffice"):
        load(tmp_path / "x.mat")


# Special files


@pytest.mark.parametrize("what", ["patches:{}", "{}"])
def test_pipes_devices_and_sockets_are_refused_without_waiting(tmp_path, what):
    """A FIFO without a writer, a node like /dev/zero; by name, through a link, and in a folder of pictures."""
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "link.npy").symlink_to(tmp_path / "fifo.png")
    for name in ("fifo.png", "link.npy"):
        with pytest.raises(FileAccessError, match=r"is a named pipe, not a regular file; write the data to a file"):
            load(what.format(tmp_path / name))
    with pytest.raises(FileAccessError, match=r"fifo.png is a named pipe"):
        load(f"patches:{tmp_path}")


def test_a_device_is_not_even_opened(tmp_path, monkeypatch):
    """The kind of a path is looked at first; opening a tape would rewind it."""

    class System:
        def __getattr__(self, name):
            return getattr(os, name)

        def stat(self, path):
            return os.stat_result((0o020666, *[0] * 9))

        def open(self, path, flags):
            pytest.fail("opened")

    monkeypatch.setattr(source_file, "os", System())
    with pytest.raises(FileAccessError, match=r"x.npy is a device, not a regular file"):
        load(tmp_path / "x.npy")


def test_a_path_that_is_replaced_before_it_is_opened_is_refused_and_closed(tmp_path, monkeypatch):
    """It was a regular file when it was looked at, and is a named pipe when it is opened."""
    (tmp_path / "file").write_bytes(b"1,2\n")
    os.mkfifo(tmp_path / "x.csv")
    opened = []

    class System:
        """The module `os`, with an answer from before."""

        def stat(self, path):
            return (tmp_path / "file").stat()

        def __getattr__(self, name):
            return getattr(os, name)

    def open_file(*given):
        opened.append(open_unbuffered(*given))
        return opened[-1]

    monkeypatch.setattr(source_file, "os", System())
    monkeypatch.setattr(source_file, "open_unbuffered", open_file)
    with pytest.raises(FileAccessError, match=r"x\.csv is a named pipe"):
        load(tmp_path / "x.csv")
    assert [file.closed for file in opened] == [True]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (3, "exit code 3"),
        (-9, "SIGKILL (the time limit, or the system's memory)"),
        (-11, "SIGSEGV (a crash)"),
        (-200, "signal 200"),
    ],
)
def test_the_end_of_a_parser_is_said_in_words(code, words):
    """Also that by a signal without a name."""
    assert describe_ending(code) == words


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x" * 300, "its name is too long"),
        ("x\0.npy", "There is no file x.npy: (stat: )?embedded null "),
        ("x\x1b[31m\n.npy", r"There is no file x \.npy\."),
        ("no/such/folder.npy", "There is no file no/such/folder.npy"),
        ("", "There is no file"),
        ("a:b:c", "There is no file a:b:c"),
    ],
)
def test_names_that_lead_nowhere_are_one_line(name, message):
    """Too long, with a NUL, with an escape sequence, empty, with colons."""
    with pytest.raises((FileMissingError, FileFormatError), match=message) as caught:
        load(name)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG\r\n\x1a\n", "is a picture: use patches:"),
        (b"PAR1", "is damaged or not a Parquet file"),
        (b"ARROW1", "is damaged or not a .feather file"),
        (b"FEA1", "is a Feather file of version 1; write it again"),
        (b"\x80\x04\x95", "is a pickle, which can run code"),
        (b"\x89HDF\r\n\x1a\n", "is damaged or not a .csv file: OSError: Unable to synchronously open"),
        (b"BZh9", "is damaged or not a bzip2 file"),
        (b"\xfd7zXZ\0", "is damaged or not a xz file"),
        (b"\x28\xb5\x2f\xfd", "is compressed with zstd: decompress it first, or use gzip, bzip2 or xz"),
        (b"\xd0\xcf\x11\xe0", "is a spreadsheet"),
        (b"", "is empty: it has no bytes"),
        (b"\0\0\0\0", "not a text file"),
    ],
)
def test_other_formats_are_named(tmp_path, content, message):
    """By their first bytes, whatever the ending says."""
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        load(tmp_path / "x.csv")
