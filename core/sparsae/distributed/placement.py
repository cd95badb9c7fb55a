"""Which worker gets which segments, and which sums of them it sends back.

Segments are numbered from 0; the reduction tree of `engine.partition.TreeSum` joins neighbours at each level, so a
subtree is named by its level and its index there.  A worker sends one `Sums` for each complete subtree that it holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import ceil
from typing import final


@final
@dataclass(frozen=True, order=True)
class Subtree:
    """A complete subtree of the reduction tree.

    Attributes
    ----------
    level : int
        0 for a segment, 1 for the sum of two neighbours, and so on.
    index : int
        Position in its level.
    """

    level: int
    index: int

    def segments(self, n_segments: int) -> range:
        """Return its segments; the last subtree of a level may have fewer than 2^level."""
        return range(self.index << self.level, min((self.index + 1) << self.level, n_segments))


def split_segments(n_segments: int, shares: Mapping[str, float]) -> dict[str, range]:
    """Cut the segments into one range a worker, in proportion to the shares; workers without a segment are left out.

    Parameters
    ----------
    n_segments : int
    shares : mapping of worker to positive number
    """
    ends = accumulate(shares.values())
    total = sum(shares.values())
    bounds = [0, *(round(n_segments * end / total) for end in ends)]
    ranges = (range(start, stop) for start, stop in pairwise(bounds))
    return {worker: segments for worker, segments in zip(shares, ranges, strict=True) if segments}


def complete_subtrees(segments: Iterable[int], n_segments: int) -> tuple[Subtree, ...]:
    """Return the largest complete subtrees that consist of these segments, in ascending order."""
    level, present = 0, sorted(set(segments))
    done: list[Subtree] = []
    while present:
        width = -(-n_segments // (1 << level))
        held, above = set(present), []
        for index in present:
            sibling = index ^ 1
            if width > 1 and (sibling in held or sibling >= width):
                if index % 2 == 0:
                    above.append(index // 2)
            else:
                done.append(Subtree(level, index))
        level, present = level + 1, above
    return tuple(sorted(done, key=lambda subtree: subtree.index << subtree.level))


def place_near(locations: Sequence[str | None], shares: Mapping[str, float]) -> dict[str, list[int]]:
    """Give each segment to the worker that holds its rows, and what is beyond its share to whoever has least for its.

    So a worker that has joined gets rows, which are sent to it once.

    Parameters
    ----------
    locations : sequence of str or None
        For each segment a worker that holds its rows; one that is not among `shares` counts as None.
    shares : mapping of worker to positive number
        No worker gets more segments than its share, rounded up.
    """
    total = sum(shares.values())
    room = {worker: ceil(len(locations) * share / total) for worker, share in shares.items()}
    held: dict[str, list[int]] = {worker: [] for worker in shares}
    homeless = []
    for segment, holder in enumerate(locations):
        fits = holder is not None and holder in held and len(held[holder]) < room[holder]
        held[holder].append(segment) if fits and holder is not None else homeless.append(segment)
    for segment in homeless:
        worker = min(held, key=lambda w: (len(held[w]) + 1) / shares[w])
        held[worker].append(segment)
    return {worker: sorted(segments) for worker, segments in held.items() if segments}


def balance(held: Mapping[int, Mapping[str, int]], shares: Mapping[str, float]) -> dict[str, list[int]]:
    """Give each segment of a mini-batch to the worker that holds most of its rows and has room for it.

    Parameters
    ----------
    held : mapping of int to mapping of worker to int
        For each segment, how many of its rows each worker holds.
    shares : mapping of worker to positive number
        No worker gets more segments than its share, rounded up.
    """
    total = sum(shares.values())
    room = {worker: ceil(len(held) * share / total) for worker, share in shares.items()}
    placed: dict[str, list[int]] = {worker: [] for worker in shares}
    for segment, counts in held.items():
        free = [worker for worker in shares if len(placed[worker]) < room[worker]]
        placed[max(free, key=lambda worker: counts.get(worker, 0))].append(segment)
    return {worker: segments for worker, segments in placed.items() if segments}
