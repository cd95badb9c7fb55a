"""`import sparsae` is light, and the table of contents is complete."""

import subprocess
import sys

import pytest

import sparsae
from sparsae import errors

HEAVY = ("scipy", "threadpoolctl", "pluggy", "importlib.metadata", "sklearn", "matplotlib", "rich", "click", "numba")


def test_import_loads_numpy_and_nothing_heavier():
    """None of the heavy libraries is loaded by the import, nor by making and flattening parameters."""
    code = (
        "import sys, numpy; before = set(sys.modules); import sparsae; sparsae.Parameters.random(3, 2).flatten();"
        f"print([m for m in {HEAVY!r} if m in sys.modules and m not in before])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_can_be_had():
    """Each name of __all__ resolves, and an unknown one is an AttributeError that names it."""
    for name in sparsae.__all__:
        assert getattr(sparsae, name) is not None
    assert set(sparsae.__all__) <= set(dir(sparsae))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        sparsae.nonsense  # noqa: B018


def test_every_error_is_also_the_builtin_that_it_is():
    """`except ValueError` works as well as `except SparsaeError`; all of them are exported."""
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, Exception):
            assert getattr(sparsae, name) is kind
            assert issubclass(kind, (errors.SparsaeError, UserWarning))
    assert issubclass(sparsae.DataError, ValueError)
    assert issubclass(sparsae.BackendNotFoundError, LookupError)
