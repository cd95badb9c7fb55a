"""`SparseAutoencoder`: the sparse autoencoder as a scikit-learn transformer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted

from sparsae._types import Activation, Array, Output
from sparsae.encoding import encode
from sparsae.engine.containers import as_matrix
from sparsae.engine.dask_rows import is_dask
from sparsae.estimator.dask_blocks import inverse_blocks, read_dask, score_blocks, transform_blocks
from sparsae.estimator.fitting import begin_portions, check_sizes, fit_portion, fit_samples, warn_of_end
from sparsae.estimator.samples import as_numbers, float_dtypes, is_frame, read_rows, read_samples
from sparsae.model.settings import Init
from sparsae.optimize import Method
from sparsae.plugins.contract import Backend
from sparsae.receipt import Receipt
from sparsae.training.incremental import IncrementalFit
from sparsae.training.result import TrainResult
from sparsae.transforms import Transform

BLOCK_BYTES = 1 << 25  # rows that are scored at a time


@final
class SparseAutoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # untyped bases
    """Features from a sparse autoencoder, as a scikit-learn transformer.

    Parameters
    ----------
    n_components : int
        Number of hidden units, which is the number of features.
    activation : {"sigmoid", "relu", "topk", "batchtopk", "jumprelu"}
        Hidden unit.
    k, rho, beta, l1, l1_weighted, l0, bandwidth, aux, k_aux, dead_after, pre_bias, unit_norm, init, weight_decay
        As in `sparsae.ModelOptions`; None: the default of the activation.
    output : {"linear", "sigmoid"}
        Output unit.  "linear" takes data of any range, such as that of a ``StandardScaler``;
        "sigmoid" needs values in [0, 1].
    preprocessing : str or Transform, or a sequence of them, optional
        Transforms of `sparsae.transforms` that are fitted to the samples and become part of the model, such as
        "standardise" or "scale"; `partial_fit` fits them to the first portion.
    method : str or optimiser, optional
        As in `sparsae.train`; None: the default of the activation.
    max_iter : int
        Iterations of a fit, at most; epochs for mini-batch methods.
    tol : float
        Converged when an iteration lowers the cost by at most this share of it; not for mini-batch methods.
    backend : str or Backend, optional
        Name of the backend; else `use_backend`, ``SPARSAE_BACKEND``, the default.
    threads : int, optional
        Thread budget; else `use_backend`, ``SPARSAE_THREADS``, the CPU budget, which is 1 in a worker of joblib.
    accept_sparse : bool
        Take sparse matrices too: their rows are made dense block by block.  Else they are refused.
    random_state : int, numpy.random.Generator, numpy.random.RandomState or None
        For the starting weights and the order of mini-batches.
    warm_start : bool
        `fit` goes on from the last fit.  With the same data and settings the optimiser goes on from its state, for up
        to `max_iter` further iterations: two fits of 50 iterations are one of 100, bit for bit, unless something
        follows the length of the fit (`dead_after` left out, an optimiser's `decay`).  With others it starts from the
        weights.  The state is kept, and pickled: for L-BFGS it is forty times the size of the weights.
    verbose : int
        0: silent.  Else the progress of `fit` is shown, as by ``sparsae.train(progress=True)``.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
        Encoder weights W1 in the space of the samples: row j is the direction that excites unit j.
    n_iter_ : int
        Iterations done; portions for `partial_fit`.
    cost_ : float
        Cost at the end.
    cost_curve_ : ndarray (n_iter_ + 1,)
        Cost after each iteration, the start included.
    result_ : TrainResult
        Everything about the fit.
    receipt_ : Receipt
        What ran, with what, where.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only where the data had column names.

    Notes
    -----
    A fitted estimator transforms without its backend, also after it was pickled and loaded where there is none.
    In joblib's worker processes BLAS has one thread, and so has sparsae.  In its threads nothing tells a fit of the
    others: use ``threads=1`` there.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sparsae import SparseAutoencoder
    >>> X = StandardScaler().fit_transform(load_iris().data)
    >>> autoencoder = SparseAutoencoder(n_components=6, rho=0.1, max_iter=1000, tol=1e-4, random_state=0)
    >>> autoencoder.fit_transform(X).shape
    (150, 6)
    """

    def __init__(
        self,
        n_components: int = 25,
        *,
        activation: Activation = "sigmoid",
        k: int | None = None,
        rho: float | None = None,
        beta: float | None = None,
        l1: float | None = None,
        l1_weighted: bool | None = None,
        l0: float | None = None,
        bandwidth: float | None = None,
        aux: float | None = None,
        k_aux: int | None = None,
        dead_after: int | None = None,
        pre_bias: bool | None = None,
        unit_norm: bool | None = None,
        init: Init | None = None,
        output: Output = "linear",
        weight_decay: float | None = None,
        preprocessing: str | Transform | Sequence[str | Transform] | None = None,
        method: str | Method | None = None,
        max_iter: int = 400,
        tol: float = 2.2e-9,
        backend: str | Backend | None = None,
        threads: int | None = None,
        accept_sparse: bool = False,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
    ) -> None:
        self.n_components = n_components
        self.activation = activation
        self.k = k
        self.rho = rho
        self.beta = beta
        self.l1 = l1
        self.l1_weighted = l1_weighted
        self.l0 = l0
        self.bandwidth = bandwidth
        self.aux = aux
        self.k_aux = k_aux
        self.dead_after = dead_after
        self.pre_bias = pre_bias
        self.unit_norm = unit_norm
        self.init = init
        self.output = output
        self.weight_decay = weight_decay
        self.preprocessing = preprocessing
        self.method = method
        self.max_iter = max_iter
        self.tol = tol
        self.backend = backend
        self.threads = threads
        self.accept_sparse = accept_sparse
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on samples.

        Parameters
        ----------
        X : array_like, frame or sparse matrix (n_samples, n_features)
            A memory map is read block by block where it is larger than the memory share.  An array or a frame of Dask
            is fitted on its cluster where it has one; then `transform` and `inverse_transform` of Dask are lazy.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        DataError, ParameterError, BackendError
            When data, parameters or backend cannot be used; the first two are ValueErrors.

        Warns
        -----
        ConvergenceWarning
            When training ended otherwise than by converging: scikit-learn's and sparsae's in one.
        """
        before = self._last_fit() if self.warm_start else None
        saved = None if before is None else getattr(self, "_saved", None)
        samples = read_samples(self, X, reset=True)
        self.result_, self._saved = fit_samples(self, samples, before, saved)
        self._portions: IncrementalFit | None = None
        warn_of_end(self.result_)
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Train on one more portion of the data: one pass over it, in mini-batches.

        The optimiser keeps its state between calls.  It is `method` where that has mini-batches, else Adam.
        After a `fit` it starts from the weights of that.  Defaults that follow the data are those of the first portion,
        and units are dead after ten million rows unless `dead_after` says otherwise.

        Parameters
        ----------
        X : array_like, frame or sparse matrix (n_samples, n_features)
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        DataError, ParameterError, BackendError
            As `fit`.
        """
        before = self._last_fit()
        samples = read_samples(self, X, reset=before is None)
        if before is not None:
            check_sizes(self, before, "partial_fit goes on from")
        portions = getattr(self, "_portions", None) or begin_portions(self, before)
        self.result_ = fit_portion(self, samples, portions, None if before is None else before.transform)
        self._portions, self._saved = portions, None
        return self

    def transform(self, X: Any) -> Any:
        """Return the hidden activations (n_samples, n_components): float32 for float32 samples, else float64.

        For an array or a frame of Dask they are a Dask array of the same blocks of rows, not computed yet.

        Raises
        ------
        DataError, ValueError
            When the samples cannot be used, or have other columns than those of the fit.
        sklearn.exceptions.NotFittedError
            Before a fit.
        """
        check_is_fitted(self)
        samples, transform = read_samples(self, X, reset=False), self.result_.transform
        if is_dask(X):
            return transform_blocks(self.result_, samples)
        return encode(self.result_, samples if transform is None else transform.view(samples), threads=self.threads)

    def inverse_transform(self, X: Any) -> Any:
        """Return the samples (n_samples, n_features) that belong to hidden activations (n_samples, n_components).

        Raises
        ------
        DataError, ValueError
            When X is no matrix of finite real numbers with n_components columns.
        sklearn.exceptions.NotFittedError
            Before a fit.
        """
        check_is_fitted(self)
        if is_dask(X):
            return inverse_blocks(self.result_, read_dask(X, lengths=False))
        numbers = as_matrix(X, "X") if is_frame(X) else as_numbers(X)
        activations = check_array(numbers, dtype=float_dtypes(numbers), estimator=self, input_name="X")
        return self.result_.decode(activations)

    def score(self, X: Any, y: Any = None) -> float:
        """Return the negative mean squared error of the reconstruction, per feature: 0 is the best.

        That is - (1 / (n_samples n_features)) sum |X - inverse_transform(transform(X))|^2; where `preprocessing` has no
        inverse, X is what it makes of the samples.

        Parameters
        ----------
        X : array_like, frame or sparse matrix (n_samples, n_features)
        y : ignored

        Raises
        ------
        DataError, ValueError, sklearn.exceptions.NotFittedError
            As `transform`.
        """
        check_is_fitted(self)
        samples, transform = read_samples(self, X, reset=False), self.result_.transform
        if is_dask(X):
            return score_blocks(self.result_, samples)
        total = 0.0
        for rows in self._row_blocks(samples):
            block = read_rows(samples, rows)
            residual = self.result_.reconstruct(block).astype(np.float64)
            residual -= block if transform is None or transform.invertible else transform.apply(block)
            total += float(np.vdot(residual, residual))
        return -total / float(samples.shape[0] * samples.shape[1])

    def plot_features(self, path: Any = None, *, image_shape: tuple[int, int] | None = None, title: str = "") -> Any:
        """Draw the components; see `TrainResult.plot_features`."""
        check_is_fitted(self)
        return self.result_.plot_features(path, image_shape=image_shape, title=title)

    def plot_history(self, path: Any = None, *, title: str = "") -> Any:
        """Draw the cost and its terms against the iterations; see `TrainResult.plot_history`."""
        check_is_fitted(self)
        return self.result_.plot_history(path, title=title)

    @property
    def components_(self) -> Array:
        """Encoder weights W1 (n_components, n_features) in the space of the samples."""
        W1, transform = self.result_.parameters.W1, self.result_.transform
        affine = None if transform is None else transform.affine()
        if affine is None:
            return W1
        return W1 * affine.linear if affine.linear.ndim == 1 else W1 @ affine.linear.T

    @property
    def n_iter_(self) -> int:
        """Iterations done."""
        return self.result_.n_iter

    @property
    def cost_(self) -> float:
        """Cost at the end."""
        return self.result_.cost

    @property
    def cost_curve_(self) -> NDArray[np.float64]:
        """Cost after each iteration (n_iter_ + 1,)."""
        return self.result_.history.cost

    @property
    def receipt_(self) -> Receipt:
        """What ran, with what, where."""
        return self.result_.receipt

    @property
    def _n_features_out(self) -> int:
        return self.result_.parameters.n_hidden

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = bool(self.accept_sparse)
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _last_fit(self) -> TrainResult | None:
        return getattr(self, "result_", None)

    def _row_blocks(self, samples: Any) -> Iterator[slice]:
        """Yield slices of rows whose dense values and activations take `BLOCK_BYTES`, at least one row each."""
        m, n = samples.shape
        step = max(1, BLOCK_BYTES // (8 * (n + self._n_features_out)))
        for start in range(0, m, step):
            yield slice(start, min(start + step, m))
