"""Patches of images, normalised as the UFLDL exercise does.

Source: UFLDL exercise *Sparse Autoencoder*, ``sampleIMAGES``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sparsae.data.readers.limits import format_bytes, memory_share
from sparsae.errors import DataError, ParameterError
from sparsae.model import check_size, make_generator
from sparsae.transforms import Olshausen, Patches, Transform, chain, fit, olshausen_filter

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
    rng = make_generator(seed)
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


def make_patches(
    images: Sequence[Float],
    *,
    n_patches: int,
    size: int,
    whiten: str,
    seed: int | np.random.Generator,
    like: Transform | None = None,
    name: str = "the images",
) -> tuple[Float, Transform]:
    """Filter images, cut patches and normalise them; returns the patches and the transform that does the same again.

    With `like`, the transform of earlier patches, size and whitening are its own, and so are the constants.
    """
    if like is None and whiten not in WHITENINGS:
        raise ParameterError(f"whiten must be one of {', '.join(WHITENINGS)}; given {whiten!r}.")
    if like is not None:
        size = patch_size(like)
        filters = [step for step in like.steps if isinstance(step, Olshausen) and step.on_images]
    else:
        filters = [Olshausen(n_visible=size * size, image_shape=None)] if whiten == "olshausen" else []
    for step in filters:
        images = [olshausen_filter(image, f0=step.f0) for image in images]
    patches = extract_patches(images, n_patches, size, seed=seed)
    if like is None:
        steps = ["centre", "zca", "patches"] if whiten == "zca" else ["patches"]
        of_rows = fit(patches, steps, name=name)
    else:
        of_rows = chain([step for step in like.steps if step not in filters])
    return of_rows.apply(patches, name=name).astype(np.float64, copy=False), chain([*filters, of_rows])


def patch_size(transform: Transform) -> int:
    """Return rows and columns of the patches that a transform was fitted to.

    Raises
    ------
    DataError
        When it was fitted to other data than square patches.
    """
    steps = [step.name for step in transform.steps]
    side = math.isqrt(transform.n_visible)
    if Patches.name not in steps:
        raise DataError(f"The model was trained on other data ({', '.join(steps)}), not on patches; give a file.")
    if side * side != transform.n_visible:
        raise DataError(f"The model takes {transform.n_visible} inputs, which are no square patch; give a file.")
    return side
