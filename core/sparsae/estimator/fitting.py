"""From the estimator's parameters to a fit: at random, from the last model, or on one more portion of the data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast, final

import numpy as np
from sklearn.exceptions import ConvergenceWarning as SklearnConvergenceWarning
from sklearn.utils import check_random_state

from sparsae.errors import ConvergenceWarning, ParameterError
from sparsae.model import check_size
from sparsae.model.checks import check_bool, check_number
from sparsae.model.settings import ModelOptions, default_method
from sparsae.objective import ObjectiveOptions
from sparsae.optimize import Adam, Method, StochasticMethod, get_method
from sparsae.training.checkpoint import SavedFit
from sparsae.training.fit import FinishedFit
from sparsae.training.incremental import IncrementalFit
from sparsae.training.observers import ObserverSet
from sparsae.training.options import FitOptions
from sparsae.training.progress_display import ProgressDisplay
from sparsae.training.result import TrainResult
from sparsae.training.run import run_fit, warn_unless_converged
from sparsae.training.stopping import Stop
from sparsae.transforms import Transform
from sparsae.transforms import fit as fit_transform

OBJECTIVE_OPTIONS = (*ModelOptions.__annotations__, "backend", "threads")
GO_ON = "The model can be used as it is; a larger max_iter, or warm_start=True and another fit, goes on from here."


@final
class EstimatorConvergenceWarning(ConvergenceWarning, SklearnConvergenceWarning):  # type: ignore[misc]  # untyped base
    """Training ended for another reason than convergence; filters of sparsae and of scikit-learn both find it."""


def fit_samples(estimator: Any, samples: Any, before: TrainResult | None, saved: SavedFit | None) -> FinishedFit:
    """Train on samples, from random weights or from those of the last fit.

    Parameters
    ----------
    estimator : SparseAutoencoder
    samples : as `read_samples` returns them
    before : TrainResult or None
        What to start from.
    saved : SavedFit or None
        The state in which that fit ended, which is gone on from where data and settings are the same.
    """
    if before is not None:
        check_sizes(estimator, before, "warm_start=True goes on from")
    options = _fit_options(estimator, _method(estimator), before)
    transform = None if estimator.preprocessing is None else fit_transform(samples, estimator.preprocessing)
    with ProgressDisplay(show=bool(estimator.verbose)) as display:
        finished = run_fit(
            samples if transform is None else transform.view(samples),
            estimator.n_components,
            options,
            _objective_options(estimator),
            observers=ObserverSet(display if estimator.verbose else ()),
            earlier=saved,
            keep_state=bool(estimator.warm_start),
        )
    return finished._replace(result=replace(finished.result, transform=transform))


def begin_portions(estimator: Any, before: TrainResult | None) -> IncrementalFit:
    """Return a fit that takes its data in portions, from random weights or from those of the last fit."""
    method = _method(estimator)
    method = method if isinstance(method, StochasticMethod) else Adam()
    return IncrementalFit(estimator.n_components, _fit_options(estimator, method, before))


def fit_portion(estimator: Any, samples: Any, portions: IncrementalFit, transform: Transform | None) -> TrainResult:
    """Do one pass over one more portion of the data, with the transform of the earlier ones."""
    if transform is None and estimator.preprocessing is not None:
        transform = fit_transform(samples, estimator.preprocessing)
    prepared = samples if transform is None else transform.view(samples)
    return replace(portions.train_on(prepared, **_objective_options(estimator)), transform=transform)


def warn_of_end(result: TrainResult) -> None:
    """Give one warning, of both kinds, when training ended otherwise than by converging."""
    status = result.status
    message = f"{status.summary} {GO_ON}" if status.reason == "iteration limit" else ""
    warn_unless_converged(result, EstimatorConvergenceWarning, message)


def check_sizes(estimator: Any, before: TrainResult, what: str) -> None:
    """Raise `ParameterError` when the model that training goes on from has other sizes."""
    p, n = before.parameters.n_hidden, before.parameters.n_visible
    if (p, n) != (estimator.n_components, estimator.n_features_in_):
        raise ParameterError(
            f"{what} a model of {p} components and {n} features; now there are "
            f"n_components={estimator.n_components} and {estimator.n_features_in_} features. "
            f"A sklearn.base.clone starts afresh."
        )


def draw_seed(random_state: Any) -> int:
    """Return the seed of a fit: an int itself, else a number drawn from the generator, NumPy's global one for None.

    Raises
    ------
    ValueError
        When it is none of these.
    """
    if isinstance(random_state, (int, np.integer)) and not isinstance(random_state, bool):
        return int(random_state)
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    return int(check_random_state(random_state).randint(2**31 - 1))


def _check_own_parameters(estimator: Any) -> None:
    """Raise `ParameterError` about parameters that `train` has under another name, or not at all.

    The others are checked where they are used.
    """
    most = check_size("n_components", estimator.n_components)
    for name, value in (("k", estimator.k), ("k_aux", estimator.k_aux)):
        if isinstance(value, (int, np.integer)) and value > most:
            raise ParameterError(f"{name}={value} exceeds n_components={most}: no row has so many activations.")
    check_number("tol", estimator.tol, least=0)
    for name in ("warm_start", "accept_sparse"):
        check_bool(name, getattr(estimator, name))
    if isinstance(estimator.random_state, (int, np.integer)) and estimator.random_state < 0:
        raise ParameterError(f"random_state must be at least 0; given {estimator.random_state!r}.")


def _method(estimator: Any) -> Method:
    """Return the optimiser: the one that is asked for, else the default of the activation."""
    if estimator.method is None:
        return get_method(default_method({"activation": estimator.activation}))
    return get_method(estimator.method)


def _fit_options(estimator: Any, method: Method, before: TrainResult | None) -> FitOptions:
    _check_own_parameters(estimator)
    return FitOptions.checked(
        method=method,
        max_iter=estimator.max_iter,
        stop=Stop(decrease=estimator.tol),
        seed=draw_seed(estimator.random_state),
        initial=before,
        checkpoint=None,
        resume=False,
    )


def _objective_options(estimator: Any) -> ObjectiveOptions:
    return cast(ObjectiveOptions, {name: getattr(estimator, name) for name in OBJECTIVE_OPTIONS})
