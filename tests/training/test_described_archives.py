"""Archives with sound checksums and contents that were never written: used, or refused in one line that names them.

`tests/prove/fuzz_files.py` tries thousands.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.fuzz_damage import Target, damaged_versions
from tests.support.fuzz_targets import targets

from sparsae.training.schema import Count, Each, Null, Number, OneOf, Optional, check_schema, parse_integer

KINDS = ("model file, topk", "checkpoint, sigmoid", "checkpoint, topk", "arrays, sigmoid")
Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Target]:
    """A target by name, made once."""
    known, kept = targets(tmp_path_factory.mktemp("described")), dict[str, Target]()

    def make(name: str) -> Target:
        if name not in kept:
            kept[name] = known[name]()
        return kept[name]

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_other_contents_are_used_or_refused_in_one_line(made: Callable[[str], Target], kind: str) -> None:
    """Seeded changes of header, shapes, dtypes and values; the sound ones are used."""
    target = made(f"{kind}, described")
    assert target.attempt(target.sound) in ("used", "resumed")
    outcomes = Counter(map(target.attempt, damaged_versions(target, 40, seed=1)))
    assert set(outcomes) <= {"used", "resumed", "not an archive", "FileFormatError", "CheckpointError"}
    assert outcomes["FileFormatError"] + outcomes["CheckpointError"] > 3


def header(*path: str | int, value: Any) -> Edit:
    """Set a value in the header."""

    def edit(described: dict[str, Any]) -> None:
        node = described["header"]
        for name in path[:-1]:
            node = node[name]
        node[path[-1]] = value

    return edit


def array(name: str, dtype: str | None = None, shape: list[int] | None = None, value: Any = 1) -> Edit:
    """Write another array."""

    def edit(described: dict[str, Any]) -> None:
        now = described["arrays"][name]
        described["arrays"][name] = [dtype or now[0], now[1] if shape is None else shape, value]

    return edit


ESCAPED: dict[str, tuple[str, Edit]] = {
    "a figure that is text": ("model file, topk", header("metrics", "explained_variance", value="high")),
    "a figure of a thousand bits": ("model file, topk", header("metrics", "explained_variance", value=1 << 1000)),
    "pools without a name": ("model file, topk", header("receipt", "pools", value=[{}])),
    "versions that are numbers": ("model file, topk", header("receipt", "versions", value={"python": 3})),
    "a source that is a list": ("model file, topk", header("data", value={"source": []})),
    "a cost of a thousand bits": ("model file, topk", header("cost", value=10**400)),
    "a setting of a thousand bits": ("model file, topk", header("settings", "rho", value=10**400)),
    "a transform of a thousand bits": (
        "model file, topk",
        header("transform", 0, "settings", "epsilon", value=10**400),
    ),
    "a curve that counts to infinity": ("model file, topk", array("history.iteration", "<f8", value=math.inf)),
    "fewer than no evaluations": ("model file, topk", array("history.evaluations", value=-1)),
    "an image of one side": ("model file, topk", header("data", value={"image_shape": [6]})),
    "an image that is an object": ("model file, topk", header("data", value={"image_shape": {"2": 2, "3": 3}})),
    "another unit": ("model file, topk", header("settings", "activation", value="swish")),
    "no k": ("model file, topk", header("settings", "k", value=0)),
    "a curve of text": ("model file, topk", array("history.cost", "<U3", value="low")),
    "counts that are text": ("checkpoint, topk", header("counts", value=[1, "2", 3])),
    "an infinite count": ("checkpoint, topk", header("counts", value=[math.inf, 1.0, 1.0])),
    "half an evaluation": ("checkpoint, topk", header("counts", value=[1.5, 1.0, 1.0])),
    "seconds that are no number": ("checkpoint, topk", header("counts", value=[1, math.nan, 1.0])),
    "an iteration that is infinite": ("checkpoint, sigmoid", array("history", value=math.inf)),
    "an iteration that is no number": ("checkpoint, topk", array("history", value=math.nan)),
    "half an iteration": ("checkpoint, topk", array("history", value=0.5)),
    "a rate of a thousand bits": ("checkpoint, topk", header("method", "learning_rate", value=10**400)),
    "fewer epochs planned than wanted": (
        "checkpoint, topk",
        lambda described: described["header"]["method"].update(decay=1.0),
    ),
    "two counts": ("checkpoint, topk", header("counts", value=[1, 2])),
    "blocks of -1 rows": ("checkpoint, topk", header("receipt", "block_rows", value=-1)),
    "three passes": ("checkpoint, topk", header("receipt", "passes", value=3)),
    "a seed below 0": ("checkpoint, topk", header("shuffle_seed", value=-1)),
    "no epochs planned": ("checkpoint, topk", header("planned", value=0)),
    "a setting that is text": ("checkpoint, topk", header("method", "learning_rate", value="fast")),
    "another optimiser": ("checkpoint, topk", header("method", value={"method": "x\u001b[31m"})),
    "no best cost": ("checkpoint, topk", lambda described: described["arrays"].pop("state.best_cost")),
    "moments of text": ("checkpoint, topk", array("state.first", "<U3", value="low")),
    "moments in float32": ("checkpoint, topk", array("state.second", "<f4")),
    "silent units in float": ("checkpoint, topk", array("state.silent", "<f8")),
    "more updates than can be": ("checkpoint, topk", array("state.counts", value=2**63 - 1)),
    "more updates of the threshold than can be": ("checkpoint, topk", array("state.threshold", value=1e300)),
    "half of a history": ("checkpoint, sigmoid", array("state.products", shape=[3])),
    "a history of one number": ("checkpoint, sigmoid", array("state.rows", shape=[])),
    "more pairs than kept": ("checkpoint, sigmoid", array("state.counts", value=21)),
    "fewer parameters": ("checkpoint, sigmoid", array("state.theta", shape=[5])),
    "another number of units": ("checkpoint, sigmoid", array("state.evaluation.density", shape=[7])),
    "an array of nothing": ("checkpoint, topk", lambda described: described["arrays"].update(other=["<f8", [1], 1])),
    "no learning curve": ("checkpoint, sigmoid", array("history", shape=[0, 12])),
    "an output that cannot be encoded": ("arrays, sigmoid", header("output", value="\ud800")),
    "a k of text": ("arrays, sigmoid", header("k", value="3")),
}


@pytest.mark.parametrize("case", ESCAPED)
def test_what_once_escaped_is_refused(made: Callable[[str], Target], case: str) -> None:
    """By an error that names the file."""
    assert attempt(made, *ESCAPED[case]) in ("FileFormatError", "CheckpointError")


def attempt(made: Callable[[str], Target], kind: str, edit: Edit) -> str:
    """What becomes of an archive with an edited description."""
    target = made(f"{kind}, described")
    described = json.loads(target.sound)
    edit(described)
    return target.attempt(json.dumps(described).encode())


USED: dict[str, tuple[str, Edit]] = {
    "a pool without a version": ("model file, topk", lambda described: _pool(described).pop("version", None)),
    "a pool whose version is null": ("model file, topk", lambda described: _pool(described).update(version=None)),
    "a seed of 128 bits": ("model file, topk", header("receipt", "seed", value=2**128 - 1)),
    "figures that are no numbers": ("model file, topk", header("metrics", value={"a": math.nan, "b": -math.inf})),
    "an infinite cost": ("model file, topk", header("cost", value=math.inf)),
    "a curve of infinite costs": ("model file, topk", array("history.cost", value=math.inf)),
    "a curve of times that are no numbers": ("model file, topk", array("history.seconds", value=math.nan)),
}


def _pool(described: dict[str, Any]) -> dict[str, Any]:
    pools = described["header"]["receipt"]["pools"]
    pools[:] = [{"internal_api": "openblas", "num_threads": 1, "version": "1"}]
    pool: dict[str, Any] = pools[0]
    return pool


@pytest.mark.parametrize("case", USED)
def test_what_a_fit_or_an_earlier_version_can_write_is_used(made: Callable[[str], Target], case: str) -> None:
    """Read, shown by `sparsae info`, used and saved again."""
    assert attempt(made, *USED[case]) == "used"


def test_an_integer_that_cannot_become_a_float_is_refused() -> None:
    """Whatever it is for; Python's own limit on digits is a ValueError too."""
    assert parse_integer(str(2**512 - 1)) == 2**512 - 1
    with pytest.raises(ValueError, match=r"^it has an integer of 513 bits, above 512$"):
        parse_integer(str(-(2**512)))
    with pytest.raises(ValueError, match="digits"):
        parse_integer("9" * 5000)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"n": 1, "word": "b"}, "header.word is 'b', not one of 'a'"),
        ({"n": 1, "word": []}, r"header.word is \[\], not one of 'a'"),
        ({"n": 0, "word": "a"}, "header.n is 0, below 1"),
        ({"n": True, "word": "a"}, "header.n is bool"),
        ({"n": 1 << 64, "word": "a"}, "header.n is an integer of 65 bits, above 64"),
        ({"word": "a"}, "header has no 'n'"),
        ({"n": 1, "word": "a", "each": [1, "x"]}, "header.each.1 is str"),
        ({"n": 1, "word": "a", "each": {"key": "x"}}, "header.each.key is str"),
        ({"n": 1, "word": "a", "each": 3}, "header.each is int"),
        ({"n": 1, "word": "a", "few": {}}, "header.few is dict"),
        ({"n": 1, "word": "a", "few": []}, "the length of header.few is 0, below 1"),
        ({"n": 1, "word": "a", "few": [1, 2, 3]}, "the length of header.few is 3, above 2"),
        ({"n": 1, "word": "a", "few": [1, 9]}, "header.few.1 is 9, above 8"),
        ({"n": 1, "word": "a", "share": None}, "header.share is NoneType"),
        ({"n": 1, "word": "a", "share": 1.5}, "header.share is 1.5, above 1"),
        ({"n": 1, "word": "a", "share": float("nan")}, "header.share is nan, below 0"),
        ([], "header is list and not an object"),
    ],
)
def test_the_first_value_of_another_form_is_named(value: Any, message: str) -> None:
    """With its place."""
    schema = {
        "n": Count(1),
        "word": OneOf(("a",)),
        "each": Optional(Each((int, float))),
        "few": Optional(Each(Count(0, 8), list, 1, 2)),
        "share": Optional(Number(0, 1), null=False),
    }
    check_schema({"n": 1, "word": "a", "each": None, "more": object()}, schema)
    check_schema({"n": None, "m": 1}, {"n": Null(int), "m": Null(int)})
    with pytest.raises(ValueError, match="header has no 'n'"):
        check_schema({}, {"n": Null(int)})
    with pytest.raises(ValueError, match=message):
        check_schema(value, schema)
