"""``python -m sparsae`` and the program `sparsae`.

The modules of the command take 0.1 s to import, and 0.3 s on a busy machine.
Ctrl-C in that time is no traceback either.
"""

from __future__ import annotations

import sys

_INTERRUPTED = 130


def main() -> None:
    """Import the command and run it; a Ctrl-C that it does not handle ends it with exit code 130 and one word."""
    try:
        from sparsae.cli import main as command

        command()
    except KeyboardInterrupt:
        if sys.stderr is not None:
            sys.stderr.write("Interrupted.\n")
        raise SystemExit(_INTERRUPTED) from None


if __name__ == "__main__":
    main()
