"""What `repr`, a notebook, a frame and a picture show of results."""

from __future__ import annotations

import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sparsae
from sparsae.errors import MissingExtraError, ParameterError
from sparsae.training.report import fit_facts

X = np.random.default_rng(0).uniform(0.1, 0.9, (60, 6))


@pytest.fixture(scope="module")
def result() -> sparsae.TrainResult:
    with pytest.warns(sparsae.ConvergenceWarning):
        return sparsae.train(X, 4, max_iter=30)


class Reader(HTMLParser):
    """The text of a page; every tag that is opened is closed, in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_terms_that_are_shown_add_up_to_the_cost(result: sparsae.TrainResult) -> None:
    """Those of a full-batch fit; a fit on mini-batches shows the mean of its last epoch, which is another number."""
    facts = fit_facts(result)
    terms = [float(facts[f"  {term}"]) for term in ("squared error", "weight decay", "sparsity")]
    assert sum(terms) == pytest.approx(float(facts["cost"]), abs=3e-6)
    with pytest.warns(sparsae.ConvergenceWarning):
        epochs = sparsae.train(X, 4, max_iter=3, method=sparsae.optimize.Adam(batch_rows=16))
    facts = fit_facts(epochs)
    assert "  squared error" not in facts
    assert facts["  last epoch"] == f"{epochs.history.cost[-1]:.6f}, the mean over its mini-batches"


def test_a_result_shows_what_a_person_wants_first(result: sparsae.TrainResult) -> None:
    """Sizes, status, cost, backend, merits: on lines that fit, without arrays."""
    text = repr(result)
    lines = text.splitlines()
    assert lines[0] == "Sparse autoencoder with 6 inputs, 4 sigmoid units and sigmoid output"
    for words in ("iteration limit", f"{result.cost:.6f}", "explained variance", result.receipt.backend):
        assert words in text
    assert max(map(len, lines)) < 100
    assert len(lines) < 20
    page = Reader(result._repr_html_())
    for words in (lines[0], f"{result.cost:.6f}", result.message, "learning curve", "receipt", "W1"):
        assert words in page.words


def test_a_receipt_shows_who_computed_what_where(result: sparsae.TrainResult) -> None:
    """Backend, threads, cut, digest, versions and each note; the pools in the notebook."""
    receipt = replace(result.receipt, notes=("first <b>note</b>", "second\x1b[31m"))
    text = repr(receipt)
    assert text.startswith("Receipt of 60 samples, 6 x 4 weights\n")
    assert f"{receipt.backend} of sparsae {sparsae.__version__}" in text
    assert "float64, 2 passes over data that is kept, 1 block of 60 rows" in text
    assert f"SHA-256 {receipt.data_digest[:16]}" in text
    assert "note 1       first <b>note</b>" in text
    assert "\x1b" not in text
    page = receipt._repr_html_()
    assert "first &lt;b&gt;note&lt;/b&gt;" in page
    words = Reader(page).words
    assert receipt.pools[0]["library"] in words
    assert "1 pass over" in repr(replace(receipt, passes=1))


def test_a_learning_curve_shows_its_ends_and_some_entries(result: sparsae.TrainResult) -> None:
    """A line; a table of at most eleven entries, the first and the last included; few entries are all shown."""
    history = result.history
    assert repr(history) == (
        f"History of 30 iterations: cost {history.cost[0]:.6g} -> {history.cost[-1]:.6g}, "
        f"{history.evaluations[-1]} evaluations, {history.seconds[-1]:.2f} s"
    )
    page = history._repr_html_()
    assert page.count("<tr>") == 12
    words = Reader(page).words
    assert {f"{history.cost[0]:.6g}", f"{history.cost[-1]:.6g}", "0", "30"} <= set(words)
    short = sparsae.History(**{name: getattr(history, name)[:3] for name in history.__dataclass_fields__})
    assert short._repr_html_().count("<tr>") == 4
    empty = sparsae.History(**{name: getattr(history, name)[:0] for name in history.__dataclass_fields__})
    assert repr(empty) == "History without entries"


def test_a_learning_curve_becomes_a_frame(result: sparsae.TrainResult, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row an iteration, a column a field; without pandas the error says what to do."""
    frame = result.history.to_frame()
    assert frame.index.name == "iteration"
    assert list(frame.index) == list(result.history.iteration)
    assert np.array_equal(frame["cost"], result.history.cost)
    assert len(frame.columns) == 11
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"needs pandas: pip install pandas. dataclasses.asdict\(history\)"):
        result.history.to_frame()


def test_parameters_show_shapes_not_numbers(result: sparsae.TrainResult) -> None:
    """In a line; least, mean and largest value in a notebook."""
    parameters = result.parameters
    assert repr(parameters) == "Parameters(W1 (4, 6), b1 (4,), W2 (6, 4), b2 (6,), float64)"
    mixed = sparsae.Parameters(*parameters[:3], b2=parameters.b2.astype(np.float32))
    assert repr(mixed).endswith("b2 (6,), float32 and float64)")
    words = Reader(parameters._repr_html_()).words
    assert {"W1", "(4, 6)", f"{parameters.W1.min():.4g}", f"{parameters.W1.max():.4g}"} <= set(words)
    thresholds = sparsae.Parameters(*parameters, threshold=np.ones(4))
    assert "threshold (4,)" in repr(thresholds)


def test_a_result_draws_itself(result: sparsae.TrainResult, tmp_path: Path) -> None:
    """A figure that a notebook shows; a file where one is named; the image shape of the data where it is known."""
    pytest.importorskip("matplotlib")
    for draw in (result.plot_features, result.plot_history):
        figure = draw(tmp_path / "x.svg", title="a title")
        assert figure._repr_png_().startswith(b"\x89PNG")
        assert b"<svg" in (tmp_path / "x.svg").read_bytes()
        assert draw() is not None
        with pytest.raises(ParameterError, match=r"x.doc must end in .png, .svg, .pdf"):
            draw(tmp_path / "x.doc")
    assert len(result.plot_features().axes) == 4  # bars, a panel a unit
    images = replace(result, data={"image_shape": (2, 3)})
    for drawn in (images.plot_features(), result.plot_features(image_shape=(2, 3))):
        (axes,) = drawn.axes
        assert axes.images[0].get_array().shape == (7, 9)
    fitted = sparsae.SparseAutoencoder(4, max_iter=1000, tol=1e-3, random_state=0).fit(X)
    assert fitted.plot_features(tmp_path / "f.png", image_shape=(2, 3)).axes[0].images
    assert fitted.plot_history(tmp_path / "h.png", title="cost").axes[0].get_title() == "cost"
    assert (tmp_path / "f.png").exists()
    assert (tmp_path / "h.png").exists()
    assert "matplotlib.pyplot" not in sys.modules or sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_an_estimator_shows_its_parameters_in_a_notebook() -> None:
    """scikit-learn's diagram, before and after a fit."""
    model = sparsae.SparseAutoencoder(7, max_iter=1000, tol=1e-3)
    assert "n_components=7" in repr(model)
    assert "SparseAutoencoder" in model._repr_html_()
    assert "fitted" in model.fit(X)._repr_html_()
