"""Seeded damage to JSON: a value that nobody expects, a field that is missing, at any depth."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

STRANGE = (
    *(None, True, -1, 0, 1, 3, 0.5, 2**31, 2**63, 2**70, 10**400, 1e-320, 1e308, float("nan"), float("inf")),
    *("", "x", "\x1b[31m", "[/x]", "$x_$", "\ud800", "0", "<f8", "topk", "lbfgs"),
    *([], {}, [[]], [None], [1, 2], {"": None}, {"name": "x"}, {"cpu": 1}, "header", "sample", "numpy x1", "nobody x1"),
)


def change_a_value(node: Any, rng: random.Random) -> None:
    """Put something strange in the place of a value."""
    for container, key in _place(node, rng):
        container[key] = copy.deepcopy(rng.choice(STRANGE))


def remove_a_value(node: Any, rng: random.Random) -> None:
    """Take a field or an element away."""
    for container, key in _place(node, rng):
        del container[key]


def _place(node: Any, rng: random.Random) -> Iterator[tuple[Any, Any]]:
    """Yield a container and the key of one of its values, at any depth; nothing where there is no value."""
    while node:
        key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        if not (isinstance(node[key], (dict, list)) and node[key] and rng.random() < 0.8):
            yield node, key
            return
        node = node[key]


def damaged_json(content: bytes, rng: random.Random) -> bytes:
    """Return the text with one to three values changed or removed; what is no JSON stays as it is."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return content
    if not isinstance(value, (dict, list)):
        return content
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        rng.choice((change_a_value, change_a_value, remove_a_value))(value, rng)
    return json.dumps(value).encode()
