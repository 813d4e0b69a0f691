"""Converts shops and syncs to messages of CatalogService: one function per message, parts after their whole.

Items and products are in `catalog_svc.rpc.convert_catalog`.

| Domain | Message | Function |
|---|---|---|
| Sync | Sync, with Progress, RecordCounts, Waiting, google.rpc.Status | sync |
| Shop | Shop | shop |
| ShopDetails | ShopDetails, with ConnectionHealth, ShopSchedule, WebhookHealth | shop_details |
| ShopDeletion | ShopDeletion | shop_deletion |
| ShopStatus | GetStatusResponse, with ConnectionHealth | status |
| ShopSchedule | ShopSchedule | schedule |
| SyncIssue | SyncIssue | issue |
| IngestResult | IngestWebhookResponse | ingest_result |
| Snapshot | WatchSyncResponse, once for all watchers of a sync | SnapshotMessages |
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import timedelta
from typing import Final
from uuid import UUID

import grpc
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.errors.v1 import error_reason_pb2, issue_reason_pb2
from catalogsync_common.failure import Failure
from catalogsync_common.status import to_status
from catalogsync_common.timestamps import to_timestamp as _time
from google.protobuf.duration_pb2 import Duration
from google.rpc import status_pb2

from catalog_svc.domain.records import SyncIssue
from catalog_svc.domain.refresh import IngestResult
from catalog_svc.domain.schedule import ShopSchedule
from catalog_svc.domain.shop import Shop, ShopDeletion
from catalog_svc.domain.status import ConnectionHealth, ShopDetails, ShopStatus
from catalog_svc.domain.sync import RecordCounts, Sync, SyncError, SyncState, Waiting
from catalog_svc.domain.webhook_health import WebhookHealth
from catalog_svc.rpc import convert, convert_analysis, convert_audit
from catalog_svc.usecases.stream_lifetime import ReconnectReason
from catalog_svc.usecases.watch_sync import Snapshot

# Names without prefix, as they are stored. A name that a newer release has stored becomes UNSPECIFIED.
_ERROR_REASONS: Final = {
    name.removeprefix("ERROR_REASON_"): reason for name, reason in error_reason_pb2.ErrorReason.items()
}
_ISSUE_REASONS: Final = {
    name.removeprefix("ISSUE_REASON_"): reason for name, reason in issue_reason_pb2.IssueReason.items()
}


def sync(value: Sync) -> pb.Sync:
    """Convert a sync."""
    return pb.Sync(
        sync_id=str(value.sync_id),
        shop=shop(value.shop),
        state=pb.Sync.State.Value(f"STATE_{value.state.value}"),
        mode=pb.Sync.Mode.Value(f"MODE_{value.mode.value}"),
        trigger=pb.Sync.Trigger.Value(f"TRIGGER_{value.trigger.value}"),
        revision=value.revision,
        progress=_progress(value),
        waiting=_waiting(value.waiting) if value.waiting else None,
        error=_error(value.error) if value.error else None,
        attempt_count=value.attempt_count,
        create_time=_time(value.created_at),
        start_time=_time(value.started_at),
        end_time=_time(value.ended_at),
        update_time=_time(value.updated_at),
        parent_sync_id=str(value.parent_sync_id) if value.parent_sync_id else "",
        strategy=value.strategy,
        served_api_version=value.served_api_version,
        correlation_id=value.correlation_id,
        notes=value.notes,
        changes_since_time=_time(value.updated_after),
        queue_position=value.queue_position,
    )


def _progress(sync: Sync) -> pb.Progress:
    value = sync.progress.of_succeeded() if sync.state is SyncState.SUCCEEDED else sync.progress
    remaining = None if sync.state.ended else value.remaining()
    return pb.Progress(
        products=_counts(value.products),
        items=_counts(value.items),
        estimated_product_count=value.estimated_product_count,
        estimated_item_count=value.estimated_item_count,
        items_per_second=value.items_per_second,
        estimated_end_time=_time(sync.updated_at + remaining) if remaining is not None else None,
        checked_product_count=value.checked_products,
        issue_count=value.issue_count,
    )


def _counts(value: RecordCounts) -> pb.RecordCounts:
    return pb.RecordCounts(
        seen_count=value.seen,
        created_count=value.created,
        updated_count=value.updated,
        unchanged_count=value.unchanged,
        deleted_count=value.deleted,
        rejected_count=value.rejected,
    )


def _waiting(value: Waiting) -> pb.Waiting:
    return pb.Waiting(
        reason=pb.Waiting.Reason.Value(f"REASON_{value.reason.value}"),
        resume_time=_time(value.until),
        message=value.message,
        done_count=value.done_count,
        total_count=value.total_count,
    )


def _error(value: SyncError) -> status_pb2.Status:
    failure = Failure(value.message, metadata=value.metadata)
    failure.reason = value.reason
    return to_status(failure, unknown_reason=grpc.StatusCode.UNKNOWN)


def shop(value: Shop) -> pb.Shop:
    """Convert a registered shop."""
    return pb.Shop(
        platform=value.key.platform,
        domain=value.key.domain,
        shop_id=str(value.shop_id),
        merchant_id=value.merchant_id,
        platform_shop_id=value.platform_shop_id,
        currency_code=value.currency_code,
        display_name=value.name,
    )


def shop_details(value: ShopDetails) -> pb.ShopDetails:
    """Convert a shop with its connection, its schedule and its webhooks."""
    return pb.ShopDetails(
        shop=shop(value.shop),
        connection=_connection(value.connection),
        schedule=schedule(value.schedule),
        webhooks=_webhooks(value.webhooks),
        same_store_shop_ids=[str(shop_id) for shop_id in value.same_store_shop_ids],
        analyzers=value.analyzers,
        create_time=_time(value.created_at),
        update_time=_time(value.updated_at),
    )


def shop_deletion(value: ShopDeletion) -> pb.ShopDeletion:
    """Convert the deletion of a shop."""
    return pb.ShopDeletion(
        shop=shop(value.shop),
        start_time=_time(value.started_at),
        end_time=_time(value.ended_at),
        product_count=value.products,
        item_count=value.items,
        sync_count=value.syncs,
        issue_count=value.issues,
    )


def status(value: ShopStatus) -> pb.GetStatusResponse:
    """Convert the status of a shop."""
    finished, active = value.syncs.last_finished, value.syncs.active
    analysis = value.counts.analysis
    return pb.GetStatusResponse(
        shop=shop(value.shop),
        product_count=value.counts.products,
        item_count=value.counts.items,
        item_with_image_count=value.counts.items_with_image,
        analyzed_item_count=analysis.analyzed if analysis else None,
        analysis=convert_analysis.counts(analysis) if analysis else None,
        last_finished_sync=sync(finished) if finished else None,
        active_sync=sync(active) if active else None,
        fresh_as_of_time=_time(value.shop.watermark),
        connection=_connection(value.syncs.connection),
        schedule=schedule(value.schedule),
        full_as_of_time=_time(value.shop.full_watermark),
        notes=value.shop.notes,
        last_audit=convert_audit.summary(value.last_audit) if value.last_audit else None,
    )


def _connection(value: ConnectionHealth) -> pb.ConnectionHealth:
    return pb.ConnectionHealth(
        state=pb.ConnectionHealth.State.Value(f"STATE_{value.state.value}"),
        reason=_ERROR_REASONS.get(value.reason, error_reason_pb2.ERROR_REASON_UNSPECIFIED),
        message=value.message,
    )


def _webhooks(value: WebhookHealth) -> pb.WebhookHealth:
    return pb.WebhookHealth(
        state=pb.WebhookHealth.State.Value(f"STATE_{value.state.value}"),
        reason=_ERROR_REASONS.get(value.failure_reason, error_reason_pb2.ERROR_REASON_UNSPECIFIED),
        message=value.failure_message,
        last_delivery_time=_time(value.delivered_at),
        unannounced_change_time=_time(value.unannounced_at),
        last_check_time=_time(value.checked_at),
        repaired_count=value.repaired_count,
    )


def schedule(value: ShopSchedule) -> pb.ShopSchedule:
    """Convert the schedule in effect."""
    return pb.ShopSchedule(
        incremental_interval=_duration(value.incremental_every),
        full_interval=_duration(value.full_every),
        paused=value.paused,
        incremental_is_default=value.incremental_is_default,
        full_is_default=value.full_is_default,
        next_due_time=_time(value.next_due_at),
    )


def issue(value: SyncIssue) -> pb.SyncIssue:
    """Convert an issue: a rejected record, or a fault within a stored one."""
    return pb.SyncIssue(
        number=value.number,
        reason=_ISSUE_REASONS.get(value.issue.reason, issue_reason_pb2.ISSUE_REASON_UNSPECIFIED),
        product_id=value.issue.product_id,
        item_id=value.issue.item_id,
        field=value.issue.field,
        message=value.issue.message,
        sample=value.issue.sample,
        product_rejected=value.issue.product_rejected,
        create_time=_time(value.created_at),
    )


def _duration(value: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(value)
    return duration


_MOST_KEPT: Final = 1_000
"""Messages of 500 bytes or so."""


def ingest_result(value: IngestResult) -> pb.IngestWebhookResponse:
    """Convert what became of a webhook delivery."""
    return pb.IngestWebhookResponse(
        outcome=pb.IngestWebhookResponse.Outcome.Value(f"OUTCOME_{value.outcome.value}"),
        product_count=value.product_count,
    )


class SnapshotMessages:
    """Remembers the latest message of each sync that is watched. Its messages are shared: do not change them."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[UUID, bool, ReconnectReason | None], tuple[Sync, pb.WatchSyncResponse]] = (
            OrderedDict()
        )

    def of(self, snapshot: Snapshot) -> pb.WatchSyncResponse:
        """The message for one watcher."""
        key = (snapshot.sync.sync_id, snapshot.heartbeat, snapshot.reconnect)
        kept = self._kept.get(key)
        # The very object, not an equal one: comparing costs as much as converting.
        if kept is not None and kept[0] is snapshot.sync:
            return kept[1]
        message = pb.WatchSyncResponse(
            sync=convert.sync(snapshot.sync),
            heartbeat=snapshot.heartbeat,
            reconnect_reason=reconnect_reason(snapshot.reconnect),
        )
        self._kept[key] = (snapshot.sync, message)
        self._kept.move_to_end(key)
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return message


def reconnect_reason(reason: ReconnectReason | None) -> pb.WatchSyncResponse.ReconnectReason.ValueType:
    """Convert why a stream ends; None: it continues."""
    name = f"RECONNECT_REASON_{reason.value if reason else 'UNSPECIFIED'}"
    return pb.WatchSyncResponse.ReconnectReason.Value(name)
