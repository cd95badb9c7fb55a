"""The documentation tells the truth: its Python examples run, and its pages need no network."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import unittest
from doctest import ELLIPSIS
from pathlib import Path

import click
import pytest
from sybil import Document
from sybil.document import PythonDocStringDocument
from sybil.parsers.doctest import DocTestParser
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

from sparsae.cli import COMMANDS, cli

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
MODULES = [
    module
    for folder in ("core", "backends")
    for module in sorted((ROOT / folder).rglob("*.py"))
    if ">>> " in module.read_text()
]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
LOADED = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)=["']?(https?:)?//[^>]*>""")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def marks(page: Path) -> list[pytest.MarkDecorator]:
    """A page with conditions on libraries runs in both environments."""
    return [pytest.mark.optional] if "find_spec(" in page.read_text() else []


def evaluate(document: Document) -> list[str]:
    """Run every example of a document in order, in one namespace; return why some were skipped."""
    skipped = []
    for example in document.examples():
        try:
            example.evaluate()
        except unittest.SkipTest as why:
            skipped.append(str(why))
    return skipped


@pytest.mark.parametrize("page", [pytest.param(page, marks=marks(page), id=name(page)) for page in PAGES])
def test_the_python_examples_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fenced Python block of README and docs runs, in order, as a reader would paste it.

    A block that needs an optional library says so in a comment before it:
    ``<!--- skip: next if(importlib.util.find_spec("jax") is None, reason="needs jax") -->``.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPARSAE_SMALL_EXAMPLES", "1")  # pages that would take a minute look at it
    document = Document.parse(str(page), SkipParser(), PythonCodeBlockParser(doctest_optionflags=ELLIPSIS))
    document.namespace["importlib"] = importlib  # for the conditions of the comments
    if skipped := evaluate(document):
        pytest.skip("; ".join(skipped))
    for picture in re.findall(r"\(\.\./images/examples/([\w-]+\.png)\)", page.read_text()):
        assert (tmp_path / picture).exists(), f"{name(page)} shows {picture}, which its code did not write"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_python_block_escapes_execution(page: Path) -> None:
    """Whatever is fenced as Python, with a title or not, is among the blocks that are executed."""
    fences = re.findall(r"^[ \t]*```+[ \t{.]*py(?:thon|con)?\b", page.read_text(), re.MULTILINE)
    blocks = list(Document.parse(str(page), PythonCodeBlockParser()).examples())
    assert len(blocks) == len(fences), f"{name(page)}: write ```python and nothing else on the line"


def test_the_examples_in_docstrings_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every ``>>>`` example in a docstring gives what it shows."""
    monkeypatch.chdir(tmp_path)
    for module in MODULES:
        assert not evaluate(PythonDocStringDocument.parse(str(module), DocTestParser(optionflags=ELLIPSIS)))


def test_a_wrong_example_is_noticed(tmp_path: Path) -> None:
    """The runner can fail: a block whose claim is false raises, with its page and line."""
    page = tmp_path / "page.md"
    page.write_text("Text.\n\n```python\nx = 1\n```\n\n```python\nassert x == 2\n```\n")
    with pytest.raises(AssertionError):
        evaluate(Document.parse(str(page), PythonCodeBlockParser()))


def shell_commands() -> list[tuple[str, str]]:
    """Each `sparsae ...` line of the shell blocks of README and docs, without its comment."""
    found = []
    for page in PAGES:
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(name(page), line.partition(" #")[0]) for line in lines if line.startswith("sparsae ")]
    return found


@pytest.mark.parametrize(("page", "line"), shell_commands())
def test_the_commands_of_a_page_exist(page: str, line: str) -> None:
    """Every command, subcommand and option that a page tells a reader to type is one that there is."""
    command: click.Command = cli
    known = set()
    for word in shlex.split(line)[1:]:
        if isinstance(command, click.Group) and not word.startswith("-") and word in command.list_commands(None):
            command = command.get_command(None, word)
        known |= {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        if word.startswith("-") and word != "-":  # which is standard input or output
            assert word.partition("=")[0] in known | {"--help", "-h", "--version"}, f"{page}: {line}"
    assert command is not cli or "--help" in line or "--version" in line, f"{page}: no such command in {line!r}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: no warning (dead link, page outside the navigation)."""
    pytest.importorskip("material", reason="the docs extra is not installed")
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1", "DISABLE_MKDOCS_2_WARNING": "true"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=quiet)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_loads_nothing_from_the_network(site: Path) -> None:
    """Its pages are self-sufficient."""
    pages = list(site.rglob("*.html"))
    assert len(pages) > 1
    foreign = {found.group(0) for page in pages for found in LOADED.finditer(page.read_text())}
    assert not foreign


def test_the_page_of_a_wrong_address_loads_nothing(site: Path) -> None:
    """Neither addresses that begin at the root of a server nor those beside the page hold wherever it is shown."""
    text = (site / "404.html").read_text()
    assert re.findall(r'\b(?:src|href)="([^"]*)"', text) == ["/index.html"]
    assert "import" not in text
    assert "url(" not in text


def test_every_reference_to_a_name_is_a_link(site: Path) -> None:
    """A name that moved would be left as it was typed, and the strict build does not mind."""
    left = {page.name: re.findall(r"\]\[sparsae[\w.]*\]", page.read_text()) for page in site.rglob("*.html")}
    assert not {page: names for page, names in left.items() if names}


def test_every_command_is_in_the_reference(site: Path) -> None:
    """The page is made from the command itself."""
    reference = (site / "command-reference.html").read_text()
    groups = {name: cli.get_command(None, name) for name in COMMANDS}
    nested = [f"{name}-{inner}" for name, group in groups.items() for inner in getattr(group, "commands", ())]
    assert "bench-show" in nested
    for command in (*COMMANDS, *nested):
        assert f'<h2 id="sparsae-{command}">' in reference, command


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
def test_a_page_that_was_opened_as_a_file_can_be_searched(site: Path, tmp_path: Path) -> None:
    """Browsers start no workers there; the site brings a substitute."""
    page = (site / "index.html").as_uri()
    profile = f"--user-data-dir={tmp_path}"
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", profile, "--virtual-time-budget=20000"]
    done = subprocess.run(
        [*command, "--dump-dom", f"{page}?q=Accelerate"], capture_output=True, text=True, timeout=120, check=True
    )
    assert re.search(r"\d+ matching documents", done.stdout)
