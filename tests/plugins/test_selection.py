"""Argument before context before environment before default; never a silent fallback."""

import asyncio
import re
import threading
from types import SimpleNamespace

import numpy as np
import pytest

import sparsae
from sparsae import errors
from sparsae.plugins import autoselect, selection
from sparsae.plugins.autoselect import fastest


def test_argument_before_context_before_environment_before_default(monkeypatch):
    """Each level is used only where those before it are silent."""
    monkeypatch.delenv("SPARSAE_BACKEND", raising=False)
    assert (selection.select().backend.name, selection.select().how) == (selection.default_backend(), "default")
    monkeypatch.setenv("SPARSAE_BACKEND", "loop")
    assert (selection.select().backend.name, selection.select().how) == ("loop", "environment")
    with sparsae.use_backend("numpy"):
        assert (selection.select().backend.name, selection.select().how) == ("numpy", "context")
        assert (selection.select("dot").backend.name, selection.select("dot").how) == ("dot", "argument")
        with sparsae.use_backend(threads=3):
            assert selection.select().backend.name == "numpy"
            assert selection.requested_threads() == 3
    assert selection.requested_threads() is None


@pytest.fixture
def default(monkeypatch):
    """Nothing is chosen or disabled; what is known of numba is forgotten before and after."""
    monkeypatch.delenv("SPARSAE_BACKEND", raising=False)
    monkeypatch.delenv("SPARSAE_DISABLE", raising=False)
    selection._why_not_imported.cache_clear()
    yield monkeypatch
    selection._why_not_imported.cache_clear()


def numba_that(outcome, told_not_to=False):
    """An import of numba that succeeds, or raises."""

    def import_module(name):
        if isinstance(outcome, Exception):
            raise outcome
        return SimpleNamespace(config=SimpleNamespace(DISABLE_JIT=told_not_to))

    return import_module


def test_the_compiled_backend_is_the_default_where_it_is_installed(default):
    """Whatever is compiled already and however many CPUs there are: the choice decides bits."""
    default.setattr(selection, "find_spec", lambda name: object())
    default.setattr(selection, "import_module", numba_that("works"))
    assert selection.default_backend() == "numba"
    assert selection.why_default() == (
        "Backend 'numba' is the default, since it is installed; it compiles for some seconds when a machine uses it "
        "first. 'fused' is ready at once."
    )
    default.setenv("SPARSAE_DISABLE", "numba")
    assert selection.default_backend() == "fused"
    assert selection.why_default() == "Backend 'fused' is the default: numba is disabled."


@pytest.mark.parametrize(
    ("spec", "importing", "reason"),
    [
        (None, numba_that("works"), "numba is not installed"),
        (
            object(),
            numba_that(ImportError("Numba needs NumPy 2.2 or less")),
            r"numba cannot be imported \(ImportError: N",
        ),
        (object(), numba_that("works", told_not_to=True), "numba is told not to compile, by NUMBA_DISABLE_JIT"),
    ],
)
def test_what_keeps_numba_from_being_the_default_is_said(default, spec, importing, reason):
    """In the receipt, and nothing of a backend that was asked for."""
    default.setattr(selection, "find_spec", lambda name: spec)
    default.setattr(selection, "import_module", importing)
    X = np.full((5, 3), 0.5)
    receipt = sparsae.Objective(X, 2).receipt
    assert receipt.backend == "fused"
    assert any(re.match(f"Backend 'fused' is the default: {reason}", note) for note in receipt.notes)
    assert "default" not in " ".join(sparsae.Objective(X, 2, backend="fused").receipt.notes)


@pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning")
def test_a_fit_with_numba_by_default(default):
    """The whole way, and its receipt says why."""
    pytest.importorskip("numba")
    result = sparsae.train(np.random.default_rng(0).random((30, 5)), 3, max_iter=2)
    assert result.receipt.backend == "numba"
    assert selection.why_default() in result.receipt.notes


