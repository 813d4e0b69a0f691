"""What a browser has not received yet: one slot per key with the latest event, never a queue."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """A server-sent event."""

    name: str
    data: bytes = field(repr=False)
    """JSON in one line."""
    event_id: str = ""
    """What a browser sends as Last-Event-ID when it reconnects; "": the id of the event before it."""
    is_last: bool = False
    """Whether the stream ends after it."""


class Mailbox:
    """The pending events of one stream, in the order in which their keys first became pending.

    Args:
        max_slots: with more pending keys the mailbox is closed; the browser reconnects and gets everything anew.
    """

    __slots__ = ("_arrived", "_closed", "_max_slots", "_slots")

    def __init__(self, max_slots: int = 2_000) -> None:
        self._slots: dict[str, Event] = {}
        self._max_slots = max_slots
        self._arrived = asyncio.Event()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether nothing will arrive any more."""
        return self._closed

    def put(self, key: str, event: Event) -> None:
        """Make an event pending, in place of the pending one with this key."""
        if self._closed:
            return
        self._slots[key] = event
        if len(self._slots) > self._max_slots:
            self._slots.clear()
            self._closed = True
        self._arrived.set()

    def close(self) -> None:
        """Let the stream end after the pending events."""
        self._closed = True
        self._arrived.set()

    def take(self) -> list[Event]:
        """Return the pending events and remove them."""
        events = list(self._slots.values())
        self._slots.clear()
        if not self._closed:
            self._arrived.clear()
        return events

    async def wait(self, timeout_seconds: float) -> None:
        """Return when an event is pending, the mailbox is closed, or the time is over."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._arrived.wait()
        except TimeoutError:
            return
