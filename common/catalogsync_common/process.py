"""Runs a service's process: signals, the event loop, exit codes."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Final

from google.protobuf.internal import api_implementation

from catalogsync_common.logs import change_log_level, configure_logging
from catalogsync_common.server import ListenError
from catalogsync_common.settings import SettingsError
from catalogsync_common.supervisor import LoopFailed

LOGGER: Final = logging.getLogger(__name__)

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
"""The service could not start, or failed."""
EXIT_SETTINGS: Final = 2
"""The settings are invalid; stderr says which."""
EXIT_LOOP_FAILED: Final = 3
"""A background loop could not continue, and the service stopped itself gracefully: start it again."""
EXIT_SIGNAL: Final = 128
"""Plus the number of the second signal: stopped without a graceful shutdown."""

Main = Callable[[asyncio.Event], Awaitable[None]]


def run(main: Main, *, tune_gc: bool = True) -> int:
    """Run `main` in a new event loop and return the exit code: `sys.exit(run(main))`.

    The process writes no core dump, which would hold every secret in its memory.

    Args:
        main: receives an event that SIGTERM and SIGINT set; then it must stop the service gracefully (see
            `catalogsync_common.server`) and return. A second signal cancels it, a third one ends the process at
            once.
        tune_gc: whether to run the garbage collector less often, see `_tune_gc`.
    """
    _disable_core_dumps()
    if not logging.getLogger().handlers:
        # What fails before `main` has read its settings is logged with secrets redacted, too.
        configure_logging("INFO", "")
    if tune_gc:
        _tune_gc()
    try:
        check_protobuf(api_implementation.Type())
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
        LOGGER.critical("the service failed", exc_info=True)
        return EXIT_FAILED


@contextmanager
def stop_deadline(timeout: timedelta) -> Iterator[Callable[[], None]]:
    """Limit the time of a stop: yield a function that starts a timer.

    The timer ends the process unless the block ends first. It is for a stop that waits for something that never
    answers, such as a database behind a dead network: the log says so before whatever stopped the process kills
    it. The timer is a thread, so that it fires even if the event loop is blocked.
    """
    timer = threading.Timer(timeout.total_seconds(), _exit_now, (timeout,))
    timer.daemon = True
    try:
        yield timer.start
    finally:
        timer.cancel()


def _exit_now(timeout: timedelta) -> None:
    LOGGER.critical("not stopped after %d s: exiting now", timeout.total_seconds())
    logging.shutdown()
    os._exit(EXIT_FAILED)


async def _run_until_stopped(main: Main) -> int:
    signals = _SignalHandler(asyncio.get_running_loop())
    working = asyncio.ensure_future(main(signals.stop))
    signals.attach(working)
    try:
        await working
    except asyncio.CancelledError:
        if signals.cancelled_by is None:
            raise
        return EXIT_SIGNAL + signals.cancelled_by
    finally:
        signals.detach()
    return EXIT_OK


class _SignalHandler:
    """Handles SIGTERM and SIGINT: the first stops gracefully, the second cancels, the third ends the process.

    SIGUSR1 makes the log more verbose by one level, SIGUSR2 less.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.stop = asyncio.Event()
        self.cancelled_by: int | None = None
        """Number of the second signal."""
        self._loop = loop
        self._count = 0

    def attach(self, working: asyncio.Future[None]) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._received, number, working)
        self._loop.add_signal_handler(signal.SIGUSR1, partial(change_log_level, more=True))
        self._loop.add_signal_handler(signal.SIGUSR2, partial(change_log_level, more=False))

    def detach(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
            self._loop.remove_signal_handler(number)

    def _received(self, number: signal.Signals, working: asyncio.Future[None]) -> None:
        self._count += 1
        if self._count == 1:
            LOGGER.info("%s: stopping gracefully; send it again to stop at once", number.name)
            self.stop.set()
        elif self._count == 2:
            LOGGER.warning("%s again: stopping at once", number.name)
            self.cancelled_by = number
            working.cancel()
        else:
            os._exit(EXIT_SIGNAL + number)


def _tune_gc() -> None:
    """Exclude objects that live as long as the process from garbage collection, and collect less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _disable_core_dumps() -> None:
    """Set the hard limit too, so that nothing in the process can raise it again."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def check_protobuf(implementation: str) -> None:
    """Raise SettingsError unless protobuf is implemented by upb.

    The implementation in pure Python is slower by an order of magnitude, and had a recursion without a limit
    (CVE-2025-4565).
    """
    if implementation != "upb":
        raise SettingsError(
            (
                f"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION: protobuf's implementation is {implementation!r}, and "
                "must be 'upb': unset the variable, and install protobuf from its wheel for this platform",
            )
        )
