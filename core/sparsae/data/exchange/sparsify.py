"""sparsify: ``cfg.json`` and ``sae.safetensors``; top-k with a pre-bias, always.

Source: https://github.com/EleutherAI/sparsify, sparsify/sparse_coder.py and sparsify/config.py.
Its encoder.weight is W1, its W_dec is W2'.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sparsae.data.exchange.files import (
    check_arrays,
    check_shapes,
    read_config,
    read_safetensors,
)
from sparsae.data.exchange.portable import Layout, PortableModel, folded, with_pre_bias
from sparsae.errors import FileFormatError, ParameterError
from sparsae.model import Parameters

NAME = "sparsify"
CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
NAMES = ("encoder.weight", "encoder.bias", "W_dec", "b_dec")
UNIT = 1e-3  # how far the length of a decoder's column may be from 1 to be called normalised
SWITCHES = ("skip_connection", "transcode", "embed_skip", "gram_lookup")


def lay_out(model: PortableModel, dtype: np.dtype[Any]) -> Layout:
    """Return configuration and weights as sparsify has them.

    Raises
    ------
    ParameterError
        When it is no top-k model with linear output.
    """
    if model.activation != "topk" or model.output != "linear":
        raise ParameterError(
            f"sparsify has top-k units and a linear output alone; this model has {model.activation} units and "
            f"{model.output} output. Export with format='saelens' or 'npz'."
        )
    model = with_pre_bias(folded(model, NAME))
    W1, b1, W2, b2 = model.parameters.astype(dtype)
    p, n = W1.shape
    lengths = np.linalg.norm(W2.astype(np.float64), axis=0)
    config = {
        "activation": "topk",
        "expansion_factor": p // n if p % n == 0 else 32,  # num_latents decides
        "normalize_decoder": bool((np.abs(lengths - 1) < UNIT).all()),
        "num_latents": p,
        "k": model.k,
        "multi_topk": False,
        "skip_connection": False,
        "transcode": False,
        "d_in": n,
    }
    return Layout(model, config, dict(zip(NAMES, (W1, b1, W2.T, b2), strict=True)))


def read(folder: Path) -> PortableModel:
    """Read the two files.

    Raises
    ------
    FileMissingError, FileFormatError, MissingExtraError
        When one is missing, damaged, or has parts that sparsae does not have, or a library is missing.
    """
    path, weights = folder / CONFIG, folder / WEIGHTS
    config = read_config(path)
    if config.get("activation", "topk") != "topk":
        raise FileFormatError(f"{path} has the activation {config['activation']!r}; known is topk.")
    for switch in SWITCHES:
        if config.get(switch):
            raise FileFormatError(f"{path} has {switch}, which sparsae does not have.")
    k = config.get("k")
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise FileFormatError(f"{path} has k = {k!r}; a topk model needs a positive integer.")
    arrays, notes = read_safetensors(weights)
    check_arrays(weights, arrays, NAMES, ())
    W1 = arrays["encoder.weight"]
    if W1.ndim != 2 or config.get("d_in", W1.shape[1]) != W1.shape[1]:
        raise FileFormatError(f"{weights}: encoder.weight has shape {W1.shape}; d_in is {config.get('d_in')!r}.")
    p, n = W1.shape
    check_shapes(weights, arrays, {"encoder.bias": (p,), "W_dec": (p, n), "b_dec": (n,)})
    return PortableModel(
        parameters=Parameters(W1, arrays["encoder.bias"], arrays["W_dec"].T, arrays["b_dec"]),
        activation="topk",
        k=k,
        pre_bias=True,
        notes=notes,
    )
