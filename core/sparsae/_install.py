"""How to install an extra in the way in which the running copy was installed."""

from __future__ import annotations

from functools import cache

_FROM_INDEX = "pip install 'sparsae["


def as_installed(text: str) -> str:
    """Return a message whose ``pip install 'sparsae[extra]'`` works here too: a checkout is named by its folder."""
    return text.replace(_FROM_INDEX, _command()) if _FROM_INDEX in text else text


@cache
def _command() -> str:
    """Return the beginning of the command, up to the name of the extra.

    Source: "Recording the Direct URL Origin of installed distributions", packaging.python.org.
    """
    import json
    from importlib import metadata
    from pathlib import Path
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    try:
        origin = json.loads(metadata.distribution("sparsae").read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        return _FROM_INDEX
    folder = url2pathname(urlsplit(origin.get("url", "")).path)
    if "dir_info" not in origin or not Path(folder, "pyproject.toml").is_file() or "'" in folder:
        return _FROM_INDEX
    editable = "-e " if origin["dir_info"].get("editable") else ""
    return f"pip install {editable}'{folder}["
