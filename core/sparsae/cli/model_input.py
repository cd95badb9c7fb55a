"""The model file that a command is given, and the data files behind a word such as ``patches:FOLDER``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sparsae.cli.streams import is_standard_input
from sparsae.errors import FileFormatError

if TYPE_CHECKING:
    from sparsae.training.result import TrainResult


def load_model(path: Path) -> TrainResult:
    """Read a trained model.

    Raises
    ------
    FileMissingError, FileAccessError, FileFormatError
        When it cannot be read; where it is an array, its shape is named.
    """
    from sparsae.files import check_readable
    from sparsae.training.model_file import load

    check_readable(path, what="model file")
    try:
        return load(path)
    except FileFormatError as error:
        array = _describe_array(path)
        if array is None:
            raise
        raise FileFormatError(f"{path} is not a model file; it is {array}.") from error


def say_transform(result: TrainResult, name: str) -> None:
    """Say on standard error which transform of the model was applied to the data of that name."""
    from sparsae.cli.report import say

    if result.transform is not None:
        say(f"The model's transform was applied to {name}: {result.transform.summary}.", err=True)


def _describe_array(path: Path) -> str | None:
    """Return what a file of data holds, as far as its header tells; None for other files, and for archives."""
    from sparsae.data.readers import ReadRequest, describe
    from sparsae.errors import SparsaeError

    try:
        return describe(path, ReadRequest(stay=True))
    except SparsaeError:
        return None


def data_files(source: str) -> list[Path]:
    """Return the paths that DATA may mean: the whole word, its parts between colons, and what patterns match."""
    from glob import glob

    if is_standard_input(source):
        return []
    parts = source.split(":")
    words = [":".join(parts[i:j]) for i in range(len(parts)) for j in range(i + 1, len(parts) + 1)]
    matched = [name for word in words if set(word) & set("*?[") for name in glob(word, recursive=True)]  # noqa: PTH207
    return [Path(word) for word in (*words, *matched) if word]
