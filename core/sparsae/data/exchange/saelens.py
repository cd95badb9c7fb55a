"""SAELens 6: ``cfg.json`` and ``sae_weights.safetensors``.

Source: https://github.com/decoderesearch/SAELens, sae_lens/saes and sae_lens/loading/pretrained_sae_loaders.py.
Its W_enc is W1', its W_dec is W2'.  Loading is strict about the names of weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsae._types import Activation
from sparsae.data.exchange.files import (
    check_arrays,
    check_shapes,
    read_config,
    read_safetensors,
)
from sparsae.data.exchange.portable import Layout, PortableModel, folded, rescaled
from sparsae.errors import FileFormatError, ParameterError
from sparsae.model import Parameters
from sparsae.version import __version__

NAME = "SAELens"
CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
ARCHITECTURES: dict[Activation, str] = {"relu": "standard", "topk": "topk", "jumprelu": "jumprelu"}
FORMAT_VERSION = "6.0.0"  # older ones are read by a path that once took top-k for relu (SAELens #553)


def lay_out(model: PortableModel, dtype: np.dtype[Any]) -> Layout:
    """Return configuration and weights as SAELens has them.

    Raises
    ------
    ParameterError
        When SAELens has no such architecture.
    """
    if model.activation not in ARCHITECTURES:
        raise ParameterError(
            f"SAELens has no {model.activation} architecture; it has {', '.join(ARCHITECTURES.values())}. "
            f"Export with format='npz'."
        )
    if model.output != "linear":
        raise ParameterError(f"SAELens has no {model.output} output, only a linear one. Export with format='npz'.")
    model = folded(model, NAME)
    W1, b1, W2, b2, *threshold = model.parameters.astype(dtype)
    arrays: dict[str, NDArray[Any]] = {"W_enc": W1.T, "b_enc": b1, "W_dec": W2.T, "b_dec": b2}
    if model.activation == "jumprelu":
        (arrays["threshold"],) = threshold
    p, n = W1.shape
    config: dict[str, Any] = {
        "architecture": ARCHITECTURES[model.activation],
        "d_in": n,
        "d_sae": p,
        "dtype": dtype.name,
        "device": "cpu",
        "apply_b_dec_to_input": model.pre_bias,
        "normalize_activations": "none",
        "reshape_activations": "none",
    }
    if model.activation == "topk":
        config |= {"k": model.k, "rescale_acts_by_decoder_norm": False}
    config["metadata"] = {
        "sae_lens_version": FORMAT_VERSION,
        "sae_lens_training_version": None,
        "trained_with": f"sparsae {__version__}",
    }
    return Layout(model, config, arrays)


def read(folder: Path) -> PortableModel:
    """Read the two files.

    Raises
    ------
    FileMissingError, FileFormatError, MissingExtraError
        When one is missing, damaged or of an architecture that is not known, or a library is missing.
    """
    path, weights = folder / CONFIG, folder / WEIGHTS
    config = read_config(path)
    architecture, k = _architecture(path, config)
    _check_settings(path, config)
    arrays, notes = read_safetensors(weights)
    names = ["W_enc", "b_enc", "W_dec", "b_dec", *(["threshold"] if architecture == "jumprelu" else [])]
    check_arrays(weights, arrays, names, ["scaling_factor"])
    if "scaling_factor" in arrays and not (arrays["scaling_factor"] == 1).all():
        raise FileFormatError(f"{weights} has a scaling_factor of its own, which is not supported.")
    if arrays["W_enc"].ndim != 2:
        raise FileFormatError(f"{weights}: W_enc has shape {arrays['W_enc'].shape}; expected (d_in, d_sae).")
    n, p = (
        _size(path, config, field, length)
        for field, length in zip(("d_in", "d_sae"), arrays["W_enc"].shape, strict=True)
    )
    shapes = {"W_enc": (n, p), "b_enc": (p,), "W_dec": (p, n), "b_dec": (n,), "threshold": (p,)}
    check_shapes(weights, arrays, {name: shapes[name] for name in names})
    threshold = (arrays["threshold"],) if architecture == "jumprelu" else ()
    model = PortableModel(
        parameters=Parameters(arrays["W_enc"].T, arrays["b_enc"], arrays["W_dec"].T, arrays["b_dec"], *threshold),
        activation={name: ours for ours, name in ARCHITECTURES.items()}[architecture],
        k=k,
        pre_bias=bool(config.get("apply_b_dec_to_input", True)),
        notes=notes,
    )
    return _as_ours(model, config)


def _as_ours(model: PortableModel, config: Mapping[str, Any]) -> PortableModel:
    """Return the model with what SAELens does and sparsae does not folded into the weights."""
    if model.activation == "topk" and config.get("rescale_acts_by_decoder_norm", False):
        lengths = np.linalg.norm(model.parameters.W2.astype(np.float64), axis=0)
        model = rescaled(model, lengths).noted(
            "rescale_acts_by_decoder_norm was folded into the weights: columns of W2 have unit length."
        )
    threshold = model.parameters.threshold
    if threshold is not None and (threshold < 0).any():  # a relu comes before the threshold there
        W1, b1, W2, b2, _ = model.parameters
        model = model.noted(
            f"{int((threshold < 0).sum())} negative thresholds were set to 0, which is what they mean behind a relu.",
            parameters=Parameters(W1, b1, W2, b2, np.maximum(threshold, 0)),
        )
    return model


def _architecture(path: Path, config: Mapping[str, Any]) -> tuple[str, int | None]:
    """Return architecture and k; before version 6 top-k was an activation function of the standard architecture."""
    architecture = config.get("architecture", "standard")
    function = config.get("activation_fn", config.get("activation_fn_str", "relu"))
    k = config.get("k")
    if architecture == "standard" and function == "topk":
        options = config.get("activation_fn_kwargs")
        architecture, k = "topk", options.get("k") if isinstance(options, Mapping) else None
    elif function not in ("relu", "topk", None):
        raise FileFormatError(f"{path} has the activation function {function!r}; known are relu and topk.")
    if architecture not in ARCHITECTURES.values():
        raise FileFormatError(
            f"{path} has the architecture {architecture!r}; known are {', '.join(ARCHITECTURES.values())}."
        )
    if architecture != "topk":
        return architecture, None
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise FileFormatError(f"{path} has k = {k!r}; a topk model needs a positive integer.")
    return architecture, k


def _check_settings(path: Path, config: Mapping[str, Any]) -> None:
    """Raise `FileFormatError` for settings that would change what the model computes and are not supported."""
    if config.get("normalize_activations") not in (None, "none", False):
        raise FileFormatError(
            f"{path} has normalize_activations {config['normalize_activations']!r}; fold the scaling into the weights "
            f"first (fold_activation_norm_scaling_factor in SAELens)."
        )
    if config.get("reshape_activations", "none") not in ("none", "hook_z"):
        raise FileFormatError(f"{path} has reshape_activations {config['reshape_activations']!r}; known is none.")
    if config.get("finetuning_scaling_factor"):
        raise FileFormatError(f"{path} has a finetuning_scaling_factor, which is not supported.")


def _size(path: Path, config: Mapping[str, Any], field: str, length: int) -> int:
    if config.get(field) != length:
        raise FileFormatError(f"{path} has {field} = {config.get(field)!r} and the weights have {length}.")
    return length
