"""The files around the code agree with each other."""

from __future__ import annotations

import re
import tomllib
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import yaml
from tests.support import release

import sparsae

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_version_is_the_same_everywhere() -> None:
    """version.py, CITATION.cff and the changelog name one version."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == sparsae.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[?(Unreleased|{re.escape(sparsae.__version__)})", changelog, re.MULTILINE)


def test_ci_run_only_calls_make() -> None:
    """`.ci/run` has no step of its own, and every target that it calls exists."""
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    steps = [line for line in lines if line and not line.startswith(("#", "set ", "cd ", "export "))]
    assert steps
    assert all(line.startswith("make ") for line in steps), steps
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    called = {word for line in steps for word in line.split()[1:] if not word.startswith("--")}
    assert called <= targets


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_workflows_and_forms_are_read(path: Path) -> None:
    """Each file of .github is YAML, and each make target that a workflow calls exists."""
    text = path.read_text(encoding="utf-8")
    assert yaml.safe_load(text)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for called in re.findall(r"run: make ([a-z -]+)", text):
        assert set(called.split()) <= targets, called


def test_the_matrix_comes_from_the_classifiers() -> None:
    """The workflow reads the Python versions from the classifiers, and the oldest is the one that is required."""
    found = [m[1] for c in PYPROJECT["project"]["classifiers"] if (m := re.fullmatch(r".* Python :: (3\.\d+)", c))]
    assert PYPROJECT["project"]["requires-python"] == f">={found[0]}"
    assert "fromJson(needs.versions.outputs.pythons)" in (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")


def test_layers_are_the_list_of_packages() -> None:
    """Import-linter's layers name every package and module of the core, in at most ten lines."""
    (layers,) = (c["layers"] for c in PYPROJECT["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    assert len(layers) <= 10
    named = {name.strip(" ()") for layer in layers for name in re.split("[:|]", layer)}
    core = ROOT / "core" / "sparsae"
    there = {path.name for path in core.iterdir() if (path / "__init__.py").exists()}
    there |= {path.stem for path in core.glob("*.py")} - {"__init__", "__main__"}
    assert named == there
    assert len(list(core.glob("*.py"))) <= 14


def test_files_have_at_most_350_lines() -> None:
    """No file of the core, of the bundled backends, of the tests and of the documentation is longer."""
    files = [path for folder in ("core", "backends", "tests", "docs") for path in (ROOT / folder).rglob("*.py")]
    long = {str(path): n for path in files if (n := path.read_text(encoding="utf-8").count("\n")) > 350}
    assert len(files) > 100
    assert not long


def test_no_two_classes_have_one_name() -> None:
    """But the estimator and what stands in its place without scikit-learn."""
    files = [path for folder in ("core", "backends") for path in (ROOT / folder).rglob("*.py")]
    texts = [path.read_text(encoding="utf-8") for path in files]
    names = [name for text in texts for name in re.findall(r"^ *class (\w+)", text, re.MULTILINE)]
    assert len(names) > 300
    assert {name for name, count in Counter(names).items() if count > 1} == {"SparseAutoencoder"}


def test_the_architecture_page_tells_the_truth() -> None:
    """The page shows the layers that are checked, its route has at most fifteen steps, and every file exists."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    shown = page.partition("<!-- layers:begin -->\n```text\n")[2].partition("\n```")[0].splitlines()
    (layers,) = (c["layers"] for c in PYPROJECT["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    assert shown == layers
    steps = re.findall(r"^(\d+)\. `([^`]+)`", page, re.MULTILINE)
    assert 10 <= len(steps) <= 15
    core = ROOT / "core" / "sparsae"
    for name in re.findall(r"`([\w/]+(?:\.py|/))`", page):
        assert (core / name).exists(), name
    for name in re.findall(r"`(backends/[\w/]+)`", page):
        assert (ROOT / name).exists(), name


def test_the_reference_has_every_public_name() -> None:
    """docs/api.md documents each name of `sparsae.__all__`, or names it in a sentence."""
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^::: sparsae\.(?:\w+\.)*(\w+)", page, re.MULTILINE))
    for members in re.findall(r"members: \[([^\]]+)\]", page):
        documented |= {name.strip() for name in members.split(",")}
    documented |= set(re.findall(r"`sparsae\.(\w+)`", page))
    missing = set(sparsae.__all__) - documented - set(vars(sparsae.errors)) - {"__version__"}
    assert not missing


def test_each_promise_names_tests_that_there_are() -> None:
    """Each line of docs/reliability.md names files with tests, folders of them, or proofs that `make prove` runs."""
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    promises = [line for line in page.splitlines() if line.startswith("| ")][2:]
    assert len(promises) > 20
    for promise in promises:
        named = re.findall(r"`(tests/[^`]*)`", promise.rsplit(" | ", 1)[1])
        assert named, promise
        for name in named:
            path = ROOT / name
            if name.startswith("tests/prove/"):
                assert '__name__ == "__main__"' in path.read_text(encoding="utf-8"), name
            else:
                files = sorted(path.glob("test_*.py")) if name.endswith("/") else [path]
                assert files, name
                assert all("\n    def test_" in text or "\ndef test_" in text for text in map(read, files)), name


def test_the_first_page_shows_the_race_of_today() -> None:
    """Each time in the table of docs/index.md is the one that docs/race.md has for the backend, and so is the order."""
    first, race = (read(ROOT / "docs" / page) for page in ("index.md", "race.md"))
    shown = re.findall(r"^\| `(\w+)` \| .* \| ([\d.]+) \| ([\d.]+) \|$", first, re.MULTILINE)
    measured = re.findall(r"^\| `(\w+)` \| ([\d.]+) \| \d+ % \| ([\d.]+) \| \d+ % \|$", race, re.MULTILINE)
    assert len(shown) > 3
    assert shown == [line for line in measured if line[0] in dict.fromkeys(name for name, *_ in shown)]


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_a_wheel_with_foreign_files_is_noticed(tmp_path: Path) -> None:
    """`make dist` finds missing and foreign files."""
    wheel = tmp_path / "sparsae-0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("sparsae/__init__.py", "")
        archive.writestr("tests/conftest.py", "")
    assert release.wheel_problems(wheel) == [
        "sparsae/py.typed is missing",
        "sparsae_backends/__init__.py is missing",
        "tests/conftest.py does not belong in the wheel",
    ]
