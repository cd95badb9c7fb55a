"""NumPy's .npz: a zip archive of .npy members, of which only the headers and the chosen one are read."""

from __future__ import annotations

import zipfile
from functools import partial

from sparsae.data.readers.entries import ArrayEntry, LoadedArray, ReadRequest, choose_entry
from sparsae.data.readers.limits import check_expansion
from sparsae.data.readers.npy import NUMERIC_KINDS, ArrayHeader, check_numeric, read_header, read_values, truncated
from sparsae.data.readers.source_file import SourceFile, damage_refused, shorten
from sparsae.errors import DataError, FileFormatError

MAX_MEMBERS = 10_000
SPARSE_MEMBERS = {"indices", "indptr", "format", "shape", "data"}  # scipy.sparse.save_npz


def read_npz(file: SourceFile, request: ReadRequest) -> LoadedArray:
    """Read the named array, or the only one that fits."""
    if file.compressed:
        raise FileFormatError(f"{file.label} is an .npz file inside {file.compression}; decompress it first.")
    with file.open() as stream, damage_refused(file.label, ".npz file"), zipfile.ZipFile(stream) as archive:
        entries = [_entry(archive, member, file) for member in _members(archive, file)]
        if {entry.name for entry in entries} >= SPARSE_MEMBERS and not request.array:
            raise DataError(
                f"{file.label} holds a sparse matrix of SciPy; save it as a dense one: "
                f"numpy.save('dense.npy', scipy.sparse.load_npz({file.path.name!r}).toarray())."
            )
        entry = choose_entry(file.label, entries, request)
        return LoadedArray(entry.read())


def _members(archive: zipfile.ZipFile, file: SourceFile) -> list[zipfile.ZipInfo]:
    """Return the members that are arrays, after a check of what the archive declares."""
    members = archive.infolist()
    names = [member.filename for member in members]
    if "[Content_Types].xml" in names:
        raise FileFormatError(f"{file.label} is an office document, such as a spreadsheet; export it as CSV.")
    if len(members) > MAX_MEMBERS:
        raise FileFormatError(f"{file.label} has {len(members)} members; at most {MAX_MEMBERS} are read.")
    for member in members:
        shown = shorten(member.filename)
        if names.count(member.filename) > 1:
            raise FileFormatError(f"{file.label} has more than one member {shown!r}.")
        if member.flag_bits & 1:
            raise FileFormatError(f"{file.label}: member {shown!r} is encrypted; encrypted files are not read.")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FileFormatError(f"{file.label}: member {shown!r} is compressed in a way that NumPy does not use.")
        if member.compress_size > file.size:
            raise FileFormatError(f"{file.label} is damaged: member {shown!r} is larger than the file.")
    arrays = [member for member in members if member.filename.endswith(".npy")]
    if not arrays:
        listed = ", ".join(shorten(name, 30) for name in names[:5]) or "nothing"
        raise FileFormatError(f"{file.label} is a zip archive without arrays (.npy); it has {listed}.")
    return arrays


def _entry(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: SourceFile) -> ArrayEntry:
    """Read the header of one member."""
    name = member.filename.removesuffix(".npy")
    label = f"{file.label}:{shorten(name)}"
    with archive.open(member) as stream:
        header = read_header(stream, label)  # type: ignore[arg-type]  # has all that is used
    numeric = header.dtype.kind in NUMERIC_KINDS and header.dtype.names is None
    read = partial(_read_member, archive, member, header, label)
    return ArrayEntry(name, header.shape, str(header.dtype) if numeric else header.dtype.name, numeric, read)


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, header: ArrayHeader, label: str):  # type: ignore[no-untyped-def]
    """Read the numbers of one member."""
    check_numeric(header, label)
    if header.offset + header.n_bytes != member.file_size:
        raise truncated(label, header, member.file_size - header.offset)
    if member.compress_type != zipfile.ZIP_STORED:
        check_expansion(label, member.compress_size, header.n_bytes)
    with archive.open(member) as stream:
        read_header(stream, label)  # type: ignore[arg-type]  # likewise
        return read_values(stream, header, label)  # type: ignore[arg-type]  # likewise
