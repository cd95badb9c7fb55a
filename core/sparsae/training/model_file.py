"""Model files: `.npz`, written atomically, read without pickle and without any backend installed."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from sparsae.errors import FileAccessError, FileFormatError, FileMissingError, SparsaeError
from sparsae.files import atomic_write
from sparsae.model import Parameters, check_parameters
from sparsae.receipt import Receipt
from sparsae.training.result import History, Status, TrainResult

FORMAT = "sparsae model"
VERSION = 1
PREPROCESSING = "preprocessing."
HISTORY = "history."


def save(path: str | os.PathLike[str], result: TrainResult) -> None:
    """Write a trained model; the file is whole or not there.

    Parameters
    ----------
    path : path-like
        Usually with the ending .npz; an existing file is replaced.
    result : TrainResult

    Raises
    ------
    FileAccessError
        When it cannot be written; an existing file is then unchanged.
    """
    done = dict(result.preprocessing) if result.preprocessing is not None else None
    arrays: dict[str, Any] = {f"parameters.{name}": part for name, part in result.parameters._asdict().items()}
    arrays |= {f"{HISTORY}{field.name}": getattr(result.history, field.name) for field in fields(History)}
    if done is not None:
        for key in [key for key, value in done.items() if isinstance(value, np.ndarray)]:
            arrays[f"{PREPROCESSING}{key}"] = done.pop(key)
    about = {
        "format": FORMAT,
        "version": VERSION,
        "cost": result.cost,
        "status": {"reason": result.status.reason, "message": result.status.message},
        "settings": dict(result.settings),
        "metrics": dict(result.metrics),
        "receipt": result.receipt.to_dict(),
        "preprocessing": done,
    }
    arrays["about"] = np.array(json.dumps(about, default=_plain))
    atomic_write(path, lambda file: np.savez(file, **arrays))


def load(path: str | os.PathLike[str]) -> TrainResult:
    """Read a trained model.

    Returns
    -------
    TrainResult

    Raises
    ------
    FileMissingError, FileAccessError
        When there is no such file, or it may not be read.
    FileFormatError
        When it is truncated, is no model file, or was written by a newer version.
    """
    path = Path(path)
    if not path.exists():
        raise FileMissingError(f"There is no model file {path}.")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            names = getattr(archive, "files", None)
            if names is None or "about" not in names:
                raise FileFormatError(f"{path} is not a model file of sparsae.")
            arrays = {name: archive[name] for name in names}
        return _restore(path, arrays)
    except SparsaeError:
        raise
    except PermissionError as error:
        raise FileAccessError(f"{path} cannot be read: {error.strerror}.") from error
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise FileFormatError(f"{path} is truncated or not a model file of sparsae: {error}") from error


def _restore(path: Path, arrays: Mapping[str, Any]) -> TrainResult:
    """Build the result from what the file holds."""
    about = json.loads(str(arrays["about"]))
    if about.get("format") != FORMAT:
        raise FileFormatError(f"{path} is not a model file of sparsae.")
    if about["version"] > VERSION:
        raise FileFormatError(
            f"{path} has format version {about['version']} and this sparsae reads up to {VERSION}; upgrade sparsae."
        )
    done = about["preprocessing"]
    if done is not None:
        done |= {name.removeprefix(PREPROCESSING): a for name, a in arrays.items() if name.startswith(PREPROCESSING)}
    history = {field.name: arrays[f"{HISTORY}{field.name}"] for field in fields(History)}
    return TrainResult(
        parameters=check_parameters([arrays[f"parameters.{name}"] for name in Parameters._fields]),
        cost=about["cost"],
        history=History(**history),
        receipt=Receipt.from_dict(about["receipt"]),
        status=Status(**about["status"]),
        settings=about["settings"],
        preprocessing=done,
        metrics=about["metrics"],
    )


def _plain(value: Any) -> Any:
    """Turn NumPy numbers and paths into what JSON can take."""
    return value.item() if isinstance(value, np.generic) else str(value)
