"""The model file that a command is given, and the data files behind a word such as ``patches:FOLDER``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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
    """Return what a .npy file holds; None for other files."""
    import numpy as np

    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception:  # noqa: BLE001 (NumPy raises anything on a damaged file)
        return None
    return f"an array of shape {array.shape}" if isinstance(array, np.ndarray) else None


def data_files(source: str) -> list[Path]:
    """Return the paths that DATA may mean: the whole word, and its parts between colons."""
    parts = source.split(":")
    words = [":".join(parts[i:j]) for i in range(len(parts)) for j in range(i + 1, len(parts) + 1)]
    return [Path(word) for word in words if word]
