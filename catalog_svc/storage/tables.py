"""The tables of the catalog.

The shop is the tenant: `shop_id` leads every key, one transaction writes for one shop, and no statement touches
tables of both groups. These are the rules under which Citus can distribute the schema; `tests/architecture/citus`
checks them:

| Group | Tables |
|---|---|
| shop: what the transactions of one shop write; distributed by shop_id | shop_state, sync, sync_history, |
| | sync_issue, sync_seen, obsolete_pass, product, item, product_refresh, change_event, |
| | analysis_task, analysis_result |
| directory: small, read across shops; local to the coordinator | shop, shop_deletion, shop_schedule, sync_queue, |
| | refresh_queue, shop_audit, shop_webhooks, analysis_queue, analysis_worker, idempotency_key, loop_lease, |
| | page_token_key, schema_compatibility, change_feed |

`shop_state` is the write lock of a shop (see `catalog_svc.storage.fence`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from catalog_svc.storage.record_columns import ITEM_COLUMNS, PRODUCT_COLUMNS, RecordColumn

metadata = MetaData()

_NOW = text("clock_timestamp()")
_TRANSACTION_ID = text("CAST(CAST(pg_current_xact_id() AS text) AS bigint)")


def _record_table(name: str, columns: Sequence[RecordColumn], *more: Column[object] | Index) -> Table:
    """The table of the records of a shop, whose first column is their id."""
    return Table(
        name,
        metadata,
        Column("shop_id", UUID, nullable=False),
        *(column.to_column() for column in columns),
        # The position of the write that stored the row's last change; see `shop_state`.
        _count("feed_position"),
        _time("created_at", required=True),
        _time("updated_at", required=True),
        _time("deleted_at"),
        PrimaryKeyConstraint("shop_id", columns[0].name, name=f"{name}_pkey"),
        *more,
        # Finds old tombstones without reading the whole shop: 0.6 ms instead of 180 ms for 300,000 items.
        Index(f"{name}_deleted", "shop_id", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
        # With the default of 20 % autovacuum would wait for 200 million dead rows at a billion.
        postgresql_with={
            "fillfactor": "90",
            "autovacuum_vacuum_scale_factor": "0.02",
            "autovacuum_analyze_scale_factor": "0.02",
        },
    )


def _id(name: str, *, required: bool = True) -> Column[object]:
    return Column(name, UUID, nullable=not required)


def _time(name: str, *, required: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=not required, server_default=_NOW if required else None)


def _text(name: str) -> Column[object]:
    return Column(name, Text, nullable=False, server_default="")


def _notes() -> Column[object]:
    return Column("notes", ARRAY(Text), nullable=False, server_default=text("'{}'"))


def _count(name: str) -> Column[object]:
    return Column(name, BigInteger, nullable=False, server_default="0")


def _flag(name: str) -> Column[object]:
    return Column(name, Boolean, nullable=False, server_default=text("false"))


_HOT_ROWS: Final = {
    "fillfactor": "70",
    "autovacuum_vacuum_scale_factor": "0.02",
    "autovacuum_vacuum_threshold": "200",
}
"""Storage parameters of small tables whose rows change many times a second: room for HOT updates."""

shop = Table(
    "shop",
    metadata,
    _id("shop_id"),
    Column("platform", Text, nullable=False),
    Column("domain", Text, nullable=False),
    # The id that the caller gives to the owner of the shop; empty: none.
    _text("merchant_id"),
    _text("platform_shop_id"),
    _text("currency_code"),
    # The name of the shop on its platform.
    _text("display_name"),
    # The name that the caller gives to the shop; empty: none.
    _text("caller_name"),
    # Health of the connection, from the last sync that ended; empty: none has.
    _text("connection_state"),
    _text("connection_reason"),
    _text("connection_message"),
    _time("created_at", required=True),
    _time("updated_at", required=True),
    PrimaryKeyConstraint("shop_id", name="shop_pkey"),
    UniqueConstraint("platform", "domain", name="shop_platform_domain_key"),
    Index("shop_by_merchant", "merchant_id", "shop_id", postgresql_where=text("merchant_id <> ''")),
    Index("shop_by_platform", "platform", "shop_id"),
    Index("shop_by_domain", "domain", "shop_id"),
    Index("shop_by_connection", "connection_state", "shop_id", postgresql_where=text("connection_state <> ''")),
    Index(
        "shop_by_platform_shop_id",
        "platform",
        "platform_shop_id",
        postgresql_where=text("platform_shop_id <> ''"),
    ),
)

# Deletions of shops: DeleteShop moves the row of `shop` here, where it stays for a week after the end.
shop_deletion = Table(
    "shop_deletion",
    metadata,
    _id("shop_id"),
    Column("platform", Text, nullable=False),
    Column("domain", Text, nullable=False),
    _text("merchant_id"),
    # Rows that were deleted, once the deletion has ended.
    _count("product_count"),
    _count("item_count"),
    _count("sync_count"),
    _count("issue_count"),
    _time("started_at", required=True),
    _time("ended_at"),
    PrimaryKeyConstraint("shop_id", name="shop_deletion_pkey"),
    Index("shop_deletion_by_key", "platform", "domain", "started_at"),
    Index("shop_deletion_active", "started_at", postgresql_where=text("ended_at IS NULL")),
    Index("shop_deletion_ended", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
)

shop_state = Table(
    "shop_state",
    metadata,
    _id("shop_id"),
    # Set by DeleteShop: nothing of the shop is read or written any more, its rows are purged, and counted here.
    _flag("deleting"),
    _count("purged_product_count"),
    _count("purged_item_count"),
    _count("purged_sync_count"),
    _count("purged_issue_count"),
    # The fencing token: each claim of a sync of the shop installs a higher one, and nothing ever lowers it.
    _count("epoch"),
    # The number of the next fenced write.
    _count("next_seq"),
    # The position of the last write that changed products or items: in the order of commits, without gaps.
    _count("feed_position"),
    # Changes at or below this position may have been purged, deletions with them.
    _count("feed_floor"),
    # Distinguishes this history of positions from that of another registration of the shop.
    Column("incarnation", UUID, nullable=False, server_default=text("gen_random_uuid()")),
    # The number of the last change event.
    _count("event_number"),
    # Products and items that are stored and not deleted.
    _count("product_count"),
    _count("item_count"),
    _count("item_with_image_count"),
    # Nothing that is deleted was deleted earlier; NULL: nothing is.
    _time("oldest_tombstone_at"),
    _time("watermark"),
    _time("full_watermark"),
    _notes(),
    # The number of the last created sync; see `catalog_svc.domain.ids`.
    _count("last_sync_number"),
    _id("active_sync_id", required=False),
    _id("last_ended_sync_id", required=False),
    # The pass whose seen ids a resumed sync would need.
    _id("open_pass_id", required=False),
    # The last pass, if the deletion guard stopped it and full passes decide about its deletion; NULL: it did not.
    _id("blocked_pass_id", required=False),
    # What the next full pass must find missing to agree; NULL: an incremental pass was stopped.
    Column("blocked_digest", LargeBinary),
    Column("blocked_count", BigInteger),
    # Scheduled syncs that changed nothing and whose rows were deleted.
    _count("unchanged_sync_count"),
    _time("updated_at", required=True),
    # The analyzers that are switched on.
    Column("analyzers", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    # The last item that was visited since they were changed; NULL: all were.
    Column("analysis_backfill_after", Text),
    # Items that are not deleted, by the state of their analysis.
    _count("analysis_pending_count"),
    _count("analysis_analyzed_count"),
    _count("analysis_failed_count"),
    PrimaryKeyConstraint("shop_id", name="shop_state_pkey"),
    Index(
        "shop_state_tombstones",
        "oldest_tombstone_at",
        postgresql_where=text("oldest_tombstone_at IS NOT NULL"),
    ),
    Index(
        "shop_state_analysis_backfill",
        "shop_id",
        postgresql_where=text("analysis_backfill_after IS NOT NULL"),
    ),
    postgresql_with=_HOT_ROWS,
)

shop_schedule = Table(
    "shop_schedule",
    metadata,
    _id("shop_id"),
    Column("platform", Text, nullable=False),
    # NULL: the default of the settings. Zero: never.
    Column("incremental_interval", Interval),
    Column("full_interval", Interval),
    _flag("paused"),
    _time("incremental_due_at"),
    _time("full_due_at"),
    # No sync is due before: the shop is broken, or is being synced.
    _time("not_before"),
    Column(
        "next_due_at",
        DateTime(timezone=True),
        Computed(
            "CASE WHEN NOT paused AND coalesce(incremental_due_at, full_due_at) IS NOT NULL"
            " THEN greatest(least(incremental_due_at, full_due_at), not_before) END",
            persisted=True,
        ),
    ),
    # The defaults under which the due times were planned; NULL: they were not yet.
    Column("planned_incremental_interval", Interval),
    Column("planned_full_interval", Interval),
    # When a sync last found changes that no webhook had announced; NULL: a delivery came since, or never.
    _time("unannounced_at"),
    _time("created_at", required=True),
    _time("updated_at", required=True),
    PrimaryKeyConstraint("shop_id", name="shop_schedule_pkey"),
    Index(
        "shop_schedule_due",
        "platform",
        "next_due_at",
        postgresql_where=text("next_due_at IS NOT NULL"),
    ),
    Index(
        "shop_schedule_unplanned",
        "shop_id",
        postgresql_where=text("planned_full_interval IS NULL"),
    ),
    postgresql_with=_HOT_ROWS,
)

_LIVE: Final = text("deleted_at IS NULL")
_DELETED: Final = text("deleted_at IS NOT NULL")

product = _record_table(
    "product",
    PRODUCT_COLUMNS,
    Index("product_live", "shop_id", "product_id", postgresql_where=_LIVE),
)

# A list reads only rows that it returns: deleted items, which may be more than the others, have indexes of their
# own. A trigram index for text search is no part of the schema: see `text_search`.
item = _record_table(
    "item",
    ITEM_COLUMNS,
    # The hash of image_url and image_version, and the state of the image's analysis; NULL while the shop has no
    # analyzer, and until the backfill has visited the item.
    Column("image_hash", LargeBinary),
    Column("analysis_state", Text),
    Index("item_by_product", "shop_id", "product_id", "item_id", postgresql_where=_LIVE),
    Index("item_deleted_by_product", "shop_id", "product_id", "item_id", postgresql_where=_DELETED),
    # In the order of lists: a sku may be that of many items, "N/A" for instance.
    Index(
        "item_by_sku",
        "shop_id",
        "sku",
        "product_id",
        "item_id",
        postgresql_where=text("sku <> '' AND deleted_at IS NULL"),
    ),
    Index(
        "item_deleted_by_sku",
        "shop_id",
        "sku",
        "product_id",
        "item_id",
        postgresql_where=text("sku <> '' AND deleted_at IS NOT NULL"),
    ),
    # All rows of a batch have one position: the index takes a sixth of the space by deduplication.
    Index("item_by_position", "shop_id", "feed_position", postgresql_where=_LIVE),
    Index("item_deleted_by_position", "shop_id", "feed_position", postgresql_where=_DELETED),
    Index(
        "item_by_image",
        "shop_id",
        "image_hash",
        postgresql_where=text("image_hash IS NOT NULL AND deleted_at IS NULL"),
    ),
    Index(
        "item_by_analysis",
        "shop_id",
        "analysis_state",
        "product_id",
        "item_id",
        postgresql_where=text("analysis_state IS NOT NULL AND deleted_at IS NULL"),
    ),
)

sync_queue = Table(
    "sync_queue",
    metadata,
    # One active sync per shop.
    _id("shop_id"),
    _id("sync_id"),
    Column("queue_number", BigInteger, Identity(always=True), nullable=False),
    Column("platform", Text, nullable=False),
    Column("mode", Text, nullable=False),
    # 0: started by people, 1: by the schedule.
    Column("priority", Integer, nullable=False),
    # The epoch of the last claim; see `shop_state.epoch`, which decides.
    Column("epoch", BigInteger, nullable=False),
    # The replica that holds the lease, for people who read the table; never used for safety.
    _id("owner", required=False),
    # By the database's clock; NULL: never claimed. Not indexed, so that renewals stay HOT updates.
    _time("lease_until"),
    _time("created_at", required=True),
    PrimaryKeyConstraint("shop_id", name="sync_queue_pkey"),
    Index("sync_queue_order", "platform", "priority", "queue_number"),
    postgresql_with=_HOT_ROWS,
)


SYNC_COUNTS: Final = ("seen", "created", "updated", "unchanged", "deleted", "rejected")
"""Endings of the columns that count a sync's products and items."""


