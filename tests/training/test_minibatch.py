"""Mini-batches: their gradient, their order, what is held out, and resuming in the middle of an epoch."""

from __future__ import annotations

import threading
import weakref
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import sparsae
from sparsae import DataError, Objective, train
from sparsae.engine.batch_engine import choose_batch_blocks
from sparsae.optimize import SGD, Adam
from sparsae.optimize.epochs import Epochs
from sparsae.training.checkpoint import load
from sparsae.training.curve import FitCounts, MeteredObjective
from sparsae.training.minibatch import MiniBatches
from sparsae.training.options import FitOptions

Array = NDArray[Any]
QUIET = "ignore::sparsae.ConvergenceWarning"


@pytest.fixture
def data() -> Array:
    return np.random.default_rng(0).uniform(0.1, 0.9, (150, 9))


def bind(method: Any, objective: Objective, seed: int) -> Epochs:
    """The method, bound as a fit binds it."""
    bound: Epochs = method.bind(MeteredObjective(objective, FitCounts()), seed)
    return bound


@pytest.mark.parametrize("output", ["sigmoid", "linear"])
def test_a_mini_batch_of_all_rows_has_the_full_gradient(backend: str, data: Array, output: Any) -> None:
    """With rho_decay 0 and every row, cost and gradient are the objective's, for every backend."""
    if backend == "loop":
        data = data[:20]
    objective = Objective(data, 4, backend=backend, output=output)
    theta = sparsae.Parameters.random(9, 4, seed=1).flatten()
    with objective:
        full = objective.evaluate(theta)
        batches = MiniBatches(objective, 1000)
        batch = batches.gradient(theta, np.arange(len(data)), np.full(4, 0.5), 0.0)
        gradient = batch.gradient.vector(theta)
        again = batches.evaluate(theta, np.arange(len(data)))
    np.testing.assert_allclose(gradient, full.gradient, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose((batch.squared_error, batch.sparsity), (full.terms[0], full.terms[2]), rtol=1e-12)
    np.testing.assert_allclose(batch.rho_hat, full.rho_hat, rtol=1e-12)
    np.testing.assert_allclose(again.terms, full.terms, rtol=1e-12)
    assert again.squared_error_sum == pytest.approx(full.squared_error_sum, rel=1e-12)


def test_the_running_mean_enters_as_documented(data: Array) -> None:
    """Decay times r plus (1 - decay) times the mean; the gradient takes s at that r as a constant."""
    objective = Objective(data, 4, rho=0.2)
    theta, rows, before = sparsae.Parameters.random(9, 4).flatten(), np.arange(3, 40), np.full(4, 0.3)
    with objective:
        batches = MiniBatches(objective, 64)
        batch = batches.gradient(theta, rows, before, 0.75)
        gradient = batch.gradient.vector(theta)
    mean = sparsae.encode(sparsae.Parameters.from_flat(theta, 9, 4), data[rows]).mean(axis=0)
    running = 0.75 * before + 0.25 * mean
    np.testing.assert_allclose(batch.rho_hat, running, rtol=1e-12)
    s = objective.cost.beta * ((1 - 0.2) / (1 - running) - 0.2 / running)

    def surrogate(t: Array) -> float:
        p = sparsae.Parameters.from_flat(t, 9, 4)
        a2 = sparsae.encode(p, data[rows])
        error = np.square(sparsae.decode(p, a2) - data[rows]).sum() / (2 * len(rows))
        return float(error + objective.cost.weight_decay / 2 * np.square(t[:72]).sum() + s @ a2.mean(axis=0))

    for i in (0, 17, 50, 72, 78, 84):
        e = np.zeros_like(theta)
        e[i] = 1e-4
        slope = (surrogate(theta + e) - surrogate(theta - e)) / 2e-4
        assert gradient[i] == pytest.approx(slope, rel=1e-6, abs=1e-9)


def test_every_row_is_used_once_in_an_epoch(data: Array) -> None:
    """Shuffled from the seed, differently in each epoch; the last mini-batch is short."""
    objective = Objective(data, 4)
    with objective:
        epochs = bind(Adam(batch_rows=64), objective, 5)
        state = epochs.init(sparsae.Parameters.random(9, 4).flatten())
        used: list[list[int]] = []
        sizes = []
        for _ in range(6):
            rows = epochs._rows.batch(state.iteration, state.position)
            sizes.append(len(rows))
            used.append(rows.tolist())
            state = epochs.step(state)
    assert sizes == [64, 64, 22] * 2
    assert sorted(chain(*used[:3])) == sorted(chain(*used[3:])) == list(range(150))
    assert used[0] != used[3]
    assert state.iteration == 2


@pytest.mark.parametrize("method", [Adam(batch_rows=16), SGD(batch_rows=40), Adam(batch_rows=16, held_out=0.2)])
@pytest.mark.parametrize("stop", [0, 3, 10, 23])
def test_resuming_in_the_middle_of_an_epoch_gives_the_same_bits(data: Array, method: Any, stop: int) -> None:
    """pack, unpack in a new object, go on: parameters, terms and running mean are those of never having stopped."""

    def run(epochs: Epochs, state: Any, steps: int) -> Any:
        for _ in range(steps):
            state = epochs.step(state)
        return state

    objective = Objective(data, 4)
    theta = sparsae.Parameters.random(9, 4).flatten()
    with objective:
        one = bind(method, objective, 5)
        whole = run(one, one.init(theta), 40)
        part = run(one, one.init(theta), stop)
        arrays = {name: np.array(value) for name, value in one.pack(part).items()}
        two = bind(method, objective, 5)
        resumed = run(two, two.unpack(arrays), 40 - stop)
    assert resumed.theta.tobytes() == whole.theta.tobytes()
    assert resumed.terms == whole.terms
    assert resumed.rho_hat.tobytes() == whole.rho_hat.tobytes()
    assert (resumed.best_cost, resumed.best_epoch) == (whole.best_cost, whole.best_epoch)


@pytest.mark.filterwarnings(QUIET)
def test_held_out_rows_are_never_trained_on_and_end_training(data: Array) -> None:
    """The best parameters on the held-out rows are returned; the status says that they no longer got better."""
    result = train(data, 6, method=Adam(learning_rate=0.05, batch_rows=16, held_out=0.3, patience=4), max_iter=500)
    assert result.status.converged
    assert "held-out cost has not fallen" in result.status.message
    epochs = len(result.history) - 1
    best = train(
        data,
        6,
        method=Adam(learning_rate=0.05, batch_rows=16, held_out=0.3, patience=4),
        max_iter=epochs - 4,
    )
    assert result.parameters.flatten().tobytes() == best.parameters.flatten().tobytes()


def test_held_out_changes_do_not_reach_the_training(data: Array) -> None:
    """Other values in the held-out rows leave every mini-batch of the first epoch as it was."""
    method = Adam(batch_rows=16, held_out=0.2)
    first = Objective(data, 4)
    held = bind(method, first, 0).held_out
    other = data.copy()
    other[held] = 1 - other[held]
    with first, Objective(other, 4) as second:
        states = []
        for objective in (first, second):
            epochs = bind(method, objective, 0)
            state = epochs.init(sparsae.Parameters.random(9, 4).flatten())
            for _ in range(3):
                state = epochs.step(state)
            states.append(state.theta.tobytes())
    assert states[0] == states[1]


def test_too_few_samples_to_hold_some_out(data: Array) -> None:
    """Where the share is less than one sample, the message gives both numbers."""
    with pytest.raises(DataError, match=r"held_out=0.1 of 3 samples leaves none on one side"):
        train(data[:3], 2, method=Adam(held_out=0.1))


@pytest.mark.filterwarnings(QUIET)
def test_mini_batches_read_memory_maps(data: Array, tmp_path: Any) -> None:
    """The same bits from a mapped file as from memory."""
    np.save(tmp_path / "x.npy", data)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    method = Adam(batch_rows=32)
    one = train(data, 4, method=method, max_iter=3, passes=1, block_rows=32)
    two = train(mapped, 4, method=method, max_iter=3, passes=1, block_rows=32)
    assert one.parameters.flatten().tobytes() == two.parameters.flatten().tobytes()


def test_target_rows_go_with_input_rows(data: Array) -> None:
    """Denoising: permuting rows of X and target alike is another order, permuting one of them another problem."""
    objective = Objective(data, 4, target=1 - data)
    theta = sparsae.Parameters.random(9, 4).flatten()
    rows = np.arange(10, 30)
    with objective, Objective(data[rows], 4, target=1 - data[rows]) as part:
        batch = MiniBatches(objective, 64).gradient(theta, rows, np.full(4, 0.5), 0.0)
        np.testing.assert_allclose(batch.gradient.vector(theta), part.evaluate(theta).gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings(QUIET)
def test_threads_change_no_bit_of_mini_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of several blocks on one and on two row workers; the receipt says how many ran."""
    monkeypatch.setattr("sparsae.engine.batch_engine.LEAST_PRODUCTS", 1)
    wide = np.random.default_rng(0).uniform(0.1, 0.9, (700, 9))
    results = [train(wide, 4, method=Adam(batch_rows=300), max_iter=3, threads=threads) for threads in (1, 2)]
    one, two = (result.parameters.flatten().tobytes() for result in results)
    assert one == two
    assert "Mini-batches of 300 rows ran in 2 blocks on 1 row worker." in results[0].receipt.notes
    if results[1].receipt.workers == 2:
        assert "Mini-batches of 300 rows ran in 2 blocks on 2 row workers." in results[1].receipt.notes


def test_blocks_of_a_mini_batch_depend_on_sizes_alone() -> None:
    """Small problems have one block, large ones two, four, eight; backends without row workers one."""
    workers, blas = (Objective(np.full((4, 9), 0.5), 2, backend=name).backend for name in ("fused", "numpy"))

    def blocks(backend: Any, rows: int, n_visible: int, n_hidden: int, asked: int | None = None) -> int:
        problem = sparsae.Problem(n_visible=n_visible, n_hidden=n_hidden, dtype=np.dtype(np.float32), output="sigmoid")
        if asked is not None:
            problem = replace(problem, block_rows=asked)
        elif backend.block_rows is not None:
            problem = replace(problem, block_rows=backend.block_rows(problem))
        return -(-rows // choose_batch_blocks(rows, backend, problem))

    assert blocks(workers, 128, 64, 25) == 1
    assert blocks(workers, 256, 768, 4096) == 2
    assert blocks(workers, 1, 768, 4096) == 1
    assert blocks(workers, 1024, 768, 4096) == 4
    assert blocks(workers, 4096, 768, 4096) == 8  # of 512 rows, the problem's block
    assert blocks(workers, 4096, 64, 25) == 2
    assert blocks(workers, 16384, 64, 25) == 8  # of 2,048 rows
    assert blocks(workers, 4096, 64, 25, asked=400) == 12  # blocks have no more rows than the user asks for
    assert blocks(workers, 4096, 10_000, 1) == 40  # of 104 rows, 4 MB
    assert blocks(blas, 4096, 768, 4096) == 1


@pytest.mark.filterwarnings(QUIET)
def test_workers_of_mini_batches_end_with_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when an observer interrupts it."""
    monkeypatch.setattr("sparsae.engine.batch_engine.LEAST_PRODUCTS", 1)
    wide = np.random.default_rng(0).uniform(0.1, 0.9, (700, 9))

    def interrupted(progress: Any) -> None:
        if progress.iteration == 1:
            raise KeyboardInterrupt

    train(wide, 4, method=Adam(batch_rows=300), max_iter=2, threads=2)
    with pytest.raises(KeyboardInterrupt):
        train(wide, 4, method=Adam(batch_rows=300), max_iter=2, threads=2, observers=interrupted)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sparsae")]


@pytest.mark.filterwarnings(QUIET)
@pytest.mark.parametrize("state_dtype", ["float32", "float64"])
def test_the_state_has_the_dtype_asked_for_and_resumes_bit_for_bit(
    data: Array, tmp_path: Any, state_dtype: str
) -> None:
    """The checkpoint holds it; the result has float64 parameters in any case."""
    method = Adam(batch_rows=32, state_dtype=state_dtype)
    whole = train(data, 4, method=method, max_iter=6)
    train(data, 4, method=method, max_iter=2, checkpoint=tmp_path / "c")
    assert load(tmp_path / "c").arrays["theta"].dtype == state_dtype
    resumed = train(data, 4, method=method, max_iter=6, checkpoint=tmp_path / "c", resume=True)
    assert resumed.parameters.flatten().tobytes() == whole.parameters.flatten().tobytes()
    assert resumed.parameters.W1.dtype == np.float64


@pytest.mark.filterwarnings(QUIET)
def test_a_progress_keeps_its_parameters(data: Array) -> None:
    """One that an observer has kept gives the parameters of its own iteration, also much later."""
    kept: list[sparsae.Progress] = []
    at_once: list[bytes] = []

    def watch(progress: sparsae.Progress) -> None:
        kept.append(progress)
        at_once.append(progress.parameters.flatten().tobytes())

    train(data, 4, method=Adam(batch_rows=32), max_iter=3, observers=watch)
    assert [progress.parameters.flatten().tobytes() for progress in kept] == at_once
    assert len(set(at_once)) == 4


@pytest.mark.filterwarnings(QUIET)
def test_a_fit_keeps_no_copy_of_its_start(data: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    """The starting parameters, in float64, are gone when the first epoch ends: only the state's copy is left."""
    starts: list[weakref.ref[Any]] = []
    alive: list[bool] = []
    start = FitOptions.start

    def spy(options: FitOptions, objective: Objective) -> Any:
        theta, seed = start(options, objective)
        starts.append(weakref.ref(theta))
        return theta, seed

    monkeypatch.setattr(FitOptions, "start", spy)
    method = Adam(batch_rows=50, evaluate_start=True)
    train(data, 4, method=method, max_iter=2, observers=[lambda progress: alive.append(starts[0]() is not None)])
    assert alive == [False] * 3


@pytest.mark.filterwarnings(QUIET, "ignore::sparsae.errors.ThreadsWarning")
@pytest.mark.parametrize(("rows", "batch_rows"), [(5, 128), (7, 1), (7, 3), (1, 1), (2, 2)])
def test_few_rows_and_more_workers_than_rows(rows: int, batch_rows: int, data: Array) -> None:
    """Fewer rows than a mini-batch, mini-batches of one row, a last one of one row: the same bits for 8 workers."""
    method = Adam(batch_rows=batch_rows)
    fits = [train(data[:rows], 4, method=method, max_iter=3, backend="fused", threads=n) for n in (1, 8)]
    assert np.isfinite(fits[0].history.cost).all()
    assert fits[0].history.evaluations[-1] >= 3 * -(-rows // batch_rows)
    assert fits[0].parameters.flatten().tobytes() == fits[1].parameters.flatten().tobytes()
