"""The change feed in messages: opaque positions, changed shops, and syncs whose state has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_common.failure import InvalidRequest
from catalogsync_common.timestamps import to_timestamp

from catalog_svc.domain.change_feed import (
    ChangeCursor,
    ChangedShop,
    ChangeFilter,
    ChangeKind,
    ChangeRecord,
    SnapshotCursor,
)
from catalog_svc.domain.status import ShopFilter
from catalog_svc.domain.sync import SyncPosition
from catalog_svc.rpc import convert
from catalog_svc.rpc.catalog_pages import chunks
from catalog_svc.rpc.feed_positions import pack, unpack
from catalog_svc.rpc.page_tokens import PositionNumber
from catalog_svc.rpc.shop_access import restricted
from catalog_svc.usecases.watch_changes import ChangeMessage

_VERSION: Final = 1
_METHODS: Final = {ChangeKind.SHOPS: "WatchChanges", ChangeKind.SYNCS: "WatchSyncs"}

Time = Annotated[datetime, msgspec.Meta(tz=True)]


class _Position(msgspec.Struct, frozen=True, array_like=True):
    version: int
    kind: ChangeKind
    incarnation: UUID
    xid: PositionNumber
    in_snapshot: bool
    shop_id: UUID | None
    created_at: Time | None
    sync_id: UUID | None


def encode_position(cursor: ChangeCursor, kind: ChangeKind) -> str:
    """Return the position of a cursor, 50 to 100 characters."""
    snapshot = cursor.snapshot or SnapshotCursor()
    return pack(
        _Position(
            version=_VERSION,
            kind=kind,
            incarnation=cursor.incarnation,
            xid=cursor.xid,
            in_snapshot=cursor.snapshot is not None,
            shop_id=snapshot.shop_id,
            created_at=snapshot.sync.created_at if snapshot.sync else None,
            sync_id=snapshot.sync.sync_id if snapshot.sync else None,
        )
    )


def decode_position(text: str, kind: ChangeKind) -> ChangeCursor | None:
    """Return the cursor of a position; None for an empty one: from the beginning.

    Raises:
        InvalidRequest: It is not a position of the method for this kind.
    """
    decoded = unpack(text, kind=_Position, version=_VERSION, methods=_METHODS[kind])
    if decoded is None:
        return None
    if decoded.kind is not kind:
        raise InvalidRequest.of("after_position", f"is not a position of {_METHODS[kind]}")
    return ChangeCursor(
        incarnation=decoded.incarnation,
        xid=decoded.xid,
        snapshot=_snapshot(decoded) if decoded.in_snapshot else None,
    )


def _snapshot(decoded: _Position) -> SnapshotCursor:
    if decoded.created_at is None or decoded.sync_id is None:
        return SnapshotCursor(shop_id=decoded.shop_id)
    return SnapshotCursor(sync=SyncPosition(created_at=decoded.created_at, sync_id=decoded.sync_id))


def own_filter(kind: ChangeKind, *, shop_id: UUID | None = None, merchant_id: str = "") -> ChangeFilter:
    """Return the filter of a request, with the restrictions of the present principal.

    Raises:
        InvalidRequest: A client asks for the shops of another merchant.
    """
    which = restricted(ShopFilter(merchant_id=merchant_id))
    if which is None:
        raise InvalidRequest.of("merchant_id", "must be empty, or the merchant of the client's token")
    return ChangeFilter(kind=kind, shop_id=shop_id, domain=which.domain, merchant_id=which.merchant_id)


def change_messages(message: ChangeMessage) -> Iterator[pb.WatchChangesResponse]:
    """Convert a page to messages of about 1 MiB."""
    return _messages(message, ChangeKind.SHOPS, _changes_response)


def sync_messages(message: ChangeMessage) -> Iterator[pb.WatchSyncsResponse]:
    """Convert a page to messages of about 1 MiB."""
    return _messages(message, ChangeKind.SYNCS, _syncs_response)


def _messages(message: ChangeMessage, kind: ChangeKind, response: Callable[..., Any]) -> Iterator[Any]:
    """Yield messages of records that fit together.

    A position is that of a whole page: the messages before the last one continue where the page begins.
    """
    page = message.page
    for start, converted in chunks(page.records, _convert):
        end = start + len(converted)
        chunk = list(zip(converted, page.records[start:end], strict=True))
        if end < len(page.records):
            yield response(chunk, position=encode_position(page.begin, kind))
        else:
            yield response(
                chunk,
                position=encode_position(page.cursor, kind),
                caught_up=page.caught_up,
                reconnect_reason=convert.reconnect_reason(message.reconnect),
            )


def _convert(record: ChangeRecord) -> pb.ChangedShop | pb.Sync:
    """Convert a record; a sync that is not stored any more has its id only."""
    if isinstance(record, ChangedShop):
        shop = record.shop
        return pb.ChangedShop(
            shop_id=str(shop.shop_id),
            platform=shop.key.platform,
            domain=shop.key.domain,
            merchant_id=shop.merchant_id,
            feed_position=record.feed_position,
            record_time=to_timestamp(record.recorded_at),
            deleted=record.deleted,
        )
    return pb.Sync(sync_id=str(record.sync_id)) if record.sync is None else convert.sync(record.sync)


def _changes_response(
    chunk: Sequence[tuple[pb.ChangedShop, ChangeRecord]], **fields: Any
) -> pb.WatchChangesResponse:
    return pb.WatchChangesResponse(changes=[change for change, _ in chunk], **fields)


def _syncs_response(chunk: Sequence[tuple[Any, ChangeRecord]], **fields: Any) -> pb.WatchSyncsResponse:
    response = pb.WatchSyncsResponse(**fields)
    for converted, record in chunk:
        if isinstance(record, ChangedShop):
            response.deleted_shop_ids.append(converted.shop_id)
        elif record.sync is None:
            response.removed_sync_ids.append(converted.sync_id)
        else:
            response.syncs.append(converted)
    return response
