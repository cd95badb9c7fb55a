"""`sparsae export` and `sparsae import`: there and back at the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.support.command import Ended
from tests.support.exchange_models import edit_weights, make_model

import sparsae

Run = Callable[..., Ended]


def test_there_and_back(run: Run, folder: Path) -> None:
    """Notes on standard error, one line on standard output; info says where the model comes from."""
    sparsae.save("m.npz", make_model("topk", pre_bias=False))
    code, out, err = run("export", "m.npz", "sae", "--format", "sparsify", "--dtype", "float64")
    assert (code, out) == (0, "Model written to sae.\n")
    assert err == "The format subtracts b2 from the input: b1 + W1 b2 was written for b1.\n"
    code, out, err = run("import", "sae", "-o", "again.npz")
    assert (code, out, err) == (0, "Model of 5 inputs and 12 topk units with k = 3 written to again.npz.\n", "")
    np.save("x.npy", np.random.default_rng(0).normal(size=(9, 5)))
    for name in ("m", "again"):
        assert run("encode", f"{name}.npz", "x.npy", "-o", f"{name}.npy").code == 0
    np.testing.assert_allclose(np.load("m.npy"), np.load("again.npy"), rtol=1e-12, atol=1e-12)
    code, out, _ = run("info", "again.npz")
    assert "Imported from sae (sparsify); nothing was trained here." in out
    assert "nan" not in out
    code, out, err = run("export", "again.npz", "sae", "--format", "sparsify", "--force")
    assert (code, err) == (0, "Weights were rounded to float32.\n")


def test_an_imported_model_starts_a_fit(run: Run, folder: Path) -> None:
    """As --initial, like any other model."""
    sparsae.save("m.npz", make_model("sigmoid", output="linear", pre_bias=False))
    assert run("export", "m.npz", "arrays", "--format", "npz").code == 0
    assert run("import", "arrays", "-o", "i.npz").code == 0
    np.save("x.npy", np.random.default_rng(0).normal(size=(30, 5)))
    words = ("--hidden", 12, "--output", "linear", "--max-iter", 2, "--quiet", "-o", "n.npz")
    code, _, err = run("train", "x.npy", "--initial", "i.npz", *words)
    assert code == 0, err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("export m.npz sae", "Missing option '--format'"),
        ("export m.npz sae --format onnx", "'onnx' is not one of 'saelens', 'sparsify', 'npz'"),
        (
            "export m.npz sae --format saelens",
            "SAELens has no sigmoid architecture; it has standard, topk, jumprelu. Export with --format 'npz'.",
        ),
        ("export m.npz there --format npz", "there has weights.npz already, which would be overwritten; use another"),
        ("export m.npz x.npy --format npz", "The folder x.npy cannot be made: File exists"),
        ("export none.npz sae --format npz", "There is no model file none.npz"),
        ("import none", "There is no folder none"),
        ("import x.npy", "x.npy is a file; give the folder that holds the weights"),
        ("import empty", "empty holds none of sae_weights.safetensors (SAELens)"),
        ("import cut", "sae_weights.safetensors is truncated or damaged"),
        ("import cut -o m.npz", "sae_weights.safetensors is truncated or damaged"),
        ("import sound -o m.npz", "m.npz exists and would be overwritten"),
        ("import foreign", "has W_gate, which it should not have"),
    ],
)
def test_a_mistake_is_one_line(run: Run, model: str, folder: Path, words: str, message: str) -> None:
    """Exit code 2, nothing written."""
    for name in ("there", "empty"):
        (folder / name).mkdir()
    (folder / "there" / "weights.npz").write_bytes(b"weights")
    sparsae.save("r.npz", make_model("relu"))
    for name in ("cut", "foreign", "sound"):
        assert run("export", "r.npz", name, "--format", "saelens").code == 0
    weights = folder / "cut" / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    edit_weights(folder / "foreign" / "sae_weights.safetensors", W_gate=np.ones(3, np.float32))
    before = sorted(folder.rglob("*"))
    code, out, err = run(*words.split())
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert message in err
    assert sorted(folder.rglob("*")) == before
