"""Where data is: one file, a Zarr store, or several files; and which array of it is wanted."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import final

from sparsae.data.readers.formats import SHARDS
from sparsae.data.readers.shards import find_folder_shards, find_shards, is_pattern
from sparsae.data.readers.source_file import SourceFile, path_label
from sparsae.data.readers.zarr_store import is_zarr
from sparsae.errors import FileMissingError


@final
@dataclass(frozen=True)
class Place:
    """Where data is.

    Attributes
    ----------
    label : str
        How messages call it.
    path : Path
    array : str
        Name of the array in it; "" where none was named.
    file : SourceFile or None
        None where it is a Zarr store or several files.
    shards : tuple of Path
        Several files that are one data set; empty where it is one.
    """

    label: str
    path: Path
    array: str = ""
    file: SourceFile | None = None
    shards: tuple[Path, ...] = ()


def find_source(source: str | os.PathLike[str]) -> Place:
    """Find what is meant; ``PLACE:NAME`` and ``PLACE::NAME`` name an array in it.

    Raises
    ------
    FileMissingError, FileAccessError, FileFormatError
        When there is no such file, folder or pattern, or it is not for data.
    """
    text = os.fspath(source)
    try:
        return _find(text, "")
    except FileMissingError as missing:
        first, colon, name = text.rpartition(":")
        if colon and name and first.rstrip(":"):
            try:
                return _find(first.rstrip(":"), name)
            except FileMissingError:
                pass
        raise FileMissingError(
            f"{missing} Give a file, or one of: digits, patches, photos, patches:FILE_OR_FOLDER."
        ) from missing


def _find(text: str, array: str) -> Place:
    label, path = path_label(text), Path(text)
    if os.path.isdir(text):  # noqa: PTH112  Path.is_dir raises for a name that is too long
        if is_zarr(path):
            return Place(label, path, array)
        if array and is_zarr(path / array):  # arrays in a folder that nobody has made a group
            return Place(f"{label}/{array}", path / array)
        return Place(label, path, array, shards=tuple(find_folder_shards(path, SHARDS)))
    if is_pattern(text) and not os.path.exists(text):  # noqa: PTH110
        return Place(label, path, array, shards=tuple(find_shards(text)))
    return Place(label, path, array, file=SourceFile.find(text))
