"""`PortableModel`: weights and the few settings that decide what a model computes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from sparsae._types import Activation, Array, Output
from sparsae.errors import FileFormatError, ParameterError
from sparsae.model import Parameters, check_parameters
from sparsae.receipt import Receipt, versions
from sparsae.training.result import History, Status, TrainResult
from sparsae.transforms import Transform

NO_HISTORY = (
    "cost",
    "squared_error",
    "weight_decay",
    "sparsity",
    "gradient_max",
    "seconds",
    "evaluation_seconds",
    "explained_variance",
    "l0",
    "dead_share",
)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PortableModel:
    """What a model computes: a2 = f(W1 x + b1), or f(W1 (x - b2) + b1) with `pre_bias`; a3 = g(W2 a2 + b2).

    Attributes
    ----------
    parameters : Parameters
    activation : str
        f: "sigmoid", "relu", "topk" or "jumprelu".
    k : int or None
        Of topk.
    pre_bias : bool
    output : {"sigmoid", "linear"}
        g.
    transform : Transform or None
        What is done to samples first, and undone in outputs.
    notes : tuple of str
        What was changed on the way, for whoever uses it.
    """

    parameters: Parameters
    activation: Activation
    k: int | None = None
    pre_bias: bool = False
    output: Output = "linear"
    transform: Transform | None = None
    notes: tuple[str, ...] = ()

    def noted(self, *notes: str, **changes: Any) -> PortableModel:
        """Return it with changes, and with notes of them."""
        return replace(self, notes=(*self.notes, *notes), **changes)


class Layout(NamedTuple):
    """A model as a format has it, before anything is written.

    Attributes
    ----------
    model : PortableModel
        What the arrays compute, with notes of what was changed.
    config : dict
    arrays : dict of str to ndarray
    """

    model: PortableModel
    config: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


def portable(result: TrainResult) -> PortableModel:
    """Return what a result computes; batch top-k becomes jumprelu with the threshold that it uses after training.

    Raises
    ------
    ParameterError
        When it is no result, or a batch top-k model without a threshold.
    """
    if not isinstance(result, TrainResult):
        raise ParameterError(f"A TrainResult is exported; given {type(result).__name__}.")
    settings, parameters = result.settings, check_parameters(result.parameters)
    activation = settings.get("activation", "sigmoid")
    model = PortableModel(
        parameters=parameters,
        activation=activation,
        k=settings.get("k") if activation == "topk" else None,
        pre_bias=bool(settings.get("pre_bias", False)),
        output=settings.get("output", "sigmoid"),
        transform=result.transform,
    )
    if activation != "batchtopk":
        return model
    if parameters.threshold is None:
        raise ParameterError(
            "This batch top-k model has no threshold yet: train it for an epoch before it is exported."
        )
    return model.noted(
        "Batch top-k is written as jumprelu with the constant threshold that it uses after training.",
        activation="jumprelu",
    )


def as_result(model: PortableModel, *, source: str, format_name: str) -> TrainResult:
    """Return a result that computes what the model does, with a status and a receipt that say where it comes from.

    Raises
    ------
    FileFormatError
        When shapes do not fit together, or values are not finite.
    """
    try:
        parameters = check_parameters(model.parameters)
    except ParameterError as error:
        raise FileFormatError(f"{source} cannot be used: {error}") from error
    if model.k is not None and model.k > parameters.n_hidden:
        raise FileFormatError(f"{source} cannot be used: k = {model.k} exceeds its {parameters.n_hidden} hidden units.")
    settings = {"activation": model.activation, "k": model.k, "pre_bias": model.pre_bias, "output": model.output}
    unknown = {name: np.full(1, np.nan) for name in NO_HISTORY}
    return TrainResult(
        parameters=parameters.astype(np.float64),
        cost=float("nan"),
        history=History(iteration=np.zeros(1, np.int64), evaluations=np.zeros(1, np.int64), **unknown),
        receipt=_receipt_of_nothing(parameters, model.notes),
        status=Status("imported", f"Imported from {source} ({format_name}); nothing was trained here."),
        settings=settings,
        transform=model.transform,
        data={"source": source},
    )


def _receipt_of_nothing(parameters: Parameters, notes: tuple[str, ...]) -> Receipt:
    """Return the receipt of a model that was not trained here."""
    return Receipt(
        backend="none",
        distribution="none",
        distribution_version="",
        contract=0,
        threading="none",
        threads_requested=None,
        threads_granted=0,
        workers=0,
        passes=0,
        block_rows=0,
        n_blocks=0,
        n_segments=0,
        storage="none",
        dtype=str(parameters.W1.dtype),
        n_samples=0,
        n_visible=parameters.n_visible,
        n_hidden=parameters.n_hidden,
        data_digest="",
        versions=versions(()),
        notes=notes,
    )


def folded(model: PortableModel, format_name: str) -> PortableModel:
    """Return the model with its transform folded into the weights, so that it takes and gives raw data.

    Raises
    ------
    ParameterError
        When the transform has no inverse or is not affine, or the output is no linear one.
    """
    transform = model.transform
    if transform is None:
        return model
    affine = transform.affine()
    if affine is None or not transform.invertible:
        raise ParameterError(
            f"{format_name} has no place for the transform {transform.summary}: it cannot be folded into the weights. "
            f"Export with format='npz', or train on data that is transformed before."
        )
    if model.output != "linear":
        raise ParameterError(
            f"{format_name} has no place for the transform {transform.summary} of a model with {model.output} output: "
            f"it can be folded into the weights of a linear output only. Export with format='npz'."
        )
    W1, b1, W2, b2, *threshold = model.parameters.astype(np.float64)
    linear, offset = affine
    diagonal = linear.ndim == 1
    if not model.pre_bias:
        b1 = b1 + W1 @ offset
    W1 = W1 * linear if diagonal else W1 @ linear.T
    W2 = W2 / linear[:, None] if diagonal else np.linalg.solve(linear.T, W2)
    b2 = transform.inverse(b2[None, :])[0]
    return model.noted(
        f"The transform {transform.summary} was folded into the weights: the exported model takes raw data.",
        parameters=Parameters(W1, b1, W2, b2, *threshold),
        transform=None,
    )


def with_pre_bias(model: PortableModel) -> PortableModel:
    """Return the same function with a pre-bias: W1 x + b1 = W1 (x - b2) + (b1 + W1 b2)."""
    if model.pre_bias:
        return model
    W1, b1, W2, b2, *threshold = model.parameters.astype(np.float64)
    return model.noted(
        "The format subtracts b2 from the input: b1 + W1 b2 was written for b1.",
        parameters=Parameters(W1, b1 + W1 @ b2, W2, b2, *threshold),
        pre_bias=True,
    )


def rescaled(model: PortableModel, lengths: Array) -> PortableModel:
    """Return the same outputs with activations multiplied by `lengths` (p,) and decoder columns divided by them."""
    W1, b1, W2, b2, *threshold = model.parameters.astype(np.float64)
    s = lengths.astype(np.float64)
    return replace(model, parameters=Parameters(W1 * s[:, None], b1 * s, W2 / s, b2, *(part * s for part in threshold)))
