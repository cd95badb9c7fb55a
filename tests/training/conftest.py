"""Data that fits take milliseconds for, and where their checkpoints are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture
def small() -> NDArray[Any]:
    """200 rows of 12 values in [0.1, 0.9], of four directions and noise."""
    rng = np.random.default_rng(0)
    mix = rng.uniform(size=(200, 4)) @ rng.uniform(size=(4, 12)) / 4 + 0.05 * rng.uniform(size=(200, 12))
    return np.asarray(0.1 + 0.8 * mix / mix.max())


@pytest.fixture
def uniform() -> NDArray[Any]:
    """200 rows of 12 independent values in [0.1, 0.9]."""
    return np.random.default_rng(0).uniform(0.1, 0.9, (200, 12))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a checkpoint is written."""
    return tmp_path / "run.ckpt"
