"""`cost_and_gradient`: cost and gradient once, without an objective that is kept."""

from __future__ import annotations

from typing import Unpack

import numpy as np
from numpy.typing import ArrayLike

from sparsae.errors import DataError, OptimizationError
from sparsae.model import Parameters, cast_parameters, check_parameters
from sparsae.objective import Objective, ObjectiveOptions, check_option_names


def cost_and_gradient(
    parameters: Parameters, X: ArrayLike, **options: Unpack[ObjectiveOptions]
) -> tuple[float, Parameters]:
    """Cost of the sparse autoencoder and its gradient, once; for many evaluations prepare an `Objective`.

    Parameters
    ----------
    parameters : Parameters
        Where to evaluate.
    X : array_like (n_samples, n_visible)
        Samples are rows.
    **options
        Those of `Objective`: target, dtype, backend, threads, block_rows, passes, temporary_copy, cluster, activation,
        k, rho, beta, l1, l1_weighted, l0, bandwidth, aux, k_aux, dead_after, pre_bias, unit_norm, init, output,
        weight_decay: as there.  There is no temporary copy unless it is asked for.

    Returns
    -------
    cost : float
    gradient : Parameters
        float64, of the shapes of `parameters`.

    Raises
    ------
    DataError, ParameterError, BackendError
        When data, parameters, settings or backend cannot be used.
    UnknownOptionError
        A TypeError: a keyword that `Objective` does not have.
    OptimizationError
        When cost or gradient overflow.
    """
    check_option_names(cost_and_gradient, options)
    parameters = check_parameters(parameters)
    options.setdefault("temporary_copy", False)  # one evaluation reads the rows once
    objective = Objective(X, parameters.n_hidden, **options)
    if objective.n_visible != parameters.n_visible:
        raise DataError(
            f"X has {objective.n_visible} columns and the parameters are for n_visible={parameters.n_visible}."
        )
    cast_parameters(parameters, objective.dtype)
    theta = parameters.flatten()
    objective.check_size(theta)
    cost, gradient = objective(theta)
    if not (np.isfinite(cost) and np.isfinite(gradient).all()):
        raise OptimizationError(
            f"The cost is {cost:g}, or its gradient is not finite, in {objective.dtype}; "
            f"scale the data, or use smaller parameters."
        )
    return cost, Parameters.from_flat(gradient, objective.n_visible, objective.n_hidden)
