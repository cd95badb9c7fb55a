"""`sparsae evaluate`: the figures of a model, for a person, a program, and as a picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.support.command import Ended

import sparsae
from sparsae import metrics

Run = Callable[..., Ended]


def test_the_figures_are_those_of_the_library(run: Run, folder: Path) -> None:
    """Raw data; the transform is applied and said on standard error; the report parses alone."""
    np.save("x.npy", np.random.default_rng(0).normal(50, 9, (60, 6)))
    assert run("train", "x.npy", "--scale", "-o", "s.npz", "--hidden", 3, "--max-iter", 2, "--quiet").code == 0
    code, out, err = run("evaluate", "s.npz", "x.npy", "--json", "--plot", "d.png")
    assert code == 0
    assert err.startswith("The model's transform was applied to x.npy: scale (")
    report = json.loads(out)
    found = metrics.evaluate(sparsae.load("s.npz"), np.load("x.npy")).to_dict()
    assert {name: report[name] for name in found} == json.loads(json.dumps(found))
    assert (folder / "d.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = run("evaluate", "s.npz", "x.npy", "--active-above", 0.001, "--threads", 1)
    assert "l0                  3 of 3 units active in a row (activation above 0.001)" in out
    assert "dead units          0 (0.0%)" in out
    assert f"explained variance  {found['explained_variance']:.4f}" in out


def test_a_model_without_active_units(run: Run, model: str) -> None:
    """Nothing to take quantiles of; the picture has no bars."""
    code, out, _ = run("evaluate", "m.npz", "x.npy", "--active-above", 1, "--plot", "d.svg")
    assert code == 0
    assert "dead units          3 (100.0%)" in out
    assert "density             none" in out
    assert out.endswith("Drew the densities into d.svg.\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("evaluate m.npz constant.npy", "X is constant: its 5 rows are equal, so that there is no variance"),
        ("evaluate m.npz wide.npy", "X has 7 columns and the model takes 6"),
        ("evaluate m.npz x.npy --plot d.doc", "d.doc must end in .png, .svg, .pdf"),
        ("evaluate m.npz x.npy --plot x.npy --force", "are the same file"),
        ("evaluate m.npz x.npy --plot m.npz", "are the same file"),
        ("evaluate m.npz x.npy --plot there.png", "there.png exists and would be overwritten"),
        ("evaluate m.npz x.npy --threads 0", "threads must be an integer of at least 1"),
        ("evaluate x.npy x.npy", "x.npy is not a model file; it is an array of shape (60, 6)"),
    ],
)
def test_a_mistake_is_one_line(run: Run, model: str, folder: Path, words: str, message: str) -> None:
    """Exit code 2, nothing written."""
    np.save("constant.npy", np.full((5, 6), 0.5))
    np.save("wide.npy", np.full((5, 7), 0.5))
    (folder / "there.png").write_bytes(b"picture")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    code, out, err = run(*words.split())
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert message in err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
