"""`python -m cli`, for where the script is not installed."""

from __future__ import annotations

from cli.main import main

if __name__ == "__main__":
    main()
