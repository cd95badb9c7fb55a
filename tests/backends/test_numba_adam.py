"""`numba`'s update of Adam has the bits of NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import sparsae
from sparsae import AdamStep, Problem
from sparsae.optimize import Adam
from sparsae.optimize.adam_update import check_adam, update_chunk
from sparsae.optimize.update import BatchGradient

pytest.importorskip("numba")
from sparsae_backends._memory import InTurns
from sparsae_backends.numba import adam
from sparsae_backends.numba.kernel import NumbaKernel

STEP = AdamStep(1 / 7, 0.05, 0.9, 0.999, 1e-3, 1e-8)
FLUSHED = STEP._replace(flush_first=1e-24, flush_second=1e-24)


@pytest.fixture(scope="module", params=["float64", "float32"])
def numbers(request: pytest.FixtureRequest) -> Any:
    """Parameters, moments, two parts of a gradient: two pieces and a bit."""
    found = np.random.default_rng(0).standard_normal((5, 2 * adam.PIECE + 77)).astype(request.param)
    found[2] = np.square(found[2])
    return found


@pytest.mark.parametrize("decayed", [0, 1, adam.PIECE - 3, adam.PIECE, adam.PIECE + 5, 2 * adam.PIECE + 77])
@pytest.mark.parametrize(("parts", "step"), [(1, STEP), (2, STEP), (2, FLUSHED)])
def test_the_bits_of_numpy(numbers: Any, decayed: int, parts: int, step: AdamStep) -> None:
    """Wherever weights end; with one part and two; flushed or not."""
    given, plain = ([array.copy() for array in numbers[:3]] for _ in range(2))
    g = BatchGradient(tuple(numbers[3 : 3 + parts]), step.scale, step.decay, decayed).vector(plain[0])
    update_chunk(tuple(plain), g, np.empty_like(g), step)
    assert adam.update(tuple(given), tuple(numbers[3 : 3 + parts]), decayed, step)
    for ours, theirs in zip(given, plain, strict=True):
        assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_piece_that_is_not_finite_stays_as_it_was(numbers: Any, bad: float) -> None:
    """The others are updated, and the answer is False."""
    state, part = [array.copy() for array in numbers[:3]], numbers[3].copy()
    part[adam.PIECE + 3] = bad
    assert not adam.update(tuple(state), (part,), 0, STEP)
    here = slice(adam.PIECE, 2 * adam.PIECE)
    for array, before in zip(state, numbers, strict=False):
        assert array[here].tobytes() == before[here].tobytes()
        assert (array[: adam.PIECE] != before[: adam.PIECE]).any()


@pytest.mark.parametrize("k", [None, 2])
def test_both_kernels_have_it(k: int | None) -> None:
    """Dense and top-k units."""
    activation = "sigmoid" if k is None else "topk"
    problem = Problem(n_visible=5, n_hidden=4, dtype=np.dtype(float), activation=activation, k=k, block_rows=48)
    kernel = sparsae.get_backend("numba").kernel(problem)
    assert kernel.has_adam
    check_adam(kernel, np.dtype(np.float32))


@pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning", "ignore::sparsae.errors.ThreadsWarning")
def test_a_fit_has_the_bits_of_numpys_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """More parameters than one chunk, two workers, a clipped gradient."""
    X = np.random.default_rng(1).uniform(0.1, 0.9, (300, 256)).astype(np.float32)
    method = Adam(batch_rows=128, clip=0.5)
    fits = []
    for _ in range(2):
        fits.append(sparsae.train(X, 420, backend="numba", method=method, max_iter=2, threads=2, weight_decay=1e-3))
        monkeypatch.setattr(NumbaKernel, "has_adam", property(lambda self: False))
    assert fits[0].parameters.flatten().tobytes() == fits[1].parameters.flatten().tobytes()


def test_memory_in_turns_is_never_shared() -> None:
    """Three loans that are held at once are three pieces; one that was let go is lent again after the other."""
    turns = InTurns(lambda: np.zeros(100), 2)
    held = [turns.take() for _ in range(3)]
    assert len({loan.what.ctypes.data for loan in held}) == 3
    places = []
    for _ in range(4):
        held.clear()
        places.append(turns.take().what.ctypes.data)
    assert places[0] == places[2] != places[1] == places[3]
    new = InTurns(lambda: np.zeros(100), 0)
    kept = new.take().what
    assert new.take().what is not kept


def fit_of(X: Any, method: Adam, activation: Any, threads: int) -> sparsae.TrainResult:
    """Two epochs."""
    return sparsae.train(X, 420, backend="numba", method=method, max_iter=2, threads=threads, activation=activation)


@pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning", "ignore::sparsae.errors.ThreadsWarning")
@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
def test_one_worker_adds_blocks_in_place_with_the_bits_of_two(activation: str, sums_made: list[int]) -> None:
    """Float32 sums of four blocks: one vector for all of them, or one for each and their sum."""
    X = np.random.default_rng(1).uniform(0.1, 0.9, (512, 256)).astype(np.float32)
    method = Adam(batch_rows=512)
    one, alone = fit_of(X, method, activation, 1), len(sums_made)
    two = fit_of(X, method, activation, 2)
    assert (alone, len(sums_made) - alone >= 2) == (1, True)
    assert any("in 4 blocks on 2 row workers" in note for note in two.receipt.notes)
    assert one.parameters.flatten().tobytes() == two.parameters.flatten().tobytes()
    np.testing.assert_array_equal(one.history.cost, two.history.cost)
