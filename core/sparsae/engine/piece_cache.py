"""Decoded pieces of a file, kept while rows of them are still to be read.

A block of rows is smaller than what a file decodes at once, as a rule, and several threads read at several places.
Each thread holds the piece that it read last.  A piece of which rows are left is kept for the thread that will ask for
them, as long as all such pieces are small enough; pieces that are in use are found by every thread.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar, final

KEPT_BYTES = 48 << 20
TURNS = 64  # locks: two threads that decode different pieces seldom wait for each other
Piece = TypeVar("Piece")


@dataclass
class _Kept(Generic[Piece]):
    """A piece of which rows are left."""

    piece: Piece
    rows_left: int
    n_bytes: int


@final
class PieceCache(Generic[Piece]):
    """Pieces by their keys; several threads may use it, also in the child after a fork."""

    def __init__(self) -> None:
        self._renew()

    def _renew(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._in_use: weakref.WeakValueDictionary[Hashable, Piece] = weakref.WeakValueDictionary()
        self._kept: OrderedDict[Hashable, _Kept[Piece]] = OrderedDict()
        self._bytes = 0
        self._turns = tuple(threading.Lock() for _ in range(TURNS))
        self._held = threading.local()

    def find(self, key: Hashable) -> Piece | None:
        """Return a piece that is kept or in use; this thread holds it from now on, and nothing else."""
        if self._pid != os.getpid():  # another thread of the parent may have held a lock
            self._renew()
        held: tuple[Hashable, Piece] | None = getattr(self._held, "piece", None)
        if held is not None and held[0] == key:
            return held[1]
        held = self._held.piece = None  # before another one takes memory
        with self._lock:
            piece = self._in_use.get(key)
        if piece is not None:
            self._held.piece = key, piece
        return piece

    def turn(self, key: Hashable) -> threading.Lock:
        """Return the lock of whoever decodes for that key, which may stand for many pieces."""
        return self._turns[hash(key) % TURNS]

    def add(self, key: Hashable, piece: Piece, *, n_rows: int, n_bytes: int) -> None:
        """Keep a piece until its rows are read, or the space is needed for newer ones."""
        with self._lock:
            self._in_use[key] = piece
            self._forget(key)
            self._kept[key] = _Kept(piece, n_rows, n_bytes)
            self._bytes += n_bytes
            while self._bytes > KEPT_BYTES:
                self._forget(next(iter(self._kept)))

    def hold(self, key: Hashable, piece: Piece) -> None:
        """Have this thread hold a piece, and nothing else."""
        self._held.piece = key, piece

    def count(self, key: Hashable, n_rows: int) -> None:
        """Say that rows of a piece were read; one whose rows are all read is not kept."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                kept.rows_left -= n_rows
                if kept.rows_left <= 0:
                    self._forget(key)
                    self._held.piece = None

    def _forget(self, key: Hashable) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= kept.n_bytes
