"""`Dataset`: a matrix of samples, what it shows, and what was done to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np


@final
@dataclass(frozen=True)
class Dataset:
    """Samples to train on.

    Attributes
    ----------
    X : ndarray (n_samples, n_visible)
        Samples are rows; a memory map where the file allows it.
    name : str
        Where it comes from.
    preprocessing : mapping
        What was done to the numbers, and the constants that doing the same to new data needs.
        "kind" says which: "none", "scaled" (offset and factor), "patches".
    image_shape : (int, int) or None
        Rows and columns of a sample that is an image.
    """

    X: np.ndarray[Any, Any]
    name: str
    preprocessing: Mapping[str, Any] = field(default_factory=lambda: {"kind": "none"})
    image_shape: tuple[int, int] | None = None
