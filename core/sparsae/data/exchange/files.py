"""Files of exchange folders: configurations in JSON, weights in safetensors or in a torch file of tensors alone."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsae._text import printable
from sparsae.errors import FileFormatError, MissingExtraError
from sparsae.files import atomic_write, check_readable
from sparsae.machine.resources import gibibytes, memory_limit
from sparsae.training.archive import MOST_TEXT
from sparsae.training.schema import parse_integer

CONFIG_BYTES = 1 << 20  # a configuration takes 2 kB
FLOATS = {"F64": np.float64, "F32": np.float32, "F16": np.float16}
INTEGERS = {"I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8}
CONVERT = (
    "Where you trust it, convert it: load it with torch.load(path, weights_only=False) and write its tensors with "
    "torch.save(model.state_dict(), path) or safetensors.torch.save_file(model.state_dict(), path)"
)


def write_config(path: Path, config: Mapping[str, Any]) -> None:
    """Write a configuration."""
    text = json.dumps(config, indent=2) + "\n"
    atomic_write(path, lambda file: file.write(text.encode()))


def read_config(path: Path) -> dict[str, Any]:
    """Read a configuration.

    Raises
    ------
    FileMissingError, FileAccessError
        When there is none, or it may not be read.
    FileFormatError
        When it is no JSON object, or larger than any configuration.
    """
    check_readable(path, what="configuration")
    if path.stat().st_size > CONFIG_BYTES:
        raise FileFormatError(f"{path} has {path.stat().st_size:,} bytes, which is no configuration.")
    try:
        config = json.loads(path.read_bytes(), parse_int=parse_integer)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path} is not JSON: {printable(error)[:MOST_TEXT]}.") from error
    if not isinstance(config, dict):
        raise FileFormatError(f"{path} holds {type(config).__name__} and not an object with fields.")
    return config


def write_safetensors(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays; safetensors 0.8 writes those that are not C-contiguous wrongly and without an error."""
    library = _import_safetensors()
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    content = library.numpy.save(contiguous, metadata={"format": "pt"})
    atomic_write(path, lambda file: file.write(content))


def read_safetensors(path: Path) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """Read all arrays of a file; returns them, and a note where half precision was converted to float32.

    Raises
    ------
    FileMissingError, FileAccessError
        When there is no such file, or it may not be read.
    FileFormatError
        When it is truncated or damaged, holds other numbers than floats, or is too large for the memory.
    MissingExtraError
        When safetensors is not installed.
    """
    check_readable(path, what="weights file")
    _check_size(path)
    library = _import_safetensors()
    try:
        found = library.deserialize(path.read_bytes())
    except library.SafetensorError as error:
        raise FileFormatError(
            f"{path} is truncated or damaged, or is no safetensors file: {printable(error)[:MOST_TEXT]}."
        ) from error
    arrays, halves = {}, set()
    for name, tensor in found:
        kind, shape, data = tensor["dtype"], tensor["shape"], tensor["data"]
        if kind == "BF16":
            bits = np.frombuffer(data, np.uint16).astype(np.uint32) << 16
            arrays[name] = bits.view(np.float32).reshape(shape)
        elif kind in FLOATS or kind in INTEGERS:
            arrays[name] = np.frombuffer(data, {**FLOATS, **INTEGERS}[kind]).reshape(shape)
        else:
            raise FileFormatError(f"{path}: {printable(name)} has dtype {kind}; weights are {', '.join(FLOATS)}, BF16.")
        if kind in ("F16", "BF16"):
            halves.add({"F16": "float16", "BF16": "bfloat16"}[kind])
            arrays[name] = arrays[name].astype(np.float32)
    return arrays, tuple(f"{dtype} weights of {path.name} were converted to float32." for dtype in sorted(halves))


def read_torch(path: Path) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """Read the tensors of a ``.pt`` file; nothing else in it is ever run.  Returns as `read_safetensors`.

    Raises
    ------
    FileMissingError, FileAccessError
        When there is no such file, or it may not be read.
    FileFormatError
        When it holds anything but a dict of tensors, or is damaged or too large.
    MissingExtraError
        When torch is not installed.
    """
    check_readable(path, what="weights file")
    _check_size(path)
    try:
        import torch
    except ImportError as error:
        if not zipfile.is_zipfile(path):
            raise FileFormatError(f"{path} is a pickle, which can run code when it is read. {CONVERT}.") from error
        raise MissingExtraError(
            f"Reading {path.name} needs torch: pip install 'sparsae[torch]'. Or write its tensors with safetensors."
        ) from error
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise FileFormatError(
            f"{path} holds more than tensors and would run code when it is read: refused. {CONVERT}."
        ) from error
    except Exception as error:  # torch and zipfile raise anything on a damaged file
        raise FileFormatError(f"{path} is truncated or damaged: {printable(error)[:MOST_TEXT]}.") from error
    if not isinstance(found, Mapping) or not all(isinstance(tensor, torch.Tensor) for tensor in found.values()):
        raise FileFormatError(f"{path} is no dict of tensors, as torch.save(model.state_dict(), path) writes it.")
    halves = {str(t.dtype).removeprefix("torch.") for t in found.values() if t.dtype in (torch.float16, torch.bfloat16)}
    arrays = {
        str(name): (tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor).numpy()
        for name, tensor in found.items()
    }
    return arrays, tuple(f"{dtype} weights of {path.name} were converted to float32." for dtype in sorted(halves))


def check_arrays(
    path: Path, arrays: Mapping[str, NDArray[Any]], wanted: Iterable[str], optional: Iterable[str]
) -> None:
    """Raise `FileFormatError` unless a file has the arrays wanted, as floats, and no others but the optional ones."""
    wanted, known = set(wanted), {*wanted, *optional}
    missing, foreign = sorted(wanted - arrays.keys()), sorted(arrays.keys() - known)
    if missing or foreign:
        words = [f"lacks {', '.join(missing)}"] if missing else []
        words += [f"has {', '.join(map(printable, foreign[:8]))}, which it should not have"] if foreign else []
        raise FileFormatError(f"{path} {' and '.join(words)}; expected are {', '.join(sorted(known))}.")
    for name in sorted(wanted):
        if arrays[name].dtype.kind != "f":
            raise FileFormatError(f"{path}: {name} has dtype {arrays[name].dtype}; weights are floats.")


def check_shapes(path: Path, arrays: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise `FileFormatError` unless the arrays have these shapes."""
    wrong = [
        f"{name} {arrays[name].shape}, not {shape}" for name, shape in shapes.items() if arrays[name].shape != shape
    ]
    if wrong:
        raise FileFormatError(f"{path} has arrays of wrong shapes: {'; '.join(wrong)}.")


def _check_size(path: Path) -> None:
    size = path.stat().st_size
    if size > memory_limit() // 4:  # the file, its arrays, and those in float64
        raise FileFormatError(
            f"{path} has {gibibytes(size)}, more than a quarter of the memory ({gibibytes(memory_limit())})."
        )


def _import_safetensors() -> ModuleType:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise MissingExtraError(
            "This format needs safetensors: pip install 'sparsae[exchange]'. The format npz needs nothing."
        ) from error
    return safetensors
