"""The kit as a class of tests for pytest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from sparsae._types import ACTIVATIONS
from sparsae.plugins.contract import Backend
from sparsae.testing.checks import CHECKS, DTYPES, WHOLE_BACKEND
from sparsae.testing.harness import TIME_LIMIT, declared
from sparsae.testing.runner import CheckSession


class BackendConformance:
    """One test for each check, dtype and hidden unit; meant for subclassing, in a class whose name begins with Test.

    The checks run in a child process, as in `sparsae.testing.check`.

    Attributes
    ----------
    backend : str or Backend
        The name of an installed backend, or the `Backend` itself.
    activations : tuple of str
        Hidden units to check.  Tests of one that the backend does not declare are skipped.
    quick : bool
        Fewer shapes and repetitions.
    time_limit : float
        Seconds for each check.
    """

    backend: ClassVar[str | Backend]
    activations: ClassVar[tuple[str, ...]] = ACTIVATIONS
    quick: ClassVar[bool] = False
    time_limit: ClassVar[float] = TIME_LIMIT
    _session: ClassVar[CheckSession | None] = None

    @classmethod
    def cases(cls) -> Iterator[tuple[str, str, str]]:
        """Check, hidden unit ("" for the whole backend) and dtype of each test."""
        units = cls.activations
        if isinstance(cls.backend, Backend):  # of a name it is not known before it is loaded, in the child process
            units = tuple(unit for unit in units if unit in declared(cls.backend))
        for name in CHECKS:
            for unit in ("",) if name in WHOLE_BACKEND else units:
                for dtype in DTYPES:
                    yield name, unit, dtype

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make one test of each case."""
        ids = ["-".join(filter(None, case)) for case in self.cases()]
        metafunc.parametrize(("name", "activation", "dtype"), list(self.cases()), ids=ids)

    @classmethod
    def teardown_class(cls) -> None:
        """End the child process."""
        if cls._session is not None:
            cls._session.close()
            cls._session = None

    def test_backend(self, name: str, activation: str, dtype: str) -> None:
        """The backend passes the check."""
        cls = type(self)
        if cls._session is None:
            cls._session = CheckSession(
                cls.backend, activations=cls.activations, quick=cls.quick, time_limit=cls.time_limit
            )
        verdict = cls._session.run(name, dtype, activation)
        if verdict.outcome == "fail":
            pytest.fail(f"{verdict.message}\nReproduce: {verdict.reproduce}", pytrace=False)
        if verdict.outcome != "pass":
            pytest.skip(f"{verdict.outcome}: {verdict.message}")
