"""``python -m sparsae`` is the command."""

from sparsae.cli import main

if __name__ == "__main__":
    main()
