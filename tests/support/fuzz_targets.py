"""Everything that sparsae reads from a file, as functions of bytes, for the proofs that damage them.

Each target has a sound content and an attempt, which writes damaged content, reads it, and uses what was read as a
program would.  An attempt returns a word for what happened; what it raises must not happen.
"""

from __future__ import annotations

import io
import json
import os
import random
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import scipy.io
from tests.support import matrix_files
from tests.support.damaged_files import load_outcome
from tests.support.exchange_models import make_model
from tests.support.fuzz_damage import Target, damage_bytes, damage_either, damage_safetensors
from tests.support.fuzz_uses import is_drawn, named, quietly, run_command, use_model
from tests.support.sound_files import PICTURES, SOUND, mat_bytes, picture_bytes
from tests.support.sound_files import X as SMALL

import sparsae
from sparsae.errors import SparsaeError

X = np.random.default_rng(0).uniform(0.1, 0.9, (40, 6))
LARGEST = 10**5  # numbers in an array that a description asks for


def targets(folder: Path) -> dict[str, Callable[[], Target]]:
    """Every target by name, made when it is called; their files lie in the folder."""
    alone = {"record of a race": _record(folder), "lock of a checkpoint": partial(_lock, folder)}
    return {**_readers(folder), **_archives(folder), **_exchange(folder), **alone}


# Readers of data


def _readers(folder: Path) -> dict[str, Callable[[], Target]]:
    found: dict[str, Callable[[], Target]] = {}
    for name, made in SOUND.items():
        found[name] = partial(_reader, folder / name, made)
    for name, kind in PICTURES.items():
        found[name] = partial(_reader, folder / name, partial(picture_bytes, kind), source="patches:{}")
    mat: dict[str, Callable[[], bytes]] = {
        "mat 5": mat_bytes,
        "mat 5, compressed": partial(mat_bytes, do_compression=True),
        "mat 4": _matlab4_bytes,
    }
    for name, made in mat.items():
        found[name] = partial(_reader, folder / name / "x.mat", made, source="{}::X", starts_processes=True)
    for name, write in matrix_files.matrix_files().items():
        if name not in found and name != "x.mat":
            for part in _parts(name):
                found[f"{name} {part}".strip()] = partial(_written, folder / "written" / f"{name} {part}", write, part)
    found["x.tsv"] = partial(_reader, folder / "x.tsv", lambda: b"a\tb\n" + b"0.5\t0.25\n" * 20)
    found["x.pt"] = partial(_written, folder / "pt" / "x.pt", _write_torch, "")
    return found


def _parts(name: str) -> tuple[str, ...]:
    """Files of a folder of which each is damaged in turn."""
    if name.endswith(".zarr"):
        return {"v2.zarr": (".zarray", "0.0"), "v3.zarr": ("zarr.json", "c/0/0")}.get(name, ("zarr.json", "c/0/0"))
    if name.startswith("folder of "):
        return (f"part-3.{name.removeprefix('folder of ')}",)
    return ("",)


def _matlab4_bytes() -> bytes:
    """A file of version 4, which has no signature."""
    file = io.BytesIO()
    scipy.io.savemat(file, {"X": SMALL}, format="4")
    return file.getvalue()


def _write_torch(path: Path, values: Any) -> None:
    import torch

    torch.save({"X": torch.from_numpy(values), "step": 3}, path)


