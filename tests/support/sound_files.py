"""Small sound files of every kind that is read, as bytes."""

from __future__ import annotations

import gzip
import io
import struct

import numpy as np
import scipy.io

X = np.random.default_rng(0).random((6, 4))


def npy_bytes(array=X, **options):
    """The bytes of a .npy file."""
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **options)
    return file.getvalue()


def npz_bytes():
    file = io.BytesIO()
    np.savez_compressed(file, X=X, names=np.array(["a"]))
    return file.getvalue()


def csv_bytes():
    rows = "\n".join(",".join(f"{value:.4f}" for value in row) for row in X)
    return f'"a b",b,c,d\n{rows}\n'.encode()


def mat_bytes(**options):
    file = io.BytesIO()
    scipy.io.savemat(file, {"X": X, "title": "x", "s": {"a": 1.0}, "c": np.array([[1, "b"]], object)}, **options)
    return file.getvalue()


def idx_bytes():
    return struct.pack(">HBBIII", 0, 8, 3, 5, 4, 4) + bytes(range(80))


def picture_bytes(kind):
    from PIL import Image

    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


SOUND = {
    "x.npy": npy_bytes,
    "x.npz": npz_bytes,
    "x.csv": csv_bytes,
    "x.csv.gz": lambda: gzip.compress(csv_bytes(), mtime=0),
    "x.npy.gz": lambda: gzip.compress(npy_bytes(), mtime=0),
    "x-idx3-ubyte": idx_bytes,
}
PICTURES = {"x.png": "PNG", "x.jpg": "JPEG", "x.tiff": "TIFF", "x.bmp": "BMP", "x.gif": "GIF", "x.ppm": "PPM"}
