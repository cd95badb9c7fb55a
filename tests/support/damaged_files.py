"""Seeded damage to files: byte flips, truncations, edited headers, huge declared sizes, repeated and removed pieces."""

from __future__ import annotations

import random
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from sparsae._text import printable
from sparsae.data import load
from sparsae.errors import SparsaeError

HUGE = (0, 1, -1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)


def flip_bytes(content: bytes, rng: random.Random) -> bytes:
    """Change one to eight bytes, most of them near the start, where headers are."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(changed)) if rng.random() < 0.4 else rng.randrange(min(len(changed), 300))
        changed[at] = rng.randrange(256)
    return bytes(changed)


def flip_bit(content: bytes, rng: random.Random) -> bytes:
    """Change one bit."""
    changed = bytearray(content)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(content: bytes, rng: random.Random) -> bytes:
    """Cut the end off."""
    return content[: rng.randrange(len(content))]


def set_size(content: bytes, rng: random.Random) -> bytes:
    """Write a huge, zero or negative integer over some bytes near the start or the end."""
    width = rng.choice((2, 4, 8))
    value = rng.choice(HUGE) % (1 << 8 * width)
    span = min(len(content) - width, 200)
    at = rng.randrange(max(1, span))
    if rng.random() < 0.3:
        at = max(0, len(content) - width - at)
    return content[:at] + value.to_bytes(width, rng.choice(("little", "big"))) + content[at + width :]


def edit_number(content: bytes, rng: random.Random) -> bytes:
    """Write another text over some bytes that are digits, such as a declared shape."""
    digits = [i for i in range(min(len(content), 400)) if 48 <= content[i] < 58]
    if not digits:
        return flip_bytes(content, rng)
    at = rng.choice(digits)
    text = rng.choice((b"9999999999999", b"-1", b"1e400", b"1" * 5000, b"(((", b"True", b"''", b"\0", b'"'))
    return content[:at] + text + content[at + rng.choice((1, len(text))) :]


def move_piece(content: bytes, rng: random.Random) -> bytes:
    """Repeat, remove or insert a piece."""
    start = rng.randrange(len(content))
    piece = content[start : start + rng.randint(1, 200)]
    kind = rng.randrange(3)
    if kind == 0:
        return content[:start] + piece * rng.randint(2, 50) + content[start:]
    if kind == 1:
        return content[:start] + content[start + len(piece) :]
    return content[:start] + rng.randbytes(len(piece)) + content[start:]


DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    flip_bytes,
    flip_bit,
    truncate,
    set_size,
    edit_number,
    move_piece,
)


def damaged(content: bytes, n_files: int, seed: int) -> Iterator[bytes]:
    """Yield that many damaged versions of a file; the same for the same seed."""
    rng = random.Random(seed)
    for index in range(n_files):
        made = DAMAGES[index % len(DAMAGES)](content, rng)
        if rng.random() < 0.2:
            made = rng.choice(DAMAGES)(made, rng) if made else made
        yield made


def load_outcome(path: Path, content: bytes, source: str | None = None, *, stay: bool = False) -> str:
    """Write the content, load it; return "loaded", the name of the error, or raise what must not escape.

    With `stay`, rows that can stay in the file do, and the first and the last of them are read.

    "parser crashed" stands for an error that says that a child process died of its parser.

    An error must be a `SparsaeError` whose message is one printable line that names the file.
    """
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            patches = {"n_patches": 4, "patch_size": 2} if source and source.startswith("patches") else {}
            X = load(source or str(path), stay=stay, **patches).X
            n = min(len(X), 200)
            for first in (0, len(X) - n):
                assert X[first : first + n].shape == (n, X.shape[1])
        except SparsaeError as error:
            message = str(error)
            assert printable(message) == message, message
            assert len(message) < 1500, message
            names = (path.name, Path(source or path).name, "patches")  # of a Zarr store, the folder
            assert any(name in message.lower() for name in names), message
            return "parser crashed" if "SIGSEGV" in message else type(error).__name__
    return "loaded"


def zip_members(path: Path, members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_DEFLATED) -> None:
    """Write a zip archive; names may repeat."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", compression) as archive:
        warnings.simplefilter("ignore")
        for name, content in members:
            archive.writestr(name, content)
