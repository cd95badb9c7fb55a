"""`load`: from a word or a file name to a `Dataset`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sparsae.data.dataset import Dataset
from sparsae.data.images import natural_images, photographs, read_images
from sparsae.data.patches import HIGH, LOW, make_patches
from sparsae.data.readers import read_matrix
from sparsae.errors import DataError, MissingExtraError, ParameterError


def load(
    source: str | os.PathLike[str],
    *,
    n_patches: int = 10_000,
    patch_size: int = 8,
    whiten: str = "none",
    scale: bool = False,
    seed: int | np.random.Generator = 0,
    like: Mapping[str, Any] | None = None,
) -> Dataset:
    """Load data by name or from a file.

    Parameters
    ----------
    source : str or path-like
        "digits": scikit-learn's 1,797 digits of 8x8, as x/16 * 0.8 + 0.1.
        "patches": patches of scikit-image's four bundled photographs.
        "photos": patches of scikit-learn's two photographs.
        "patches:PATH": patches of your own picture, or of every picture in a folder.
        A file: .npy (memory-mapped), .npz, .csv, .tsv, .txt (also .gz), .mat;
        "FILE:NAME" picks one array of an .npz or .mat file.
    n_patches, patch_size : int
        How many patches, and their rows and columns.
    whiten : {"none", "zca", "olshausen"}
        Whitening of the patches.
    scale : bool
        For files: map the range of all values linearly to [0.1, 0.9], which a sigmoid output can reproduce.
    seed : int or numpy.random.Generator
        Where patches are cut.
    like : mapping, optional
        The preprocessing record of earlier data: the same is done to these, with the same constants.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError, ParameterError
        When the data or the options cannot be used.
    FileMissingError, FileFormatError
        When there is no such file, or it cannot be read.
    MissingExtraError
        When a library that ships the data is not installed.
    """
    word, _, rest = str(source).partition(":")
    like = like if like and like.get("kind") != "none" else None
    if word in ("patches", "photos") and (word == "patches" or not rest):
        images = photographs() if word == "photos" else read_images(Path(rest)) if rest else natural_images()
        if like is not None and like["kind"] != "patches":
            raise DataError(f"The model was trained on other data ({like['kind']}), not on patches; give a file.")
        X, record = make_patches(images, n_patches=n_patches, size=patch_size, whiten=whiten, seed=seed, like=like)
        size = int(record["patch_size"])
        return Dataset(X, str(source), record, (size, size))
    if like is not None and like["kind"] == "patches":
        raise DataError(
            "The model was trained on image patches; give patches, photos or patches:PATH, "
            "or a matrix that was prepared in the same way through the Python interface."
        )
    if word == "digits" and not rest:
        X = digits() * ((HIGH - LOW) / 16) + LOW
        record = {"kind": "scaled", "offset": LOW, "factor": (HIGH - LOW) / 16}
        return Dataset(X, "digits", record, (8, 8))
    X = read_matrix(source)
    if like is not None:
        return Dataset(X * like["factor"] + like["offset"], str(source), dict(like))
    if not scale:
        return Dataset(X, str(source))
    return _scaled(X, str(source))


def digits() -> np.ndarray[Any, Any]:
    """scikit-learn's handwritten digits, (1797, 64), values 0 to 16."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError("'digits' needs scikit-learn: pip install 'sparsae[data]'.") from error
    return np.asarray(load_digits().data, dtype=np.float64)


def _scaled(X: np.ndarray[Any, Any], name: str) -> Dataset:
    """Map the range of all values to [0.1, 0.9]."""
    low, high = float(np.min(X)), float(np.max(X))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(f"{name} contains values that are not finite; remove or fill them before scaling.")
    if low == high:
        raise ParameterError(f"All values of {name} are {low:g}; there is no range to scale.")
    factor = (HIGH - LOW) / (high - low)
    offset = LOW - low * factor
    scaled = np.clip(X * factor + offset, LOW, HIGH)  # rounding may step over the edge by one bit
    return Dataset(scaled, name, {"kind": "scaled", "offset": offset, "factor": factor})
