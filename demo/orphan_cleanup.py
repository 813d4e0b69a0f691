"""Stops the processes of a demo that has died, however it died.

Run as a script with a pipe as its standard input. Each line is "+PID" or "-PID": the leader of a session that was
started, or has ended. The end of the input is the end of the demo, which the kernel sees to even after SIGKILL.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

_STOP_SECONDS = 15.0
"""How long a process may take to stop before it is killed; above the services' own grace of 10."""


def main() -> None:
    """Keep the list of what runs, and stop it all at the end of the input."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # What ends the demo is often sent to its watchdog, too.
        signal.signal(number, signal.SIG_IGN)
    running: dict[int, None] = {}
    for line in sys.stdin:
        sign, pid = line[0], int(line[1:])
        if sign == "+":
            running[pid] = None
        else:
            running.pop(pid, None)
    _stop(list(running))


def _stop(leaders: list[int]) -> None:
    for pid in leaders:
        _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while any(_signal(pid, 0) for pid in leaders) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in leaders:
        _signal(pid, signal.SIGKILL)


def _signal(leader: int, number: int) -> bool:
    """Whether there was anybody in the leader's session to signal."""
    with suppress(ProcessLookupError):
        os.killpg(leader, number)
        return True
    return False


if __name__ == "__main__":
    main()
