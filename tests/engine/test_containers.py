"""What data may come in: any container gives the same bits, and what hides or breaks values is named."""

import hashlib

import numpy as np
import pytest

import sparsae
from sparsae import DataError, Objective, ParameterError, Parameters
from sparsae.engine import storage
from sparsae.engine.npy_file import open_npy
from sparsae.engine.sources import DataSource
from sparsae.engine.value_check import ValueCheck


class RowSlices:
    """Something with shape, dtype and row slicing that is no NumPy array, such as an HDF5 data set."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, where):
        return self.array[where].copy()


class Column:
    """A column of a frame: a dtype, values, which are missing."""

    def __init__(self, values, dtype):
        self.values, self.dtype = values, dtype

    def isna(self):
        return np.array([value is None for value in self.values])


class Nullable:
    """A nullable dtype, as pandas has them."""

    def __init__(self, dtype):
        self.numpy_dtype = np.dtype(dtype)

    def __str__(self):
        return self.numpy_dtype.name.capitalize()


class Frame:
    """The part of pandas.DataFrame that is used; `test_real_frames` has the real one."""

    def __init__(self, columns):
        self._columns = columns
        self.columns = list(columns)
        self.shape = (len(next(iter(columns.values())).values), len(columns))
        self.dtypes = [column.dtype for column in columns.values()]

    def __getitem__(self, label):
        return self._columns[label]

    def isna(self):
        return None

    def to_numpy(self, dtype=None):
        return np.asfortranarray(np.array([column.values for column in self._columns.values()], dtype=dtype).T)


def frame(X):
    """A frame whose columns are nullable."""
    return Frame({f"x{j}": Column(list(X[:, j]), Nullable(X.dtype)) for j in range(X.shape[1])})


def containers(X, folder):
    """The same values in every container."""
    np.save(folder / "c.npy", X)
    np.save(folder / "f.npy", np.asfortranarray(X))
    return {
        "F-order": np.asfortranarray(X),
        "strided": np.repeat(X, 2, axis=1)[:, ::2],
        "reversed": X[::-1].copy()[::-1],
        "other byte order": X.astype(X.dtype.newbyteorder()),
        "memory map": np.load(folder / "c.npy", mmap_mode="r"),
        "F-order memory map": np.load(folder / "f.npy", mmap_mode="r"),
        "file": open_npy(folder / "c.npy"),
        "F-order file": open_npy(folder / "f.npy"),
        "row slices": RowSlices(X),
        "frame": frame(X),
        "nothing masked": np.ma.masked_array(X, mask=np.zeros(X.shape, bool)),
    }


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_container_never_changes_a_bit(backend, dtype, tmp_path):
    """Array, F-order, memory map, file, frame, row slices: storage, passes, blocks, cost and gradient are the same."""
    X = np.random.default_rng(0).random((700, 12)).astype(dtype)
    theta = Parameters.random(12, 5, seed=1).flatten()

    def result(data):
        with Objective(data, 5, backend=backend, threads=1) as objective:
            cost, gradient = objective(theta)
            receipt = objective.receipt
        return cost.hex(), hashlib.sha256(gradient).hexdigest(), receipt.storage, receipt.passes, receipt.block_rows

    expected = result(X)
    assert expected[2:4] == ("kept", 2)
    found = {name: result(data) for name, data in containers(X, tmp_path).items()}
    assert found == dict.fromkeys(found, expected)


@pytest.mark.parametrize("passes", [1, 2])
def test_a_container_that_does_not_fit_gives_the_bits_of_an_array_that_does_not_fit(monkeypatch, passes, tmp_path):
    """Read block by block, by two workers, in scratch of each: also in another dtype."""
    monkeypatch.setattr(storage, "SHARE", 1 << 60)
    X = np.random.default_rng(0).random((3000, 12))
    theta = Parameters.random(12, 5, seed=1).flatten()
    for dtype in ("float64", "float32"):
        options = {"threads": 2, "block_rows": 100, "passes": passes, "dtype": dtype}
        expected = Objective(X, 5, **options)(theta)
        for name, data in containers(X, tmp_path).items():
            objective = Objective(data, 5, **options)
            for _ in range(2):
                cost, gradient = objective(theta)
                assert (cost, gradient.tobytes()) == (expected[0], expected[1].tobytes()), name
            assert objective.receipt.storage == "streamed"


def test_a_separate_target_in_a_file_is_read_beside_the_data(monkeypatch, tmp_path):
    """Two files, two buffers."""
    monkeypatch.setattr(storage, "SHARE", 1 << 60)
    rng = np.random.default_rng(0)
    X, target = rng.random((500, 6)), rng.random((500, 6))
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "t.npy", target)
    theta = Parameters.random(6, 3).flatten()
    options = {"block_rows": 50, "threads": 2}
    got = Objective(open_npy(tmp_path / "x.npy"), 3, target=open_npy(tmp_path / "t.npy"), **options)(theta)
    expected = Objective(X, 3, target=target, **options)(theta)
    assert got[0] == expected[0]
    np.testing.assert_array_equal(got[1], expected[1])


def test_a_digest_and_a_variance_take_one_pass(tmp_path):
    """Of any container; the values are those of the whole array."""
    X = np.random.default_rng(0).random((50_000, 12))

    class Counted(RowSlices):
        rows = 0

        def __getitem__(self, where):
            Counted.rows += where.stop - where.start
            return super().__getitem__(where)

    source = DataSource(Counted(X), "X")
    summary = source.summary()
    assert source.summary() is summary
    assert Counted.rows == 50_000
    assert summary.variance_sum == pytest.approx(np.square(X - X.mean(axis=0)).sum(), rel=1e-12)
    assert summary.digest == DataSource(np.asfortranarray(X), "X").summary().digest
    step = (1 << 22) // (8 * 12)
    pages = b"".join(hashlib.sha256(X[start : start + step].tobytes()).digest() for start in (0, step))
    assert summary.digest == hashlib.sha256(b"(50000, 12) <f8" + pages).hexdigest()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
@pytest.mark.parametrize("streamed", [False, True])
def test_rounding_at_the_ends_of_the_unit_interval_is_accepted(dtype, streamed, monkeypatch):
    """Eight units in the last place of the data's dtype at 1; sixteen are refused, with digits that show it."""
    if streamed:
        monkeypatch.setattr(storage, "SHARE", 1 << 60)
    eps = max(np.finfo(dtype).eps, np.longdouble(2) ** -52)
    X = np.full((10, 3), 0.5, dtype=dtype)
    X[3, 1], X[4, 1] = 1 + 8 * eps, -4 * eps
    data = RowSlices(X) if streamed else X
    assert np.isfinite(Objective(data, 2)(np.zeros(17))[0])
    X[3, 1] = 1 + 16 * eps
    with pytest.raises(DataError, match=r"values from -.* to 1\.0.+; a sigmoid output reproduces .*\(within ") as e:
        Objective(data, 2)(np.zeros(17))
    assert " to 1;" not in str(e.value)


