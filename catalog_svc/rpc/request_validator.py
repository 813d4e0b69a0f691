"""Requests to domain: every wrong field is named, all at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_common.failure import FieldViolation, InvalidRequest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from catalog_svc.domain.records import ItemFilter
from catalog_svc.domain.schedule import ScheduleChange
from catalog_svc.domain.shop import ShopKey
from catalog_svc.domain.sync import SyncMode, SyncState

_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+")
_PLATFORM = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MAX_TEXT = 255
_MAX_QUOTED = 60
_SHORTEST, _LONGEST = timedelta(minutes=1), timedelta(days=366)

_MODES = {
    pb.Sync.MODE_UNSPECIFIED: SyncMode.INCREMENTAL,
    pb.Sync.MODE_FULL: SyncMode.FULL,
    pb.Sync.MODE_INCREMENTAL: SyncMode.INCREMENTAL,
}


class Checks:
    """Gathers what is wrong with one request; `done` raises it all."""

    def __init__(self) -> None:
        self._violations: list[FieldViolation] = []

    def wrong(self, field: str, description: str) -> None:
        """Notes a wrong field."""
        self._violations.append(FieldViolation(field=field, description=description))

    def done(self) -> None:
        """Raises InvalidRequest if anything is wrong."""
        if self._violations:
            raise InvalidRequest(*self._violations)

    def shop(self, shop: pb.Shop) -> ShopKey:
        """Platform and domain, canonical; whether the platform exists is not known here."""
        platform, domain = shop.platform.lower(), shop.domain.lower().removesuffix(".")
        if not platform:
            self.wrong("shop.platform", "is required, such as 'shopify' or 'woocommerce'")
        elif not _PLATFORM.fullmatch(platform):
            self.wrong("shop.platform", f"{_quoted(shop.platform)} is not a platform's name, such as 'shopify'")
        if not domain:
            self.wrong("shop.domain", "is required, such as 'demo.myshopify.com'")
        elif not _HOST.fullmatch(domain):
            self.wrong("shop.domain", f"{_quoted(shop.domain)} is not a host name, such as 'demo.myshopify.com'")
        return ShopKey(platform, domain)

    def sync_id(self, value: str) -> UUID:
        """A UUID, written as the server writes it."""
        if not _UUID.fullmatch(value):
            self.wrong("sync_id", "must be the sync's id: a UUID in lower case with its four hyphens")
            return UUID(int=0)
        return UUID(value)

    def request_id(self, value: str) -> str:
        """Empty or well-formed."""
        if value and not _REQUEST_ID.fullmatch(value):
            self.wrong("request_id", "must be at most 128 letters, digits, '.', '_', ':' or '-'; a UUID is best")
        return value

    def mode(self, value: pb.Sync.Mode.ValueType) -> SyncMode:
        """Unspecified means incremental where possible."""
        if value not in _MODES:
            self.wrong("mode", "must be MODE_FULL or MODE_INCREMENTAL")
        return _MODES.get(value, SyncMode.FULL)

    def page_size(self, value: int, *, default: int, largest: int) -> int:
        """0 becomes the default, too much the largest."""
        if value < 0:
            self.wrong("page_size", "must not be negative")
        return min(value or default, largest)

    def revision(self, value: int) -> int:
        """At least 0."""
        if value < 0:
            self.wrong("after_revision", "must not be negative")
        return value

    def text(self, field: str, value: str, *, required: bool = False) -> str:
        """Of a length that some stored value could have."""
        if required and not value:
            self.wrong(field, "is required")
        if len(value) > _MAX_TEXT or "\0" in value:
            self.wrong(field, f"must be at most {_MAX_TEXT} characters, none of them NUL")
        return value

    def time(self, field: str, message: Timestamp) -> datetime | None:
        """UTC; None when absent."""
        if message == Timestamp():
            return None
        try:
            return message.ToDatetime(tzinfo=UTC)
        except (ValueError, OverflowError):
            self.wrong(field, "is not a valid time")
            return None

    def states(self, values: Sequence[pb.Sync.State.ValueType]) -> tuple[SyncState, ...]:
        """Known states, each once."""
        known: dict[SyncState, None] = {}
        for value in values:
            name = pb.Sync.State.Name(value).removeprefix("STATE_") if value in pb.Sync.State.values() else ""
            if name in SyncState.__members__ and SyncState[name] is not SyncState.UNSPECIFIED:
                known[SyncState[name]] = None
            else:
                self.wrong("states", "must be states of a sync")
        return tuple(known)

    def interval(self, field: str, message: Duration) -> timedelta:
        """Between syncs; NEVER is one too."""
        try:
            value = message.ToTimedelta()
        except (ValueError, OverflowError):
            value = timedelta()
        if message != Duration() and not _SHORTEST <= value <= _LONGEST:
            self.wrong(field, "must be zero (never), or at least a minute and at most a year")
        return value

    def schedule_change(self, request: pb.SetShopScheduleRequest) -> ScheduleChange:
        """What SetShopSchedule changes."""
        incremental = request.incremental_every if request.HasField("incremental_every") else None
        full = request.full_every if request.HasField("full_every") else None
        return ScheduleChange(
            incremental_every=None if incremental is None else self.interval("incremental_every", incremental),
            full_every=None if full is None else self.interval("full_every", full),
            paused=request.paused if request.HasField("paused") else None,
            reset=request.reset,
        )

    def item_filter(self, request: pb.ListItemsRequest) -> ItemFilter:
        """The filters of ListItems."""
        return ItemFilter(
            sku=self.text("sku", request.sku),
            product_id=self.text("product_id", request.product_id),
            text=self.text("text", request.text),
            updated_after=self.time("updated_after", request.updated_after),
            include_deleted=request.include_deleted,
        )


def _quoted(value: str) -> str:
    """A received text for an error message, without control characters."""
    return repr(value if len(value) <= _MAX_QUOTED else f"{value[:_MAX_QUOTED]}…")
