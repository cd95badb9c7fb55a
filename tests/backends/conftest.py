"""What tests of several backends share."""

from __future__ import annotations

from typing import Any

import pytest

from sparsae.engine.batch_sums import make_batch_sums


@pytest.fixture
def sums_made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An entry for each vector of sums that mini-batches make; models of any size add blocks in place."""
    made: list[int] = []

    def counted(*arguments: Any, **options: Any) -> Any:
        made.append(1)
        return make_batch_sums(*arguments, **options)

    monkeypatch.setattr("sparsae.engine.batch_sums.make_batch_sums", counted)
    monkeypatch.setattr("sparsae.engine.batch_engine.IN_PLACE_BYTES", 0)
    return made
