"""Validates requests and converts them to the domain; one error names all invalid fields of a request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

from catalogsync.catalog.v1 import analysis_pb2 as analysis_pb
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_common.failure import FieldViolation, InvalidRequest
from catalogsync_common.host_names import canonical_host_name
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from catalog_svc.domain.analysis import AnalysisState
from catalog_svc.domain.audit import DEFAULT_SAMPLE_SIZE, MAX_SAMPLE_SIZE
from catalog_svc.domain.catalog_reads import ItemFilter, ProductFilter
from catalog_svc.domain.refresh import WebhookDelivery
from catalog_svc.domain.shop import ShopChange, ShopField, ShopKey, ShopRef
from catalog_svc.domain.status import ConnectionState, ShopFilter
from catalog_svc.domain.sync import SyncMode, SyncState

_PLATFORM = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_ANALYZER = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_MAX_ANALYZERS = 8
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MAX_TEXT_CHARACTERS = 255
_MAX_LIST_VALUES = 32
"""Values of a repeated field: more than there are different ones."""
_MAX_QUOTED_CHARACTERS = 60
_MAX_VIOLATIONS = 100
"""More are not recorded: a request of 4 MiB can have four million."""
_MIN_SEARCH_CHARACTERS, _MIN_SEARCH_LETTERS = 3, 2
"""Every text with that many has a trigram, so that an index can find it."""
_MAX_WEBHOOK_BODY_BYTES, _MAX_WEBHOOK_HEADERS, _MAX_HEADER_CHARACTERS = 1 << 20, 100, 8 * 1024
"""The limits of connector_svc."""
_MIN_INTERVAL, _MAX_INTERVAL = timedelta(minutes=1), timedelta(days=366)

_MODES = {
    pb.Sync.MODE_UNSPECIFIED: SyncMode.INCREMENTAL,
    pb.Sync.MODE_FULL: SyncMode.FULL,
    pb.Sync.MODE_INCREMENTAL: SyncMode.INCREMENTAL,
}

_SHOP_FIELDS = {field.value: field for field in ShopField}
_SHOP_FIELD_NAMES = ", ".join(_SHOP_FIELDS)
_CONNECTION_STATES = {
    pb.ConnectionHealth.State.Value(f"STATE_{state.value}"): state
    for state in ConnectionState
    if state is not ConnectionState.UNSPECIFIED
}

V = TypeVar("V")


class RequestValidator:
    """Validates the fields of one request.

    Each method returns the converted value of a field. For an invalid field it adds a violation and returns a
    placeholder; `raise_if_any` then raises all violations at once.
    """

    def __init__(self) -> None:
        self._violations: list[FieldViolation] = []

    def add_violation(self, field: str, description: str) -> None:
        """Record that a field is invalid."""
        if len(self._violations) < _MAX_VIOLATIONS:
            self._violations.append(FieldViolation(field=field, description=description))

    def raise_if_any(self) -> None:
        """Raise InvalidRequest if there are violations."""
        if self._violations:
            raise InvalidRequest(*self._violations)

    def shop(self, shop: pb.ShopRef) -> ShopRef:
        """Return the shop's id, or its key in canonical form; whether the shop can be synced is checked later."""
        has_key = bool(shop.platform or shop.domain)
        if shop.shop_id and has_key:
            self.add_violation("shop", "must have either shop_id, or platform and domain, not both")
        elif not (shop.shop_id or has_key):
            self.add_violation("shop", "is required: either shop_id, or platform and domain")
        elif has_key:
            return self.shop_key(shop.platform, shop.domain, prefix="shop.")
        else:
            return self._uuid("shop.shop_id", shop.shop_id)
        return UUID(int=0)

    def shop_key(self, platform: str, domain: str, *, prefix: str = "") -> ShopKey:
        """Return the key of a shop in canonical form; whether it is supported is checked later.

        Args:
            platform: The name of the platform.
            domain: The host name.
            prefix: What precedes `platform` and `domain` in the names of the request's fields.
        """
        return ShopKey(self._platform(f"{prefix}platform", platform), self._domain(f"{prefix}domain", domain))

    def _platform(self, field: str, value: str) -> str:
        name = value.lower()
        if not name:
            self.add_violation(field, "is required, such as 'shopify' or 'woocommerce'")
        elif not _PLATFORM.fullmatch(name):
            self.add_violation(field, f"{_quoted(value)} is not the name of a platform, such as 'shopify'")
        return name

    def _domain(self, field: str, value: str) -> str:
        domain = canonical_host_name(value)
        if not value:
            self.add_violation(field, "is required, such as 'demo.myshopify.com'")
        elif domain is None:
            self.add_violation(field, f"{_quoted(value)} is not a host name, such as 'demo.myshopify.com'")
        return domain or ""

    def sync_id(self, value: str) -> UUID:
        """Return a sync id, a UUID written as the server writes it."""
        return self._uuid("sync_id", value)

    def _uuid(self, field: str, value: str) -> UUID:
        if not _UUID.fullmatch(value):
            self.add_violation(field, "must be an id of the server: a UUID in lower case with its four hyphens")
            return UUID(int=0)
        return UUID(value)

    def request_id(self, value: str) -> str:
        """Return a request_id: empty, or a UUID in lower case, whatever case the caller has written."""
        if value and not _UUID.fullmatch(value.lower()):
            self.add_violation("request_id", "must be a UUID with its four hyphens")
        return value.lower()

    def mode(self, value: pb.Sync.Mode.ValueType) -> SyncMode:
        """Return the mode; unspecified means incremental where possible."""
        if value not in _MODES:
            self.add_violation("mode", "must be MODE_FULL or MODE_INCREMENTAL")
        return _MODES.get(value, SyncMode.FULL)

    def page_size(self, value: int, *, default: int, maximum: int) -> int:
        """Return the page size: 0 becomes the default, a larger value the maximum."""
        if value < 0:
            self.add_violation("page_size", "must not be negative")
        return min(value or default, maximum)

    def revision(self, value: int) -> int:
        """Return `after_revision`, at least 0."""
        if value < 0:
            self.add_violation("after_revision", "must not be negative")
        return value

    def text(self, field: str, value: str, *, required: bool = False) -> str:
        """Return a text, not longer than a stored value can be."""
        if required and not value:
            self.add_violation(field, "is required")
        if len(value) > _MAX_TEXT_CHARACTERS or "\0" in value:
            self.add_violation(field, f"must be at most {_MAX_TEXT_CHARACTERS} characters, none of them NUL")
        return value

    def webhook(self, request: pb.IngestWebhookRequest) -> WebhookDelivery:
        """Return the delivery of IngestWebhook, without the domain of its shop."""
        platform = self._platform("platform", request.platform)
        if len(request.body) > _MAX_WEBHOOK_BODY_BYTES:
            self.add_violation("body", f"must be at most {_MAX_WEBHOOK_BODY_BYTES} bytes")
        if not 0 < len(request.headers) <= _MAX_WEBHOOK_HEADERS:
            self.add_violation("headers", f"must have 1 to {_MAX_WEBHOOK_HEADERS} values: those of the delivery")
            return WebhookDelivery(platform=platform, body=request.body, headers=())
        for number, header in enumerate(request.headers):
            if not 0 < len(header.name) <= _MAX_HEADER_CHARACTERS:
                limits = f"must have 1 to {_MAX_HEADER_CHARACTERS} characters"
                self.add_violation(f"headers[{number}].name", limits)
            if len(header.value) > _MAX_HEADER_CHARACTERS:
                limits = f"must be at most {_MAX_HEADER_CHARACTERS} characters"
                self.add_violation(f"headers[{number}].value", limits)
        headers = tuple((header.name, header.value) for header in request.headers)
        return WebhookDelivery(platform=platform, body=request.body, headers=headers)

    def sample_size(self, value: int) -> int:
        """Return the size of a sample: 0 becomes the default."""
        if not 0 <= value <= MAX_SAMPLE_SIZE:
            self.add_violation("sample_size", f"must be 0 to {MAX_SAMPLE_SIZE:,}; 0 means {DEFAULT_SAMPLE_SIZE}")
        return value or DEFAULT_SAMPLE_SIZE

    def states(self, values: Sequence[pb.Sync.State.ValueType]) -> tuple[SyncState, ...]:
        """Return known states, each once."""
        known: dict[SyncState, None] = {}
        for value in self._values("states", values):
            name = pb.Sync.State.Name(value).removeprefix("STATE_") if value in pb.Sync.State.values() else ""
            if name in SyncState.__members__ and SyncState[name] is not SyncState.UNSPECIFIED:
                known[SyncState[name]] = None
            else:
                self.add_violation("states", "must be states of a sync")
        return tuple(known)

    def _values(self, field: str, values: Sequence[V]) -> Sequence[V]:
        """Return the values of a repeated field, none if there are too many."""
        if len(values) <= _MAX_LIST_VALUES:
            return values
        self.add_violation(field, f"must have at most {_MAX_LIST_VALUES} values")
        return ()

    def interval(self, field: str, message: Duration) -> timedelta:
        """Return an interval between syncs; zero is NEVER."""
        try:
            value = message.ToTimedelta()
        except (ValueError, OverflowError):
            value = timedelta()
        if message != Duration() and not _MIN_INTERVAL <= value <= _MAX_INTERVAL:
            self.add_violation(field, "must be zero (never), or at least a minute and at most a year")
        return value

    def shop_change(self, update: pb.ShopUpdate, mask: FieldMask) -> ShopChange:
        """Return the fields that UpdateShop changes; fields that the mask does not name are ignored."""
        if not mask.paths:
            self.add_violation("update_mask", f"is required: {_SHOP_FIELD_NAMES}")
        paths = self._values("update_mask", mask.paths)
        for path in paths:
            if path not in _SHOP_FIELDS:
                self.add_violation("update_mask", f"{_quoted(path)} is not one of {_SHOP_FIELD_NAMES}")
        fields = frozenset(_SHOP_FIELDS[path] for path in paths if path in _SHOP_FIELDS)

        incremental = update.incremental_interval if update.HasField("incremental_interval") else None
        full = update.full_interval if update.HasField("full_interval") else None
        change = ShopChange(fields=fields)
        if ShopField.MERCHANT_ID in fields:
            change = replace(change, merchant_id=self.text("update.merchant_id", update.merchant_id))
        if ShopField.DISPLAY_NAME in fields:
            change = replace(change, display_name=self.text("update.display_name", update.display_name))
        if ShopField.INCREMENTAL_INTERVAL in fields and incremental is not None:
            every = self.interval("update.incremental_interval", incremental)
            change = replace(change, incremental_every=every)
        if ShopField.FULL_INTERVAL in fields and full is not None:
            change = replace(change, full_every=self.interval("update.full_interval", full))
        if ShopField.ANALYZERS in fields:
            change = replace(change, analyzers=self._analyzers(update.analyzers))
        return replace(change, paused=update.paused and ShopField.PAUSED in fields)

    def _analyzers(self, names: Sequence[str]) -> tuple[str, ...]:
        if len(names) > _MAX_ANALYZERS:
            self.add_violation("update.analyzers", f"must have at most {_MAX_ANALYZERS} names")
            return ()
        return tuple(self.analyzer(f"update.analyzers[{number}]", name) for number, name in enumerate(names))

    def analyzer(self, field: str, name: str) -> str:
        """Return the name of an analyzer."""
        if not _ANALYZER.fullmatch(name):
            self.add_violation(field, "must be the name of an analyzer: 1 to 63 of a-z, 0-9 and '-'")
        return name

    def shop_filter(self, request: pb.ListShopsRequest) -> ShopFilter:
        """Return the filters of ListShops."""
        return ShopFilter(
            merchant_id=self.text("merchant_id", request.merchant_id),
            platform=self._platform("platform", request.platform) if request.platform else "",
            connection=self._connection_state(request.connection_state),
        )

    def _connection_state(self, value: pb.ConnectionHealth.State.ValueType) -> ConnectionState | None:
        if value == pb.ConnectionHealth.STATE_UNSPECIFIED:
            return None
        if value not in _CONNECTION_STATES:
            self.add_violation("connection_state", "must be a state of a connection")
        return _CONNECTION_STATES.get(value)

    def search_text(self, value: str) -> str:
        """Return a text to search for: empty, or long enough for a trigram index."""
        value = self.text("text", value)[: _MAX_TEXT_CHARACTERS + 1]
        searchable = len(value) >= _MIN_SEARCH_CHARACTERS and sum(map(str.isalnum, value)) >= _MIN_SEARCH_LETTERS
        if value and not searchable:
            self.add_violation(
                "text",
                f"must have at least {_MIN_SEARCH_CHARACTERS} characters, "
                f"of which {_MIN_SEARCH_LETTERS} are letters or digits",
            )
        return value

    def item_filter(self, request: pb.ListItemsRequest) -> ItemFilter:
        """Return the filters of ListItems."""
        if request.after_position < 0:
            self.add_violation("after_position", "must not be negative")
        return ItemFilter(
            sku=self.text("sku", request.sku),
            product_id=self.text("product_id", request.product_id),
            text=self.search_text(request.text),
            after_position=request.after_position,
            include_deleted=request.include_deleted,
            analysis_state=self._analysis_filter(request),
        )

    def _analysis_filter(self, request: pb.ListItemsRequest) -> AnalysisState | None:
        state = self.analysis_state("analysis_state", request.analysis_state)
        others = ("sku", "product_id", "text", "after_position", "include_deleted")
        if state is not None and (together := [name for name in others if getattr(request, name)]):
            self.add_violation("analysis_state", f"cannot be combined with {', '.join(together)}")
        return state

    def analysis_state(self, field: str, value: analysis_pb.AnalysisState.ValueType) -> AnalysisState | None:
        """Return a state of analysis; None: unspecified."""
        if value not in analysis_pb.AnalysisState.values():
            self.add_violation(field, "must be a state of an analysis")
            return None
        name = analysis_pb.AnalysisState.Name(value).removeprefix("ANALYSIS_STATE_")
        return AnalysisState.__members__.get(name)

    def product_filter(self, request: pb.ListProductsRequest) -> ProductFilter:
        """Return the filters of ListProducts."""
        return ProductFilter(text=self.search_text(request.text), include_deleted=request.include_deleted)


def _quoted(value: str) -> str:
    """Return a received text for an error message, without control characters."""
    return repr(value if len(value) <= _MAX_QUOTED_CHARACTERS else f"{value[:_MAX_QUOTED_CHARACTERS]}…")
