"""The item feed in messages: opaque positions, and items in the order of the feed.

A position is not authenticated, unlike a page token: it must stay readable after a restore into another database,
to be answered with POSITION_EXPIRED. It selects changes of a shop that its client may read as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from uuid import UUID

import msgspec
from catalogsync.catalog.v1 import catalog_service_pb2 as pb

from catalog_svc.domain.item_feed import FeedCursor, FeedPage
from catalog_svc.rpc import convert_catalog
from catalog_svc.rpc.catalog_pages import chunks
from catalog_svc.rpc.convert import reconnect_reason
from catalog_svc.rpc.feed_positions import pack, unpack
from catalog_svc.rpc.page_tokens import PositionNumber, PositionText
from catalog_svc.usecases.watch_items import FeedMessage

_VERSION: Final = 1


class _Position(msgspec.Struct, frozen=True, array_like=True):
    version: int
    incarnation: UUID
    snapshot_position: PositionNumber | None
    position: PositionNumber
    item_id: PositionText


def encode_position(cursor: FeedCursor) -> str:
    """Return the position of a cursor, about 80 characters of base64url."""
    return pack(_Position(_VERSION, cursor.incarnation, cursor.snapshot_position, cursor.position, cursor.item_id))


def decode_position(text: str) -> FeedCursor | None:
    """Return the cursor of a position; None for an empty one: from the beginning.

    Raises:
        InvalidRequest: It is not a position of this service.
    """
    decoded = unpack(text, kind=_Position, version=_VERSION, methods="WatchItems or ListItemChanges")
    if decoded is None:
        return None
    return FeedCursor(
        incarnation=decoded.incarnation,
        snapshot_position=decoded.snapshot_position,
        position=decoded.position,
        item_id=decoded.item_id,
    )


def watch_messages(message: FeedMessage) -> Iterator[pb.WatchItemsResponse]:
    """Convert a page to messages of about 1 MiB, each with the position after it."""
    page = message.page
    for start, items in chunks(page.items, convert_catalog.item):
        end = start + len(items)
        if end < len(page.items):
            cursor = page.cursor_after(page.items[end - 1])
            yield pb.WatchItemsResponse(items=items, position=encode_position(cursor))
        else:
            yield pb.WatchItemsResponse(
                items=items,
                position=encode_position(page.cursor),
                caught_up=page.caught_up,
                reconnect_reason=reconnect_reason(message.reconnect),
            )


def changes_response(page: FeedPage) -> pb.ListItemChangesResponse:
    """Convert a page, as much of it as fits into a message."""
    _, items = next(chunks(page.items, convert_catalog.item))
    if len(items) < len(page.items):
        cursor = page.cursor_after(page.items[len(items) - 1])
        return pb.ListItemChangesResponse(items=items, position=encode_position(cursor))
    return pb.ListItemChangesResponse(items=items, position=encode_position(page.cursor), caught_up=page.caught_up)
