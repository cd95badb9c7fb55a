"""Make the pictures of the example pages anew: python -m tests.support.example_pictures [PAGE ...]."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main(names: list[str]) -> None:
    """Run the code of each page in a temporary folder, and keep the pictures that it writes."""
    for page in sorted((ROOT / "docs" / "examples").glob("*.md")):
        if names and page.stem not in names:
            continue
        code = "\n".join(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL))
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            exec(compile(code, str(page), "exec"), {"__name__": "__main__"})
            for picture in Path(folder).glob("*.png"):
                shutil.copy(picture, ROOT / "docs" / "images" / "examples" / picture.name)
            os.chdir(ROOT)


if __name__ == "__main__":
    main(sys.argv[1:])
