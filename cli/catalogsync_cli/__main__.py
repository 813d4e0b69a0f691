"""`python -m catalogsync_cli`, for where the script is not installed."""

from __future__ import annotations

from catalogsync_cli.main import main

if __name__ == "__main__":
    main()
