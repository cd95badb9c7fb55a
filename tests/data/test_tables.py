"""Tables as people have them: found out, or refused with the way out; never silently something else."""

import gzip
import warnings

import numpy as np
import pytest

from sparsae import DataError, ParameterError
from sparsae.data import load
from sparsae.data.readers import table_layout, text_lines
from sparsae.errors import DataWarning, FileFormatError

VALUES = [[0.5, 0.25, 1.0], [0.125, 2.0, 0.75]]
PLAIN = "0.5,0.25,1\n0.125,2,0.75\n"


def table(tmp_path, content, name="x.csv", **options):
    """Write and load a table; returns the dataset."""
    data = content.encode() if isinstance(content, str) else content
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return load(tmp_path / name, **options)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (PLAIN, "x.csv"),
        (PLAIN.replace(",", ";"), "x.csv"),
        (PLAIN.replace(",", "\t"), "x.csv"),
        (PLAIN.replace(",", "\t"), "x.tsv"),
        (PLAIN.replace(",", "|"), "x.csv"),
        (PLAIN.replace(",", "  "), "x.txt"),
        (PLAIN.replace(",", ", "), "x.csv"),
        (PLAIN.replace("\n", "\r\n"), "x.csv"),
        (PLAIN.replace("\n", "\r"), "x.csv"),
        ("0.5,0.25,1\r\n0.125,2,0.75\r\r\n\n", "x.csv"),
        (PLAIN.rstrip(), "x.csv.gz"),
        (PLAIN.replace("\n", ",\n"), "x.csv"),
        (PLAIN.replace("\n", " \n"), "x.csv"),
        ('"0.5","0.25","1"\n"0.125","2","0.75"\n', "x.csv"),
        ('0.5, "0.25", 1\n0.125, "2", 0.75\n', "x.csv"),
        ('"0.5" "0.25" "1"\n"0.125" "2" "0.75"\n', "x.txt"),
        ("# made by hand\n0.5,0.25,1 # first\n\n0.125,2,0.75\n#end", "x.csv"),
        ("\ufeff" + PLAIN, "x.csv"),
        (PLAIN.encode("utf-16"), "x.csv"),
        (PLAIN.encode("utf-16-le"), "x.csv"),
        (PLAIN.encode("utf-16-be"), "x.csv"),
        (PLAIN.encode("utf-32"), "x.csv"),
        ("0,5;0,25;1\n0,125;2;0,75\n", "x.csv"),
        ("0,5\t0,25\t1\n0,125\t2\t0,75\n", "x.csv"),
        ("0,5 0,25 1\n0,125 2 0,75\n", "x.txt"),
        ('"0,5","0,25","1"\n"0,125","2","0,75"\n', "x.csv"),
        ("5e-1,2.5E-1,+1\n.125,2.,0.75\n", "x.csv"),
        ("0.5,0.25,TRUE\n0.125,2,0.75\n", "x.csv"),
    ],
)
def test_numbers_are_read_however_they_are_written(tmp_path, content, name):
    """Delimiters, line ends, quotes, comments, encodings, trailing delimiters, decimal commas, booleans."""
    np.testing.assert_array_equal(table(tmp_path, content, name).X, VALUES)


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("a,b,c\n", ("a", "b", "c")),
        ('"a;1","b;2","c;3"\n', ("a;1", "b;2", "c;3")),
        ('"a, b","c, d","e"\n', ("a, b", "c, d", "e")),
        ('"a\nb",c,d\n', ("a b", "c", "d")),
        ("Measured on Monday; with care\n\na,b,c\n", ("a", "b", "c")),
        ("Title\nSubtitle, with a comma\na,b,c\n", ("a", "b", "c")),
        ("grö\u00dfe,b,c\n", ("grö\u00dfe", "b", "c")),
        ("a,a,\n", ("a", "a", "")),
        ("Only a title\n", None),
    ],
)
def test_lines_above_the_numbers_are_told_from_numbers(tmp_path, header, columns):
    """Names, numbers as names, names that hold delimiters or line breaks, titles, empty and double names."""
    data = table(tmp_path, header + PLAIN)
    np.testing.assert_array_equal(data.X, VALUES)
    assert data.columns == columns


