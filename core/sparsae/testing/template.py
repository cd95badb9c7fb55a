"""What `sparsae new-backend` writes: a distribution that installs and passes the kit as it is."""

from __future__ import annotations

import os
from keyword import iskeyword
from pathlib import Path

from sparsae.errors import FileAccessError, OutputExistsError, ParameterError
from sparsae.files import atomic_write_text

PYPROJECT = """\
[build-system]
requires = ["hatchling>=1.26"]
build-backend = "hatchling.build"

[project]
name = "sparsae-@DIST@"
version = "0.1.0"
description = "The backend @NAME@ for sparsae."
requires-python = ">=3.11"
dependencies = ["sparsae"]

[project.optional-dependencies]
test = ["pytest"]

[project.entry-points."sparsae.backends"]
@NAME@ = "sparsae_@NAME@"  # the name of the entry point is the name of the backend

[tool.hatch.build.targets.wheel]
only-include = ["sparsae_@NAME@.py"]
"""
MODULE = '''\
"""The backend `@NAME@` for sparsae."""

import sparsae


class @CLASS@Kernel(sparsae.SimpleKernel):
    """One instance per worker.  Import large libraries in __init__, not at the top of this module."""

    def backprop(self, a1, a2, a3, W2, sparsity, target):
        """Gradient sums over the m rows given; n inputs, p hidden units."""
        delta3 = (a3 - target) * self.problem.output_slope(a3)  # (m, n)
        delta2 = (delta3 @ W2 + sparsity) * self.problem.slope(a2)  # (m, p)
        return sparsae.Parameters(
            W1=delta2.T @ a1,  # (p, n)
            b1=delta2.sum(axis=0),  # (p,)
            W2=delta3.T @ a2,  # (n, p)
            b2=delta3.sum(axis=0),  # (n,)
        )


@sparsae.hookimpl
def sparsae_backend():
    """Register the backend."""
    return sparsae.Backend(
        "@NAME@",
        @CLASS@Kernel,
        summary="describe it in one line",
        threading="workers",
        activations=("sigmoid", "relu", "topk", "jumprelu"),
        outputs=("sigmoid", "linear"),
    )
'''
TEST = '''\
"""Run the conformance kit of sparsae on the backend."""

from sparsae.testing import BackendConformance


class Test@CLASS@(BackendConformance):
    """Every check of the kit, in both dtypes."""

    backend = "@NAME@"
'''


def render(name: str) -> dict[str, str]:
    """Return the text of each file of a new backend, by file name."""
    words = {"@NAME@": name, "@DIST@": name.replace("_", "-"), "@CLASS@": name.title().replace("_", "")}
    files = {"pyproject.toml": PYPROJECT, f"sparsae_{name}.py": MODULE, f"test_sparsae_{name}.py": TEST}
    for word, value in words.items():
        files = {file: text.replace(word, value) for file, text in files.items()}
    return files


def write(name: str, folder: Path) -> list[Path]:
    """Write the files of a new backend.

    Parameters
    ----------
    name : str
        An identifier in lower case.
    folder : Path
        Made where it does not exist; what else it holds is left alone.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    ParameterError
        When the name cannot be one.
    OutputExistsError, FileAccessError
        When one of the files exists, or the folder cannot be made.
    """
    if not name.isidentifier() or iskeyword(name) or name != name.lower() or not name.isascii() or name[0] == "_":
        raise ParameterError(f"A backend's name must be an identifier in lower case such as 'mine'; given {name!r}.")
    files = render(name)
    for file in files:
        if os.path.lexists(folder / file):
            raise OutputExistsError(f"{folder / file} exists and would be overwritten; give another folder with --dir.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileAccessError(f"{folder} cannot be made: {error.strerror}.") from error
    for file, text in files.items():
        atomic_write_text(folder / file, text)
    return [folder / file for file in files]
