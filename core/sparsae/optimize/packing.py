"""States as named arrays, as checkpoints hold them, and checks of what a file gives back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsae._types import MOST_COUNTED
from sparsae.cost import Evaluation, Terms
from sparsae.errors import ParameterError

Arrays = Mapping[str, NDArray[Any]]


def pack_evaluation(evaluation: Evaluation) -> dict[str, NDArray[Any]]:
    """Return an evaluation as named arrays."""
    return {f"evaluation.{name}": np.asarray(value) for name, value in evaluation._asdict().items()}


def unpack_evaluation(arrays: Arrays) -> Evaluation:
    """Undo `pack_evaluation`, with copies of the arrays.

    Raises
    ------
    KeyError, ParameterError
        When one is missing or has another shape.
    """
    size, units = len(arrays["theta"]), arrays["evaluation.rho_hat"].shape[:1]
    shapes = {"cost": (), "gradient": (size,), "terms": (3,), "squared_error_sum": (), "density": units}
    check_packed(arrays, {f"evaluation.{name}": shape for name, shape in {**shapes, "rho_hat": units}.items()})
    values = {name: np.array(arrays[f"evaluation.{name}"]) for name in Evaluation._fields}
    return Evaluation(
        cost=float(values["cost"]),
        gradient=values["gradient"],
        terms=Terms(*map(float, values["terms"])),
        rho_hat=values["rho_hat"],
        squared_error_sum=float(values["squared_error_sum"]),
        density=values["density"],
    )


def check_packed(arrays: Arrays, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check shapes of packed arrays, and that they are numbers.

    Raises
    ------
    KeyError, ParameterError
        When one is missing, or is another than this.
    """
    for name, shape in shapes.items():
        if arrays[name].shape != shape or arrays[name].dtype.kind not in "fib":
            raise ParameterError(f"{name} has shape {arrays[name].shape} and dtype {arrays[name].dtype}, not {shape}")


def unpack_counts(counts: NDArray[Any], number: int) -> list[int]:
    """Return packed counts as integers.

    Raises
    ------
    ParameterError
        When there are more or fewer, or one is negative or larger than anything that is counted.
    """
    if counts.shape != (number,) or counts.dtype.kind != "i" or min(counts) < 0 or max(counts) >= MOST_COUNTED:
        raise ParameterError(f"counts are {counts.tolist()}")
    return [int(count) for count in counts]
