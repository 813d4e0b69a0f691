"""The life of a service's process: signals, the event loop, exit codes."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from catalogsync_common.server import ListenError
from catalogsync_common.settings import SettingsError
from catalogsync_common.supervisor import LoopFailed

LOGGER: Final = logging.getLogger(__name__)

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
"""The service could not start, or broke."""
EXIT_SETTINGS: Final = 2
"""The settings are wrong; stderr says which."""
EXIT_LOOP_FAILED: Final = 3
"""A background loop could not go on, and the service stopped itself gracefully: start it again."""
EXIT_SIGNAL: Final = 128
"""Plus the number of the second signal: stopped hard."""

Main = Callable[[asyncio.Event], Awaitable[None]]


def run(main: Main, *, tune_gc: bool = True) -> int:
    """Runs `main` in a new event loop and returns the exit code: `sys.exit(run(main))`.

    `main` is given an event that SIGTERM and SIGINT set; it then stops the service gracefully (see
    `catalogsync_common.server`) and returns. A second signal cancels it, a third one ends the process at once.
    """
    if tune_gc:
        _tune_gc()
    try:
        return asyncio.run(_run_until_stopped(main))
    except SettingsError as error:
        print(*error.lines, sep="\n", file=sys.stderr)
        return EXIT_SETTINGS
    except ListenError as error:
        LOGGER.critical("%s", error)
        return EXIT_FAILED
    except LoopFailed as error:
        LOGGER.critical("%s", error)
        return EXIT_LOOP_FAILED
    except (Exception, asyncio.CancelledError):
        LOGGER.critical("the service broke", exc_info=True)
        return EXIT_FAILED


@contextmanager
def stop_deadline(bound: timedelta) -> Iterator[Callable[[], None]]:
    """Yields what starts the clock: unless the block is left within `bound` from then on, the process is ended.

    For a stop that waits for what never answers, such as a database behind a dead network: whoever stopped us gets
    a word in the log before losing patience. By a thread, so that a stuck event loop is no excuse.
    """
    clock = threading.Timer(bound.total_seconds(), _give_up, (bound,))
    clock.daemon = True
    try:
        yield clock.start
    finally:
        clock.cancel()


def _give_up(bound: timedelta) -> None:
    LOGGER.critical("not stopped after %d s: ending at once", bound.total_seconds())
    logging.shutdown()
    os._exit(EXIT_FAILED)


async def _run_until_stopped(main: Main) -> int:
    signals = _Signals(asyncio.get_running_loop())
    working = asyncio.ensure_future(main(signals.stop))
    signals.attach(working)
    try:
        await working
    except asyncio.CancelledError:
        if signals.last is None:
            raise
        return EXIT_SIGNAL + signals.last
    finally:
        signals.detach()
    return EXIT_OK


class _Signals:
    """Turns SIGTERM and SIGINT into a graceful stop, then a hard one, then none at all."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.stop = asyncio.Event()
        self.last: int | None = None
        self._loop = loop
        self._count = 0

    def attach(self, working: asyncio.Future[None]) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._received, number, working)

    def detach(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.remove_signal_handler(number)

    def _received(self, number: signal.Signals, working: asyncio.Future[None]) -> None:
        self._count += 1
        if self._count == 1:
            LOGGER.info("%s: stopping; send it again to stop at once", number.name)
            self.stop.set()
        elif self._count == 2:
            LOGGER.warning("%s again: stopping at once", number.name)
            self.last = number
            working.cancel()
        else:
            os._exit(EXIT_SIGNAL + number)


def _tune_gc() -> None:
    """Keeps the garbage collector from walking over what lives as long as the process, and calls it less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
