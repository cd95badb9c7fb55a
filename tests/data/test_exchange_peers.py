"""Models of dictionary_learning, whose weights are torch files: read without running anything in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.exchange_models import K, N, P, X

from sparsae.data.exchange import import_model
from sparsae.errors import FileFormatError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers


def write(folder: Path, kind: str, **changes: Any) -> dict[str, Any]:
    """Weights and configuration as its trainers write them; returns the weights."""
    generator = torch.Generator().manual_seed(5)
    bias = {"AutoEncoder": "bias", "AutoEncoderNew": "decoder.bias"}.get(kind, "b_dec")
    shapes = {"encoder.weight": (P, N), "encoder.bias": (P,), "decoder.weight": (N, P), bias: (N,)}
    weights = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    if kind in ("AutoEncoderTopK", "BatchTopKSAE"):
        weights |= {"k": torch.tensor(K, dtype=torch.int), "threshold": torch.tensor(0.4)}
    weights |= changes
    weights = {name: tensor for name, tensor in weights.items() if tensor is not None}
    torch.save(weights, folder / "ae.pt")
    (folder / "config.json").write_text(json.dumps({"trainer": {"dict_class": kind, "k": K}, "buffer": {}}))
    return weights


def forward(kind: str, weights: dict[str, Any], x: Any) -> tuple[Any, Any]:
    """Activations and outputs as its classes compute them, in torch."""
    bias = weights.get("b_dec", weights.get("bias"))
    shift = torch.zeros(N) if kind == "AutoEncoderNew" else bias
    f = torch.relu(torch.nn.functional.linear(x - shift, weights["encoder.weight"], weights["encoder.bias"]))
    if kind == "AutoEncoderTopK":
        top = f.topk(K, dim=-1)
        f = torch.zeros_like(f).scatter_(-1, top.indices, top.values)
    if kind == "BatchTopKSAE":
        f = f * (f > weights["threshold"])
    return f, f @ weights["decoder.weight"].T + (weights["decoder.bias"] if kind == "AutoEncoderNew" else bias)


@pytest.mark.parametrize("kind", ["AutoEncoder", "AutoEncoderNew", "AutoEncoderTopK", "BatchTopKSAE"])
def test_its_forward_pass_gives_our_numbers(tmp_path: Path, kind: str) -> None:
    """The same bits of weights, the same activations and reconstruction."""
    weights = write(tmp_path, kind)
    result = import_model(tmp_path)
    np.testing.assert_array_equal(result.parameters.W1, weights["encoder.weight"].numpy())
    np.testing.assert_array_equal(result.parameters.W2, weights["decoder.weight"].numpy())
    a, out = forward(kind, weights, torch.tensor(X, dtype=torch.float32))
    np.testing.assert_allclose(result.encode(X.astype(np.float32)), a, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(result.reconstruct(X.astype(np.float32)), out, rtol=1e-4, atol=1e-4)
    assert 0 < int((a > 0).sum()) < a.numel()


def test_a_threshold_that_was_never_set_means_relu(tmp_path: Path) -> None:
    """It starts at -1, which every positive activation exceeds; said in a note."""
    weights = write(tmp_path, "BatchTopKSAE", threshold=torch.tensor(-1.0))
    result = import_model(tmp_path)
    a, _ = forward("BatchTopKSAE", weights, torch.tensor(X, dtype=torch.float32))
    np.testing.assert_allclose(result.encode(X.astype(np.float32)), a, rtol=1e-4, atol=1e-5)
    assert result.receipt.notes == (
        "The threshold was never set in training: every positive activation counts, as in relu.",
    )


def test_half_precision_is_converted_and_said(tmp_path: Path) -> None:
    """bfloat16, which NumPy lacks."""
    weights = write(tmp_path, "AutoEncoder")
    torch.save({name: tensor.to(torch.bfloat16) for name, tensor in weights.items()}, tmp_path / "ae.pt")
    result = import_model(tmp_path)
    exact = weights["encoder.weight"].to(torch.bfloat16).to(torch.float64).numpy()
    np.testing.assert_array_equal(result.parameters.W1, exact)
    assert result.receipt.notes == ("bfloat16 weights of ae.pt were converted to float32.",)


class Bomb:
    """What runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("old", [False, True])
def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, *, old: bool) -> None:
    """In either format of torch.save; it does not run; the message has the way to convert it."""
    write(tmp_path, "AutoEncoder")
    bomb = {"bias": Bomb(tmp_path / "exploded")}
    torch.save(bomb, tmp_path / "ae.pt", _use_new_zipfile_serialization=not old)
    with pytest.raises(FileFormatError, match=r"holds more than tensors and would run code .*convert it: load it with"):
        import_model(tmp_path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("AutoEncoder", {"bias": None}, "lacks bias; expected are"),
        ("AutoEncoder", {"gate": torch.zeros(3)}, "has gate, which it should not have"),
        ("AutoEncoder", {"bias": torch.zeros(N, dtype=torch.int)}, "bias has dtype int32; weights are floats"),
        ("AutoEncoder", {"encoder.weight": torch.zeros(P)}, r"encoder.weight has shape \(12,\)"),
        ("AutoEncoder", {"decoder.weight": torch.zeros(P, N)}, r"decoder.weight \(12, 5\), not \(5, 12\)"),
        ("AutoEncoder", {"bias": torch.full((N,), float("nan"))}, "b2 contains 5 values that are not finite"),
        ("AutoEncoderTopK", {"k": torch.tensor(0)}, "has k = 0; a topk model needs"),
        ("AutoEncoderTopK", {"k": torch.tensor([1, 2])}, r"has k = \[1, 2\]"),
        ("AutoEncoderTopK", {"k": torch.tensor(99)}, "k = 99 exceeds its 12 hidden units"),
        ("BatchTopKSAE", {"threshold": None}, "has no threshold, which a BatchTopKSAE needs"),
        ("BatchTopKSAE", {"threshold": torch.zeros(3)}, "has no threshold, which a BatchTopKSAE needs"),
    ],
    ids=str,
)
def test_foreign_weights_are_refused(tmp_path: Path, kind: str, changes: dict[str, Any], message: str) -> None:
    """In one line that names the file."""
    write(tmp_path, kind, **changes)
    with pytest.raises(FileFormatError, match=message) as caught:
        import_model(tmp_path)
    assert "\n" not in str(caught.value)


def test_what_is_no_dict_of_tensors_is_refused(tmp_path: Path) -> None:
    """A tensor, a dict of numbers, a damaged file; a k that only the configuration has is taken from there."""
    write(tmp_path, "AutoEncoderTopK", k=None)
    assert import_model(tmp_path).settings["k"] == K
    for content in (torch.zeros(3), {"bias": 3}, [torch.zeros(3)]):
        torch.save(content, tmp_path / "ae.pt")
        with pytest.raises(FileFormatError, match=r"is no dict of tensors, as torch\.save"):
            import_model(tmp_path)
    write(tmp_path, "AutoEncoder")
    whole = (tmp_path / "ae.pt").read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 10):
        (tmp_path / "ae.pt").write_bytes(whole[:cut])
        with pytest.raises(FileFormatError, match=r"ae.pt is truncated or damaged|is empty|holds more than tensors"):
            import_model(tmp_path)