def test_what_scaling_to_the_unit_interval_gives_is_accepted():
    """scikit-learn's MinMaxScaler leaves 1.0000000000000002."""
    from sklearn.preprocessing import MinMaxScaler

    for seed in range(20):
        X = MinMaxScaler().fit_transform(np.random.default_rng(seed).normal(size=(200, 5)))
        Objective(X, 2)
        Objective(X.astype(np.float32), 2)


def test_masked_values_are_counted():
    """A mask is not ignored, in any argument; an array in which nothing is masked is accepted."""
    X = np.ma.masked_greater(np.random.default_rng(0).random((20, 3)), 0.9)
    count = int(X.mask.sum())
    with pytest.raises(DataError, match=rf"X is a masked array with {count} masked values of 60; .*filled"):
        Objective(X, 2)
    with pytest.raises(DataError, match="target is a masked array"):
        Objective(X.filled(0.5), 2, target=X)
    plain = X.filled(0.5)
    with pytest.raises(DataError, match="a2 is a masked array"):
        sparsae.backprop(plain, X, plain, np.ones((3, 3)), np.ones(3))
    with pytest.raises(DataError, match="a1 is a masked array"):
        sparsae.backprop(X, plain, plain, np.ones((3, 3)), np.ones(3))
    one = np.ma.masked_array(np.full((2, 2), 0.5), mask=[[True, False], [False, False]])
    with pytest.raises(DataError, match="1 masked value of 4"):
        Objective(one, 2)


def test_missing_values_and_text_in_frames_are_named_by_column():
    """How many, in which columns; what to do."""
    good = np.array([0.1, 0.2, 0.3])
    columns = {"a": Column(list(good), np.dtype(float)), "b": Column([0.1, None, None], Nullable("float64"))}
    with pytest.raises(DataError, match=r"X has missing values \(NA or NaN\): 2 in b\. Fill or drop them"):
        Objective(Frame(columns), 2)
    columns = {"a": Column(list(good), np.dtype(float)), "name": Column(["x", "y", "z"], np.dtype(object))}
    with pytest.raises(DataError, match=r"X has 1 column that is not of numbers: name \(object\)\. .*to_numeric"):
        Objective(Frame(columns), 2)
    many = {f"c{i}": Column(["x"], np.dtype(object)) for i in range(9)}
    with pytest.raises(DataError, match=r"9 columns that are not of numbers: c0 .*c4 \(object\) and 4 more"):
        Objective(Frame(many), 2)


def test_real_frames():
    """Pandas itself: plain, nullable with and without NA, text, duplicate labels."""
    pandas = pytest.importorskip("pandas")
    X = np.random.default_rng(0).random((40, 3))
    theta = Parameters.random(3, 2).flatten()
    expected = Objective(X, 2)(theta)[0]
    plain = pandas.DataFrame(X, columns=["a", "b", "b"])
    for data in (plain, plain.astype("Float64"), pandas.DataFrame(X).astype({1: "Float64"})):
        assert Objective(data, 2)(theta)[0] == expected
    holes = pandas.DataFrame(X, columns=["a", "b", "c"]).astype("Float64")
    holes.loc[3:5, "b"] = pandas.NA
    with pytest.raises(DataError, match=r"missing values \(NA or NaN\): 3 in b"):
        Objective(holes, 2)
    with pytest.raises(DataError, match=r"1 column that is not of numbers: name \((object|str)"):
        Objective(pandas.DataFrame({"a": X[:, 0], "name": ["x"] * 40}), 2)


