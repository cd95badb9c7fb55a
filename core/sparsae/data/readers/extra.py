"""Libraries that some formats need and that the extra [files] installs."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from sparsae.errors import MissingExtraError


def require(module: str, label: str, kind: str, *, package: str = "", extra: str = "files") -> Any:
    """Import a module that a file needs.

    Parameters
    ----------
    module : str
    label : str
        The file.
    kind : str
        What it is, with its article: "a Parquet file".
    package : str, optional
        Name to install, where it is not that of the module.
    extra : str

    Raises
    ------
    MissingExtraError
        Names the file and both ways to install the library.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = package or module.partition(".")[0]
        raise MissingExtraError(
            f"{label} is {kind}, which needs {package}; it is not installed or cannot be loaded ({error}): "
            f"pip install {package}, or pip install 'sparsae[{extra}]'."
        ) from error
