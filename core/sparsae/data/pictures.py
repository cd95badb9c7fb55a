"""Grey images as float64: from pictures, in [0, 1], and from arrays of images.

A picture is scaled by the range of its own pixels: 8 bits by 255, 16 bits by 65,535, 12 bits by 4,095.
Where the range is not defined, as with 32-bit integers, the picture is refused.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sparsae._text import plural
from sparsae.data.readers.entries import LoadedArray, format_shape
from sparsae.data.readers.limits import check_expansion, check_memory, memory_share
from sparsae.data.readers.source_file import damage_refused, open_regular, path_label
from sparsae.errors import DataError, FileAccessError, FileFormatError, FileMissingError, MissingExtraError

Images = list[NDArray[np.float64]]
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".pgm", ".ppm")
LUMA = np.array([0.299, 0.587, 0.114])
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM")  # others may start programs to decode
GREY_BYTES = 8  # of a pixel as float64
BYTES_PER_PIXEL = 16  # at most, while a picture is turned into grey float64
PIECE_ROWS = 256  # rows of a picture that are turned into grey at a time
BITS_PER_SAMPLE = 258  # tag of TIFF
DEEP_INTEGERS = ("PNG", "PPM")  # formats whose pixels of mode I have 16 bits
ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
INTEGER_MAX = {"u1": 255, "u2": 65535}
ORIENTATION_TAG = 0x0112  # of EXIF: how a camera was held
ORIENTATIONS: dict[int, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    2: np.fliplr,
    3: lambda grey: np.rot90(grey, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda grey: np.rot90(grey, -1),
    7: lambda grey: np.rot90(grey, 2).T,
    8: np.rot90,
}


def to_grey(pixels: np.ndarray[Any, Any]) -> NDArray[np.float64]:
    """Turn 8-bit grey or RGB pixels into grey float64 in [0, 1]."""
    grey = np.empty(pixels.shape[:2])
    for start in range(0, len(pixels), PIECE_ROWS):
        piece = pixels[start : start + PIECE_ROWS].astype(np.float64) / 255
        grey[start : start + PIECE_ROWS] = piece @ LUMA if piece.ndim == 3 else piece
    return grey


def read_pictures(path: Path, *, min_size: int = 1) -> Images:
    """Read one picture, or every picture of a folder in the order of their names; hidden files are skipped.

    Parameters
    ----------
    path : Path
    min_size : int
        Rows and columns that each picture needs.

    Raises
    ------
    FileMissingError, FileAccessError, FileFormatError, DataError, MissingExtraError
        When there is no such path, a file is no picture, cannot be scaled or is too small, a folder has none, or Pillow
        is missing.
    """
    try:
        import PIL.Image  # noqa: F401 (only whether it is there)
    except ImportError as error:
        raise MissingExtraError(
            "Reading pictures needs Pillow, which is not installed; install it with: pip install 'sparsae[data]'."
        ) from error
    images, n_bytes = [], 0
    for file in _list_pictures(path):
        images.append(_read_picture(file, memory_share() - n_bytes))
        n_bytes += images[-1].nbytes
        rows, columns = images[-1].shape
        if min(rows, columns) < min_size:
            raise DataError(
                f"{path_label(file)} has {rows}x{columns} pixels; patches of {min_size}x{min_size} do not fit into it."
            )
    return images


def _list_pictures(path: Path) -> list[Path]:
    """Return the path of a picture, or those of the pictures in a folder."""
    label = path_label(path)
    if not os.path.isdir(path):  # noqa: PTH112  Path.is_dir raises for a name that is too long
        return [path]
    try:
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise FileAccessError(f"The folder {label} cannot be read: {error.strerror}.") from error
    visible = [file for file in found if not file.name.startswith(".") and not file.is_dir()]
    if not visible:
        n_hidden = sum(file.name.startswith(".") for file in found)
        hidden = f" ({plural(n_hidden, 'hidden file')} skipped)" if n_hidden else ""
        raise DataError(f"The folder {label} has no pictures{hidden}; looked for {', '.join(SUFFIXES)}.")
    return visible


def _read_picture(path: Path, free_bytes: int) -> NDArray[np.float64]:
    """Read one picture; its declared size is checked before its pixels are decoded."""
    from PIL import Image, UnidentifiedImageError

    label = path_label(path)
    with _open_picture(path, label) as stream, damage_refused(label, "picture"), _quiet_library():
        size = stream.seek(0, 2)
        stream.seek(0)
        try:
            picture = Image.open(stream, formats=FORMATS)
        except UnidentifiedImageError as error:
            raise FileFormatError(
                f"{label} cannot be read as a picture; known formats are {', '.join(FORMATS)}."
            ) from error
        with picture as image:
            n_pixels = image.width * image.height
            check_expansion(label, size, n_pixels * max(GREY_BYTES, len(image.getbands())))
            if BYTES_PER_PIXEL * n_pixels > free_bytes:
                check_memory(label, BYTES_PER_PIXEL * n_pixels + memory_share() - free_bytes)
            if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # MPO: a photograph and its preview
                raise FileFormatError(f"{label} has {image.n_frames} frames; save each as a picture of its own.")
            grey = _grey_pixels(image, label)
            turn = ORIENTATIONS.get(image.getexif().get(ORIENTATION_TAG, 1))
            if turn is not None:
                grey = turn(grey)
            return grey


def _open_picture(path: Path, label: str) -> BinaryIO:
    try:
        return open_regular(path)
    except FileMissingError as error:
        raise FileMissingError(f"There is no file or folder {label}.") from error


@contextmanager
def _quiet_library() -> Iterator[None]:
    """Keep Pillow's warnings and log lines off the terminal: sizes are checked here, and errors are raised."""
    logger, handler = logging.getLogger("PIL"), logging.NullHandler()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)