def test_object_arrays_say_which_value_is_no_number():
    """Its place and what it is; numbers alone in an object array are named too."""
    with pytest.raises(DataError, match=r"dtype object: it holds None in row 1, column 0 .*numpy.asarray\(X, dtype=fl"):
        Objective([[0.5, 0.2], [None, 0.1]], 2)
    with pytest.raises(DataError, match="dtype object although it holds numbers alone"):
        Objective(np.array([[0.5, 0.2]], dtype=object), 2)
    with pytest.raises(DataError, match=r"X has dtype object; expected real numbers\. Convert it first"):
        Objective(RowSlices(np.array([[0.5, None]], dtype=object)), 2)


def test_backprop_reads_any_container_whole():
    """What gives rows by slices, in another dtype than that of the computation."""
    X = np.random.default_rng(0).integers(0, 9, (30, 4))
    given = np.full((30, 3), 0.5), X / 9, np.ones((4, 3))
    expected = sparsae.backprop(X, *given, backend="numpy")
    for got, known in zip(sparsae.backprop(RowSlices(X), *given, backend="numpy"), expected, strict=True):
        np.testing.assert_array_equal(got, known)


def test_bad_values_are_counted_over_all_pieces_and_the_first_is_named():
    """Of three pieces the second and the third have some."""
    values = ValueCheck("X", np.dtype(float), np.dtype(float), unit_range=False)
    for start, bad in ((0, 0), (10, 1), (20, 2)):
        rows = np.zeros((10, 2))
        rows[:bad, 1] = np.nan
        values.add(rows, start)
    with pytest.raises(
        DataError, match=r"X contains 3 values that are not finite; the first is nan in row 10, column 1"
    ):
        values.finish()


def test_what_numpy_makes_no_matrix_of_is_named_by_its_type():
    """A dictionary of arrays, as scikit-learn's data sets are, says which entries it has."""
    given = r"X is of type dict, not a matrix; give one of its values, X\['a'\] \(keys: 'a', 'target'\)"
    with pytest.raises(DataError, match=given):
        Objective({"a": np.ones((3, 2)), "target": np.ones(3)}, 2)
    for nothing in ({}, object()):
        with pytest.raises(DataError, match=rf"X is of type {type(nothing).__name__}, which NumPy makes no matrix of"):
            Objective(nothing, 2)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("value", "dtype", "options"),
    [(1e200, np.float64, {"dtype": "float32"}), (np.longdouble("1e4000"), np.longdouble, {})],
)
def test_values_that_are_infinite_in_the_dtype_computed_in_are_refused(value, dtype, options, streamed, monkeypatch):
    """Finite in the data; before the first number is computed, wherever the data comes from."""
    if streamed:
        monkeypatch.setattr(storage, "SHARE", 1 << 60)
    X = np.full((10, 3), 0.5, dtype=dtype)
    X[7, 2] = value
    data = RowSlices(X) if streamed else X
    with pytest.raises(DataError, match=r"X has 1 value too large for float\d\d.* in row 7, column 2 .*Scale the data"):
        Objective(data, 2, output="linear", **options)(np.zeros(17))


def test_a_sparsity_vector_that_is_infinite_in_float32_is_the_settings_fault():
    """beta=1e300 in float32: an error that says so, not NaN."""
    X = np.random.default_rng(0).random((20, 3))
    with pytest.raises((ParameterError, sparsae.SparsaeError), match="beta"):
        Objective(X, 2, beta=1e300, dtype="float32", passes=2)(np.zeros(17))


def test_half_precision_is_computed_in_single_precision_and_said():
    """Four bytes a value, not eight; the receipt notes it."""
    X = np.random.default_rng(0).random((20, 3)).astype(np.float16)
    objective = Objective(X, 2)
    assert objective.dtype == np.float32
    assert "X is float16; it is computed in float32." in objective.receipt.notes
    assert Objective(X, 2, dtype="float64").receipt.dtype == "float64"


@pytest.mark.parametrize("n_hidden", [10**9, 10**15])
def test_a_model_that_cannot_fit_is_refused_before_anything_is_allocated(n_hidden, monkeypatch):
    """Needed, available, and the largest size that fits, by every way in."""
    monkeypatch.setattr(storage, "memory_limit", lambda: 1 << 30)
    X = np.full((5, 4), 0.5)
    message = (
        rf"n_hidden={n_hidden} with 4 inputs needs at least .* GiB .* may use 1.0 GiB, .* fits is n_hidden=2485513"
    )
    for call in (Objective, sparsae.train):
        with pytest.raises(ParameterError, match=message):
            call(X, n_hidden)
    storage.check_model_memory(4, 2485513)
    with pytest.raises(ParameterError):
        storage.check_model_memory(4, 2485514)