def test_names_that_are_not_utf8_are_read_and_said(tmp_path):
    """Windows-1252, or Latin-1 where that has no such character."""
    for encoding, text in (("cp1252", "größe\u20ac"), ("latin-1", "gr\x81")):
        content = f"{text},b,c\n{PLAIN}".encode(encoding)
        with pytest.warns(DataWarning, match=f"names are not UTF-8; read as {encoding}: gr"):
            assert table(tmp_path, content).columns[0] == text


def test_a_table_of_text_alone_and_one_of_a_single_row(tmp_path):
    """Without a header the first cell is named; one row of integers that count is a sample: nothing is below it."""
    with pytest.raises(DataError, match=r"the cell in line 1, column 1 is 'a', which is not a number"):
        table(tmp_path, "a,b\nc,d\n", header=False)
    np.testing.assert_array_equal(table(tmp_path, "0,1,2\n").X, [[0, 1, 2]])


def test_columns_that_count_from_zero_as_pandas_writes_them_are_names(tmp_path):
    """Many of them are sure; few are where the numbers could not be names; a matrix that counts on is numbers."""
    wide = ",".join(map(str, range(10))) + "\n" + "7,3,200,1,0,0,0,0,0,1\n" * 3
    assert table(tmp_path, wide).X.shape == (3, 10)
    assert table(tmp_path, "0,1,2\n0.5,0,1\n1,0.25,0\n").X.shape == (2, 3)
    with_index = ",0,1\n0,0.5,0.25\n1,0.75,1\n"
    with pytest.warns(DataWarning, match=r"column 1 has no name; column 1 \(0, 1, ...\) is taken for row names"):
        np.testing.assert_array_equal(table(tmp_path, with_index).X, [[0.5, 0.25], [0.75, 1]])
    assert table(tmp_path, "id,0,1,2\n7,.1,.2,.3\n9,.1,.2,.3\n").columns == ("id", "0", "1", "2")
    assert table(tmp_path, "1,2,3\n4,5,6\n7,8,9\n").X.shape == (3, 3)


@pytest.mark.parametrize("first", ["0,1", "0,1,2", "400,402,404"])
def test_a_first_line_that_may_be_names_or_numbers_is_refused_with_the_way_out(tmp_path, first):
    """And each way out works."""
    n = first.count(",") + 1
    content = f"{first}\n" + "\n".join(",".join(["0.5", "3", "2.5"][:n]) for _ in range(3))
    with pytest.raises(DataError, match=rf"the first line \({first.replace(',', ', ')}\) has column names or is a s"):
        table(tmp_path, content)
    assert table(tmp_path, content, header=True).X.shape == (3, n)
    assert table(tmp_path, content, header=False).X.shape == (4, n)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (",a,b\n0,0.5,0.25\n1,0.75,1\n", "column 1 has no name"),
        ("Unnamed: 0,a,b\n1,0.5,0.25\n2,0.75,1\n", "column 1 has no name"),
        (",a,b\nx,0.5,0.25\ny,0.75,1\n", "column 1 has no name"),
        (",a,b\n2020-01-01,0.5,0.25\n2020-01-02,0.75,1\n", "column 1 has no name"),
        ('"a","b"\n"1",0.5,0.25\n"2",0.75,1\n', "the header has one name less than the rows have cells"),
        ('"a" "b"\n"mazda" 0.5 0.25\n"honda" 0.75 1\n', "the header has one name less than the rows have cells"),
    ],
)
def test_row_names_are_left_out_and_said(tmp_path, content, reason):
    """The index of pandas and the row names of R are no inputs; --columns keeps them."""
    with pytest.warns(DataWarning, match=rf"{reason}; column 1 \(.*\) is taken for row names and left out.*columns 1-"):
        data = table(tmp_path, content)
    np.testing.assert_array_equal(data.X, [[0.5, 0.25], [0.75, 1]])
    assert data.columns == ("a", "b")
    np.testing.assert_array_equal(table(tmp_path, content, columns="2-").X, data.X)


