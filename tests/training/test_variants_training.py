"""Training of relu, top-k, batch top-k and JumpReLU units: state, constraints, schedule, dead units."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import sparsae
from sparsae import Objective, ParameterError, Parameters, train
from sparsae.engine import batch_engine
from sparsae.optimize import SGD, Adam
from sparsae.optimize.unit_state import UnitState, rows_until_dead
from sparsae.optimize.update import BatchGradient
from sparsae.training.curve import FitCounts, MeteredObjective
from sparsae.training.minibatch import MiniBatches

pytestmark = pytest.mark.filterwarnings(
    "ignore::sparsae.ConvergenceWarning",
    "ignore::sparsae.errors.ThreadsWarning",
    "ignore::sparsae.errors.CheckpointWarning",
)
X = np.random.default_rng(0).normal(size=(600, 12))
VARIANTS: dict[str, dict[str, Any]] = {
    "relu": {"activation": "relu"},
    "relu, unit norm": {"activation": "relu", "unit_norm": True, "weight_decay": 0.01},
    "topk": {"activation": "topk", "k": 3, "dead_after": 150, "k_aux": 4},
    "batchtopk": {"activation": "batchtopk", "k": 3, "dead_after": 150, "k_aux": 4},
    "jumprelu": {"activation": "jumprelu"},
}
METHOD = Adam(batch_rows=256, warm_up=3, decay=0.5, clip=0.5)


def dead_start(settings: dict[str, Any]) -> Parameters:
    """Parameters of which two units are positive at times, but never among the largest."""
    start = Objective(X, 20, **settings).random_parameters(1)
    W1 = start.W1.copy()
    W1[:2] *= 0.001
    return start._replace(W1=W1)


@pytest.fixture(params=sorted(VARIANTS))
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    return VARIANTS[request.param]


def test_workers_never_change_a_bit(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """1, 2 and 3 of them, blocks and updates spread."""
    monkeypatch.setattr(batch_engine, "LEAST_PRODUCTS", 1)
    monkeypatch.setattr(batch_engine, "LEAST_ROWS", 32)
    monkeypatch.setattr("sparsae.optimize.update.ALONE", 0)
    monkeypatch.setattr("sparsae.optimize.update.LEAST_CHUNK", 64)
    start = dead_start(settings)
    found = [
        train(X, 20, method=METHOD, max_iter=3, threads=n, backend="fused", initial=start, **settings)
        for n in (1, 2, 3)
    ]
    assert len({result.parameters.flatten().tobytes() for result in found}) == 1
    assert len({result.history.cost.tobytes() for result in found}) == 1


def test_resuming_within_an_epoch_gives_the_same_bits(settings: dict[str, Any]) -> None:
    """Dead units, threshold, rate and projection go on where they were."""
    start = dead_start(settings).flatten()
    with Objective(X, 20, backend="fused", **settings) as objective:

        def bind() -> Any:
            return METHOD.bind(MeteredObjective(objective, FitCounts(), 4), 5)

        def run(bound: Any, state: Any, steps: int) -> Any:
            for _ in range(steps):
                state = bound.step(state)
            return state

        one = bind()
        whole = run(one, one.init(start), 11)
        part = run(one, one.init(start), 4)
        arrays = {name: np.array(value) for name, value in one.pack(part).items()}
        two = bind()
        resumed = run(two, two.unpack(arrays), 7)
    assert resumed.theta.tobytes() == whole.theta.tobytes()
    assert resumed.units.silent.tobytes() == whole.units.silent.tobytes()
    assert resumed.units[1:] == whole.units[1:]
    assert resumed.terms == whole.terms
    assert resumed.fired.tobytes() == whole.fired.tobytes()
    assert resumed.density.tobytes() == whole.density.tobytes()


SCRIPT = """
import sys, numpy as np, sparsae, warnings
warnings.simplefilter("ignore")
from sparsae.optimize import Adam
X = np.random.default_rng(0).normal(size=(600, 12))
settings, path = eval(sys.argv[1]), sys.argv[2]
def said(progress):
    print(progress.iteration, flush=True)
