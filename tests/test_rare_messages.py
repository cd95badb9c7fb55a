"""Messages whose causes are rare: a library, the system or a cluster fails in a place where no other test lets it.

The failure is played where it would arise; the function that has the message is the package's own.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.rare_failures import PROVOKED

import sparsae


@pytest.mark.parametrize("words", PROVOKED)
def test_a_rare_failure_is_one_error_with_its_words(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `SparsaeError`, or a warning of ours, whatever failed."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises((sparsae.SparsaeError, sparsae.errors.SparsaeWarning)) as caught:
        PROVOKED[words](monkeypatch)
    monkeypatch.undo()
    assert words in " ".join(str(caught.value).split())