@pytest.mark.parametrize("content", [",a,b\n5,0.5,1\n3,0.75,1\n", "a,b\n5,0.5,1\n3,0.75,1\n"])
def test_a_first_column_that_may_be_data_is_refused_with_the_way_out(tmp_path, content):
    """It has no name, is not text and does not count the rows."""
    with pytest.raises(DataError, match=r"not clear whether column 1 \(5, 3, ...\) .* --columns 2- .* or 1- to keep"):
        table(tmp_path, content)
    assert table(tmp_path, content, columns="1-").X.shape == (2, 3)
    assert table(tmp_path, content, columns="2-").X.shape == (2, 2)


def test_a_named_column_that_counts_the_rows_is_pointed_out(tmp_path):
    """It is used: it has a name. The warning says how to leave it out."""
    content = "id,a\n" + "".join(f"{i},{i / 20}\n" for i in range(12))
    with pytest.warns(DataWarning, match=r"column 1 \(id\) counts the rows and is used as an input; .*--columns 2-"):
        assert table(tmp_path, content).X.shape == (12, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert table(tmp_path, content, columns="2-").X.shape == (12, 1)


@pytest.mark.parametrize("content", ["0,5\n0,25\n", "x\n0,5\n0,25\n", "1,2\n3,4\n"])
def test_one_comma_between_digits_is_refused_with_the_way_out(tmp_path, content):
    """One number or two."""
    with pytest.raises(DataError, match=r"is one number with a decimal comma, or two columns; say --delimiter ';'"):
        table(tmp_path, content)
    assert table(tmp_path, content, delimiter=";").X.shape == (2, 1)
    assert table(tmp_path, content, delimiter=",", columns="1-").X.shape == (2, 2)
    assert table(tmp_path, content, name="x.tsv").X.shape == (2, 1)
    assert table(tmp_path, "a,b\n1,2\n3,4\n").X.shape == (2, 2)


def test_decimal_commas_between_commas_are_named(tmp_path):
    """0,05,0,25: digits after a leading zero are no integer."""
    with pytest.raises(DataError, match="the commas in 0,05,0,25 look like decimal marks and delimiters at once"):
        table(tmp_path, "0,05,0,25\n1,02,0,12\n")
    assert table(tmp_path, "0,05,0,25\n1,02,0,12\n", delimiter=",").X.shape == (2, 4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n", r"no rows under the header \(line 1: a, b\)"),
        ("# c\na;b", r"no rows under the header \(line 2: a, b\)"),
        ("# only\n\n", "is empty: there is no line with numbers"),
        (
            "a,b,kind\n1,2,x\n",
            r"line 2, column 3 \(kind\) is 'x', which is not a number\. Leave a column out with --columns '!3'",
        ),
        ("a,b\nx,y\n1,2\n", r"line 2, column 1 \(a\) is 'x'"),
        ("m,s\nu,v\nw,x\n", r"line 2, column 1 \(m\) is 'u'"),
        (
            "a,b\n1.5,\n2,3\n",
            r"line 2, column 2 \(b\) is empty\. It has missing values: 1 in column 2 \(b\)\. Fill them",
        ),
        ("a,b\n1.5,NA\n2,3\n", r"line 2, column 2 \(b\) is 'NA', a missing value"),
        ("a,b\n1.5,nan\n2,3\n", r"line 2, column 2 \(b\) is 'nan', a missing value"),
        ("a,b\n1.5,inf\n2,3\n", r"line 2, column 2 \(b\) is 'inf', which is not finite"),
        ("a,b\n1.5,1e400\n2,3\n", r"line 2, column 2 \(b\) is '1e400', which is not finite"),
        ("a,b\n1.5,1_000\n2,3\n", r"is '1_000', which is not a number"),
        ("a,b\n1.5,0x1F\n2,3\n", r"is '0x1F', which is not a number"),
        ("a,b\n1.5,2020-01-01\n2,3\n", r"is '2020-01-01', which is not a number"),
        ("a,b\n1.5,5%\n2,3\n", r"is '5%', which is not a number"),
        ('a,b\n1.5,"1,234.5"\n2,3\n', r"'1,234.5', which is not a number\. It has a comma: write all numbers with a d"),
        ("a;b\n1.5;2,5\n3;4\n", r"'2,5', which is not a number\. It has a comma"),
        ("a,b\n1.5,2\n3,4,5\n6,7\n", r"line 3 has 3 columns where the others have 2 \(delimiter ,\)"),
        ("a;b\n1.5;2\n3\n6;7\n", r"line 3 has 1 columns where the others have 2 \(delimiter ;\)"),
        (
            "0.1:0.2\n0.3:0.4\n",
            r"which is not a number\. If it is several cells, give what stands between",
        ),
    ],
)
@pytest.mark.parametrize("columns", [None, "1-"])
def test_what_is_no_number_is_named_by_line_column_and_name(tmp_path, content, message, columns):
    """With what can be done; also where columns are chosen, which NumPy does not check for their number."""
    with pytest.raises(DataError, match=message):
        table(tmp_path, content, columns=columns)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'a"b,c\n1,2\n', "a quotation mark in line 1 is not closed"),
        (b'a,b\n1,2\n"' + b"x\n" * 200, "a quotation mark in line 3 is not closed"),
        (b"a,b\n\0\1\2\3", "is not a text file: it has bytes that are zero"),
        (b'a,b\n1,"' + b"9" * 200_000 + b'"\n', "x.csv"),
    ],
)
def test_text_that_is_no_table_is_refused(tmp_path, content, message):
    """Open quotes, binary content, a cell beyond the limit of the csv module."""
    with pytest.raises((FileFormatError, DataError), match=message) as caught:
        table(tmp_path, content)
    assert len(str(caught.value)) < 500


