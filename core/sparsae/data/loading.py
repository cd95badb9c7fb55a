"""`load`: from a word or a file name to a `Dataset`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sparsae._text import printable
from sparsae.data.bundled import load_digits, load_natural_images, load_photographs
from sparsae.data.dataset import Dataset
from sparsae.data.patches import make_patches
from sparsae.data.patches import patch_size as size_of_patches
from sparsae.data.pictures import Images, images_of_array, read_pictures
from sparsae.data.readers import ReadRequest, find_source, is_array_file, read_file, read_matrix
from sparsae.data.readers.entries import LoadedArray
from sparsae.data.readers.limits import memory_share
from sparsae.data.readers.source_file import path_label
from sparsae.errors import DataError, DataWarning, FileMissingError, ParameterError
from sparsae.files import as_path
from sparsae.machine.caller_warning import warn_caller
from sparsae.model import check_size
from sparsae.transforms import Patches, Scale, Transform, fit

PATCH_DEFAULTS = {"n_patches": 10_000, "patch_size": 8, "whiten": "none"}
FLAGS = ("transpose", "drop_missing")
FILE_DEFAULTS = {"columns": None, "delimiter": None, "header": None} | dict.fromkeys(FLAGS, False)
DIGITS = Scale(n_visible=64, low=0.0, high=16.0)
SAMPLES = "files of samples"
WIDE = 10  # so many times more inputs than samples, and
WIDE_INPUTS = 1000  # at least so many inputs, look like samples that stand in columns


def load(
    source: str | os.PathLike[str],
    *,
    n_patches: int = 10_000,
    patch_size: int = 8,
    whiten: str = "none",
    scale: bool = False,
    transform: str | Transform | Sequence[str | Transform] | None = None,
    columns: str | Sequence[str | int] | None = None,
    delimiter: str | None = None,
    header: bool | None = None,
    transpose: bool = False,
    drop_missing: bool = False,
    stay: bool = False,
    seed: int | np.random.Generator = 0,
    like: Transform | None = None,
) -> Dataset:
    """Load data by name or from a file.

    Parameters
    ----------
    source : str or path-like
        "digits": scikit-learn's 1,797 digits of 8x8, as x/16 * 0.8 + 0.1.
        "patches": patches of scikit-image's four bundled photographs.
        "photos": patches of scikit-learn's two photographs.
        "patches:PATH": patches of a picture, of every picture in a folder, or of the images in a .npy, .npz, .mat or
        idx file.
        A file: .npy, .npz, .csv, .tsv, .txt, .mat, idx (MNIST), Parquet, Feather, HDF5, safetensors, torch's .pt, or
        the folder of a Zarr store; text, .npy and idx also with .gz, .bz2 or .xz.
        "FILE::NAME" picks one array of a file that holds several.
        A folder of such files, or a pattern such as "parts/*.npy": the files in natural order are one data set.
        Rows of .npy, Parquet, Feather, HDF5, Zarr, safetensors and .pt that are larger than half of the memory stay in
        the file and are read block by block.
    n_patches, patch_size : int
        For patches: how many, and their rows and columns.
    whiten : {"none", "zca", "olshausen"}
        Whitening of the patches.
    scale : bool
        For files: the transform "scale", which maps the range of all values linearly to [0.1, 0.9].
    transform : str or Transform, or a sequence of them, optional
        For files and digits: what is done to the samples, as in `sparsae.transforms.fit`; digits are scaled when it is
        left out.
    columns : str or sequence of str or int, optional
        Columns of a file to use. As text: names, numbers counted from 1 and ranges, such as "2-65" or "age,3",
        or "!label" for all but one. As a sequence: names, and positions counted from 0.
    delimiter : str, optional
        Between the cells of a table: one character, or "tab", "space"; found when left out.
    header : bool, optional
        Whether the first line of a table has column names; found when left out.
    transpose : bool
        For files with one sample in each column, as Matlab programs write them.
    drop_missing : bool
        Leave out rows of a file with missing values (NaN, null, an empty cell); else they are an error.
    stay : bool
        Rows of a file that can be read block by block stay in it, however few they are: for what reads them once, and
        for a cluster, whose workers open the path for themselves.
    seed : int or numpy.random.Generator
        Where patches are cut.
    like : Transform, optional
        The transform of earlier data: the same is done to these, with the same constants.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError, ParameterError
        When the data or the options cannot be used, or an option would have no effect on this source.
    FileMissingError, FileAccessError, FileFormatError
        When there is no such file, or it cannot be read.
    MissingExtraError
        When a library that ships or reads the data is not installed.
    """
    as_path("The name of data", source)
    word, _, rest = os.fspath(source).partition(":")
    for_patches = {"n_patches": n_patches, "patch_size": patch_size, "whiten": whiten}
    for_files: dict[str, Any] = {
        "columns": columns,
        "delimiter": delimiter,
        "header": header,
        "transpose": transpose,
        "drop_missing": drop_missing,
    }
    wanted = _wanted_transform(scale=scale, transform=transform, like=like)
    if word in ("patches", "photos") and (word == "patches" or not rest):
        _refuse_ignored({**for_files, "transform": transform}, {**FILE_DEFAULTS, "transform": None}, source, SAMPLES)
        size = check_size("patch_size", patch_size) if like is None else size_of_patches(like)
        images = load_photographs() if word == "photos" else _load_images(rest, size)
        X, fitted = make_patches(
            images, n_patches=n_patches, size=size, whiten=whiten, seed=seed, like=like, name=path_label(source)
        )
        return Dataset(X, os.fspath(source), fitted, (size, size))
    _refuse_ignored(for_patches, PATCH_DEFAULTS, source, "image patches (patches, photos, patches:PATH)")
    if source == "digits":
        _refuse_ignored(for_files, FILE_DEFAULTS, source, SAMPLES)
        loaded = LoadedArray(load_digits(), image_shape=(8, 8))
        return _transformed(loaded, "digits", DIGITS if transform is None and like is None else wanted)
    loaded = read_matrix(source, ReadRequest(**for_files, stay=stay))
    name = path_label(source)
    if not transpose:
        _hint_at_transpose(loaded, name)
    return _transformed(loaded, name, wanted)


def _wanted_transform(*, scale: bool, transform: Any, like: Transform | None) -> Any:
    """Return the one of them that is given, or raise `ParameterError`."""
    given = {"like": like, "transform": transform, "scale": scale or None}
    words = [f"{name}={_word(value)}" for name, value in given.items() if value is not None]
    if len(words) > 1:
        raise ParameterError(f"{' and '.join(words)} both say what is done to the samples; give one of them.")
    return "scale" if scale else like if transform is None else transform


def _word(value: Any) -> str:
    """Return what names a transform in a message."""
    parts = value if isinstance(value, (list, tuple)) else [value]
    return ",".join(part.name if isinstance(part, Transform) else printable(part) for part in parts)


def _transformed(loaded: LoadedArray, name: str, wanted: Any) -> Dataset:
    """Return the data set, transformed: fitted where `wanted` has names, and as a whole where it fits into memory."""
    X, shape = loaded.values, loaded.image_shape
    if wanted is None:
        return Dataset(X, name, None, shape, loaded.names, loaded.notes)
    if isinstance(wanted, Transform) and X.shape[1] != wanted.n_visible:
        _refuse_width(name, X.shape[1], wanted)
    fitted = fit(X, wanted, name=name, image_shape=shape)
    rows = fitted.view(X, name=name)
    whole = isinstance(X, np.ndarray) and X.size * rows.dtype.itemsize <= memory_share()
    return Dataset(fitted.apply(X, name=name) if whole else rows, name, fitted, shape, loaded.names, loaded.notes)


def _refuse_width(name: str, n_columns: int, transform: Transform) -> None:
    """Raise `DataError` for samples of another number of columns than a model takes."""
    n = transform.n_visible
    if any(step.name == Patches.name for step in transform.steps):
        raise DataError(
            f"The model was trained on image patches of {n} pixels and {name} has {n_columns} columns; "
            f"give patches, photos, patches:PATH, or a matrix of such patches."
        )
    raise DataError(f"{name} has {n_columns} columns and the model takes {n}.")


def _refuse_ignored(given: Mapping[str, Any], defaults: Mapping[str, Any], source: Any, purpose: str) -> None:
    """Raise `ParameterError` for options that have no effect on this source: the data would not be those asked for."""
    for name, value in given.items():
        default = defaults[name]
        if value is not None if default is None else value != default:
            raise ParameterError(
                f"{name}={printable(value)} is for {purpose} and has no effect on {path_label(source)}; leave it out."
            )


def _load_images(path: str, patch_size: int) -> Images:
    """Load the images behind ``patches:PATH``, for patches of that size; the bundled photographs without a path."""
    if not path:
        return load_natural_images()
    if not os.path.isdir(path):  # noqa: PTH112  Path.is_dir raises for a name that is too long
        try:
            place = find_source(path)
        except FileMissingError as error:
            raise FileMissingError(f"There is no file or folder {path_label(path)}.") from error
        if place.file is None or is_array_file(place.file):
            label, loaded = read_file(path, ReadRequest(images=True))
            return images_of_array(loaded, label)
    return read_pictures(Path(path), min_size=patch_size)


def _hint_at_transpose(loaded: LoadedArray, name: str) -> None:
    """Warn when there are far more inputs than samples: Matlab programs store one sample in each column."""
    n_samples, n_visible = loaded.values.shape
    if n_samples > 1 and n_visible >= max(WIDE_INPUTS, WIDE * n_samples) and loaded.image_shape is None:
        warn_caller(
            DataWarning(
                f"{name} is read as {n_samples:,} samples of {n_visible:,} inputs; "
                f"if its samples are columns, use --transpose (transpose=True)."
            )
        )
