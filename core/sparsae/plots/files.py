"""Figures: made without pyplot, written whole or not at all."""

from __future__ import annotations

import os
from typing import Any

from sparsae.errors import MissingExtraError, ParameterError
from sparsae.files import as_path, atomic_write

FORMATS = ("png", "svg", "pdf")
DOTS_PER_INCH = 150


def make_figure(size: tuple[float, float]) -> Any:
    """Return an empty `Picture` of that many inches.

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    """
    try:
        from sparsae.plots.picture import Picture
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise MissingExtraError("Pictures need matplotlib: pip install 'sparsae[plot]'.") from error
    return Picture(figsize=size)


def check_format(path: str | os.PathLike[str]) -> str:
    """Return the format that the ending of a file's name means.

    Raises
    ------
    ParameterError
        When it is none of `FORMATS`.
    """
    ending = as_path("The path of a picture", path).suffix.lower().lstrip(".")
    if ending not in FORMATS:
        raise ParameterError(f"{path} must end in {', '.join('.' + name for name in FORMATS)}.")
    return ending


def write_figure(path: str | os.PathLike[str], figure: Any) -> None:
    """Write a figure into a .png, .svg or .pdf file, whole or not at all.

    Raises
    ------
    ParameterError
        When the file has another ending.
    FileAccessError
        When it cannot be written.
    """
    ending = check_format(path)
    atomic_write(path, lambda file: figure.savefig(file, format=ending, dpi=DOTS_PER_INCH))