def test_use_backend_without_with_takes_effect_at_once_and_can_be_restored(monkeypatch):
    """The handle restores what was before, once; in a with block it works again; unknown names are refused at once."""
    monkeypatch.delenv("SPARSAE_BACKEND", raising=False)
    choice = sparsae.use_backend("numpy", threads=3)
    try:
        assert (sparsae.get_backend().name, selection.requested_threads()) == ("numpy", 3)
        with sparsae.use_backend("dot") as inner:
            assert (sparsae.get_backend().name, selection.requested_threads()) == ("dot", 3)
        assert sparsae.get_backend().name == "numpy"
        with inner:
            assert sparsae.get_backend().name == "dot"
    finally:
        choice.restore()
    choice.restore()
    assert (sparsae.get_backend().name, selection.requested_threads()) == (selection.default_backend(), None)
    with pytest.raises(errors.BackendNotFoundError, match="No backend named 'nunpy'; did you mean 'numpy'"):
        sparsae.use_backend("nunpy")
    with pytest.raises(sparsae.ParameterError, match="threads must be an integer of at least 1, not 0"):
        sparsae.use_backend("numpy", threads=0)
    assert sparsae.get_backend().name == selection.default_backend()


def test_context_ends_with_an_exception_and_stays_in_its_thread_and_task(monkeypatch):
    """Another thread and another task do not see it."""
    monkeypatch.delenv("SPARSAE_BACKEND", raising=False)
    seen = []

    def fail():
        with sparsae.use_backend("loop"):
            thread = threading.Thread(target=lambda: seen.append(selection.select().backend.name))
            thread.start()
            thread.join()
            raise RuntimeError("x")

    with pytest.raises(RuntimeError, match="x"):
        fail()

    async def inside():
        with sparsae.use_backend("loop"):
            await asyncio.sleep(0.01)

    async def outside():
        seen.append(selection.select().backend.name)

    async def both():
        await asyncio.gather(inside(), outside())

    asyncio.run(both())
    assert [*seen, selection.select().backend.name] == [selection.default_backend()] * 3


def test_a_misspelt_name_is_refused_with_the_nearest(monkeypatch):
    """Whoever asked for it is named too."""
    with pytest.raises(errors.BackendNotFoundError, match=r"No backend named 'fussed'; did you mean 'fused'\? Avail"):
        sparsae.get_backend("fussed")
    with (
        pytest.raises(errors.BackendNotFoundError, match="No backend named 'fussed'"),
        sparsae.use_backend("fussed"),
    ):
        pass
    monkeypatch.setenv("SPARSAE_BACKEND", "fussed")
    with pytest.raises(LookupError, match=r"No backend named 'fussed' \(from SPARSAE_BACKEND\)"):
        sparsae.train(np.full((4, 3), 0.5), 2)
    with pytest.raises(sparsae.ParameterError, match=r"must be the name of a backend or a sparsae.Backend; given 3"):
        sparsae.get_backend(3)
    with pytest.raises(errors.BackendNotFoundError, match="'auto' is not a backend"):
        sparsae.get_backend("auto")


@pytest.mark.parametrize("word", ["0", "-1", "two", "1.5"])
def test_a_thread_variable_that_is_no_number_is_refused(monkeypatch, word):
    """SPARSAE_THREADS is a positive integer."""
    monkeypatch.setenv("SPARSAE_THREADS", word)
    with pytest.raises(sparsae.ParameterError, match=f"SPARSAE_THREADS must be an integer .* it is '{word}'"):
        selection.requested_threads()


def test_auto_takes_a_backend_that_works_and_says_why_not_the_others():
    """The receipt names the one that ran and a reason for each other one."""
    X = np.random.default_rng(0).random((300, 8))
    with sparsae.Objective(X, 4, backend="auto", threads=1) as objective:
        objective(np.zeros(objective.size))
        receipt = objective.receipt
    names = {record.name for record in sparsae.list_backends() if record.state == "ready"}
    assert receipt.backend in names
    for other in names - {receipt.backend}:
        assert any(note.startswith(f"auto: {other} ") for note in receipt.notes), receipt.notes


