"""The examples: pictures that their code makes, and a notebook that runs.  That the pages run, test_docs.py tests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs" / "examples").glob("*.md"))
NOTEBOOKS = sorted((ROOT / "docs" / "examples").glob("*.ipynb"))
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_a_picture_that_its_own_code_writes(page: Path) -> None:
    """One picture, of the name that the code gives it; `python -m tests.support.example_pictures` makes it anew."""
    text = page.read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^\]]+\]\(\.\./images/examples/([\w-]+\.png)\)", text)
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    written = re.findall(r'(?:savefig|plot_features|plot_history)\("([\w-]+\.png)"', code)
    assert shown == written == [f"{page.stem}.png"]
    assert (ROOT / "docs" / "images" / "examples" / shown[0]).read_bytes().startswith(PNG)


def test_no_picture_is_left_over() -> None:
    """Each belongs to a page."""
    pictures = {picture.stem for picture in (ROOT / "docs" / "images" / "examples").iterdir()}
    assert pictures == {page.stem for page in PAGES}


def outputs(cell: Any, kind: str) -> list[str]:
    """What a cell shows in that form."""
    found = [output.get("data", {}) for output in cell.get("outputs", [])]
    return [data[kind] for data in found if kind in data]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_in_a_kernel_and_shows_what_it_says(path: Path, tmp_path: Path) -> None:
    """No cell fails or warns; a bar that reached its end, tables, pictures; it is stored without outputs."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    client = nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    cells = {cell.source: cell for cell in notebook.cells if cell.cell_type == "code"}
    errors = [o for cell in cells.values() for o in cell.outputs if o.get("name") == "stderr"]
    assert not errors

    (trained,) = (cell for source, cell in cells.items() if "progress=True" in source)
    bar, table = outputs(trained, "text/html")
    assert '<progress value="150" max="150"' in bar
    assert "Sparse autoencoder with 64 inputs, 49 sigmoid units" in table
    drawn = [cell for source, cell in cells.items() if ".plot_" in source]
    assert len(drawn) == 2
    assert all(outputs(cell, "image/png") for cell in drawn)
    assert (tmp_path / "history.png").read_bytes().startswith(PNG)
    shown = "".join(html for cell in cells.values() for html in outputs(cell, "text/html"))
    for words in ("History of 150 iterations", "gradient_max", "Receipt of 1,797 samples", "sparseautoencoder0"):
        assert words in shown
