"""sparsae: sparse autoencoders on the CPU, with plugin backends that are proved correct, raced fairly and trained with.

The public names are listed in ``__init__.pyi``.  Each is imported from its module when it is first used, and that list
is read then: ``import sparsae`` loads no library at once, and the command is soon where a Ctrl-C is no traceback.
"""


def _attach() -> None:
    """Take `__getattr__`, `__dir__` and `__all__` of lazy_loader in the place of those below."""
    import lazy_loader

    names = ("__getattr__", "__dir__", "__all__")
    globals().update(zip(names, lazy_loader.attach_stub(__name__, __file__), strict=True))


def __getattr__(name: str) -> object:
    _attach()
    own = globals()
    return own[name] if name == "__all__" else own["__getattr__"](name)


def __dir__() -> list[str]:
    _attach()
    names: list[str] = globals()["__dir__"]()
    return names
