"""What the learning curve tells beside the cost: L0, dead units, explained variance."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sparsae
from sparsae import Objective, Parameters, train
from sparsae.optimize import Adam
from sparsae.plots import draw_history
from sparsae.training.json_log import JsonLog
from sparsae.training.progress_display import describe_progress

pytestmark = pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning")
X = np.random.default_rng(0).normal(size=(600, 12))
UNITS: dict[str, dict[str, Any]] = {
    "relu": {"activation": "relu", "l1": 0.1},
    "topk": {"activation": "topk", "k": 3, "aux": 0.0},
    "batchtopk": {"activation": "batchtopk", "k": 3, "aux": 0.0},
    "jumprelu": {"activation": "jumprelu", "l0": 0.1},
}
STILL = Adam(learning_rate=1e-12, batch_rows=256)  # three mini-batches of unequal lengths


def start_with_dead_units(settings: dict[str, Any]) -> Parameters:
    """Parameters of which five units of twenty are never active."""
    start = Objective(X, 20, **settings).random_parameters(1)
    b1 = start.b1.copy()
    b1[:5] = -100
    return start._replace(b1=b1)


@pytest.mark.parametrize("unit", ["relu", "topk", "jumprelu"])
def test_an_entry_of_an_epoch_is_of_its_rows(unit: str) -> None:
    """Parameters stand still, so that an epoch's figures are those of all rows: of `sparsae.metrics`, and by hand."""
    settings = UNITS[unit]
    start = start_with_dead_units(settings)
    result = train(X, 20, method=STILL, max_iter=2, backend="numpy", initial=start, **settings)
    history = result.history
    assert history.dead_share.tolist() == [0.25, 0.25, 0.25]
    figures = sparsae.metrics.evaluate(result, X)
    assert history.l0[1:] == pytest.approx([figures.l0] * 2, rel=1e-9)
    assert history.explained_variance[1:] == pytest.approx([figures.explained_variance] * 2, rel=1e-9)
    assert result.metrics["l0"] == pytest.approx(history.l0[-1], rel=1e-9)
    error = np.square(result.reconstruct(X) - X).sum() / np.square(X - X.mean(axis=0)).sum()
    assert history.explained_variance[-1] == pytest.approx(1 - error, rel=1e-9)


def test_batch_top_k_has_the_l0_of_its_mini_batches() -> None:
    """The k m largest of each, and not those above the threshold of the end."""
    history = train(X, 20, method=STILL, max_iter=2, backend="numpy", **UNITS["batchtopk"]).history
    np.testing.assert_allclose(history.l0, 3, rtol=1e-12)


def test_the_first_entry_is_of_the_first_mini_batch_or_of_all_rows() -> None:
    """As its cost is."""
    settings = UNITS["relu"]
    start = Objective(X, 20, **settings).random_parameters(1)
    options: dict[str, Any] = {"max_iter": 1, "backend": "numpy", "initial": start, **settings}
    batch = train(X, 20, method=STILL, **options)
    whole = train(X, 20, method=Adam(learning_rate=1e-12, batch_rows=256, evaluate_start=True), **options)
    assert whole.history.l0[0] == pytest.approx(whole.history.l0[1], rel=1e-9)
    assert batch.history.l0[0] != pytest.approx(batch.history.l0[1], rel=1e-6)


def test_full_batch_methods_tell_it_at_each_iteration() -> None:
    """Of relu units with L-BFGS: recomputed from the parameters that an observer sees."""
    seen: list[tuple[float, ...]] = []

    told: list[tuple[float, ...]] = []

    def look(progress: sparsae.Progress) -> None:
        a2 = sparsae.encode(progress.parameters, X, activation="relu", pre_bias=True)
        a3 = sparsae.decode(progress.parameters, a2, output="linear")
        error = np.square(a3 - X).sum() / np.square(X - X.mean(axis=0)).sum()
        seen.append((np.count_nonzero(a2) / len(X), float(np.mean(~a2.any(axis=0))), float(1 - error)))
        told.append((progress.l0, progress.dead_share, progress.explained_variance))

    start = start_with_dead_units(UNITS["relu"])
    history = train(X, 20, method="lbfgs", max_iter=6, initial=start, observers=look, **UNITS["relu"]).history
    assert len(seen) == 7
    np.testing.assert_allclose(told, seen, rtol=1e-9)
    np.testing.assert_allclose(
        np.array(seen).T, (history.l0, history.dead_share, history.explained_variance), rtol=1e-9
    )
    assert len(set(history.l0)) > 1
    assert history.dead_share[0] == 0.25


