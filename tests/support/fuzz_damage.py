"""How files are damaged: bytes, JSON, headers of safetensors files; and what is damaged."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.support.damaged_files import DAMAGES
from tests.support.damaged_json import damaged_json


class Target(NamedTuple):
    """What is damaged, how, and what is done with it."""

    sound: bytes
    attempt: Callable[[bytes], str]
    damage: Callable[[bytes, random.Random], bytes]
    starts_processes: bool = False


def damage_bytes(content: bytes, rng: random.Random) -> bytes:
    """One kind of damage, sometimes two."""
    made = rng.choice(DAMAGES)(content, rng)
    return rng.choice(DAMAGES)(made, rng) if made and rng.random() < 0.2 else made


def damage_either(content: bytes, rng: random.Random) -> bytes:
    """JSON: a strange value or a missing field; now and then bytes."""
    return damage_bytes(content, rng) if rng.random() < 0.1 else damaged_json(content, rng)


def damage_safetensors(content: bytes, rng: random.Random) -> bytes:
    """Damage to the header as JSON, or to bytes."""
    length = int.from_bytes(content[:8], "little")
    if rng.random() < 0.4 or length > len(content) - 8:
        return damage_bytes(content, rng)
    header = damaged_json(content[8 : 8 + length], rng)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def damaged_versions(target: Target, n_files: int | None, seed: int) -> Iterator[bytes]:
    """Yield damaged versions of the sound content, without end where no number is given."""
    rng = random.Random(seed)
    made = 0
    while n_files is None or made < n_files:
        yield target.damage(target.sound, rng)
        made += 1