sparsae.train(X, 20, method=Adam(batch_rows=64, warm_up=3, decay=0.5, clip=0.5), max_iter=30, backend="fused",
              checkpoint=sparsae.Checkpoint(path, every=1), resume=True, observers=said, **settings)
"""


def test_a_fit_that_was_killed_goes_on_to_the_same_bits(settings: dict[str, Any], tmp_path: Path) -> None:
    """Kill -9 in the middle, then the same call in a new process; the result is that of a fit that never stopped."""
    path, child = tmp_path / "fit", [sys.executable, "-c", SCRIPT, repr(settings)]
    with subprocess.Popen([*child, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) < 5:
            pass
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    resumed, whole = (
        train(
            X, 20, method=Adam(batch_rows=64, warm_up=3, decay=0.5, clip=0.5), max_iter=30, backend="fused",
            checkpoint=checkpoint, resume=checkpoint is not None, **settings,
        )
        for checkpoint in (path, None)
    )  # fmt: skip
    assert resumed.parameters.flatten().tobytes() == whole.parameters.flatten().tobytes()
    for name in ("cost", "l0", "dead_share", "explained_variance"):
        assert getattr(resumed.history, name).tobytes() == getattr(whole.history, name).tobytes()
    assert any(note.startswith("Resumed at iteration") for note in resumed.receipt.notes)


def batch_gradient(settings: dict[str, Any], theta: NDArray[Any], rows: NDArray[np.intp]) -> tuple[Any, NDArray[Any]]:
    with Objective(X, 20, backend="numpy", **settings) as objective:
        batches = MiniBatches(objective, 600)
        found = batches.gradient(theta, rows, np.zeros(20), 0.0)
        gradient = found.gradient.vector(theta)
        batches.close()
    return found, gradient


def test_the_gradient_of_a_mini_batch_of_all_rows_is_the_objectives(settings: dict[str, Any]) -> None:
    """Where columns have unit length, without its component along each of them."""
    theta = Objective(X, 20, **settings).random_parameters(1).flatten()
    _, gradient = batch_gradient(settings, theta, np.arange(600))
    with Objective(X, 20, backend="numpy", **settings) as objective:
        expected = objective.evaluate(theta).gradient
    if settings.get("unit_norm") or "topk" in settings["activation"]:
        whole, W2 = Parameters.from_flat(expected, 12, 20), Parameters.from_flat(theta, 12, 20).W2
        assert abs((whole.W2 * W2).sum(axis=0)).max() > 1e-3
        whole.W2[...] -= (whole.W2 * W2).sum(axis=0) * W2
        assert abs((Parameters.from_flat(gradient, 12, 20).W2 * W2).sum(axis=0)).max() < 1e-12
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-11)


def test_columns_keep_unit_length_and_thresholds_do_not_fall_below_zero(settings: dict[str, Any]) -> None:
    """After every update; relu's columns are free unless asked."""
    result = train(X, 20, method=Adam(learning_rate=0.05, batch_rows=64), max_iter=4, backend="fused", **settings)
    lengths = np.linalg.norm(result.parameters.W2, axis=0)
    fixed = settings.get("unit_norm") or "topk" in settings["activation"]
    assert (abs(lengths - 1).max() < 1e-12) == bool(fixed)
    threshold = result.parameters.threshold
    assert (threshold is None) == (settings["activation"] in ("relu", "topk"))
    if threshold is not None:
        assert (threshold >= 0).all()


def test_batch_top_k_keeps_k_activations_a_row_with_its_threshold() -> None:
    """On average over all rows, with the running mean that the result carries; a warm start finds it anew."""
    result = train(X, 20, method=Adam(batch_rows=64), max_iter=40, **VARIANTS["batchtopk"])
    active = np.count_nonzero(result.encode(X)) / len(X)
    assert active == pytest.approx(3, rel=0.1)
    assert len(set(result.parameters.threshold)) == 1
    again = train(X, 20, method="adam", max_iter=1, initial=result, **VARIANTS["batchtopk"])
    assert again.parameters.threshold is not None


