"""A kernel's own choices on which the last bits depend: recorded in the receipt, made again when a fit is resumed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Choices = tuple[tuple[str, str], ...]

_RECORDED: ContextVar[Choices] = ContextVar("sparsae_recorded_choices", default=())


def recorded_choices() -> Choices:
    """Return the choices that kernels should make again, as pairs of name and value."""
    return _RECORDED.get()


@contextmanager
def making_again(choices: object) -> Iterator[None]:
    """Have problems that are drafted within carry these choices; what is no dict of words is ignored."""
    given = choices if isinstance(choices, dict) else {}
    words = ((name, value) for name, value in given.items() if isinstance(name, str) and isinstance(value, str))
    token = _RECORDED.set(tuple(sorted(words)))
    try:
        yield
    finally:
        _RECORDED.reset(token)
