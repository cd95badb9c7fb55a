"""Models to exchange, and forward passes of other projects, written from their documentation with NumPy alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from sparsae import Parameters, TrainResult
from sparsae.data.exchange.portable import PortableModel, as_result

N, P, K = 5, 12, 3
X = np.random.default_rng(9).normal(1, 2, (40, N))


def make_model(activation: Any = "relu", **changes: Any) -> TrainResult:
    """A model of random weights that float32 holds exactly; F-ordered, which a writer must not stumble over."""
    rng = np.random.default_rng(1)
    shapes: list[tuple[int, ...]] = [(P, N), (P,), (N, P), (N,)]
    parts = [np.asfortranarray(rng.normal(size=shape).astype(np.float32)) for shape in shapes]
    if activation in ("jumprelu", "batchtopk"):
        parts.append(np.full(P, 0.25) if activation == "batchtopk" else rng.uniform(0, 1, P).astype(np.float32))
    model = PortableModel(
        parameters=Parameters(*parts),
        activation=activation,
        k=K if activation in ("topk", "batchtopk") else None,
        pre_bias=True,
    ).noted(**changes)
    return as_result(model, source="a test", format_name="random weights")


def largest(z: Any, k: int) -> Any:
    """Zero all but the k largest of each row."""
    kept = np.zeros_like(z)
    index = np.argsort(-z, axis=1, kind="stable")[:, :k]
    np.put_along_axis(kept, index, np.take_along_axis(z, index, axis=1), axis=1)
    return kept


def saelens_forward(folder: Path, x: Any) -> tuple[Any, Any]:
    """Activations and outputs as SAELens 6 computes them from its folder."""
    config = json.loads((folder / "cfg.json").read_text())
    assert config["metadata"]["sae_lens_version"] >= "6.0.0"
    weights = safetensors.numpy.load_file(folder / "sae_weights.safetensors")
    assert {"none"} == {config["normalize_activations"], config["reshape_activations"]}
    z = (x - weights["b_dec"] * config["apply_b_dec_to_input"]) @ weights["W_enc"] + weights["b_enc"]
    if config["architecture"] == "standard":
        a = np.maximum(z, 0)
    elif config["architecture"] == "topk":
        scale = np.linalg.norm(weights["W_dec"], axis=1) if config["rescale_acts_by_decoder_norm"] else 1
        a = np.maximum(largest(z * scale, config["k"]), 0)
        return a, (a / scale) @ weights["W_dec"] + weights["b_dec"]
    else:
        a = np.maximum(z, 0) * (z > weights["threshold"])
    return a, a @ weights["W_dec"] + weights["b_dec"]


def sparsify_forward(folder: Path, x: Any) -> tuple[Any, Any]:
    """Activations and outputs as sparsify computes them from its folder."""
    config = json.loads((folder / "cfg.json").read_text())
    weights = safetensors.numpy.load_file(folder / "sae.safetensors")
    assert config["num_latents"] == len(weights["encoder.weight"])
    assert config["d_in"] == weights["b_dec"].shape[0]
    z = np.maximum((x - weights["b_dec"]) @ weights["encoder.weight"].T + weights["encoder.bias"], 0)
    a = largest(z, config["k"])
    return a, a @ weights["W_dec"] + weights["b_dec"]


def edit_config(folder: Path, **changes: Any) -> None:
    """Write the configuration with other fields; None takes one away."""
    path = folder / "cfg.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


def edit_weights(path: Path, **changes: Any) -> None:
    """Write the weights with other arrays; None takes one away."""
    arrays = safetensors.numpy.load_file(path) | changes
    safetensors.numpy.save_file(
        {name: np.ascontiguousarray(array) for name, array in arrays.items() if array is not None}, path
    )