def test_the_running_threshold_is_corrected_for_its_start() -> None:
    """Of a constant it is that constant, from the first mini-batch on."""
    state = UnitState.start(2)
    assert state.corrected_threshold == 0
    for _ in range(3):
        state = state.after(10, np.array([1.0, 0.0]), 0.7)
        assert state.corrected_threshold == pytest.approx(0.7, rel=1e-12)
    assert state.silent.tolist() == [0, 30]


def test_dead_units_are_revived() -> None:
    """Two units that never fire do after a while with the auxiliary loss, and do not without it."""
    settings = VARIANTS["topk"]
    options = {"method": Adam(learning_rate=0.02, batch_rows=64), "max_iter": 8, "initial": dead_start(settings)}
    fired = [np.count_nonzero(train(X, 20, aux=aux, **options, **settings).encode(X)[:, :2]) for aux in (0.0, 1.0)]
    assert fired[0] == 0
    assert fired[1] > 0


def test_when_a_unit_is_dead_by_default() -> None:
    """After a tenth of the fit's rows, at most ten million; never without the auxiliary loss."""
    settings = Objective(X, 20, activation="topk", k=3).settings
    assert rows_until_dead(settings, 5000) == 500
    assert rows_until_dead(settings, 10**9) == 10_000_000
    assert rows_until_dead(Objective(X, 20, activation="relu").settings, 5000) is None
    assert rows_until_dead(Objective(X, 20, activation="topk", k=3, dead_after=7).settings, 5000) == 7


def test_the_learning_rate_rises_and_falls() -> None:
    """Linearly: over `warm_up` updates, and over the last share `decay` of those planned."""
    method = Adam(warm_up=4, decay=0.5)
    factors = [method.rate_factor(update, 20) for update in range(21)]
    np.testing.assert_allclose(factors[:5], [0.25, 0.5, 0.75, 1, 1])
    np.testing.assert_allclose(factors[10:], np.arange(10, -1, -1) / 10)
    assert Adam().rate_factor(10**6, 1) == 1


def test_long_gradients_are_shortened() -> None:
    """To `clip`, weight decay included; short ones are left alone."""
    rng = np.random.default_rng(0)
    theta, sums = rng.normal(size=(2, 100))
    gradient = BatchGradient((sums,), 0.5, 0.1, 60)
    whole = gradient.vector(theta)
    length = np.linalg.norm(whole)
    here: Any = lambda task, count: [task(i) for i in range(count)]  # noqa: E731
    short = SGD(clip=length / 4).clipped(gradient, theta, here).vector(theta)
    np.testing.assert_allclose(short, whole / 4, rtol=1e-12)
    assert SGD(clip=2 * length).clipped(gradient, theta, here) is gradient


@pytest.mark.parametrize(
    ("settings", "method", "message"),
    [
        ({"activation": "topk", "k": 3}, "lbfgs", r"activation='topk' cannot be trained with lbfgs: its cost jumps"),
        ({"activation": "jumprelu"}, "scipy:CG", r"activation='jumprelu' cannot be trained with scipy:CG"),
        (
            {"activation": "relu", "unit_norm": True},
            "lbfgs",
            r"unit_norm=True cannot be used with lbfgs: it steps",
        ),
    ],
)
def test_full_batch_methods_refuse_what_they_cannot_minimise(settings: Any, method: str, message: str) -> None:
    """With the reason, and what to use."""
    with pytest.raises(ParameterError, match=message):
        train(X, 20, method=method, max_iter=1, **settings)


def test_a_zero_column_of_unit_norm_is_refused() -> None:
    """It has no direction."""
    start = Objective(X, 20, activation="topk", k=3).random_parameters(0)
    W2 = start.W2.copy()
    W2[:, 4] = 0
    with pytest.raises(ParameterError, match=r"unit_norm: 1 column of W2 without direction, all zeros; give other"):
        train(X, 20, activation="topk", k=3, initial=start._replace(W2=W2), max_iter=1)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("warm_up", -1, "warm_up must be an integer of at least 0"),
        ("decay", 1.5, "decay must lie from 0 to 1; given 1.5"),
        ("clip", 0.0, "clip must be a positive number or None; given 0.0"),
        ("evaluate_start", 1, "evaluate_start must be True or False; given 1"),
    ],
)
def test_settings_of_the_schedule_out_of_range_are_refused(field: str, value: Any, message: str) -> None:
    """With what was given."""
    with pytest.raises(ParameterError, match=message):
        Adam(**{field: value})


