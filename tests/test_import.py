"""`import sparsae` is light, and the table of contents is complete."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import sparsae
from sparsae import errors

STUB = Path(sparsae.__file__).with_suffix(".pyi")
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
    with pytest.raises(AttributeError, match="No sparsae attribute nonsense"):
        sparsae.nonsense  # noqa: B018


def test_the_stub_lists_each_name_once_and_type_checkers_see_it():
    """Every line re-exports one name under itself, which is what makes it public to a type checker."""
    lines = [line for line in STUB.read_text().splitlines() if not line.startswith("#")]
    found = [re.fullmatch(r"from \.[\w.]* import (\w+) as (\w+)", line) for line in lines]
    assert all(match and match[1] == match[2] for match in found)
    names = [match[1] for match in found if match]
    assert sorted(names) == sorted(set(names)) == sparsae.__all__


def test_only_the_errors_that_users_catch_are_at_the_top():
    """The five, and the module with all of them."""
    top = {name for name in sparsae.__all__ if isinstance(getattr(sparsae, name), type)}
    raised = {name for name in top if issubclass(getattr(sparsae, name), Exception)}
    assert raised == {"SparsaeError", "DataError", "ParameterError", "BackendError", "ConvergenceWarning"}


def test_every_error_is_also_the_builtin_that_it_is():
    """`except ValueError` works as well as `except SparsaeError`; warnings have a base of their own."""
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, Exception):
            assert issubclass(kind, (errors.SparsaeError, errors.SparsaeWarning))
            builtins = [base for base in kind.__mro__ if base.__module__ == "builtins"]
            assert builtins[0] is not Exception or kind is errors.SparsaeError
    assert issubclass(sparsae.DataError, ValueError)
    assert issubclass(errors.BackendNotFoundError, LookupError)


RAISED = re.compile(r"^\s*raise (ValueError|TypeError|RuntimeError|KeyError|IndexError|OSError|NotImplementedError)\b")


def test_everything_raised_on_purpose_is_a_sparsae_error():
    """The modules that users call raise no bare builtin error; readers do, and turn them into a FileFormatError."""
    called = ("*.py", "plugins/*.py", "optimize/*.py")
    places = [
        f"{path.relative_to(STUB.parent)}:{number}"
        for pattern in called
        for path in STUB.parent.glob(pattern)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if RAISED.match(line)
    ]
    assert places == []
