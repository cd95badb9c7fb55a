"""Failures whose causes are rare, each played where it would arise, by the words of its message."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.support import rare_cluster_failures as cluster
from tests.support.rare_cluster_failures import raising

import sparsae
from sparsae.bench import plan, race, record, schema
from sparsae.data import pictures, readers
from sparsae.data.readers import ReadRequest, shards, source_file, table, torch_file
from sparsae.distributed.connection import Connection
from sparsae.distributed.task_errors import raise_task_error
from sparsae.engine import binary_file
from sparsae.engine.chunked_rows import ChunkedRows
from sparsae.engine.fold import cast_sparsity
from sparsae.engine.npy_file import open_npy
from sparsae.engine.sources import DataSource
from sparsae.optimize import get_method
from sparsae.plugins import autoselect, loading, registry
from sparsae.testing import runner
from sparsae.training import checkpoint_lock, resume

Patch = pytest.MonkeyPatch
X = np.random.default_rng(0).uniform(0.1, 0.9, (30, 4))
FULL = OSError(errno.ENOSPC, "No space left on device")
BROKEN = OSError(errno.EIO, "Input/output error")
HUGE = 1 << 55  # rows, which no address space holds


def no_backend_is_ready(patch: Patch) -> None:
    patch.setattr(plan, "list_backends", list)
    plan._check_backends(())


def a_record_on_a_full_disk(patch: Patch) -> None:
    patch.setattr(record, "resolve_output", raising(FULL))
    record.RaceRecorder(Path("race.jsonl"))


def a_record_that_the_disk_does_not_give(patch: Patch) -> None:
    Path("race.jsonl").write_text("{}", encoding="utf-8")
    patch.setattr(Path, "open", raising(BROKEN))
    record.read_record(Path("race.jsonl"))


def a_plan_of_too_many_tables(patch: Patch) -> None:
    from tests.support import simulated

    events = json.loads(json.dumps(simulated.session({"numpy": 1e-6, "dot": 1e-6})))
    patch.setattr(schema, "MOST_TABLES", 0)
    schema.check_events("race.jsonl", events)


def a_worker_with_a_strange_answer(patch: Patch) -> None:
    class Strange:
        """A contest in which the answer of a process has text for a number."""

        def __init__(self, start: Any, report: Any, **_: Any) -> None:
            self.report = report

        def run(self, *_: Any) -> None:
            self.report("after", "dot T=1", {"error": "none"})

        def close(self) -> None:
            """Nothing is open."""

    patch.setattr(race, "Contest", Strange)
    planned = plan.RacePlan.checked(backends=("dot",), threads=(1,), sizes=("300x8x4",))
    race.run_launch(planned, planned.workloads()[0], 0, print, lambda *_: None, set())


def a_folder_of_pictures_that_is_closed(patch: Patch) -> None:
    patch.setattr(Path, "iterdir", raising(BROKEN))
    pictures.read_pictures(Path())


def a_picture_that_went_away(patch: Patch) -> None:
    pictures.read_pictures(Path("gone.png"))


def a_matrix_too_large_to_be_turned(patch: Patch) -> None:
    import zarr

    zarr.save("x.zarr", X)
    rows = readers.read_file("x.zarr", ReadRequest(stay=True))[1].values
    patch.setattr(readers, "memory_share", lambda: 64)
    patch.setattr(type(rows), "transposed", lambda _: None)
    readers._transposed("x.zarr", rows)


def a_parquet_file_without_columns(patch: Patch) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({}), "x.parquet")
    sparsae.data.load("x.parquet")


def more_files_than_are_read(patch: Patch) -> None:
    Path("parts").mkdir()
    for number in range(3):
        np.save(f"parts/{number}.npy", X)
    patch.setattr(shards, "MAX_FILES", 2)
    sparsae.data.load("parts")


def a_folder_in_place_of_a_file(patch: Patch) -> None:
    source_file.SourceFile.find(Path())


def a_disk_that_fails_in_a_parser(patch: Patch) -> None:
    with source_file.damage_refused("x.csv", "table"):
        raise BROKEN


def a_table_without_numbers(patch: Patch) -> None:
    Path("x.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    patch.setattr(table, "_rows", lambda *_: iter(()))
    patch.setattr(table, "_read_fast", raising(ValueError("no rows")))
    sparsae.data.load("x.csv")


def a_tensor_beyond_the_end(patch: Patch) -> None:
    storage = SimpleNamespace(_checkpoint_offset=100)
    tensor = SimpleNamespace(
        shape=(3, 2),
        dtype="torch.float32",
        layout="torch.strided",
        untyped_storage=lambda: storage,
        storage_offset=lambda: 0,
        is_contiguous=lambda: True,
    )
    patch.setattr(torch_file, "_kind", lambda _: next(iter(torch_file.DTYPES)))
    torch_file._entry(SimpleNamespace(label="x.pt", size=101), "w", tensor)  # type: ignore[arg-type]


def a_file_that_the_disk_does_not_give(patch: Patch) -> None:
    np.save("x.npy", X)
    rows = open_npy("x.npy")
    patch.setattr(binary_file, "_pread_into", raising(BROKEN))
    rows[:]


def a_file_that_may_not_be_opened(patch: Patch) -> None:
    patch.setattr(os, "open", raising(PermissionError(errno.EACCES, "Permission denied")))
    binary_file.open_binary(Path("x.npy"))


def chunks(n_rows: int = 8) -> ChunkedRows:
    return ChunkedRows("x.zarr", (n_rows, 4), np.dtype(float), [0, n_rows], lambda first, last: np.ones((1, 4)))


class Rows:
    """Rows that a library reads, and fails to."""

    shape, dtype, ndim = (8, 4), np.dtype(float), 2

    def __getitem__(self, where: object) -> Any:
        raise BROKEN

    def __len__(self) -> int:
        return 8


def a_source_too_large(patch: Patch) -> None:
    DataSource(chunks(HUGE), "X").load()


def a_source_that_cannot_be_read(patch: Patch) -> None:
    DataSource(Rows(), "X").rows(slice(0, 8), np.dtype(float))


def a_kernel_without_backprop(patch: Patch) -> None:
    class Bare(sparsae.Kernel[Any, Any, Any]):
        def prepare(self, x: Any, target: Any, keep: bool) -> Any: ...
        def begin(self, parameters: Any) -> Any: ...
        def encode(self, weights: Any, block: Any) -> Any: ...
        def accumulate(self, *arguments: Any) -> None: ...
        def finish(self, weights: Any, sums: Any) -> None: ...

    kernel = Bare.__new__(Bare)
    kernel.backprop(X, X, X, X, X, X)  # type: ignore[arg-type]


def an_observer_that_cannot_be_imported(patch: Patch) -> None:
    point = SimpleNamespace(name="mine", load=raising(KeyError("lost")))
    patch.setattr(registry, "read_entry_points", lambda _: [point])
    registry.observer_function("mine")


def metadata_that_cannot_be_read(patch: Patch) -> None:
    class Damaged:
        _path = "mangled.dist-info"

        @property
        def entry_points(self) -> Any:
            raise ValueError("no '='")

    patch.setattr(loading, "entry_points", raising(ValueError("one of them")))
    patch.setattr(loading, "distributions", lambda: [Damaged()])
    loading.read_entry_points("sparsae.backends")


def a_lock_on_a_full_disk(patch: Patch) -> None:
    patch.setattr(checkpoint_lock, "_acquire", raising(FULL))
    with checkpoint_lock.lock_checkpoint(Path("run")):
        pass


def portions_for_lbfgs(patch: Patch) -> None:
    from sparsae.training.incremental import IncrementalFit

    IncrementalFit(3, SimpleNamespace(method=get_method("lbfgs")))  # type: ignore[arg-type]


def more_epochs_than_planned(patch: Patch) -> None:
    resume.planned_epochs(Path("run"), {"planned": 10}, get_method("adam", decay=0.5), 12)


def settings_of_no_optimiser(patch: Patch) -> None:
    resume.resumed_method(Path("run"), {"method": {"name": "adam", "pace": 3}}, get_method("adam"))


def a_processor_that_llvm_does_not_know(patch: Patch) -> None:
    pytest.importorskip("numba")
    from sparsae_backends.numba import target

    target._refuse_unknown("abacus", "")


def a_transform_before_a_sigmoid_output(patch: Patch) -> None:
    from sparsae.data.exchange.portable import folded

    model = SimpleNamespace(transform=sparsae.transforms.fit(X, "standardise"), output="sigmoid")
    folded(model, "SAELens")  # type: ignore[arg-type]


def no_candidate_on_more_rows(patch: Patch) -> None:
    autoselect._race(["dot"], 8, raising(sparsae.BackendError("no")), {}, float("inf"))


def a_backend_that_ends_the_kits_child(patch: Patch) -> None:
    session = runner.CheckSession.__new__(runner.CheckSession)
    answer = SimpleNamespace(reply=None, ended="it exited with code 3", output="")
    session._child, session.facts, session._time_limit = None, {"backend": "mine"}, 1.0
    session._make_child = lambda: SimpleNamespace(start=lambda _: answer, close=lambda: None)  # type: ignore[method-assign, assignment, return-value]
    session.start()


PROVOKED: dict[str, Callable[[Patch], Any]] = {
    "No backend is ready; `sparsae backends` says why.": no_backend_is_ready,
    "Cannot write race.jsonl: No space left on device.": a_record_on_a_full_disk,
    "race.jsonl cannot be read: Input/output error.": a_record_that_the_disk_does_not_give,
    "plans more than 0 tables.": a_plan_of_too_many_tables,
    "its answer cannot be recorded: after.error is str": a_worker_with_a_strange_answer,
    "The folder . cannot be read: Input/output error.": a_folder_of_pictures_that_is_closed,
    "There is no file or folder gone.png.": a_picture_that_went_away,
    "x.zarr is too large to be transposed in memory": a_matrix_too_large_to_be_turned,
    "x.parquet has no columns.": a_parquet_file_without_columns,
    "parts has 3 files; at most 2 are read.": more_files_than_are_read,
    ". is a folder. For pictures in it use patches:.": a_folder_in_place_of_a_file,
    "x.csv cannot be read: Input/output error.": a_disk_that_fails_in_a_parser,
    "x.csv has no rows of numbers.": a_table_without_numbers,
    "x.pt is truncated: tensor w ends beyond the end of the file.": a_tensor_beyond_the_end,
    'bits must be "same" or "strict"; given \'loose\'.': lambda _: Connection(None, bits="loose"),
    "patience must be a positive number of seconds; given 0.": lambda _: Connection(None, patience=0),
    "None of 1 worker answered within 0.01 s.": cluster.nobody_answers,
    "The scheduler does not answer (TimeoutError: late).": cluster.a_scheduler_that_is_silent,
    "A cluster needs Dask: pip install ": cluster.without_dask,
    "A worker failed: KeyError: 'lost'.": lambda _: raise_task_error(KeyError("lost")),
    "The workers did not send 1 result within 0.01 s.": cluster.results_that_do_not_come,
    "Workers died again and again": lambda _: cluster.connection().wait_for(
        [cluster.Future("error", cluster.killed_worker())]
    ),
    "1 part of the data did not reach the workers": lambda _: cluster.connection().wait_for(
        [cluster.Future("pending")]
    ),
    "No workers. The last state is in run.": cluster.a_cluster_that_dies_in_a_fit,
    "x.npy cannot be read: Input/output error.": a_file_that_the_disk_does_not_give,
    "x.npy cannot be read: Permission denied.": a_file_that_may_not_be_opened,
    "x.zarr changed while it was read: rows 0 to 7 (counted from 0) came with shape (1, 4).": lambda _: chunks()[:],
    "The sparsity vector is too large for float32 in 1 hidden unit: up to 1e+300.": lambda _: cast_sparsity(
        np.array([1.0, 1e300]), np.dtype(np.float32)
    ),
    "rows of float64 do not fit into memory at once.": lambda _: chunks(HUGE)[:],
    "X: (36028797018963968, 4) values of float64 do not fit into memory.": a_source_too_large,
    "X: rows 0 to 8 cannot be read: [Errno 5] Input/output error": a_source_that_cannot_be_read,
    "Bare defines no backprop().": a_kernel_without_backprop,
    "Observer 'mine' cannot be loaded: KeyError: 'lost'": an_observer_that_cannot_be_imported,
    "The entry points of mangled.dist-info cannot be read (ValueError: no '='); they are left out.": (
        metadata_that_cannot_be_read
    ),
    "No lock file can be made beside run: No space left on device.": a_lock_on_a_full_disk,
    "Method 'lbfgs' needs all rows at once": portions_for_lbfgs,
    "max_iter=12 exceeds the 10 epochs that the fit of the checkpoint run was planned for": more_epochs_than_planned,
    "cannot be used:": settings_of_no_optimiser,
    "NUMBA_CPU_NAME names the processor 'abacus', which numba's compiler": a_processor_that_llvm_does_not_know,
    "of a model with sigmoid output: it can be folded": a_transform_before_a_sigmoid_output,
    "auto found no backend for this problem.": no_candidate_on_more_rows,
    "Backend 'mine' cannot be loaded: it exited with code 3 when it was imported.": a_backend_that_ends_the_kits_child,
}
