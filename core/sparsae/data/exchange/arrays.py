"""``weights.npz`` and ``cfg.json``: plain arrays of any model of sparsae, for programs that read NumPy's files.

The arrays are W1, b1, W2, b2, threshold where there is one, and those of the transform as ``transform.STEP.NAME``;
``header`` holds a JSON object as bytes, with checksums, of which ``cfg.json`` is a copy for people.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sparsae._text import printable
from sparsae._types import ACTIVATIONS, OUTPUTS
from sparsae.data.exchange.portable import Layout, PortableModel
from sparsae.errors import FileFormatError
from sparsae.files import atomic_write
from sparsae.model import Parameters
from sparsae.training.archive import read_archive, write_archive
from sparsae.training.schema import Count, OneOf, Optional, Schema, check_schema
from sparsae.transforms import from_record, to_record

NAME = "npz"
CONFIG, WEIGHTS = "cfg.json", "weights.npz"
KIND, VERSION = "sparsae arrays", 1
TRANSFORM = "transform."
_SCHEMA: Schema = {
    "activation": OneOf(ACTIVATIONS),
    "k": Optional(Count(1)),
    "output": OneOf(OUTPUTS),
    "transform": list,
    "pre_bias": bool,
}


def lay_out(model: PortableModel, dtype: np.dtype[Any]) -> Layout:
    """Return configuration and arrays."""
    steps, fitted = ([], {}) if model.transform is None else to_record(model.transform)
    parameters = model.parameters.astype(dtype)
    p, n = parameters.W1.shape
    config = {
        "format": KIND,
        "version": VERSION,
        "activation": model.activation,
        "k": model.k,
        "pre_bias": model.pre_bias,
        "output": model.output,
        "n_visible": n,
        "n_hidden": p,
        "transform": steps,
    }
    arrays = {**parameters._asdict(), **{f"{TRANSFORM}{name}": array for name, array in fitted.items()}}
    return Layout(model, config, arrays)


def write_weights(path: Path, layout: Layout) -> None:
    """Write arrays with the configuration as their header."""
    atomic_write(path, lambda file: write_archive(file, layout.config, layout.arrays))


def read(folder: Path) -> PortableModel:
    """Read ``weights.npz``.

    Raises
    ------
    FileMissingError, FileFormatError
        When it is missing, damaged or foreign.
    """
    path = folder / WEIGHTS
    header, arrays = read_archive(path, kind=KIND, version=VERSION, what="file of arrays")
    try:
        check_schema(header, _SCHEMA)
        names = ["W1", "b1", "W2", "b2", *(["threshold"] if header["activation"] == "jumprelu" else [])]
        parameters = Parameters(*(arrays[name] for name in names))
        fitted = {name.removeprefix(TRANSFORM): a for name, a in arrays.items() if name.startswith(TRANSFORM)}
        steps = header["transform"]
        return PortableModel(
            parameters=parameters,
            activation=header["activation"],
            k=header["k"],
            pre_bias=header["pre_bias"],
            output=header["output"],
            transform=from_record(steps, fitted, parameters.n_visible) if steps or fitted else None,
        )
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise FileFormatError(f"{path} is damaged: {printable(error)}") from error