def test_relu_may_be_trained_with_lbfgs() -> None:
    """Its cost has kinks but does not jump."""
    result = train(X, 20, activation="relu", method="lbfgs", max_iter=5)
    assert result.history.cost[-1] < result.history.cost[0]


def test_sums_of_large_models_are_direct_for_the_variants_too() -> None:
    """float32, more than 100,000 parameters: finite, falling, the same bits on two workers."""
    data = np.random.default_rng(0).normal(size=(300, 100)).astype(np.float32)
    found = [
        train(data, 600, activation="topk", k=8, method=Adam(learning_rate=0.001, batch_rows=256), max_iter=3,
              threads=n, backend=sparsae.get_backend("fused")) for n in (1, 2)
    ]  # fmt: skip
    assert found[0].parameters.flatten().tobytes() == found[1].parameters.flatten().tobytes()
    assert found[0].history.cost[-1] < found[0].history.cost[0]


def test_a_resume_keeps_to_the_schedule_that_the_fit_was_planned_with(tmp_path: Path) -> None:
    """Fewer epochs end early; more are refused where the learning rate would be 0, and its end says what to do."""
    path, options = tmp_path / "fit", {"activation": "relu", "method": Adam(batch_rows=128, decay=0.5)}
    whole = train(X, 20, max_iter=6, **options)
    train(X, 20, max_iter=6, checkpoint=path, stop=sparsae.Stop(evaluations=12), **options)
    short = train(X, 20, max_iter=4, checkpoint=path, resume=True, **options)
    assert short.n_iter == 4
    assert short.history.cost.tobytes() == whole.history.cost[:5].tobytes()
    resumed = train(X, 20, max_iter=6, checkpoint=path, resume=True, **options)
    assert resumed.parameters.flatten().tobytes() == whole.parameters.flatten().tobytes()
    message = r"max_iter=8 exceeds the 6 epochs .* learning rate is 0 \(decay=0.5\). Resume with max_iter=6, .*initial="
    with pytest.raises(sparsae.errors.CheckpointError, match=message):
        train(X, 20, max_iter=8, checkpoint=path, resume=True, **options)


def test_a_resume_with_more_epochs_keeps_when_a_unit_is_dead(tmp_path: Path) -> None:
    """Its default follows the epochs that the fit was planned for; a note says so; given, nothing depends on them."""
    settings: dict[str, Any] = {"activation": "topk", "k": 3, "k_aux": 4, "method": Adam(batch_rows=128)}
    start = dead_start({"activation": "topk", "k": 3})
    path, given = tmp_path / "default", tmp_path / "given"
    train(X, 20, max_iter=4, initial=start, checkpoint=path, **settings)
    resumed = train(X, 20, max_iter=12, initial=start, checkpoint=path, resume=True, **settings)
    assert "dead_after is still that of the 4 epochs that the fit was planned for, not of 12." in resumed.receipt.notes
    as_planned = train(X, 20, max_iter=12, initial=start, dead_after=240, **settings)
    assert resumed.parameters.flatten().tobytes() == as_planned.parameters.flatten().tobytes()
    other = train(X, 20, max_iter=12, initial=start, **settings)
    assert resumed.parameters.flatten().tobytes() != other.parameters.flatten().tobytes()
    train(X, 20, max_iter=4, initial=start, dead_after=240, checkpoint=given, **settings)
    more = train(X, 20, max_iter=12, initial=start, dead_after=240, checkpoint=given, resume=True, **settings)
    assert more.parameters.flatten().tobytes() == as_planned.parameters.flatten().tobytes()
    assert not any("dead_after" in note for note in more.receipt.notes)
