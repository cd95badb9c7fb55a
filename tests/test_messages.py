"""Every message of the package stands in a list beside a test that provokes it; a new one without a line fails.

``tests/golden/messages.json`` is that list; `tests.support.messages` says how it is recorded.  Where a message is made
in a child process, with torch, or by click itself, the recorder does not see it, and its test is written there by hand.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from tests.support.messages import LIST, ROOT, places

import sparsae
from sparsae.cli import cli
from sparsae.data import load

X = np.random.default_rng(0).uniform(0.1, 0.9, (30, 4))
P = sparsae.Parameters.random(4, 2)
LISTED: dict[str, str] = json.loads(LIST.read_text(encoding="utf-8"))


def test_every_message_has_a_line() -> None:
    """And each line is a message: record anew where one was added, reworded or taken away."""
    found = places()
    assert not found - set(LISTED), "messages without a line in tests/golden/messages.json"
    assert not set(LISTED) - found, "lines of messages that are gone"
    assert not [name for name, test in LISTED.items() if not test], "messages that no test provokes"


def test_the_tests_of_the_list_exist() -> None:
    """By file and name."""
    for test in filter(None, set(LISTED.values())):
        file, _, rest = test.partition("::")
        if not file.endswith(".py"):
            continue
        name = re.split(r"\[", rest.rpartition("::")[2] if "[" not in rest else rest.partition("[")[0])[0]
        name = name.rpartition("::")[2]
        assert (ROOT / file).is_file(), test
        text = (ROOT / file).read_text(encoding="utf-8")
        assert name.startswith("test_estimator_") or f"def {name}(" in text or "BackendConformance" in text, test


def test_a_message_without_a_line_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search sees a new place."""
    from tests.support import messages

    (tmp_path / "new.py").write_text('def f(x):\n    raise DataError(f"{x} is new.")\n', encoding="utf-8")
    monkeypatch.setattr(messages, "ROOT", tmp_path)
    monkeypatch.setattr(messages, "SOURCES", (tmp_path,))
    assert messages.places() == {"new.py: f: {} is new."}


def run(*words: str) -> None:
    """Run the command; raise what it says."""
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 2, done.output
    raise sparsae.SparsaeError(done.output)


def compressed(name: str) -> None:
    """Read a file of some format inside gzip."""
    Path(f"{name}.gz").write_bytes(gzip.compress(b"\0" * 64))
    load(f"{name}.gz")


def complex_zarr() -> None:
    zarr = pytest.importorskip("zarr")
    zarr.save("x.zarr", np.ones((3, 2), complex))
    load("x.zarr")


with_threshold = P._replace(threshold=np.ones(2))
PROVOKED: dict[str, Callable[[], Any]] = {
    "auto times whole evaluations": lambda: sparsae.backprop(X, X[:, :2], X, P.W2, np.zeros(2), backend="auto"),
    "timeout must be a positive number": lambda: run("bench", "--timeout", "0", "--quick"),
    "No command 'traim'; did you mean 'train'?": lambda: run("traim"),
    "--image-shape must look like 8x8": lambda: run("plot", "m.npz", "--image-shape", "8by8"),
    "is an .npz file inside": lambda: compressed("x.npz"),
    "is a .mat file inside": lambda: compressed("x.mat"),
    "is HDF5 inside": lambda: compressed("x.h5"),
    "is a Parquet file inside": lambda: compressed("x.parquet"),
    "is a Feather file inside": lambda: compressed("x.feather"),
    "is a safetensors file inside": lambda: compressed("x.safetensors"),
    "is a torch file inside": lambda: compressed("x.pt"),
    "real numbers are needed": complex_zarr,
    "There is no file or folder": lambda: load("patches:nowhere"),
    "k does not belong to activation='sigmoid'": lambda: sparsae.encode(P, X, k=3),
    "has no threshold, and the parameters have one": lambda: sparsae.encode(with_threshold, X),
    "init must be one of": lambda: sparsae.Parameters.random(4, 2, init="zeros"),
    "The path of a checkpoint must be": lambda: sparsae.Checkpoint(3),
}


@pytest.mark.parametrize("words", PROVOKED)
def test_a_message_that_no_other_test_provokes(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The input brings the error."""
    monkeypatch.chdir(tmp_path)
    if "image-shape" in words:
        sparsae.save("m.npz", sparsae.train(X, 2, stop=sparsae.Stop(decrease=1e-1)))
    with pytest.raises((sparsae.SparsaeError, TypeError), match=re.escape(words)):
        PROVOKED[words]()
