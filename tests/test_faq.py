"""The messages that docs/faq.md explains are messages of sparsae: each is provoked here."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import sparsae
from sparsae.files import check_writable

PAGE = Path(__file__).parent.parent / "docs" / "faq.md"
X = np.random.default_rng(0).uniform(0.1, 0.9, (60, 8))


def with_a_gap() -> np.ndarray:
    rows = X.copy()
    rows[3, 2] = np.nan
    return rows


def hold_the_checkpoint() -> None:
    """Start a fit on a checkpoint from within a fit on it."""
    raised: list[sparsae.SparsaeError] = []

    def again(progress: Any) -> None:
        try:
            sparsae.train(X, 3, checkpoint="held", resume=True, max_iter=2)
        except sparsae.SparsaeError as error:
            raised.append(error)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sparsae.ConvergenceWarning)
        sparsae.train(X, 3, checkpoint="held", observers=again, max_iter=1)
    raise raised[0]


def train_twice(rows: np.ndarray, **options: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sparsae.ConvergenceWarning)
        sparsae.train(X, 3, checkpoint="fit", max_iter=1)
    sparsae.train(rows, 3, checkpoint="fit", max_iter=1, **options)


PROVOKED: dict[str, Callable[[], object]] = {
    "a sigmoid output reproduces values in [0, 1]": lambda: sparsae.train(5 * X, 3),
    "value that is not finite": lambda: sparsae.train(with_a_gap(), 3),
    "has missing values": lambda: sparsae.train(pd.DataFrame(with_a_gap()), 3),
    "only dense data is supported": lambda: sparsae.train(scipy.sparse.csr_matrix(X), 3),
    "Stopped after": lambda: sparsae.train(X, 3, max_iter=1),
    "belongs to another fit": lambda: train_twice(X[:50], resume=True),
    "resume=True (--resume) goes on from it": lambda: train_twice(X),
    "does not belong to activation": lambda: sparsae.train(X, 3, k=2),
    "not installed here": lambda: sparsae.train(X, 3, backend="torch"),
    "No backend named": lambda: sparsae.train(X, 3, backend="nump"),
    "the CPU budget is": lambda: sparsae.train(X, 3, threads=999),
    "exists and would be overwritten": lambda: check_writable(__file__),
    "is in use by": hold_the_checkpoint,
}


@pytest.mark.parametrize("words", PROVOKED)
def test_a_message_of_the_page_is_one_of_ours(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The input that the page describes brings the error or the warning whose words it quotes."""
    if words == "not installed here" and "ready" in [r.state for r in sparsae.list_backends() if r.name == "torch"]:
        pytest.skip("torch is installed")
    monkeypatch.chdir(tmp_path)
    with pytest.raises((sparsae.SparsaeError, UserWarning), match=re.escape(words)):
        PROVOKED[words]()


def test_every_message_that_the_page_quotes_is_provoked() -> None:
    """A line that begins with a quotation in bold has its input above."""
    quoted = re.findall(r'^\*\*"([^"]+)"\*\*', PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(quoted) == set(PROVOKED)