def _sync_columns() -> list[Column[object]]:
    """The columns of a sync, active or ended."""
    return [
        _id("shop_id"),
        _id("sync_id"),
        Column("state", Text, nullable=False),
        Column("mode", Text, nullable=False),
        Column("trigger", Text, nullable=False),
        _flag("allow_mass_delete"),
        _id("parent_sync_id", required=False),
        # The sync that started the pass: this one, or the first one of a chain of resumed syncs.
        _id("pass_id"),
        _text("correlation_id"),
        # W3C Trace Context of the call that created the sync.
        _text("traceparent"),
        Column("revision", BigInteger, nullable=False, server_default="1"),
        # The epoch of the last claim: `shop_state.epoch` while the sync runs.
        _count("epoch"),
        # When something was last stored: the retry policy measures from here, across all takeovers.
        _time("progressed_at"),
        # Attempts that received their source's header and stored nothing: a batch may be what ends them. Each
        # counts once.
        Column("claims_without_progress", Integer, nullable=False, server_default="0"),
        _count("started_epoch"),
        Column("attempt_count", Integer, nullable=False, server_default="0"),
        Column("checkpoint", LargeBinary, nullable=False, server_default=text("'\\x'")),
        _time("updated_after"),
        _time("watermark"),
        *(_count(f"{kind}_{count}") for kind in ("products", "items") for count in SYNC_COUNTS),
        _count("products_checked"),
        _count("issue_count"),
        Column("estimated_product_count", BigInteger),
        Column("estimated_item_count", BigInteger),
        Column("items_per_second", Double),
        _text("strategy"),
        _text("served_api_version"),
        _notes(),
        Column("waiting_reason", Text),
        _time("waiting_until"),
        _text("waiting_message"),
        Column("waiting_done_count", BigInteger),
        Column("waiting_total_count", BigInteger),
        Column("error_reason", Text),
        _text("error_message"),
        Column("error_metadata", JSONB, nullable=False, server_default=text("'{}'")),
        _time("created_at", required=True),
        _time("updated_at", required=True),
        _time("started_at"),
    ]


