"""`Dataset`: a matrix of samples, what it shows, and what was done to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

LOW, HIGH = 0.1, 0.9
"""The range that data is scaled to: a sigmoid output reaches it with small weights."""


@final
@dataclass(frozen=True)
class Dataset:
    """Samples to train on.

    Attributes
    ----------
    X : ndarray (n_samples, n_visible)
        One sample in each row. A .npy file that is larger than half of the memory is a
        `sparsae.engine.npy_file.NpyFile`, whose rows are read when they are needed.
    name : str
        Where it comes from.
    preprocessing : mapping
        What was done to the numbers, and the constants that doing the same to new data needs.
        "kind" is "none", "scaled" (low and high, mapped to 0.1 and 0.9) or "patches".
    image_shape : (int, int) or None
        Rows and columns of a sample that is an image.
    columns : tuple of str or None
        Names of the inputs, where the file has them.
    """

    X: Any
    name: str
    preprocessing: Mapping[str, Any] = field(default_factory=lambda: {"kind": "none"})
    image_shape: tuple[int, int] | None = None
    columns: tuple[str, ...] | None = None