def test_of_sigmoid_units_there_is_no_l0(tmp_path: Path) -> None:
    """They are always active; dead are those below a tenth of rho, as in the metrics of the result; null in a log."""
    data = np.random.default_rng(1).uniform(0.1, 0.9, (200, 8))
    start = Parameters.random(8, 4, seed=0)
    b1 = start.b1.copy()
    b1[0] = -20
    log = tmp_path / "log"
    for method in ("lbfgs", Adam(learning_rate=1e-9)):
        result = train(data, 4, method=method, max_iter=1, initial=start._replace(b1=b1), observers=JsonLog(log))
        assert np.isnan(result.history.l0).all()
        assert result.history.dead_share[0] == 0.25
        assert result.history.explained_variance[-1] == pytest.approx(result.metrics["explained_variance"], rel=1e-6)
        assert "l0" not in result.history._repr_html_()
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert [entry["l0"] for entry in entries] == [None] * 4
    assert all(0 < abs(entry["explained_variance"]) < 10 for entry in entries)


def test_constant_data_has_no_explained_variance() -> None:
    """NaN, as in the metrics of the result."""
    result = train(np.full((20, 4), 0.5), 2, max_iter=2)
    assert np.isnan(result.history.explained_variance).all()


def test_a_model_file_keeps_it(tmp_path: Path) -> None:
    """Bit for bit; a table and a frame have the columns."""
    pytest.importorskip("pandas")
    result = train(X, 20, method=Adam(batch_rows=64), max_iter=3, **UNITS["topk"])
    sparsae.save(tmp_path / "m.npz", result)
    again = sparsae.load(tmp_path / "m.npz").history
    for name in ("l0", "dead_share", "explained_variance"):
        assert getattr(again, name).tobytes() == getattr(result.history, name).tobytes()
        assert np.array_equal(again.to_frame()[name], getattr(result.history, name))
    assert "<th>l0</th>" in again._repr_html_()


def test_it_is_drawn_below_the_cost() -> None:
    """Three lines, L0 on an axis of its own; of sigmoid units two; without any the picture has one part."""
    pytest.importorskip("matplotlib")
    history = train(X, 20, method=Adam(batch_rows=64), max_iter=3, **UNITS["topk"]).history
    top, below, right = draw_history(history).axes
    assert [line.get_label() for line in below.get_lines()] == ["explained variance", "dead share"]
    assert [line.get_label() for line in right.get_lines()] == ["L0"]
    np.testing.assert_array_equal(right.get_lines()[0].get_ydata(), history.l0)
    np.testing.assert_array_equal(below.get_lines()[0].get_ydata(), history.explained_variance)
    assert top.get_ylabel() == "cost"
    unknown = np.full(4, math.nan)
    columns = {name: getattr(history, name) for name in history.__dataclass_fields__}
    assert len(draw_history(sparsae.History(**{**columns, "l0": unknown})).axes) == 2
    nothing = sparsae.History(**{**columns, "l0": unknown, "dead_share": unknown, "explained_variance": unknown})
    (only,) = draw_history(nothing).axes
    assert only.get_xlabel() == "iteration"


def test_progress_says_how_many_units_are_active() -> None:
    """Where units can be inactive; nothing of it for sigmoid units."""
    lines: list[str] = []
    for options in ({"backend": "numpy", **UNITS["topk"]}, {"rho": 0.1, "output": "linear"}):
        train(X, 20, max_iter=1, observers=lambda progress: lines.append(describe_progress(progress)), **options)
    assert "  L0 3.0  dead 0%  " in lines[0]
    assert "L0" not in lines[-1]


def test_portions_of_data_have_it_too() -> None:
    """One entry a portion, with L0 and dead units in the metrics."""
    from sparsae.training.incremental import IncrementalFit
    from sparsae.training.options import FitOptions

    options = FitOptions.checked(
        method=Adam(batch_rows=64), max_iter=1, stop=None, seed=0, initial=None, checkpoint=None, resume=False
    )
    fit = IncrementalFit(20, options)
    for _ in range(2):
        result = fit.train_on(X, backend="numpy", **UNITS["topk"])
    np.testing.assert_allclose(result.history.l0, 3)
    assert result.metrics["l0"] == result.history.l0[-1]
    assert result.metrics["explained_variance"] == result.history.explained_variance[-1]
