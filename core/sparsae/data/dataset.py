"""`Dataset`: a matrix of samples, what it shows, and the transform that made it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from sparsae.transforms import Transform


@final
@dataclass(frozen=True)
class Dataset:
    """Samples to train on.

    Attributes
    ----------
    X : ndarray (n_samples, n_visible)
        One sample in each row, transformed.  Data that is larger than half of the memory is an object with shape,
        dtype and row slicing, whose rows are read when they are needed: `sparsae.engine.row_file.RowFile`, or
        `sparsae.transforms.TransformedRows` where they are transformed too.
    name : str
        Where it comes from.
    transform : Transform or None
        What was done to the numbers, with the constants that doing the same to new data needs.
    image_shape : (int, int) or None
        Rows and columns of a sample that is an image.
    columns : tuple of str or None
        Names of the inputs, where the file has them.
    notes : tuple of str
        What should be known of how the data was read: how many rows were left out, how many files there are.
    """

    X: Any
    name: str
    transform: Transform | None = None
    image_shape: tuple[int, int] | None = None
    columns: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
