"""Script that stops the child processes of a demo that has died, however it died.

Its standard input is a pipe from the demo. Each line is "+PID" or "-PID": the leader of a session that was started
or has ended. The end of the input is the end of the demo; the kernel closes the pipe even after SIGKILL.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

# Until SIGKILL; above the services' own shutdown grace period of 10 s.
_STOP_TIMEOUT_SECONDS = 15.0


def main() -> None:
    """Keep the list of running sessions, and stop all of them at the end of the input."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A signal that ends the demo is often sent to this process, too.
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
    deadline = time.monotonic() + _STOP_TIMEOUT_SECONDS
    while any(_signal(pid, 0) for pid in leaders) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in leaders:
        _signal(pid, signal.SIGKILL)


def _signal(leader: int, number: int) -> bool:
    """Signal the leader's session; return whether it had any process left."""
    with suppress(ProcessLookupError):
        os.killpg(leader, number)
        return True
    return False


if __name__ == "__main__":
    main()
