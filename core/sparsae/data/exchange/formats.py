"""`export_model` and `import_model`: the formats, and what they have in common."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sparsae._types import as_float_dtype
from sparsae.data.exchange import arrays, dictionary_learning, saelens, sparsify
from sparsae.data.exchange.files import write_config, write_safetensors
from sparsae.data.exchange.portable import Layout, PortableModel, as_result, portable
from sparsae.errors import FileAccessError, FileFormatError, FileMissingError, OutputExistsError, ParameterError
from sparsae.files import as_path
from sparsae.files.status import reason
from sparsae.training.result import TrainResult

LayOut = Callable[[PortableModel, np.dtype[Any]], Layout]
Read = Callable[[Path], PortableModel]
Write = Callable[[Path, Layout], None]


def _write_safetensors(path: Path, layout: Layout) -> None:
    write_safetensors(path, layout.arrays)


class Format(NamedTuple):
    """How models of a project are stored in a folder.

    Attributes
    ----------
    title : str
        The project.
    config, weights : str
        Names of the two files.
    read : callable
    lay_out : callable or None
        None: it is only read.
    write : callable
        Writes the weights.
    dtype : dtype or None
        Of the weights, unless another one is asked for; None: that of the model.
    """

    title: str
    config: str
    weights: str
    read: Read
    lay_out: LayOut | None = None
    write: Write = _write_safetensors
    dtype: type | None = np.float32


FORMATS = {
    "saelens": Format(saelens.NAME, saelens.CONFIG, saelens.WEIGHTS, saelens.read, saelens.lay_out),
    "sparsify": Format(sparsify.NAME, sparsify.CONFIG, sparsify.WEIGHTS, sparsify.read, sparsify.lay_out),
    "npz": Format(
        "arrays of sparsae", arrays.CONFIG, arrays.WEIGHTS, arrays.read, arrays.lay_out, arrays.write_weights, None
    ),
    "dictionary_learning": Format(
        dictionary_learning.NAME, dictionary_learning.CONFIG, dictionary_learning.WEIGHTS, dictionary_learning.read
    ),
}
IMPORT_FORMATS = tuple(FORMATS)
EXPORT_FORMATS = tuple(name for name, format_ in FORMATS.items() if format_.lay_out is not None)


def export_model(
    result: TrainResult,
    folder: str | os.PathLike[str],
    *,
    format: str,  # noqa: A002 (the word that everyone expects)
    dtype: Any = None,
    force: bool = False,
) -> tuple[str, ...]:
    """Write a model for another project: a folder with its weights and a configuration.

    Parameters
    ----------
    result : TrainResult
    folder : path
        Made where it does not exist.
    format : {"saelens", "sparsify", "npz"}
        "saelens": relu, topk and jumprelu units with a linear output (batch top-k as jumprelu);
        "sparsify": topk; "npz": everything, transforms included.
        A transform that is affine and has an inverse is folded into the weights of the first two.
    dtype : float32 or float64, optional
        Of the weights; float32 when left out, and the model's own for "npz".
    force : bool
        Replace files of the same names.

    Returns
    -------
    tuple of str
        What was changed on the way, in sentences.

    Raises
    ------
    ParameterError
        When the format has no place for the model, or there is no such format.
    OutputExistsError, FileAccessError
        When files exist or cannot be written.
    MissingExtraError
        When safetensors is not installed.
    """
    chosen = FORMATS.get(format)
    if chosen is None or chosen.lay_out is None:
        raise ParameterError(f"format must be one of {', '.join(EXPORT_FORMATS)}; given {format!r}.")
    model, path = portable(result), as_path("The folder of a model", folder)
    asked = chosen.dtype if dtype is None else dtype
    wanted = as_float_dtype(model.parameters.W1.dtype if asked is None else asked, ParameterError)
    if not force and (there := [name for name in (chosen.weights, chosen.config) if os.path.exists(path / name)]):  # noqa: PTH110 (see `_find_format`)
        raise OutputExistsError(
            f"{path} has {' and '.join(there)} already, which would be overwritten; use another folder, or --force "
            f"(force=True in Python)."
        )
    layout = chosen.lay_out(model, wanted)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise FileAccessError(f"The folder {path} cannot be made: {reason(error)}.") from error
    chosen.write(path / chosen.weights, layout)
    write_config(path / chosen.config, layout.config)
    rounded = any((part != part.astype(wanted)).any() for part in layout.model.parameters)
    return (*layout.model.notes, *((f"Weights were rounded to {wanted}.",) if rounded else ()))


def import_model(folder: str | os.PathLike[str], *, format: str | None = None) -> TrainResult:  # noqa: A002 (as in `export_model`)
    """Read a model that another project, or `export_model`, has written.

    Parameters
    ----------
    folder : path
    format : {"saelens", "sparsify", "npz", "dictionary_learning"}, optional
        Found by the names of the files when left out.

    Returns
    -------
    TrainResult
        It computes what the model does.  Its status is "imported", and its receipt has notes of what was changed on the
        way; cost and history are not known (NaN).

    Raises
    ------
    ParameterError
        When there is no such format.
    FileMissingError, FileFormatError, FileAccessError
        When files are missing, damaged, foreign, or of a model that sparsae cannot compute.
    MissingExtraError
        When safetensors or torch is needed and not installed.
    """
    path = as_path("The folder of a model", folder)
    name = _find_format(path) if format is None else format
    if name not in FORMATS:
        raise ParameterError(f"format must be one of {', '.join(FORMATS)}; given {name!r}.")
    chosen = FORMATS[name]
    return as_result(chosen.read(path), source=str(path), format_name=chosen.title)


def _find_format(path: Path) -> str:
    """Return the format whose weights file is in the folder."""
    if os.path.isfile(path):  # noqa: PTH113 (pathlib raises where a name is too long)
        raise FileFormatError(f"{path} is a file; give the folder that holds the weights and their configuration.")
    if not os.path.isdir(path):  # noqa: PTH112
        raise FileMissingError(f"There is no folder {path}.")
    found = [name for name, format_ in FORMATS.items() if (path / format_.weights).exists()]
    if len(found) > 1:
        raise FileFormatError(f"{path} holds models in several formats; say format={' or format='.join(found)}.")
    if not found:
        names = ", ".join(f"{format_.weights} ({format_.title})" for format_ in FORMATS.values())
        raise FileFormatError(f"{path} holds none of {names}.")
    return found[0]
