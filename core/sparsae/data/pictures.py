"""Grey images as float64 in [0, 1]: bundled ones and the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsae.errors import DataError, FileFormatError, FileMissingError, MissingExtraError

Float = NDArray[np.float64]
NATURAL = ("camera", "grass", "gravel", "brick")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".pgm", ".ppm")
LUMA = np.array([0.299, 0.587, 0.114])


def natural_images() -> list[Float]:
    """scikit-image's bundled photographs camera, grass, gravel and brick, 512x512 each."""
    try:
        from skimage import data
    except ImportError as error:
        raise MissingExtraError(
            "'patches' needs scikit-image, for its bundled photographs: pip install 'sparsae[data]'."
        ) from error
    return [_grey(np.asarray(getattr(data, name)())) for name in NATURAL]


def photographs() -> list[Float]:
    """scikit-learn's two photographs, china and flower, 427x640 each."""
    try:
        from sklearn.datasets import load_sample_images
    except ImportError as error:
        raise MissingExtraError(
            "'photos' needs scikit-learn, for its two photographs: pip install 'sparsae[data]'."
        ) from error
    return [_grey(np.asarray(image)) for image in load_sample_images().images]


def read_images(path: Path) -> list[Float]:
    """Read one picture, or every picture of a folder in the order of their names.

    Raises
    ------
    FileMissingError, FileFormatError, DataError, MissingExtraError
        When there is no such path, a file is no picture, a folder has none, or Pillow is missing.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise MissingExtraError("Reading pictures needs Pillow: pip install 'sparsae[data]'.") from error
    if not path.exists():
        raise FileMissingError(f"There is no file or folder {path}.")
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if not files:
            raise DataError(f"The folder {path} has no pictures; looked for {', '.join(SUFFIXES)}.")
    images = []
    for file in files:
        try:
            with Image.open(file) as image:
                images.append(_grey(np.asarray(image.convert("RGB"))))
        except (UnidentifiedImageError, OSError) as error:
            raise FileFormatError(f"{file} cannot be read as a picture: {error}") from error
    return images


def _grey(image: np.ndarray[Any, Any]) -> Float:
    """Turn 8-bit grey or RGB pixels into grey float64 in [0, 1]."""
    a = image.astype(np.float64) / 255
    grey: Float = a @ LUMA if a.ndim == 3 else a
    return grey
