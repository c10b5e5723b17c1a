"""`python -m kdkit`: the command line, for launchers that start modules."""

from __future__ import annotations

from kdkit.cli import main

if __name__ == "__main__":
    main()
