"""Live updates as server-sent events: one sync, or everything of the caller."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from aiohttp import web

from catalogsync_bff.callers import CALLER, Caller
from catalogsync_bff.errors import HttpError
from catalogsync_bff.json_form import encode
from catalogsync_bff.parameters import query_of
from catalogsync_bff.routes.syncs import sync_id_of
from catalogsync_bff.routing import API, Operation, Route
from catalogsync_bff.streams.event_stream import LAST_EVENT_ID_HEADER, StreamLifetime, stream_events
from catalogsync_bff.streams.feeds import Feeds, StreamLimiter
from catalogsync_bff.streams.mailbox import Event, Mailbox
from catalogsync_bff.streams.snapshot import Snapshot
from catalogsync_bff.streams.sync_topics import SyncTopics, TooManyTopics

_MAX_EVENT_ID: Final = 64


class EventRoutes:
    """Routes of event streams.

    Args:
        topics: the watched syncs.
        feeds: the feeds of subjects.
        limiter: limits the open streams.
        open_mailboxes: the mailboxes of all open streams, which end when the process stops.
        heartbeat_seconds: time between two heartbeats of a stream without events.
    """

    def __init__(
        self,
        topics: SyncTopics,
        feeds: Feeds,
        limiter: StreamLimiter,
        open_mailboxes: OpenMailboxes,
        *,
        heartbeat_seconds: float,
    ) -> None:
        self._topics = topics
        self._feeds = feeds
        self._limiter = limiter
        self._open_mailboxes = open_mailboxes
        self._heartbeat_seconds = heartbeat_seconds

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        return (
            Route(
                method="GET",
                path=f"{API}/sync/{{sync_id}}/events",
                handler=self.sync_events,
                operation=_SYNC_EVENTS,
            ),
            Route(method="GET", path=f"{API}/events", handler=self.all_events, operation=_ALL_EVENTS),
        )

    async def sync_events(self, request: web.Request) -> web.StreamResponse:
        """Stream a sync until it has ended; answer 204 to a browser that has its terminal snapshot."""
        query_of(request).check()
        caller = request[CALLER]
        # Whether the caller may see the sync is decided here; the stream upstream is shared.
        current = Snapshot.of(await caller.catalog.get_sync(sync_id_of(request)))
        last_revision = _last_revision(request)
        if current.has_ended and last_revision is not None and last_revision >= current.revision:
            return web.Response(status=HTTPStatus.NO_CONTENT)
        listener = _SyncListener(current if last_revision == current.revision else None)
        listener.on_snapshot(current)
        with self._limiter.opened(caller.subject) as is_open, self._open_mailboxes.added(listener.mailbox):
            if not is_open:
                raise _too_many()
            if current.has_ended:
                return await self._stream(request, caller, listener.mailbox)
            try:
                with self._topics.subscribed(current.sync_id, listener):
                    return await self._stream(request, caller, listener.mailbox)
            except TooManyTopics:
                raise _too_many() from None

    async def all_events(self, request: web.Request) -> web.StreamResponse:
        """Stream the syncs of the caller, without end."""
        query_of(request).check()
        caller, mailbox = request[CALLER], Mailbox()
        with self._limiter.opened(caller.subject) as is_open, self._open_mailboxes.added(mailbox):
            if not is_open:
                raise _too_many()
            feed = self._feeds.feed(caller.subject, caller.catalog)
            last_event_id = request.headers.get(LAST_EVENT_ID_HEADER, "")[:_MAX_EVENT_ID]
            with feed.subscribed(mailbox, last_event_id=last_event_id) as resumed:
                hello = {"server_time": datetime.now(UTC).isoformat().replace("+00:00", "Z"), "resumed": resumed}
                first = Event(name="hello", data=encode(hello))
                return await self._stream(request, caller, mailbox, first)

    async def _stream(
        self, request: web.Request, caller: Caller, mailbox: Mailbox, *first: Event
    ) -> web.StreamResponse:
        lifetime = StreamLifetime(heartbeat_seconds=self._heartbeat_seconds, expires_at=caller.expires_at)
        return await stream_events(request, mailbox, lifetime, first=first)


class OpenMailboxes:
    """The mailboxes of all open streams of the process."""

    def __init__(self) -> None:
        self._mailboxes: set[Mailbox] = set()
        self._closed = False

    def added(self, mailbox: Mailbox) -> _Added:
        """Return a context manager within which the mailbox is one of them."""
        if self._closed:
            mailbox.close()
        return _Added(self._mailboxes, mailbox)

    def close(self) -> None:
        """End all streams, and each that is opened later."""
        self._closed = True
        for mailbox in self._mailboxes:
            mailbox.close()


class _Added:
    def __init__(self, mailboxes: set[Mailbox], mailbox: Mailbox) -> None:
        self._mailboxes = mailboxes
        self._mailbox = mailbox

    def __enter__(self) -> None:
        self._mailboxes.add(self._mailbox)

    def __exit__(self, *exc_info: object) -> None:
        self._mailboxes.discard(self._mailbox)


class _SyncListener:
    """Puts the snapshots of one sync into a mailbox, and closes it after the terminal one."""

    def __init__(self, known: Snapshot | None) -> None:
        """Create a listener.

        Args:
            known: what the browser has already.
        """
        self.mailbox = Mailbox()
        self._known = known

    def on_snapshot(self, snapshot: Snapshot) -> None:
        if not snapshot.replaces(self._known):
            return
        self._known = snapshot
        event = Event(
            name="sync", data=snapshot.payload, event_id=str(snapshot.revision), is_last=snapshot.has_ended
        )
        self.mailbox.put("sync", event)

    def on_connection(self, interrupted: bool) -> None:
        state = "interrupted" if interrupted else "restored"
        self.mailbox.put("connection", Event(name="connection", data=encode({"state": state})))

    def on_end(self) -> None:
        self.mailbox.close()


def _last_revision(request: web.Request) -> int | None:
    text = request.headers.get(LAST_EVENT_ID_HEADER, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None


def _too_many() -> HttpError:
    return HttpError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "TOO_MANY_STREAMS",
        "There are too many open event streams. Close other tabs, or try again later.",
        headers={"Retry-After": "5"},
    )


_EVENT_STREAM: Final = ("text/event-stream",)
_SYNC_EVENTS: Final = Operation(
    operation_id="streamSync",
    summary="Stream the snapshots of a sync as server-sent events, until it has ended.",
    content_types=_EVENT_STREAM,
    errors=(204, 404),
)
_ALL_EVENTS: Final = Operation(
    operation_id="streamAll",
    summary="Stream all syncs of the caller as server-sent events, without end.",
    content_types=_EVENT_STREAM,
)
