"""Models of other projects: written for them and read from them.

`export_model` writes a folder that SAELens or sparsify loads, or plain arrays; `import_model` reads such folders, and
those of dictionary_learning.
"""

from __future__ import annotations

from sparsae.data.exchange.formats import EXPORT_FORMATS, IMPORT_FORMATS, export_model, import_model

__all__ = ["EXPORT_FORMATS", "IMPORT_FORMATS", "export_model", "import_model"]