def _reader(path: Path, made: Callable[[], bytes], source: str = "{}", *, starts_processes: bool = False) -> Target:
    """A file that is made in memory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    attempt = partial(_load, path, source.format(path))
    return Target(made(), attempt, damage_bytes, starts_processes)


def _written(place: Path, write: Callable[[Path, Any], None], part: str) -> Target:
    """A file or a folder that a library writes."""
    place.mkdir(parents=True, exist_ok=True)
    name = place.name.removesuffix(part).strip()
    path = place / name.replace(" ", "-")
    write(path, np.random.default_rng(0).random((100, 6)).astype(np.float32))
    target = path / part
    content = target.read_bytes()
    slow = any(word in name for word in ("parquet", ".h5", ".mat"))
    damage = damage_either if part.endswith((".json", ".zarray")) else damage_bytes
    if name.endswith("safetensors") or part.endswith("safetensors"):
        damage = damage_safetensors
    return Target(content, partial(_load, target, str(path)), damage, slow)


def _load(path: Path, source: str, content: bytes) -> str:
    """Load it whole, and with its rows staying in the file."""
    outcome = load_outcome(path, content, source)
    return f"{outcome}, {load_outcome(path, content, source, stay=True)} in the file"


# Archives of sparsae: models, checkpoints, arrays


def _archives(folder: Path) -> dict[str, Callable[[], Target]]:
    found: dict[str, Callable[[], Target]] = {}
    for what, parts in (("model file", _model), ("checkpoint", _checkpoint), ("arrays", _arrays)):
        for kind in ("sigmoid", "topk"):
            found[f"{what}, {kind}"] = partial(_archive, folder / what / kind, partial(parts, kind), whole=True)
            found[f"{what}, {kind}, described"] = partial(
                _archive, folder / what / kind, partial(parts, kind), whole=False
            )
    return found


class Archive(NamedTuple):
    """A file of header and arrays, and what is done with it."""

    path: Path
    kind: str
    use: Callable[[], str]


def _archive(folder: Path, made: Callable[[Path], Archive], *, whole: bool) -> Target:
    """Damage to the bytes of the file, or to a description of its parts that is written with sound checksums."""
    from sparsae.training.archive import read_archive

    folder.mkdir(parents=True, exist_ok=True)
    archive = made(folder)
    sound = archive.path.read_bytes()
    if whole:
        return Target(sound, lambda content: _use_written(archive, content), damage_bytes)
    header, arrays = read_archive(archive.path, kind=archive.kind, version=1, what="file")
    described = {"header": header, "arrays": {name: [a.dtype.str, list(a.shape), None] for name, a in arrays.items()}}
    return Target(
        json.dumps(described).encode(),
        lambda content: _use_described(archive, arrays, content),
        damage_either,
    )


def _use_written(archive: Archive, content: bytes) -> str:
    archive.path.write_bytes(content)
    return archive.use()


def _use_described(archive: Archive, arrays: dict[str, Any], content: bytes) -> str:
    """Write what the description says; None for the values: those of the sound file."""
    from sparsae.training.archive import write_archive

    try:
        described = json.loads(content)
        header = dict(described["header"])
        made = {name: _array(arrays.get(name), *parts) for name, parts in described["arrays"].items()}
        file = io.BytesIO()
        write_archive(file, header, made)
    except Exception:  # noqa: BLE001  no description of an archive: nothing of sparsae was called yet
        return "not an archive"
    return _use_written(archive, file.getvalue())


def _array(sound: Any, dtype: Any, shape: Any, value: Any) -> Any:
    """Return the array that is described."""
    if sound is not None and value is None and [sound.dtype.str, list(sound.shape)] == [dtype, shape]:
        return sound
    if np.prod(shape, dtype=float) > LARGEST:
        raise ValueError("too large")
    return np.full([int(n) for n in shape], 0 if value is None else value, dtype=str(dtype))


def _model(activation: str, folder: Path) -> Archive:
    from sparsae.training.model_file import FORMAT

    path = folder / "damaged.npz"
    units = {"k": 2} if activation == "topk" else {}
    result = quietly(sparsae.train, X, 3, max_iter=3, activation=activation, transform=["zca", "scale"], **units)
    sparsae.save(path, result)
    samples = folder / "samples.npy"
    np.save(samples, X[:3])

    def use() -> str:
        outcome = use_model(path, sparsae.load)
        codes = {quietly(run_command, "info", path, *json_) for json_ in ((), ("--json",))}
        assert codes == ({0} if outcome == "used" else {2}), (outcome, codes)
        quietly(run_command, "evaluate", path, samples)
        quietly(run_command, "export", path, folder / "out", "--format", "npz", "--force")
        if is_drawn(path):
            for what in ("features", "history"):
                quietly(run_command, "plot", path, "--what", what, "--force")
        return outcome

    return Archive(path, FORMAT, use)


def _checkpoint(activation: str, folder: Path) -> Archive:
    from sparsae.training.checkpoint import FORMAT, previous

    path = folder / "damaged.checkpoint"
    units = {"k": 2, "batch_rows": 16} if activation == "topk" else {}
    batch_rows = units.pop("batch_rows", None)
    method = sparsae.optimize.Adam(batch_rows=batch_rows) if batch_rows else "lbfgs"
    options: dict[str, Any] = {"method": method, "activation": activation, "checkpoint": path, "threads": 1, **units}
    path.unlink(missing_ok=True)
    quietly(sparsae.train, X, 3, max_iter=4, **options)

    def use() -> str:
        previous(path).unlink(missing_ok=True)
        for json_ in ((), ("--json",)):
            quietly(run_command, "info", path, *json_)
        try:
            quietly(sparsae.train, X, 3, max_iter=6, resume=True, **options)
        except SparsaeError as error:
            return named(path, error)
        return "resumed"

    return Archive(path, FORMAT, use)


def _arrays(activation: str, folder: Path) -> Archive:
    from sparsae.data.exchange import export_model, import_model

    model = make_model("jumprelu" if activation == "sigmoid" else activation)
    export_model(model, folder / "sae", format="npz", force=True)
    path = folder / "sae" / "weights.npz"
    return Archive(path, "sparsae arrays", lambda: use_model(path, lambda path: import_model(path.parent)))


def _lock(folder: Path) -> Target:
    """Who holds a checkpoint, where the existence of the file is the lock."""
    from sparsae.files import locks
    from sparsae.training.checkpoint_lock import lock_checkpoint

    path = folder / "run"
    lock = folder / "run.lock"

    def attempt(content: bytes) -> str:
        lock.write_bytes(content)
        with mock.patch.object(locks, "fcntl", None):
            try:
                with lock_checkpoint(path):
                    return "taken"
            except SparsaeError as error:
                return named(path, error)

    sound = {"process": os.getpid(), "host": socket.gethostname(), "since": "2000-01-01T00:00:00+00:00"}
    return Target(json.dumps(sound).encode(), attempt, damage_either)


# Folders of other projects


def _exchange(folder: Path) -> dict[str, Callable[[], Target]]:
    found: dict[str, Callable[[], Target]] = {}
    for format_name, activation in (("saelens", "jumprelu"), ("saelens", "topk"), ("sparsify", "topk")):
        for part in ("cfg.json", "weights"):
            name = f"{format_name}, {activation}, {part}"
            found[name] = partial(_exchanged, folder / "exchange" / name, format_name, activation, part)
    return found


def _exchanged(folder: Path, format_name: str, activation: str, part: str) -> Target:
    from sparsae.data.exchange import export_model, import_model

    export_model(make_model(activation), folder, format=format_name, force=True)
    path = next(folder.glob("*.safetensors" if part == "weights" else part))

    def attempt(content: bytes) -> str:
        path.write_bytes(content)
        return use_model(path, lambda path: import_model(path.parent))

    return Target(path.read_bytes(), attempt, damage_safetensors if part == "weights" else damage_either)


# Records of races


def _record(folder: Path) -> Callable[[], Target]:
    def make() -> Target:
        from tests.bench.test_hostile_records import MUTATIONS, PLAN, TIMES, encode
        from tests.support import simulated

        events = simulated.session(TIMES, plan=PLAN)
        path = folder / "damaged.jsonl"
        sound = folder / "sound.jsonl"
        sound.write_bytes(encode(events))

        def damage(content: bytes, rng: random.Random) -> bytes:
            try:
                changed = [json.loads(line) for line in content.splitlines()]
                assert changed
                assert all(isinstance(event, dict) for event in changed)
                return rng.choice(MUTATIONS)(changed, rng)
            except (ValueError, IndexError, AssertionError, TypeError, RecursionError):
                return damage_bytes(content, rng) if content else content

        def attempt(content: bytes) -> str:
            path.write_bytes(content)
            commands: list[tuple[object, ...]] = [("show", path), ("show", path, "--json"), ("compare", sound, path)]
            if is_drawn(path):
                commands.append(("show", path, "--html", folder / "page.html", "--plot", folder / "r.png", "--force"))
            codes = [quietly(run_command, "bench", *words) for words in commands]
            return f"exit codes {codes}"

        return Target(encode(events), attempt, damage)

    return make
