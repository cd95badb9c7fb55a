"""The kit as a class of tests for pytest."""

from __future__ import annotations

from typing import ClassVar

import pytest

from sparsae.plugins.contract import Backend
from sparsae.testing.checks import CHECKS, DTYPES
from sparsae.testing.harness import TIME_LIMIT
from sparsae.testing.runner import CheckSession


class BackendConformance:
    """One test for each check and dtype; meant for subclassing, in a class whose name begins with Test.

    The checks run in a child process, as in `sparsae.testing.check`.

    Attributes
    ----------
    backend : str or Backend
        The name of an installed backend, or the `Backend` itself.
    quick : bool
        Fewer shapes and repetitions.
    time_limit : float
        Seconds for each check.
    """

    backend: ClassVar[str | Backend]
    quick: ClassVar[bool] = False
    time_limit: ClassVar[float] = TIME_LIMIT
    _session: ClassVar[CheckSession | None] = None

    @classmethod
    def teardown_class(cls) -> None:
        """End the child process."""
        if cls._session is not None:
            cls._session.close()
            cls._session = None

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("name", CHECKS)
    def test_backend(self, name: str, dtype: str) -> None:
        """The backend passes the check."""
        cls = type(self)
        if cls._session is None:
            cls._session = CheckSession(cls.backend, quick=cls.quick, time_limit=cls.time_limit)
        verdict = cls._session.run(name, dtype)
        if verdict.outcome == "fail":
            pytest.fail(f"{verdict.message}\nReproduce: {verdict.reproduce}", pytrace=False)
        if verdict.outcome != "pass":
            pytest.skip(f"{verdict.outcome}: {verdict.message}")