def _grey_pixels(image: Any, label: str) -> NDArray[np.float64]:
    """Return the pixels of an open picture as grey values in [0, 1]."""
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and image.format in DEEP_INTEGERS):
        bits = image.tag_v2.get(BITS_PER_SAMPLE, (16,)) if image.format == "TIFF" else (16,)
        deep: NDArray[np.float64] = np.asarray(image).astype(np.float64)
        return deep / ((1 << int(bits[0])) - 1)
    if mode == "I":
        raise FileFormatError(
            f"{label} has 32-bit integers, of which the largest grey value is not known; save it with 8 or 16 bits."
        )
    if mode == "F":
        return _check_floats(np.asarray(image).astype(np.float64), label)
    if _is_transparent(image):
        raise FileFormatError(f"{label} has transparent pixels, which have no grey value; flatten it first.")
    return to_grey(np.asarray(image.convert("L" if mode in ("1", "L") else "RGB")))


def _is_transparent(image: Any) -> bool:
    """Whether any pixel is not opaque."""
    if image.mode not in ALPHA_MODES and "transparency" not in image.info:
        return False
    return bool(image.convert("RGBA").getchannel("A").getextrema()[0] < 255)


def _check_floats(values: NDArray[np.float64], label: str) -> NDArray[np.float64]:
    """Return pixels that are floats, which must be grey values in [0, 1] already."""
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # also where they are not a number
        raise FileFormatError(f"{label} has floats from {low:.6g} to {high:.6g} as pixels; scale them to [0, 1] first.")
    return values


def images_of_array(loaded: LoadedArray, label: str) -> Images:
    """Return the images of an array with two axes (one image) or three (several images of one size).

    Unsigned integers of 8 and 16 bits are scaled to [0, 1] by their range; other numbers are kept.
    Of three axes, the one that differs from two equal ones counts the images; where no two are equal, the last one
    does for a file of Matlab and the first one else.

    Raises
    ------
    DataError
        When it has another number of axes, is empty, or has values that are not finite.
    """
    values = np.asarray(loaded.values[:])
    if values.ndim not in (2, 3) or 0 in values.shape:
        raise DataError(
            f"{label} holds an array of shape {values.shape}; one image has two axes, several images have three."
        )
    check_memory(label, values.size * 8)
    scale = INTEGER_MAX.get(values.dtype.str[1:], 1)
    pixels = values.astype(np.float64) / scale
    if not np.isfinite(pixels).all():
        raise DataError(f"{label} ({format_shape(values.shape)}) has pixels that are not finite.")
    if pixels.ndim == 2:
        return [pixels]
    rows, columns, depth = pixels.shape
    last = loaded.images_last if (rows == columns) == (columns == depth) else rows == columns
    return list(np.ascontiguousarray(np.moveaxis(pixels, -1, 0) if last else pixels))
