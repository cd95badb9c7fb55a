"""`Objective`: cost and gradient of the sparse autoencoder on data that is prepared once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NoReturn, Self, Unpack, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsae.cost import Cost
from sparsae.cost import Evaluation as Evaluation
from sparsae.distributed.dask_data import connect
from sparsae.distributed.engine import cluster_block_rows, make_engine
from sparsae.engine.casting import ParameterCast
from sparsae.engine.data_sample import DataSample, random_parameters
from sparsae.engine.guard import ROWS as GUARD_ROWS
from sparsae.engine.guard import check_kernel, is_third_party
from sparsae.engine.options import ObjectiveOptions as ObjectiveOptions
from sparsae.engine.options import check_option_names as check_option_names
from sparsae.engine.run_receipt import make_receipt
from sparsae.engine.session import Session
from sparsae.engine.setup import draft_problem, resolve_problem
from sparsae.engine.sources import DataSource, common_dtype, data_and_target
from sparsae.engine.storage import Passes, Storage, check_model_memory, choose_storage
from sparsae.errors import ParameterError, UsageError
from sparsae.machine.threads import clamp_threads
from sparsae.model import Parameters, as_theta, check_size
from sparsae.model.checks import check_bool
from sparsae.model.settings import ModelOptions, Sizes, kernel_activation_note, resolve_settings
from sparsae.plugins.autoselect import select_fastest
from sparsae.plugins.contract import Backend
from sparsae.plugins.selection import AUTO, Selected, requested_backend, select
from sparsae.receipt import Receipt


@final
class Objective:
    """Cost and gradient of a sparse autoencoder on fixed data, prepared once and evaluated often.

    Parameters
    ----------
    X : array_like (n_samples, n_visible)
        Samples are rows; never written to.  An array of any memory order, a memory map, a frame, or anything with
        shape, dtype and row slicing (HDF5, Zarr, Dask).  Data that fits the memory share is kept, whatever its
        container; larger data is read block by block.
    n_hidden : int
        Number of hidden units.
    target : array_like (n_samples, n_visible), optional
        What the output should equal; X itself when left out.
    dtype : float32 or float64, optional
        What the kernel computes in.  When left out: float32 for float32 and float16 data, else float64.
        Sums across blocks are float64.
    backend : str or Backend, optional
        Name of the backend; else `use_backend`, ``SPARSAE_BACKEND``, the default.
    threads : int, optional
        Thread budget; else `use_backend`, ``SPARSAE_THREADS``, the CPU budget.
    block_rows : int, optional
        Rows in a block; chosen by the backend, cache size or memory when left out.
    passes : {"auto", 1, 2}
        Passes over the data in an evaluation.  "auto": one where the penalty needs no mean activation; else two while
        activations fit the memory share.
    temporary_copy : bool
        Whether larger data that has to be decoded (Parquet, Zarr, compressed HDF5) is decoded once, into a temporary
        file without a name, and read from there; else in each evaluation.  Mini-batches need it.
    cluster : distributed.Client, str or Connection, optional
        Where evaluations run: a Dask client, the address of a scheduler such as "tls://host:8786", or "local:N" for N
        worker processes here; when left out, the cluster of X where that is of Dask and has one, else this process.
        One pass unless two are asked for; `threads` are those of each worker, its Dask threads when left out.
    **model_options
        What is trained: activation, k, rho, beta, l1, l1_weighted, l0, bandwidth, aux, k_aux, dead_after, pre_bias,
        unit_norm, init, output, weight_decay, as in `sparsae.ModelOptions`.

    Attributes
    ----------
    n_samples, n_visible, n_hidden : int
    settings : ModelSettings
        Every model option, defaults filled in.
    cost : Cost
        The part of them that the cost is made of.
    size : int
        Length of theta.
    evaluations : int
        How many there were.

    Raises
    ------
    DataError, ParameterError, BackendError
        When data, settings or backend cannot be used.
    UsageError
        When it is opened while it is open.

    Notes
    -----
    Threads may share an objective: evaluations are done one at a time.  In the child after a fork it can be used too.
    One that is open keeps its worker threads and thread limits until it is closed, dropped, or the interpreter exits.

    Examples
    --------
    >>> import numpy as np, sparsae
    >>> X = np.full((5, 4), 0.5)
    >>> with sparsae.Objective(X, 2) as objective:
    ...     cost, gradient = objective(np.zeros(objective.size))
    >>> gradient.shape
    (22,)
    """

    def __init__(
        self,
        X: ArrayLike,
        n_hidden: int,
        *,
        target: ArrayLike | None = None,
        dtype: Any = None,
        backend: str | Backend | None = None,
        threads: int | None = None,
        block_rows: int | None = None,
        passes: Passes = "auto",
        temporary_copy: bool = True,
        cluster: Any = None,
        **model_options: Unpack[ModelOptions],
    ) -> None:
        check_option_names(Objective, model_options)
        self.n_hidden = check_size("n_hidden", n_hidden)
        connection, X, target = connect(self, cluster, X, target)
        x, y = data_and_target(X, target, may_copy=check_bool("temporary_copy", temporary_copy))
        self._x, self._target = x, y
        self.n_samples, self.n_visible = x.shape
        check_model_memory(self.n_visible, self.n_hidden)
        self.sample = DataSample(x)
        sizes = Sizes(self.n_visible, self.n_hidden, self.sample.scale)
        self.settings, self._notes = resolve_settings(model_options, sizes)
        self.cost, self.output = Cost.of(self.settings), self.settings.output
        self.size = 2 * self.n_visible * self.n_hidden + self.n_hidden + self.n_visible
        self.size += self.n_hidden if self.settings.activation == "jumprelu" else 0
        self.dtype = common_dtype(x, dtype)
        self.cost.check_dtype(self.dtype)
        self.evaluations = 0
        storage = self._choose_storage(passes, elsewhere=connection is not None)
        options = {"dtype": self.dtype, "block_rows": block_rows, "passes": passes, "threads": threads}
        self.selected = self._select(backend, self.settings.to_dict() | options)
        self.backend = self.selected.backend
        self.grant, self.problem = resolve_problem(
            self.backend,
            draft_problem(self.settings, self.n_visible, self.n_hidden, self.dtype),
            n_samples=self.n_samples,
            threads=threads if connection is None else clamp_threads(threads),
            block_rows=block_rows if connection is None else cluster_block_rows(block_rows, self.backend),
            what=kernel_activation_note(self.settings.activation),
        )
        self.engine = make_engine(
            connection, self.backend, self.problem, (x, y), storage=storage, workers=self.grant.workers, threads=threads
        )
        self._kernel_checked = not is_third_party(self.selected.record)
        self._session = Session(self.engine, self.backend, self.grant)
        self._receipt: Receipt | None = None
        self._cast = ParameterCast(self.n_visible, self.n_hidden, self.dtype, again=connection is None)

    def _choose_storage(self, passes: Passes, *, elsewhere: bool) -> Storage:
        """Choose passes and storage; load rows that are kept here, and check the values of rows in memory.

        Others are checked on the first pass.  The workers of a cluster decide for themselves what they keep.
        """
        sources = [self._x] if self._target is self._x else [self._x, self._target]
        share = 0 if elsewhere else None
        needs_mean = self.cost.needs_mean
        storage = choose_storage(sources, self.n_hidden, self.dtype, passes, two_passes=needs_mean, share=share)
        for source in () if elsewhere else sources:
            if storage.kept:
                source.load()
            if source.in_memory:
                source.check(dtype=self.dtype, unit_range=self.output == "sigmoid" and source is self._target)
        return storage

    def _select(self, backend: str | Backend | None, options: dict[str, Any]) -> Selected:
        """Choose the backend; for "auto" the fastest one that is ready for this problem, on its first rows."""
        how, requested = requested_backend(backend)
        if requested != AUTO:
            return select(backend)
        theta = self.random_parameters().flatten()
        prepared: dict[tuple[str, int], Objective] = {}

        def prepare(name: str, rows: int, stack: ExitStack) -> Callable[[], object]:
            if (name, rows) not in prepared:
                where = slice(0, rows)
                target = None if self._target is self._x else self._target.rows(where, self.dtype)
                X = self._x.rows(where, self.dtype)
                prepared[name, rows] = Objective(X, self.n_hidden, target=target, backend=name, **options)
            objective = stack.enter_context(prepared[name, rows])
            return lambda: objective(theta)

        return select_fastest(how, self.n_samples, prepare, flop_per_row=12.0 * self.n_visible * self.n_hidden)

    def __call__(self, theta: ArrayLike) -> tuple[float, NDArray[np.float64]]:
        """Return cost and flat gradient at flat `theta`, as ``scipy.optimize.minimize(jac=True)`` wants them."""
        found = self.evaluate(theta)
        return found.cost, found.gradient

    def evaluate(self, theta: ArrayLike) -> Evaluation:
        """Return cost, gradient and what they are made of at flat parameters `theta` (size,).

        Raises
        ------
        ParameterError
            When `theta` is no vector of real numbers, or has another length.
        DataError, BackendError
            When data or kernel fail; see `Engine.evaluate`.
        """
        flat = as_theta(theta).astype(np.float64, copy=False)
        parameters = Parameters.from_flat(flat, self.n_visible, self.n_hidden)
        with self._session.evaluation():
            return self._evaluate(flat, parameters)

    def _evaluate(self, flat: NDArray[np.float64], parameters: Parameters) -> Evaluation:
        given = model = parameters if self.dtype == flat.dtype else self._cast(flat, self.engine.run_tasks)
        if self.cost.pre_bias:
            given = model._replace(b1=self.cost.kernel_parameters(parameters).b1.astype(self.dtype, copy=False))
        if self.settings.activation == "batchtopk":
            kept = self.engine.batch_threshold(given, self.settings.k or 0)
            threshold = np.full(self.n_hidden, kept.threshold, self.dtype)
            given, model = given._replace(threshold=threshold), model._replace(threshold=threshold)
        self.check_kernel(model)
        known = self.cost.known_sparsity(parameters)
        sums = self.engine.evaluate(given, self.cost.sparsity if known is None else known)
        self.evaluations += 1
        return self.cost.evaluate(sums, flat, run_tasks=self.engine.run_tasks)

    def check_size(self, theta: NDArray[np.float64]) -> None:
        """Refuse flat parameters of these sizes that have thresholds where the hidden units have none, or none.

        Raises
        ------
        ParameterError
            Says which.
        """
        if theta.size != self.size:
            kind = "with" if theta.size < self.size else "without"
            raise ParameterError(f"activation={self.settings.activation!r} needs parameters {kind} threshold.")

    def random_parameters(self, seed: int | np.random.Generator = 0) -> Parameters:
        """Starting parameters by `init`: b2 is the mean of the data where there is a pre-bias.

        Thresholds start at 0.01 times the root mean square of the data.
        Both are taken from at most 4,096 rows, evenly spaced.
        """
        return random_parameters(self.settings, self.sample, self.n_visible, self.n_hidden, seed)

    @property
    def sources(self) -> tuple[DataSource, DataSource]:
        """Input and target rows: the same object when there is no separate target."""
        return self._x, self._target

    def check_kernel(self, parameters: Parameters) -> None:
        """Compare a third-party kernel with the reference on the first rows, before it is used; once per objective.

        Parameters
        ----------
        parameters : Parameters
            Where to compare, in the objective's dtype: the model's, before a pre-bias is folded in;
            with the threshold of a batch for batch top-k.

        Raises
        ------
        BackendWrongError
            When they disagree by more than rounding explains.
        """
        if self._kernel_checked:
            return
        rows = slice(0, min(GUARD_ROWS, self.n_samples))
        x = self._x.rows(rows, self.dtype)
        target = x if self._target is self._x else self._target.rows(rows, self.dtype)
        check_kernel(self.backend, self.problem, self.cost, parameters, x, target)
        self._kernel_checked = True

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or pickled: kernels, threads and open files belong to one object in one process.

        Raises
        ------
        UsageError
            Always.
        """
        raise UsageError(
            "An Objective cannot be copied or pickled: its kernels and threads belong to this process. "
            "Make one from the data where it is needed, for example in each worker process."
        )

    def __enter__(self) -> Self:
        """Limit the threads of all pools until the end of the block, and keep the worker threads."""
        self._session.open()
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the thread limits and end the worker threads."""
        self._session.close()

    @property
    def receipt(self) -> Receipt:
        """What runs, with what, where; reads the data once for its digest when it is first asked for."""
        if self._receipt is None:
            if not self._session.pools:
                with self:
                    pass
            self._receipt = make_receipt(self.selected, self.grant, self.engine, self._session, self._notes)
        return self._receipt
