"""A record of a race that was never run."""

from __future__ import annotations

import pytest
from tests.support import simulated

from sparsae.bench.record import RaceRecorder


@pytest.fixture
def file(tmp_path):
    """A file with one session."""
    path = tmp_path / "race.jsonl"
    with RaceRecorder(path) as recorder:
        for event in simulated.session(simulated.TIMES):
            recorder(event)
    return path
