"""A plugin of pytest: the tests of the package on a system that Linux plays, see `tests.support.platforms`.

    python -m pytest -p tests.support.simulated_platform --platform win32 tests/machine

What the system lacks is taken away before the package is imported.  A test that itself calls what is missing (it makes
a named pipe, or sends SIGKILL) is skipped, with the name; whatever the package calls is a failure.
"""

from __future__ import annotations

import builtins
import re
import sys
import traceback
from collections.abc import Generator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.support import platforms

TESTS = str(Path(__file__).parents[1])


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--platform", choices=platforms.SYSTEMS, help="the system that is simulated")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Take away, before a conftest imports the package."""
    system = early_config.known_args_namespace.platform
    if system is None:
        raise pytest.UsageError("tests.support.simulated_platform needs --platform darwin or win32")
    _leave_to_others(("_pytest", "pytest", "xdist", "hypothesis", "pluggy"))
    _leave_modules_to_tests(platforms.MODULES[system])
    platforms.simulate(system)


def _leave_to_others(packages: tuple[str, ...]) -> None:
    """Modules of the tools keep the modules of Linux."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in packages:
            for word, value in list(vars(module).items()):
                if isinstance(value, ModuleType) and value.__name__ in ("os", "signal"):
                    setattr(module, word, platforms.frozen(value))


def _leave_modules_to_tests(names: tuple[str, ...]) -> None:
    """Tests can import what the package cannot."""
    modules = {name: import_module(name) for name in names}
    real_import = builtins.__import__

    def import_as_ever(name: str, globals: Any = None, *args: Any, **keywords: Any) -> Any:  # noqa: A002
        if name in modules and str((globals or {}).get("__name__")).startswith("tests."):
            return modules[name]
        return real_import(name, globals, *args, **keywords)

    builtins.__import__ = import_as_ever


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Skip where the test itself, and not the package, calls what the system has not."""
    try:
        return (yield)
    except (AttributeError, ImportError) as error:
        if (name := missing_in_the_test(error)) is None:
            raise
        pytest.skip(f"the test calls {name}")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Skip a module that asks the system for what it has not while it is imported."""
    report = yield
    found = (
        re.search(r"module '(?:os|signal)' has no attribute '(\w+)'", str(report.longrepr)) if report.failed else None
    )
    if found is not None and found[1] in missing_names():
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 0, f"the module calls {found[1]}")
    return report


def missing_names() -> set[str]:
    """Everything that one of the systems lacks."""
    tables = (platforms.MISSING, platforms.MODULES, platforms.SIGNALS)
    return {name for table in tables for names in table.values() for name in names}


def missing_in_the_test(error: BaseException) -> str | None:
    """Return what a line of the tests wanted of the system."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    if not last.filename.startswith(TESTS) and Path(last.filename).name != "monkeypatch.py":
        return None
    name = getattr(error, "name", None) or str(error)  # of monkeypatch.delattr the text alone
    return name if name in missing_names() else None
