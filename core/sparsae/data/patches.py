"""Patches of images, normalised as the UFLDL exercise does.

Source: UFLDL exercise *Sparse Autoencoder*, ``sampleIMAGES`` and ``normalizeData``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsae.data.dataset import HIGH, LOW
from sparsae.data.readers.limits import format_bytes, memory_share
from sparsae.data.whiten import olshausen_filter, zca
from sparsae.errors import DataError, ParameterError
from sparsae.model import check_size

Float = NDArray[np.float64]
WHITENINGS = ("none", "zca", "olshausen")


def extract_patches(images: Sequence[Float], n_patches: int, size: int, *, seed: int | np.random.Generator) -> Float:
    """Cut square patches at random places, the same number from each image as far as it divides.

    Parameters
    ----------
    images : sequence of ndarray (rows, columns)
    n_patches : int
        How many in all.
    size : int
        Rows and columns of a patch.
    seed : int or numpy.random.Generator

    Returns
    -------
    ndarray (n_patches, size * size) float64

    Raises
    ------
    DataError
        When an image is smaller than a patch.
    ParameterError
        When so many patches do not fit into the memory share.
    """
    n_patches, size = check_size("n_patches", n_patches), check_size("patch_size", size)
    for index, (rows, columns) in enumerate(image.shape for image in images):
        if min(rows, columns) < size:
            raise DataError(f"Image {index} has {rows}x{columns} pixels; patches of {size}x{size} do not fit into it.")
    n_fitting = memory_share() // (8 * size * size)
    if n_patches > n_fitting:
        raise ParameterError(
            f"{n_patches:,} patches of {size}x{size} need {format_bytes(8 * n_patches * size * size)} in memory; "
            f"at most {n_fitting:,} fit into half of the memory."
        )
    rng = np.random.default_rng(seed)
    patches = np.empty((n_patches, size * size))
    which = np.arange(n_patches) % len(images)
    for index, image in enumerate(images):
        rows, columns = image.shape
        mine = np.flatnonzero(which == index)
        tops = rng.integers(0, rows - size + 1, len(mine))
        lefts = rng.integers(0, columns - size + 1, len(mine))
        windows = np.lib.stride_tricks.sliding_window_view(image, (size, size))
        patches[mine] = windows[tops, lefts].reshape(len(mine), size * size)
    rng.shuffle(patches)
    return patches


def normalise_patches(patches: Float, *, limit: float | None = None) -> tuple[Float, float]:
    """Take off each patch's own mean, clip at three standard deviations of all values, scale to [0.1, 0.9].

    Parameters
    ----------
    patches : ndarray (n_samples, n_visible)
    limit : float, optional
        Where to clip, for new data; three standard deviations of these when left out.

    Returns
    -------
    X : ndarray (n_samples, n_visible)
    limit : float
        Where it was clipped.
    """
    x = patches - patches.mean(axis=1, keepdims=True)
    limit = float(3 * x.std()) if limit is None else limit
    if not limit > 0:
        raise DataError("All patches are constant: there is nothing to learn from them.")
    np.clip(x, -limit, limit, out=x)
    x *= (HIGH - LOW) / 2 / limit
    x += (HIGH + LOW) / 2
    return x, limit


def make_patches(
    images: Sequence[Float],
    *,
    n_patches: int,
    size: int,
    whiten: str,
    seed: int | np.random.Generator,
    like: Mapping[str, Any] | None = None,
) -> tuple[Float, dict[str, Any]]:
    """Whiten, cut and normalise; returns the patches and the record of what was done.

    With `like`, the record of earlier patches, size and whitening are taken from it, and so are its constants.
    """
    if like is not None:
        _check_record(like)
        size, whiten = int(like["patch_size"]), str(like["whiten"])
    if whiten not in WHITENINGS:
        raise ParameterError(f"whiten must be one of {', '.join(WHITENINGS)}; given {whiten!r}.")
    if whiten == "olshausen":
        images = [olshausen_filter(image) for image in images]
    patches = extract_patches(images, n_patches, size, seed=seed)
    record: dict[str, Any] = {"kind": "patches", "patch_size": size, "whiten": whiten}
    if whiten == "zca":
        patches -= patches.mean(axis=1, keepdims=True)
        matrix, mean = zca(patches) if like is None else (like["zca_matrix"], like["zca_mean"])
        patches = (patches - mean) @ matrix
        record |= {"zca_matrix": np.asarray(matrix), "zca_mean": np.asarray(mean)}
    X, limit = normalise_patches(patches, limit=None if like is None else float(like["limit"]))
    return X, record | {"limit": limit, "low": LOW, "high": HIGH}


def _check_record(record: Mapping[str, Any]) -> None:
    """Raise `DataError` where the record of earlier patches lacks what the same treatment needs."""
    needed = ["patch_size", "whiten", "limit", *(["zca_matrix", "zca_mean"] if record.get("whiten") == "zca" else [])]
    missing = [name for name in needed if name not in record]
    if missing:
        raise DataError(f"The record of the patches lacks {', '.join(missing)}; it has {', '.join(record)}.")
