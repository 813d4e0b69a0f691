"""What the reader of a platform hands to the writer of a stream."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from connector_svc.domain.fetch import FetchEvent, Wait


class Mailbox:
    """Holds at most one event and one wait; both sides run in one event loop.

    One event is all the read-ahead that pays: while it is sent, the next is fetched.
    """

    def __init__(self) -> None:
        self._event: FetchEvent | None = None
        self._wait: Wait | None = None
        self._failure: BaseException | None = None
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def room(self) -> None:
        """Returns when an event can be put."""
        await self._room.wait()

    def put(self, event: FetchEvent) -> None:
        """There must be room. A wait that is not over stays: a reader that reads ahead waits for its next page."""
        self._event = event
        if self._wait is not None and self._wait.until <= datetime.now(UTC):
            self._wait = None
        self._room.clear()
        self._filled.set()

    def put_wait(self, wait: Wait) -> None:
        """Replaces a wait that was not taken yet."""
        self._wait = wait
        self._filled.set()

    def fail(self, failure: BaseException) -> None:
        """What comes after the event that is still there; the first failure counts."""
        self._failure = self._failure or failure
        self._filled.set()

    async def filled(self) -> None:
        """Returns when `take` has something."""
        await self._filled.wait()

    def take(self) -> FetchEvent | Wait:
        """The oldest thing there is; raises the failure when it is all there is. Call after `filled`."""
        event, wait = self._event, self._wait
        if event is not None:
            self._event = None
            self._room.set()
        elif wait is not None:
            self._wait = None
        self._tell()
        taken = event or wait
        if taken is not None:
            return taken
        assert self._failure is not None
        raise self._failure

    def _tell(self) -> None:
        if self._event is None and self._wait is None and self._failure is None:
            self._filled.clear()