# The active sync of each shop and its last few ended ones; older ones are in `sync_history`.
sync = Table(
    "sync",
    metadata,
    *_sync_columns(),
    _time("ended_at"),
    PrimaryKeyConstraint("shop_id", "sync_id", name="sync_pkey"),
    Index("sync_by_time", "created_at", "sync_id"),
    Index("sync_by_state", "state", "created_at", "sync_id"),
    postgresql_with=_HOT_ROWS,
)

# The webhooks of each shop, as far as they are known.
shop_webhooks = Table(
    "shop_webhooks",
    metadata,
    _id("shop_id"),
    # Since when the shop has webhooks that should work: the first delivery, or the last repair; NULL: it has none.
    _time("known_since"),
    # To the minute.
    _time("delivered_at"),
    # When they were last checked and repaired; whether with success.
    _time("attempted_at"),
    _time("checked_at"),
    _count("repaired_count"),
    # Why the last attempt failed; empty: it did not.
    _text("failure_reason"),
    _text("failure_message"),
    # Whether the next check is due soon, since the last one did not end.
    _flag("must_retry"),
    PrimaryKeyConstraint("shop_id", name="shop_webhooks_pkey"),
    postgresql_with=_HOT_ROWS,
)

# Partitioned by month, and dropped by partition.
sync_history = Table(
    "sync_history",
    metadata,
    *_sync_columns(),
    _time("ended_at", required=True),
    PrimaryKeyConstraint("shop_id", "sync_id", "ended_at", name="sync_history_pkey"),
    Index("sync_history_of_shop_by_state", "shop_id", "state", "sync_id"),
    Index("sync_history_by_time", "created_at", "sync_id"),
    Index("sync_history_by_state", "state", "created_at", "sync_id"),
    postgresql_partition_by="RANGE (ended_at)",
)

