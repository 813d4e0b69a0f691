"""Entry point of `python -m catalogsync_cli`, for environments without the `catalogsync` script."""

from __future__ import annotations

from catalogsync_cli.main import main

if __name__ == "__main__":
    main()
