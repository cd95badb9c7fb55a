"""What a message says to type installs the extra of the copy that runs."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from sparsae import _install
from sparsae.errors import MissingExtraError

MESSAGE = "Pictures need matplotlib: pip install 'sparsae[plot]'."


@pytest.fixture(autouse=True)
def fresh() -> None:
    _install._command.cache_clear()


def installed(monkeypatch: pytest.MonkeyPatch, origin: object) -> str:
    """The message of a copy whose direct_url.json says this."""
    text = origin if isinstance(origin, str | None) else json.dumps(origin)
    monkeypatch.setattr(metadata, "distribution", lambda name: SimpleNamespace(read_text=lambda file: text))
    try:
        return str(MissingExtraError(MESSAGE))
    finally:
        _install._command.cache_clear()


def test_a_copy_from_an_index_names_the_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    """There direct_url.json is missing, or names an archive."""
    assert installed(monkeypatch, None) == MESSAGE
    assert installed(monkeypatch, {"url": "https://example.org/sparsae.whl", "archive_info": {}}) == MESSAGE
    assert installed(monkeypatch, "{not JSON") == MESSAGE


def test_a_copy_from_a_checkout_names_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With -e where it was installed so; a checkout that is gone cannot be named."""
    origin = {"url": (tmp_path / "my copy").as_uri(), "dir_info": {}}
    assert installed(monkeypatch, origin) == MESSAGE
    (tmp_path / "my copy").mkdir()
    (tmp_path / "my copy" / "pyproject.toml").touch()
    assert installed(monkeypatch, origin).endswith(f"pip install '{tmp_path}/my copy[plot]'.")
    origin["dir_info"] = {"editable": True}
    assert installed(monkeypatch, origin).endswith(f"pip install -e '{tmp_path}/my copy[plot]'.")


def test_a_backend_that_is_not_installed_says_it_too() -> None:
    """In its record and in its error."""
    text = "Install with: pip install 'sparsae[jax]'."
    assert _install.as_installed(text).startswith("Install with: pip install ")
    assert _install.as_installed("nothing to replace") == "nothing to replace"