class Clock:
    """A clock that only the candidates move."""

    def __init__(self, monkeypatch):
        self.now, self.calls = 0.0, []
        monkeypatch.setattr(autoselect.time, "perf_counter", lambda: self.now)

    def prepare(self, seconds_per_row, fixed=0.0):
        def prepare(name, rows, stack):
            def evaluate():
                self.calls.append((name, rows))
                self.now += fixed + rows * seconds_per_row[name]

            return evaluate

        return prepare


def test_auto_drops_slow_candidates_after_a_short_call_on_few_rows(monkeypatch):
    """A loop a hundred times slower costs two short calls; the close ones are timed on many rows."""
    clock = Clock(monkeypatch)
    choice = fastest(["a", "loop", "b"], 50_000, clock.prepare({"a": 1e-5, "b": 9e-6, "loop": 1e-3}))
    assert choice.name == "b"
    assert any(note.startswith("auto: loop was dropped: 111.1 times") for note in choice.notes)
    assert [rows for name, rows in clock.calls if name == "loop"] == [500, 500]
    assert max(rows for name, rows in clock.calls if name == "a") == 5556
    assert clock.now < 2 * autoselect.BUDGET


def test_auto_keeps_to_its_time_budget(monkeypatch):
    """Where a single call takes long, the candidates that were not timed are named; no call begins after the budget."""
    clock = Clock(monkeypatch)
    names = ["a", "b", "c", "d", "e"]
    choice = fastest(names, 2000, clock.prepare(dict.fromkeys(names, 1e-5), fixed=1.0))
    assert choice.name in names
    assert len(choice.notes) == 5
    assert sum("3 seconds had passed" in note for note in choice.notes) >= 2
    assert clock.now <= autoselect.BUDGET + 2 * 1.1


def test_auto_rejects_whoever_cannot_and_fails_when_nobody_can():
    """A candidate that declines costs nothing but its line."""

    def prepare(name, rows, stack):
        if name == "clumsy":
            raise ZeroDivisionError("oops")
        if name != "able":
            raise errors.BackendDeclinedError(f"{name} declines")
        return lambda: None

    choice = fastest(["able", "unable", "clumsy"], 500, prepare)
    assert choice.name == "able"
    assert "auto: clumsy was rejected: ZeroDivisionError: oops" in choice.notes
    assert "auto: unable was rejected: unable declines" in choice.notes
    with pytest.raises(errors.BackendNotFoundError, match=r"auto found no backend .* rejected: unable declines"):
        fastest(["unable"], 500, prepare)


def test_a_kernel_that_cannot_be_made_is_one_error_with_its_cause():
    """A library that fails in the kernel's constructor, and a factory that makes something else."""

    def broken(problem):
        raise ImportError("libmagic.so: cannot open shared object file")

    X = np.full((4, 3), 0.5)
    with pytest.raises(errors.BackendBrokenError, match=r"Backend 'mine' cannot make a kernel: ImportError: lib") as e:
        sparsae.Objective(X, 2, backend=sparsae.Backend("mine", broken))
    assert isinstance(e.value.__cause__, ImportError)
    with pytest.raises(errors.BackendBrokenError, match=r"made a int where a sparsae.Kernel is needed"):
        sparsae.Objective(X, 2, backend=sparsae.Backend("mine", lambda problem: 3))


@pytest.mark.parametrize("method", ["begin", "finish"])
def test_what_a_kernel_raises_once_per_evaluation_is_the_backends_failure(method):
    """Not only in the workers: named, with its cause."""

    def fail(self, *arguments):
        raise KeyError("oops")

    kernel = type("Fails", (sparsae.get_backend("dot").kernel,), {method: fail})
    with pytest.raises(sparsae.BackendError, match=f"Backend 'mine' failed in {method}: KeyError: 'oops'") as caught:
        sparsae.Objective(np.full((4, 3), 0.5), 2, backend=sparsae.Backend("mine", kernel))(np.zeros(17))
    assert isinstance(caught.value.__cause__, KeyError)
