"""Model files: `.npz`, written atomically, read without pickle and without any backend installed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_args

from sparsae._text import printable
from sparsae._types import ACTIVATIONS, OUTPUTS
from sparsae.errors import FileFormatError, ParameterError
from sparsae.files import as_path, atomic_write
from sparsae.model import Parameters, check_parameters
from sparsae.receipt import Receipt
from sparsae.training.archive import read_archive, write_archive
from sparsae.training.result import COUNTED, History, Reason, Status, TrainResult
from sparsae.training.schema import RECEIPT, Count, Each, OneOf, Optional, Schema, check_counted, check_schema
from sparsae.transforms import from_record, to_record

FORMAT = "sparsae model"
VERSION = 1
PARAMETERS = "parameters."
TRANSFORM = "transform."
HISTORY = "history."
_SCHEMA: Schema = {
    "cost": (float, int),
    "status": {"reason": OneOf(get_args(Reason)), "summary": str, "advice": str},
    "settings": {
        "activation": Optional(OneOf(ACTIVATIONS)),
        "output": Optional(OneOf(OUTPUTS)),
        "k": Optional(Count(1)),
        "pre_bias": Optional(bool),
    },
    "metrics": Each((float, int), dict),
    "receipt": RECEIPT,
    "transform": list,
    "data": {"source": Optional(str), "image_shape": Optional(Each(Count(1), list, 2, 2))},
}


def save(path: str | os.PathLike[str], result: TrainResult) -> None:
    """Write a trained model; the file is whole or not there.

    Parameters
    ----------
    path : path-like
        Usually with the ending .npz; an existing file is replaced.
    result : TrainResult

    Raises
    ------
    ParameterError
        When the arguments are something else, for example in the other order, or the transform is not one of sparsae.
    FileAccessError
        When it cannot be written; an existing file is then unchanged.
    """
    given: tuple[object, object] = (path, result)
    if not isinstance(given[0], (str, os.PathLike)) or not isinstance(given[1], TrainResult):
        raise ParameterError(
            f"The order is save(path, result), a path and a TrainResult; "
            f"given save({type(path).__name__}, {type(result).__name__})."
        )
    arrays: dict[str, Any] = {f"{PARAMETERS}{name}": part for name, part in result.parameters._asdict().items()}
    arrays |= {f"{HISTORY}{field.name}": getattr(result.history, field.name) for field in fields(History)}
    steps, fitted = ([], {}) if result.transform is None else to_record(result.transform)
    arrays |= {f"{TRANSFORM}{name}": array for name, array in fitted.items()}
    status = result.status
    header = {
        "format": FORMAT,
        "version": VERSION,
        "cost": result.cost,
        "status": {"reason": status.reason, "summary": status.summary, "advice": status.advice},
        "settings": dict(result.settings),
        "metrics": dict(result.metrics),
        "receipt": result.receipt.to_dict(),
        "transform": steps,
        "data": dict(result.data),
    }
    atomic_write(path, lambda file: write_archive(file, header, arrays))


def load(path: str | os.PathLike[str]) -> TrainResult:
    """Read a trained model.

    Returns
    -------
    TrainResult

    Raises
    ------
    FileMissingError, FileAccessError
        When there is no such file, it is not a regular file, or may not be read.
    FileFormatError
        When it is truncated or damaged, is no model file, or was written by a newer version.
    """
    path = as_path("The path of a model file", path)
    header, arrays = read_archive(path, kind=FORMAT, version=VERSION, what="model file")
    try:
        check_schema(header, _SCHEMA)
        return _restore(header, arrays)
    except (ValueError, KeyError, TypeError, ParameterError) as error:
        raise FileFormatError(f"{path} is damaged: {printable(error)}") from error


def _restore(header: Mapping[str, Any], arrays: Mapping[str, Any]) -> TrainResult:
    """Build the result from what the file holds.

    Raises
    ------
    ValueError, KeyError, TypeError, ParameterError
        When parts are missing or do not fit together.
    """
    names = [name for name in Parameters._fields if name != "threshold" or f"{PARAMETERS}{name}" in arrays]
    parameters = check_parameters([arrays[f"{PARAMETERS}{name}"] for name in names])
    fitted = {name.removeprefix(TRANSFORM): array for name, array in arrays.items() if name.startswith(TRANSFORM)}
    steps = header["transform"]
    columns = {field.name: arrays[f"{HISTORY}{field.name}"] for field in fields(History)}
    if {column.ndim for column in columns.values()} != {1} or len({len(column) for column in columns.values()}) != 1:
        raise ValueError("the columns of its history have different lengths")
    kinds = {name: "i" if name in COUNTED else "f" for name in columns}
    if any(column.dtype.kind != kinds[name] for name, column in columns.items()) or not len(columns["cost"]):
        raise ValueError("its history has no rows, or values that are not numbers")
    for name in COUNTED:
        check_counted(columns[name])
    return TrainResult(
        parameters=parameters,
        cost=header["cost"],
        history=History(**columns),
        receipt=Receipt.from_dict(header["receipt"]),
        status=Status(**header["status"]),
        settings=header["settings"],
        transform=from_record(steps, fitted, parameters.n_visible) if steps or fitted else None,
        data=header["data"],
        metrics=header["metrics"],
    )
