"""sparsae: sparse autoencoders on the CPU, with plugin backends that are proved correct, raced fairly and trained with.

The public names are listed in ``__init__.pyi``.  Each is imported from its module when it is first used,
so that ``import sparsae`` loads no library at once.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
