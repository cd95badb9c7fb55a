"""The kit as a class of tests for pytest."""

from __future__ import annotations

from typing import ClassVar

import pytest

from sparsae.plugins.contract import Backend
from sparsae.testing.runner import CHECKS, DTYPES, run_one


class BackendConformance:
    """One test for each check and dtype; meant for subclassing, in a class whose name begins with Test.

    Attributes
    ----------
    backend : str or Backend
        The name of an installed backend, or the `Backend` itself.
    quick : bool
        Fewer shapes and repetitions.
    """

    backend: ClassVar[str | Backend]
    quick: ClassVar[bool] = False

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("name", CHECKS)
    def test_backend(self, name: str, dtype: str) -> None:
        """The backend passes the check."""
        verdict = run_one(self.backend, name, dtype, quick=self.quick)
        if verdict.outcome == "fail":
            pytest.fail(f"{verdict.message}\nReproduce: {verdict.reproduce}", pytrace=False)
        if verdict.outcome != "pass":
            pytest.skip(f"{verdict.outcome}: {verdict.message}")
