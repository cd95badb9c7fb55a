"""The oldest supported version of every library that sparsae uses, as requirements for pip.

    python -m pip install $(python tests/support/oldest.py)

They are the lower bounds of pyproject.toml, all together, for `make test-oldest`.  Libraries of other environments
(jax, torch) are left out, and of the test tools those that tests of the estimator and of the core do not need.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
EXTRAS = ("plot", "data", "files", "sklearn", "numba", "exchange", "dask")
TOOLS = ("hypothesis", "pandas", "polars", "pytest", "pytest-xdist", "pyyaml")


def oldest() -> list[str]:
    """Return "name==version" for each library, by name."""
    with PROJECT.open("rb") as file:
        found = tomllib.load(file)
    wanted = [*found["project"]["dependencies"]]
    wanted += [line for extra in EXTRAS for line in found["project"]["optional-dependencies"][extra]]
    wanted += [line for line in found["dependency-groups"]["test"] if re.split(r"[\[>=<]", line)[0] in TOOLS]
    bounds: dict[str, tuple[str, tuple[int, ...]]] = {}
    for line in wanted:
        match = re.match(r"([a-zA-Z0-9_.-]+)(\[[a-z,]+\])?>=([0-9.]+)", line)
        if match is None:
            raise SystemExit(f"{line!r} in pyproject.toml has no lower bound.")
        name, extra, version = match[1].lower(), match[2] or "", match[3]
        number = tuple(map(int, version.split(".")))
        if name not in bounds or number > bounds[name][1]:  # of two bounds the higher one
            bounds[name] = f"{name}{extra}=={version}", number
    return sorted(line for line, _ in bounds.values())


if __name__ == "__main__":
    print(*oldest())
