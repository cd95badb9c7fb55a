"""Output files are written whole or not at all; input and output paths are checked before work begins.

- A new file is written to an unnamed file in the folder of its target, synced, named and renamed over the target.
  Where the system has no unnamed files it has a name from the start; the next write to the same target removes it
  if its process has died.
- Symbolic links are followed: the target of the link is written, beside the target.
- Mode and owner of an existing file are kept.
- The null device and the streams of the process (``/dev/stdout``, ``/dev/stderr``, ``/dev/fd/N``) are written
  straight through.  Other devices, named pipes, sockets and folders are refused.
"""

from sparsae.files.atomic import atomic_write, atomic_write_text, sync_folder
from sparsae.files.checks import (
    as_path,
    check_distinct,
    check_readable,
    check_writable,
    is_written_through,
    resolve_output,
)
from sparsae.files.status import file_kind, stream_number

__all__ = [
    "as_path",
    "atomic_write",
    "atomic_write_text",
    "check_distinct",
    "check_readable",
    "check_writable",
    "file_kind",
    "is_written_through",
    "resolve_output",
    "stream_number",
    "sync_folder",
]
