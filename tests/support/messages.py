"""Which test provokes which message: every place in the package that makes an error or a warning of its own.

A place is named by its module, its function and the text of the message with ``{}`` for what is filled in.

    make test PYTEST_ARGS=--messages=FOLDER      each process writes what it saw; one test may be enough
    python -m tests.support.messages FOLDER      brings tests/golden/messages.json up to date; says what nobody provokes
"""

from __future__ import annotations

import ast
import json
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

from sparsae import errors

ROOT = Path(__file__).parents[2]
SOURCES = tuple(ROOT / folder for folder in ("core/sparsae", "backends/sparsae_backends"))
LIST = ROOT / "tests" / "golden" / "messages.json"
KINDS = {
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.SparsaeError | errors.SparsaeWarning)
}


def places() -> set[str]:
    """Every place in the package."""
    return {name for folder in SOURCES for file in folder.rglob("*.py") for name, _ in places_of(file)}


@cache
def places_of(file: Path) -> tuple[tuple[str, ast.Call], ...]:
    """The places of a file, with their syntax."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return tuple(_places(tree, f"{file.relative_to(ROOT).as_posix()}", ()))


def _places(node: ast.AST, file: str, scope: tuple[str, ...]) -> Iterator[tuple[str, ast.Call]]:
    for child in ast.iter_child_nodes(node):
        inner = scope
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = (*scope, child.name)
        elif isinstance(child, ast.Call) and _called(child) in KINDS and child.args:
            yield f"{file}: {'.'.join(scope)}: {_template(child.args[0])}", child
        yield from _places(child, file, inner)


def _called(call: ast.Call) -> str:
    return getattr(call.func, "id", getattr(call.func, "attr", ""))


def _template(node: ast.expr) -> str:
    """The text of a message; what is filled in is {}."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_template(part) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _template(node.left) + _template(node.right)
    return "{}"


class Recorder:
    """Notes for each place the first tests that made its message; in force from when it is made."""

    def __init__(self) -> None:
        self.test = ""
        self.seen: dict[str, set[str]] = {}
        for base in (errors.SparsaeError, errors.SparsaeWarning):
            base.__init__ = self._init(base)  # type: ignore[misc]

    def _init(self, base: type[Any]) -> Any:
        def init(made: Any, *args: Any, **keywords: Any) -> None:
            super(base, made).__init__(*args, **keywords)
            self._note(sys._getframe(1))

        return init

    def _note(self, frame: FrameType | None) -> None:
        while frame is not None and frame.f_code.co_filename == errors.__file__:
            frame = frame.f_back
        if frame is None or not frame.f_code.co_filename.startswith(tuple(map(str, SOURCES))):
            return
        for name, call in places_of(Path(frame.f_code.co_filename)):
            if call.lineno <= frame.f_lineno <= (call.end_lineno or call.lineno):
                self.seen.setdefault(name, set()).add(self.test)

    def write(self, folder: Path) -> None:
        """Write what was seen by this process."""
        folder.mkdir(exist_ok=True)
        seen = {name: sorted(tests) for name, tests in self.seen.items()}
        (folder / f"{os.getpid()}.json").write_text(json.dumps(seen), encoding="utf-8")


def main(folder: Path) -> None:
    """Merge what the processes of a run wrote into the list."""
    seen: dict[str, set[str]] = {}
    for file in folder.glob("*.json"):
        for name, tests in json.loads(file.read_text(encoding="utf-8")).items():
            seen.setdefault(name, set()).update(test for test in tests if test)
    known = places()
    found = {name: min(tests, key=lambda test: (len(test), test)) for name, tests in seen.items() if tests}
    earlier = json.loads(LIST.read_text(encoding="utf-8")) if LIST.exists() else {}
    listed = {name: found.get(name, earlier.get(name, "")) for name in sorted(known)}
    LIST.write_text(json.dumps(listed, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for name in sorted(known):
        if not listed[name]:
            print(name)
    print(f"{sum(map(bool, listed.values()))} of {len(known)} messages have a test.", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
