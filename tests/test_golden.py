"""Golden bits survive every change that does not mean to alter them."""

from __future__ import annotations

import json

import pytest
from tests.support import golden


def test_bits_are_those_on_record(backend: str) -> None:
    """Cost, gradient and five fits of each bundled backend have the bits recorded for this kind of machine.

    A record of a machine that is not at hand loses what a change alters on purpose, and keeps the rest.
    """
    path = golden.FOLDER / f"{golden.machine_kind()}.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    key = golden.entry(backend)
    if key not in known:
        pytest.skip(f"no golden bits of {key} for this kind of machine; python tests/support/golden.py writes them")
    found = golden.bits(backend)
    assert {name: found.get(name) for name in known[key]} == known[key]
    assert len(known[key]) >= len(found) - 2


def test_a_changed_bit_is_noticed() -> None:
    """The digest sees the last bit of one number."""
    data = golden.data()
    other = data.copy()
    other[17, 3] = data[17, 3] * (1 + 2.3e-16)
    assert golden.digest(data) != golden.digest(other)