def test_a_late_cell_of_another_kind_is_not_read_silently(tmp_path):
    """The layout is found from the first lines; what differs after them is named or read, at any place."""
    rows = "1.5,2.5\n" * 500
    for late, message in (("3,4;5", "4;5"), ("1,2,3", "line 501 has 3 columns"), ("1,x", "line 501, column 2")):
        with pytest.raises(DataError, match=message):
            table(tmp_path, f"{rows}{late}\n")
    with pytest.raises(DataError, match="line 501 has 3 columns"):
        table(tmp_path, "1.5,2.5,\n" * 500 + "3,4,9\n")
    assert table(tmp_path, f'{rows}"3",true\n').X[-1].tolist() == [3, 1]
    with pytest.raises(DataError, match=r"line 501, column 1 is '0,5', .* It has a comma"):
        table(tmp_path, "1;2\n" * 500 + "0,5;1\n")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ("b", [1]),
        ("c,a", [2, 0]),
        ("2", [1]),
        ("2-", [1, 2]),
        ("-2", [0, 1]),
        ("1-3", [0, 1, 2]),
        ("!b", [0, 2]),
        ("!1-2", [2]),
        ("1-3,!2", [0, 2]),
        (["c", 0], [2, 0]),
        ([-1], [2]),
        ((0, 2), [0, 2]),
    ],
)
def test_columns_are_chosen(tmp_path, columns, expected):
    """By name, number, range, or all but some; a column of text may be left out."""
    label = "" if "!" in str(columns) or columns in ("2-", [-1]) else ",x"
    header = "a,b,c" + (",label" if label else "")
    data = table(tmp_path, f"{header}\n1,2,3{label}\n4,5,6{label}\n", columns=columns)
    np.testing.assert_array_equal(data.X, np.array([[1, 2, 3], [4, 5, 6]])[:, expected])
    assert data.columns == tuple("abc"[i] for i in expected)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("d", "has no column 'd'; it has the columns a, b, b"),
        ("b", "has 2 columns named 'b'; give their numbers"),
        ("9", "has columns 1 to 3; given 9"),
        ("0", "has columns 1 to 3; given 0"),
        ("3-1", "has columns 1 to 3; given 3-1"),
        ("1-99", "has columns 1 to 3; given 1-99"),
        ("!1-3", "No column of .* is left by columns='!1-3'"),
        ("", "No column of .* is left"),
        ("a,1", "names a column of .* twice"),
        ("-", "has no column '-'"),
        ([3], "has 3 columns, positions 0 to 2; given 3"),
        ([1.5], "positions 0 to 2; given 1.5"),
        ([], "No column"),
    ],
)
def test_columns_that_are_not_there_are_named(tmp_path, columns, message):
    """With what there is."""
    with pytest.raises(ParameterError, match=message):
        table(tmp_path, "a,b,b\n1,2,3\n4,5,6\n", columns=columns)


