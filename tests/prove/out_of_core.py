"""Evidence: files larger than the memory that is allowed are trained on, with little extra memory, at what speed.

Four parts, each in processes of their own:

- Memory: a fit under ``ulimit -v`` and another under ``ulimit -d``, both less than the file; the extra memory is the
  most private memory of the fit less that before the data was opened.  The cost is compared, bit for bit, with that of
  the array in memory and one pass.
- Speed: evaluations of the array in memory and of each file in turn, interleaved in one process; the file, or the
  temporary copy of one that has to be decoded, is in the system's page cache.  The ratio of a round is memory over
  file; shown are its median, 10th and 90th percentile.
- Mini-batches of a Parquet file, from its temporary copy.

A process takes about 0.6 GB of addresses before it has read anything, so that `ulimit -v` below the size of the file
needs at least 5,000,000 rows.

    python tests/prove/out_of_core.py [--rows 2000000] [--hidden 25,64,256] [--rounds 9] [--folder /tmp]
        [--files x.parquet,x.zarr] [--parts memory,speed,minibatches]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np

N = 64
MEMORY_TARGET = 300  # MB
SPEED_TARGET = 0.6
LIMITS = {"ulimit -v": resource.RLIMIT_AS, "ulimit -d": resource.RLIMIT_DATA}
FILES = ("x.parquet", "x.zarr", "x.feather", "x.h5", "x.npy", "parts")
JUDGED = ("x.parquet", "x.zarr")


def write_files(folder: Path, rows: int) -> None:
    """The same rows in every format, each as its own library writes it when nothing is said."""
    import h5py
    import pyarrow as pa
    import pyarrow.feather
    import pyarrow.parquet
    import zarr

    X = np.random.default_rng(0).random((rows, N), dtype=np.float32)
    np.save(folder / "x.npy", X)
    table = pa.table([np.ascontiguousarray(column) for column in X.T], names=[f"x{j}" for j in range(N)])
    pyarrow.parquet.write_table(table, folder / "x.parquet")
    pyarrow.feather.write_feather(table, folder / "x.feather")
    (folder / "parts").mkdir()
    for i in range(10):
        part = table.slice(i * rows // 10, (i + 1) * rows // 10 - i * rows // 10)
        pyarrow.parquet.write_table(part, folder / "parts" / f"part-{i}.parquet")
    zarr.create_array(folder / "x.zarr", shape=X.shape, dtype=X.dtype, chunks=(8192, N))[:] = X
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("X", data=X, chunks=(8192, N))


def size(path: Path) -> int:
    """Bytes of a file, or of the files in a folder."""
    return sum(p.stat().st_size for p in path.rglob("*")) if path.is_dir() else path.stat().st_size


def private_memory() -> float:
    """Private memory of this process in MB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def fit(path: str, limit_kind: str, limit: int) -> None:
    """Train under a limit, and print the cost and the extra memory."""
    if limit:  # before anything is imported, as a shell would
        resource.setrlimit(LIMITS[limit_kind], (limit, limit))
    import sparsae
    from sparsae.data import load

    for module in ("pyarrow.parquet", "zarr", "h5py"):
        __import__(module)
    warnings.simplefilter("ignore")
    warm = np.random.default_rng(1).random((1000, N), dtype=np.float32)
    with sparsae.Objective(warm, 25, threads=2) as objective:
        objective(np.zeros(objective.size))  # what kernels and pools take is no cost of the file
    before, most, done = private_memory(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.01):
            most = max(most, private_memory())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    data = load(path)
    started = time.perf_counter()
    result = sparsae.train(data.X, 25, threads=2, max_iter=3, passes=1)
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    print(
        json.dumps(
            {
                "cost": float(result.cost).hex(),
                "storage": result.receipt.storage,
                "kind": type(data.X).__name__,
                "extra": most - before,
                "seconds": seconds,
            }
        )
    )


