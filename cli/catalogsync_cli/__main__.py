"""Entry point of the installed script, and of `python -m catalogsync_cli` for environments without it."""

from __future__ import annotations

import os
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line of this process and exit with its code."""
    # gRPC's core logs to standard error, where scripts read our errors. It reads the variable when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from catalogsync_cli import main as command_line

    command_line.main()


if __name__ == "__main__":
    main()
