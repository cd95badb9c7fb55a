"""What a program does with what it read from a damaged file."""

from __future__ import annotations

import contextlib
import io
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import sparsae
from sparsae._text import printable
from sparsae.errors import SparsaeError


def is_drawn(path: Path) -> bool:
    """Whether pictures are made of this one: of one in twenty, since they take a tenth of a second."""
    return zlib.crc32(path.read_bytes()) % 20 == 0


def named(path: Path, error: SparsaeError) -> str:
    """The name of the error; its message must be one printable line that names the file."""
    message = str(error)
    assert printable(message) == message, message
    assert len(message) < 3000, message
    assert path.stem in message or path.parent.name in message, f"not named: {type(error).__name__}: {message}"
    return type(error).__name__


def run_command(*words: object) -> int:
    """Run a command in this process; return its exit code."""
    from sparsae.cli import main

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            code = main([str(word) for word in words])
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
    assert code in (0, 1, 2), code
    assert "Traceback" not in said.getvalue(), said.getvalue()
    return code


def quietly(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call it without warnings."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return function(*arguments, **options)


def use_model(path: Path, load: Callable[[Path], Any]) -> str:
    """Load a model, and do with it what a program does."""
    try:
        model = quietly(load, path)
    except SparsaeError as error:
        return named(path, error)
    assert repr(model)
    assert model._repr_html_()
    samples = np.full((3, model.parameters.n_visible), 0.5)
    for function in (model.encode, model.reconstruct):
        with contextlib.suppress(SparsaeError):
            quietly(function, samples)
    again = path.with_name("again.npz")
    quietly(sparsae.save, again, model)
    assert sparsae.load(again).parameters.flatten().tobytes() == model.parameters.flatten().tobytes()
    return "used"