def test_a_name_wins_over_a_number(tmp_path):
    """Columns named 0, 1, 2: "1" is the column of that name."""
    content = ",".join(map(str, range(9))) + "\n" + "5,4,3,2,1,1,1,1,9\n" * 2
    np.testing.assert_array_equal(table(tmp_path, content, columns="1").X, [[4], [4]])


@pytest.mark.parametrize("delimiter", ["ab", "", "1", '"', "\n", "a"])
def test_unusable_delimiters_are_named(tmp_path, delimiter):
    """With the words that are known."""
    with pytest.raises(ParameterError, match=r"one character such as , ; \| or a word of comma, .*; given"):
        table(tmp_path, PLAIN, delimiter=delimiter)


def test_given_delimiters_are_used(tmp_path):
    """A colon, which is not tried; words; the same by word and character."""
    assert table(tmp_path, "1.5:2\n3:4\n", delimiter=":").X.shape == (2, 2)
    for delimiter in ("tab", "\t", "\\t"):
        assert table(tmp_path, "1.5\t2\n3\t4\n", delimiter=delimiter).X.shape == (2, 2)


def test_the_sample_of_lines_has_limited_size(tmp_path, monkeypatch):
    """Long lines are sampled by their characters."""
    monkeypatch.setattr(table_layout, "SAMPLE_CHARACTERS", 10)
    np.testing.assert_array_equal(table(tmp_path, PLAIN).X, VALUES)
    monkeypatch.setattr(text_lines, "MAX_LINE", 5)
    with pytest.raises(FileFormatError, match="line 1 is longer than 5 characters"):
        table(tmp_path, PLAIN)


def test_names_with_escape_sequences_are_shown_without_them(tmp_path):
    """A column name may not set the title of a terminal."""
    with pytest.raises(DataError) as caught:
        table(tmp_path, "a,\x1b]0;title\x07b\x1b[31m\n1,x\n3,\x1b[2Jy\n")
    assert str(caught.value).isprintable()
    assert "(b)" in str(caught.value)


@pytest.mark.parametrize("seed", range(5))
def test_random_tables_come_back_exactly(tmp_path, seed):
    """Any delimiter, with and without names, as NumPy writes the numbers with all digits."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rng.integers(2, 300), rng.integers(2, 9)))
    for delimiter in (",", ";", "\t", "|", " "):
        header = delimiter.join(f"c{i}" for i in range(X.shape[1])) if rng.random() < 0.5 else ""
        np.savetxt(tmp_path / "x.csv", X, delimiter=delimiter, fmt="%.17g", header=header, comments="")
        np.testing.assert_array_equal(load(tmp_path / "x.csv").X, X)
