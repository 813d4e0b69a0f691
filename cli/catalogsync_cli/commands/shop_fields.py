"""The texts of a shop that several commands show: its connection, webhooks, schedule, details and deletion."""

from __future__ import annotations

from catalogsync.catalog.v1.catalog_service_pb2 import (
    ConnectionHealth,
    ShopDeletion,
    ShopDetails,
    ShopSchedule,
    WebhookHealth,
)
from catalogsync.errors.v1.error_reason_pb2 import ErrorReason
from catalogsync_client import ShopName
from catalogsync_common.duration import format_duration
from google.protobuf.duration_pb2 import Duration

from catalogsync_cli.formatting import enum_name
from catalogsync_cli.output import time_text


def connection_text(connection: ConnectionHealth) -> str:
    """Return the state of a connection, and why it is not healthy."""
    if connection.state == ConnectionHealth.STATE_UNSPECIFIED:
        return "unknown until the first sync has ended"
    return _with_failure(connection_state(connection), connection)


def webhooks_text(webhooks: WebhookHealth) -> str:
    """Return whether webhooks work, and why they do not; "" if there are none."""
    if webhooks.state == WebhookHealth.STATE_UNSPECIFIED:
        return ""
    text = _with_failure(enum_name(WebhookHealth.State.Name, webhooks.state, "STATE_"), webhooks)
    found = time_text(webhooks, "unannounced_change_time")
    return f"{text}, unannounced changes were found {found}" if found else text


def _with_failure(state: str, health: ConnectionHealth | WebhookHealth) -> str:
    reason = enum_name(ErrorReason.Name, health.reason, "ERROR_REASON_") if health.reason else ""
    message = f"{health.message} [{reason}]" if reason else health.message
    return f"{state}: {message}" if message else state


def connection_state(connection: ConnectionHealth) -> str:
    """Return the name of the state of a connection; "" before the first sync has ended."""
    if connection.state == ConnectionHealth.STATE_UNSPECIFIED:
        return ""
    return enum_name(ConnectionHealth.State.Name, connection.state, "STATE_")


def schedule_fields(schedule: ShopSchedule) -> list[tuple[str, str]]:
    """Return a schedule as names and values."""
    return [
        ("Incremental", _interval_text(schedule.incremental_interval, is_default=schedule.incremental_is_default)),
        ("Full", _interval_text(schedule.full_interval, is_default=schedule.full_is_default)),
        ("Next sync due", next_sync_text(schedule)),
    ]


def next_sync_text(schedule: ShopSchedule) -> str:
    """Return when the next scheduled sync is due; "" if none is."""
    return "paused" if schedule.paused else time_text(schedule, "next_due_time")


def details_fields(details: ShopDetails) -> list[tuple[str, str]]:
    """Return a shop as names and values."""
    shop = details.shop
    return [
        ("Shop", str(ShopName.of(shop))),
        ("Shop id", shop.shop_id),
        ("Name", shop.display_name),
        ("Merchant", shop.merchant_id),
        ("Platform's id", shop.platform_shop_id),
        ("Currency", shop.currency_code),
        ("Connection", connection_text(details.connection)),
        ("Webhooks", webhooks_text(details.webhooks)),
        ("Last webhook", time_text(details.webhooks, "last_delivery_time")),
        *schedule_fields(details.schedule),
        ("Analyzers", ", ".join(details.analyzers)),
        *(("Same store as", shop_id) for shop_id in details.same_store_shop_ids),
        ("Registered", time_text(details, "create_time")),
        ("Changed", time_text(details, "update_time")),
    ]


def deletion_fields(deletion: ShopDeletion) -> list[tuple[str, str]]:
    """Return the deletion of a shop as names and values."""
    return [
        ("Shop", str(ShopName.of(deletion.shop))),
        ("Shop id", deletion.shop.shop_id),
        ("Merchant", deletion.shop.merchant_id),
        ("Deletion began", time_text(deletion, "start_time")),
        ("Deletion ended", time_text(deletion, "end_time") or "not yet"),
        ("Deleted products", f"{deletion.product_count:,}"),
        ("Deleted items", f"{deletion.item_count:,}"),
        ("Deleted syncs", f"{deletion.sync_count:,}"),
        ("Deleted issues", f"{deletion.issue_count:,}"),
    ]


def _interval_text(interval: Duration, *, is_default: bool) -> str:
    duration = interval.ToTimedelta()
    text = f"every {format_duration(duration)}" if duration else "on request only"
    return f"{text} (default)" if is_default else text
