"""Evidence: the sdist and the wheel are whole, and the wheel works without and with each extra in fresh environments.

make prove-release                     builds, checks, installs 12 times; torch and jax are large
python tests/prove/release.py numba    this extra alone; "core" is none, "sdist" an installation from the sdist

Each environment gets the wheel with one extra from pip, lists the backends, trains, and does what the extra is for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
from tests.support.release import built, problems_of  # noqa: E402

TRAIN = "train x.npy --hidden 4 --max-iter 5 -o m.npz --force --quiet"
PARQUET = "import numpy, pyarrow as pa, pyarrow.parquet as q; x = numpy.load('x.npy'); "
BACKENDS = {"numba": ("numba",), "jax": ("jax",), "torch": ("torch",), "all": ("numba", "jax", "torch")}
# What each extra is for: command lines, or Python after "py:".
USES: dict[str, tuple[str, ...]] = {
    "core": (),
    "sdist": (),
    "plot": ("plot m.npz --force", "plot m.npz --what history -o h.svg --force"),
    "data": ("train digits --hidden 4 --max-iter 5 -o d.npz --force --quiet",),
    "files": (
        f"py:{PARQUET}q.write_table(pa.table({{f'x{{i}}': x[:, i] for i in range(6)}}), 'x.parquet')",
        "train x.parquet --hidden 4 --max-iter 5 -o f.npz --force --quiet",
        "py:import numpy, zarr; zarr.save('x.zarr', numpy.load('x.npy'))",
        "train x.zarr --hidden 4 --max-iter 5 -o f.npz --force --quiet",
    ),
    "sklearn": (
        "py:import numpy, sparsae; sparsae.SparseAutoencoder(4, max_iter=5).fit_transform(numpy.load('x.npy'))",
    ),
    "numba": ("train x.npy --backend numba --hidden 4 --max-iter 5 -o b.npz --force --quiet",),
    "jax": ("train x.npy --backend jax --hidden 4 --max-iter 5 -o b.npz --force --quiet",),
    "torch": ("train x.npy --backend torch --hidden 4 --max-iter 5 -o b.npz --force --quiet",),
    "exchange": (
        "train x.npy --activation relu --hidden 4 --max-iter 5 -o r.npz --force --quiet",
        "export r.npz sae --format saelens --force",
        "import sae -o i.npz --force",
    ),
    "dask": ("train x.npy --cluster local:1 --hidden 4 --max-iter 5 -o c.npz --force --quiet",),
}
USES["all"] = tuple(dict.fromkeys(line for lines in USES.values() for line in lines))


def call(*words: str | Path, folder: Path) -> str:
    """Run a program that must succeed; return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([str(word) for word in words], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"FAILED {' '.join(map(str, words))}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def try_extra(extra: str, distribution: Path) -> str:
    """Install and use; return what is ready."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "environment", with_pip=True)
        python = folder / "environment" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        wanted = f"{distribution}[{extra}]" if extra not in ("core", "sdist") else distribution
        call(python, "-m", "pip", "install", "--quiet", "--no-compile", wanted, folder=folder)
        numbers = "numpy.random.default_rng(0).uniform(0.1, 0.9, (300, 6))"
        call(python, "-c", f"import numpy; numpy.save('x.npy', {numbers})", folder=folder)
        for line in (TRAIN, *USES[extra]):
            words = ("-c", line.removeprefix("py:")) if line.startswith("py:") else ("-m", "sparsae", *line.split())
            call(python, *words, folder=folder)
        states = {
            r["name"]: r["state"]
            for r in json.loads(call(python, "-m", "sparsae", "backends", "--json", folder=folder))
        }
        ready = [backend for backend, state in states.items() if state == "ready"]
        assert set(states.values()) <= {"ready", "not installed"}, states
        assert {"loop", "numpy", "einsum", "dot", "fused", *BACKENDS.get(extra, ())} <= set(ready), states
        call(python, "-m", "pip", "check", folder=folder)
    return ", ".join(ready)


def main() -> int:
    """Build, check, install each way, use."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(USES) == {"core", "sdist", *declared}, "an extra without a use here"
    wanted = sys.argv[1:] or list(USES)
    with tempfile.TemporaryDirectory() as folder:
        wheel, sdist = built(Path(folder))
        if problems := problems_of(wheel, sdist):
            print("\n".join(problems))
            return 1
        print(f"{wheel.name}: {wheel.stat().st_size:,} bytes; {sdist.name}: {sdist.stat().st_size:,} bytes", flush=True)
        for extra in wanted:
            start = time.monotonic()
            ready = try_extra(extra, sdist if extra == "sdist" else wheel)
            print(f"ok {time.monotonic() - start:6.1f} s  {extra:9} ready: {ready}", flush=True)
    print("Built, checked, installed and used.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