def in_child(*arguments: object) -> dict:
    """Run a part of this script in a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, *map(str, arguments)]
    environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"}  # the other one reserves 1 GiB: docs/data.md
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800, env=environment)
    except subprocess.TimeoutExpired:
        return {"failed": "no answer in 30 minutes"}
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"code {done.returncode}"}
    return json.loads(done.stdout.splitlines()[-1])


def prove_memory(folder: Path, names: list[str]) -> bool:
    """Fits under limits that are less than the file."""
    whole = in_child("--fit", folder / "x.npy", "ulimit -v", 0)
    print(f"  in memory: {whole['kind']}, {whole['storage']}, cost {float.fromhex(whole['cost']):.6g}")
    good = True
    for name in names:
        for kind, share in (("ulimit -v", 0.95), ("ulimit -d", 0.95)):
            limit = int(share * size(folder / name))
            found = in_child("--fit", folder / name, kind, limit)
            if "failed" in found:
                good &= name not in JUDGED
                print(f"  {name:10} {kind} {limit / 1e6:5.0f} MB: FAILED, {found['failed']}", flush=True)
                continue
            same = found["cost"] == whole["cost"]
            enough = found["extra"] <= MEMORY_TARGET and same and found["storage"] == "streamed"
            good &= enough or name not in JUDGED
            print(
                f"  {name:10} {size(folder / name) / 1e6:6.0f} MB, {kind} {limit / 1e6:5.0f} MB: {found['kind']}, "
                f"{found['storage']}, extra memory {found['extra']:4.0f} MB, {found['seconds']:5.1f} s, "
                f"{'the same bits' if same else 'OTHER BITS'}{'' if enough else '  NOT ENOUGH'}",
                flush=True,
            )
    return good


def race(folder: str, hidden: int, rounds: int, names: list[str]) -> None:
    """Interleaved evaluations; prints the seconds of each round."""
    import sparsae
    from sparsae.data.readers import ReadRequest, read_file
    from sparsae.engine import storage

    X = np.load(Path(folder) / "x.npy")
    theta = sparsae.Parameters.random(N, hidden).flatten()
    objectives = {"memory": sparsae.Objective(X, hidden, threads=2)}
    storage.SHARE = 1 << 60
    for name in names:
        rows = read_file(Path(folder) / name, ReadRequest(stay=True))[1].values
        objectives[name] = sparsae.Objective(rows, hidden, threads=2)
    seconds = {name: [] for name in objectives}
    first = {}
    rng = np.random.default_rng(0)
    for turn in range(rounds + 1):
        for name in rng.permutation(list(objectives)):
            with objectives[name] as objective:
                started = time.perf_counter()
                objective(theta)
                took = time.perf_counter() - started
            if turn:
                seconds[name].append(took)
            else:  # keeps what is kept, fills the page cache, makes the temporary copy
                first[name] = took
    print(json.dumps({"first": first, "seconds": seconds}))


def prove_speed(folder: Path, hidden: list[int], rounds: int, names: list[str]) -> bool:
    """Speed of files against memory."""
    good = True
    for p in hidden:
        timed = in_child("--race", folder, p, rounds, "--files", ",".join(names))
        seconds = timed["seconds"]
        memory = np.array(seconds.pop("memory"))
        print(f"  {p} hidden units, memory {np.median(memory):.3f} s an evaluation", flush=True)
        for name, found in seconds.items():
            low, middle, high = np.quantile(memory / np.array(found), (0.1, 0.5, 0.9))
            enough = middle >= SPEED_TARGET
            good &= enough or name not in JUDGED
            print(
                f"    {name:10} {middle:6.1%} ({low:.1%} to {high:.1%}), the first {timed['first'][name]:.2f} s"
                f"{'' if enough else '  NOT ENOUGH'}",
                flush=True,
            )
    return good


def minibatches(path: str) -> None:
    """Adam on a Parquet file that does not fit: from a temporary copy."""
    import sparsae
    from sparsae.data.readers import ReadRequest, read_file
    from sparsae.engine import storage
    from sparsae.optimize import Adam

    storage.SHARE = 1 << 60
    rows = read_file(path, ReadRequest(stay=True))[1].values
    started = time.perf_counter()
    method = Adam(learning_rate=1e-3, batch_rows=4096)
    result = sparsae.train(rows, 25, method=method, threads=2, max_iter=1)
    print(json.dumps({"seconds": time.perf_counter() - started, "cost": result.cost}))


def main() -> int:
    """All parts; 1 where a target is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--hidden", default="25,64,256")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--files", default=",".join(FILES))
    parser.add_argument("--folder", default=tempfile.gettempdir())
    parser.add_argument("--parts", default="memory,speed,minibatches")
    parser.add_argument("--fit", nargs=3)
    parser.add_argument("--race", nargs=3)
    parser.add_argument("--minibatches")
    options = parser.parse_args()
    if options.fit:
        fit(options.fit[0], options.fit[1], int(options.fit[2]))
    elif options.race:
        race(options.race[0], int(options.race[1]), int(options.race[2]), options.files.split(","))
    elif options.minibatches:
        minibatches(options.minibatches)
    else:
        return prove(options)
    return 0


def prove(options: argparse.Namespace) -> int:
    """Write the files and run the parts that are asked for."""
    good, names = True, options.files.split(",")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        write_files(folder, options.rows)
        print(f"{options.rows:,} x {N} float32 rows, {options.rows * N * 4 / 1e6:.0f} MB, {os.cpu_count()} CPUs")
        if "memory" in options.parts:
            print(f"Memory: at most {MEMORY_TARGET} MB more than before the data was opened")
            good &= prove_memory(folder, names)
        if "speed" in options.parts:
            print(f"Speed against memory, page-cached: at least {SPEED_TARGET:.0%}")
            good &= prove_speed(folder, [int(p) for p in options.hidden.split(",")], options.rounds, names)
        if "minibatches" in options.parts:
            found = in_child("--minibatches", folder / "x.parquet")
            print(
                f"Adam, one epoch of batches of 4,096 from Parquet: {found['seconds']:.1f} s, cost {found['cost']:.6g}"
            )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