sync_seen = Table(
    "sync_seen",
    metadata,
    _id("shop_id"),
    _id("pass_id"),
    Column("product_id", Text, nullable=False),
    PrimaryKeyConstraint("shop_id", "pass_id", "product_id", name="sync_seen_pkey"),
)

# Passes whose seen ids are no longer needed.
obsolete_pass = Table(
    "obsolete_pass",
    metadata,
    _id("shop_id"),
    _id("pass_id"),
    _time("created_at", required=True),
    PrimaryKeyConstraint("shop_id", "pass_id", name="obsolete_pass_pkey"),
)

# Products to read again by their ids; see `product_refresh`.
product_refresh = Table(
    "product_refresh",
    metadata,
    _id("shop_id"),
    Column("product_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
    _time("first_requested_at", required=True),
    _time("last_requested_at", required=True),
    # Whether the product was requested since its last read began.
    Column("pending", Boolean, nullable=False, server_default=text("true")),
    # The claim whose read is in progress. Whoever writes the product meanwhile removes it.
    _id("reader", required=False),
    # Whether a refresh has stored the product while a pass was open, which may hold an older state of it.
    _flag("refreshed"),
    # Reads since the last request that did not settle it.
    _count("read_count"),
    PrimaryKeyConstraint("shop_id", "product_id", name="product_refresh_pkey"),
    Index(
        "product_refresh_unread",
        "shop_id",
        "read_count",
        "first_requested_at",
        "product_id",
        postgresql_where=text("pending OR reader IS NOT NULL"),
    ),
    postgresql_with=_HOT_ROWS,
)

# Shops with rows in product_refresh: when to look at each, and who does.
refresh_queue = Table(
    "refresh_queue",
    metadata,
    _id("shop_id"),
    Column("platform", Text, nullable=False),
    # When the shop is claimable; while it is claimed, the end of the claim. By the database's clock.
    Column("due_at", DateTime(timezone=True), nullable=False),
    _id("claim_id", required=False),
    _count("failure_count"),
    # The mode of the sync that must be started, and how often it was requested since one was; NULL: none.
    Column("wanted_sync", Text),
    _count("wanted_count"),
    PrimaryKeyConstraint("shop_id", name="refresh_queue_pkey"),
    Index("refresh_queue_due", "due_at"),
    postgresql_with=_HOT_ROWS,
)

# Images to analyze, and those whose attempts all failed; see `analysis_tasks`.
analysis_task = Table(
    "analysis_task",
    metadata,
    _id("shop_id"),
    Column("analyzer", Text, nullable=False),
    Column("image_hash", LargeBinary, nullable=False),
    Column("image_url", Text, nullable=False),
    # The shop's when the task was made: the order of tasks, and with `epoch` the fence of its leases.
    Column("feed_position", BigInteger, nullable=False),
    # Each lease installs a higher one.
    _count("epoch"),
    _count("attempt_count"),
    # When the task can be leased; while it is leased, the end of the lease. By the database's clock. Not indexed,
    # so that extensions stay HOT updates.
    _time("available_at", required=True),
    # Who has the lease; NULL: nobody.
    Column("worker_id", Text),
    # Whether all attempts failed.
    _flag("dead"),
    _text("failure_reason"),
    _text("failure_message"),
    _time("created_at", required=True),
    PrimaryKeyConstraint("shop_id", "analyzer", "image_hash", name="analysis_task_pkey"),
    Index(
        "analysis_task_open",
        "shop_id",
        "analyzer",
        "feed_position",
        "image_hash",
        postgresql_where=text("NOT dead"),
    ),
    Index("analysis_task_dead", "shop_id", "analyzer", "image_hash", postgresql_where=text("dead")),
    Index("analysis_task_of_worker", "worker_id", postgresql_where=text("worker_id IS NOT NULL")),
    postgresql_with=_HOT_ROWS,
)

# The last result of each image and analyzer.
analysis_result = Table(
    "analysis_result",
    metadata,
    _id("shop_id"),
    Column("analyzer", Text, nullable=False),
    Column("image_hash", LargeBinary, nullable=False),
    Column("image_url", Text, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("subcategory", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("gender", Text, nullable=False),
    Column("attributes", JSONB, nullable=False),
    Column("quality_score", Numeric, nullable=False),
    Column("confidence_score", Numeric, nullable=False),
    Column("processing_time", Interval),
    # The lease under which it was submitted: a repeated submission is recognized.
    Column("task_position", BigInteger, nullable=False),
    Column("task_epoch", BigInteger, nullable=False),
    _time("updated_at", required=True),
    # Lists are in its order. Comparisons of NUMERIC are not leakproof: no index serves them under row security.
    Column("quality_millionths", BigInteger, Computed("CAST(quality_score * 1000000 AS bigint)", persisted=True)),
    PrimaryKeyConstraint("shop_id", "analyzer", "image_hash", name="analysis_result_pkey"),
    Index("analysis_result_by_score", "shop_id", "analyzer", "quality_millionths", "image_hash"),
    Index("analysis_result_by_category", "shop_id", "analyzer", "category", "quality_millionths", "image_hash"),
    postgresql_with={"autovacuum_vacuum_scale_factor": "0.02", "autovacuum_analyze_scale_factor": "0.02"},
)

# The analyzers of each shop, and when the shop may have a task for each: see `analysis_queue`.
analysis_queue = Table(
    "analysis_queue",
    metadata,
    _id("shop_id"),
    Column("analyzer", Text, nullable=False),
    # NULL: the shop has no open task for the analyzer.
    _time("due_at"),
    # The tasks that were leased, for fair turns.
    _count("virtual_time"),
    PrimaryKeyConstraint("shop_id", "analyzer", name="analysis_queue_pkey"),
    Index(
        "analysis_queue_order",
        "analyzer",
        "virtual_time",
        "shop_id",
        postgresql_where=text("due_at IS NOT NULL"),
    ),
    Index("analysis_queue_clock", "analyzer", "virtual_time"),
    postgresql_with=_HOT_ROWS,
)

# Workers that lease tasks. A lease locks the row of its worker, so that the worker's leases are counted.
analysis_worker = Table(
    "analysis_worker",
    metadata,
    Column("worker_id", Text, nullable=False),
    Column("analyzer", Text, nullable=False),
    Column("model_version", Text, nullable=False),
    _time("seen_at", required=True),
    PrimaryKeyConstraint("worker_id", name="analysis_worker_pkey"),
    Index("analysis_worker_seen", "seen_at"),
    postgresql_with=_HOT_ROWS,
)

# The last audit of each shop.
shop_audit = Table(
    "shop_audit",
    metadata,
    _id("shop_id"),
    # When the last one began; whether it ended, or failed.
    Column("attempted_at", DateTime(timezone=True), nullable=False),
    # What the last one that ended found; NULL: none has.
    _time("ended_at"),
    _count("product_count"),
    _count("item_count"),
    _count("drifted_product_count"),
    PrimaryKeyConstraint("shop_id", name="shop_audit_pkey"),
)

# Partitioned by month, and dropped by partition.
sync_issue = Table(
    "sync_issue",
    metadata,
    _id("shop_id"),
    _id("sync_id"),
    _id("pass_id"),
    Column("number", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    _text("product_id"),
    _text("item_id"),
    _text("field"),
    _text("message"),
    _text("sample"),
    Column("product_rejected", Boolean, nullable=False),
    _time("created_at", required=True),
    PrimaryKeyConstraint("shop_id", "sync_id", "number", "created_at", name="sync_issue_pkey"),
    postgresql_partition_by="RANGE (created_at)",
)

# What followers of many shops read: a row for each transaction that changed items or the state of a sync, in the
# order of the ids of the transactions; see `change_events` and `change_feed`.
change_event = Table(
    "change_event",
    metadata,
    _id("shop_id"),
    Column("number", BigInteger, nullable=False),
    Column("xid", BigInteger, nullable=False, server_default=_TRANSACTION_ID),
    # NULL: items have changed, or the shop was deleted.
    _id("sync_id", required=False),
    # The shop's.
    Column("feed_position", BigInteger, nullable=False),
    _time("created_at", required=True),
    PrimaryKeyConstraint("shop_id", "number", name="change_event_pkey"),
    Index("change_event_by_xid", "xid"),
    postgresql_with={"autovacuum_vacuum_scale_factor": "0.02", "autovacuum_analyze_scale_factor": "0.02"},
)

# One row.
change_feed = Table(
    "change_feed",
    metadata,
    # Distinguishes the positions of this database from those of another one.
    Column("incarnation", UUID, nullable=False, server_default=text("gen_random_uuid()")),
    # Events of this transaction and of earlier ones may have been purged.
    _count("floor"),
)

idempotency_key = Table(
    "idempotency_key",
    metadata,
    # The caller; empty while callers are not authenticated.
    Column("principal", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("request_hash", LargeBinary, nullable=False),
    _id("shop_id"),
    _id("sync_id"),
    _time("created_at", required=True),
    PrimaryKeyConstraint("principal", "method", "request_id", name="idempotency_key_pkey"),
    Index("idempotency_key_by_time", "created_at"),
    Index("idempotency_key_by_shop", "shop_id"),
)

# The right to run a loop that only one replica runs.
loop_lease = Table(
    "loop_lease",
    metadata,
    Column("name", Text, nullable=False),
    _id("owner", required=False),
    Column("lease_until", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("name", name="loop_lease_pkey"),
)

# One row: the key that authenticates page tokens, which all replicas share. It protects no data.
page_token_key = Table("page_token_key", metadata, Column("key", LargeBinary, nullable=False))

schema_compatibility = Table(
    "schema_compatibility",
    metadata,
    # One row: the schema version of the oldest release that may run on this schema; see `schema`.
    Column("min_compatible", Text, nullable=False),
)
