"""Formats syncs, progress, durations and errors as plain text for people; knows no terminal."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar

from catalogsync.catalog.v1.catalog_service_pb2 import Sync, Waiting
from catalogsync_client import ShopName, error_info
from catalogsync_common.status import without_reason
from google.protobuf.timestamp_pb2 import Timestamp

_MAX_QUEUE_POSITION = 1_000
V = TypeVar("V", bound=int)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]+")


class ProgressExtent(NamedTuple):
    """The progress of a sync, in the unit that the platform can estimate."""

    done: int
    total: int | None
    """The estimate; None: there is none."""
    noun: str
    """The unit: "items" or "products"."""

    @property
    def fraction(self) -> float | None:
        """0 to 1; None when the total is unknown."""
        if self.total is None:
            return None
        return min(1.0, self.done / self.total) if self.total else 1.0


def sanitize(text: str) -> str:
    """Return the text on one line without control characters: titles and messages come from third parties."""
    return _CONTROL.sub(" ", text).strip()


def enum_name(name: Callable[[V], str], value: V, prefix: str) -> str:
    """Return an enum value's name without its prefix, or with its number when this version does not know it."""
    try:
        return name(value).removeprefix(prefix)
    except ValueError:
        return f"{prefix}{value}"


def state_name(sync: Sync) -> str:
    """Return the state as RUNNING, SUCCEEDED, ..."""
    return enum_name(Sync.State.Name, sync.state, "STATE_")


def progress_extent(sync: Sync) -> ProgressExtent:
    """Return items when the platform estimates items, else products, else items without a total."""
    progress = sync.progress
    items = progress.items.seen_count + progress.items.rejected_count
    if progress.HasField("estimated_item_count"):
        return ProgressExtent(items, progress.estimated_item_count, "items")
    if progress.HasField("estimated_product_count"):
        products = progress.products.seen_count + progress.products.rejected_count
        return ProgressExtent(products, progress.estimated_product_count, "products")
    return ProgressExtent(items, None, "items")


def progress_text(sync: Sync) -> str:
    """Return "4,210 of 8,100 items (52 %)", or the number alone when the total is unknown or was too low.

    The estimate of a sync that SUCCEEDED is ignored: "4,054 items", or "nothing changed".
    """
    if nothing_changed(sync):
        return "nothing changed"
    done, total, noun = progress_extent(sync)
    if sync.state == Sync.STATE_SUCCEEDED:
        return plural(sync.progress.items.seen_count, "item")
    if total is None or done > total:
        return f"{done:,} {noun}"
    percent = f" ({done * 100 // total} %)" if total else ""
    return f"{done:,} of {total:,} {noun}{percent}"


def counts_text(sync: Sync) -> str:
    """Return "4,000 created, 200 updated, 10 unchanged" for items; rare counts are omitted when they are zero."""
    items = sync.progress.items
    parts = [
        f"{items.created_count:,} created",
        f"{items.updated_count:,} updated",
        f"{items.unchanged_count:,} unchanged",
    ]
    parts += [f"{items.deleted_count:,} deleted"] if items.deleted_count else []
    parts += [f"{items.rejected_count:,} rejected"] if items.rejected_count else []
    parts += [plural(sync.progress.issue_count, "issue")] if sync.progress.issue_count else []
    checked = sync.progress.checked_product_count
    parts += [f"{plural(checked, 'product')} checked"] if checked else []
    return ", ".join(parts)


def rate_text(sync: Sync, now: datetime) -> str:
    """Return "1,203 items/s, 0:03 left", or "" when neither is known."""
    progress = sync.progress
    parts = []
    if progress.HasField("items_per_second"):
        parts.append(f"{progress.items_per_second:,.0f} items/s")
    if progress.HasField("estimated_end_time"):
        left = to_datetime(progress.estimated_end_time) - now
        parts.append(f"{duration_text(max(left, timedelta()))} left")
    return ", ".join(parts)


def status_line(sync: Sync, now: datetime) -> str:
    """Return a sync that has not ended as one line: state, progress, rate, counts, what it waits for."""
    if queue := queue_text(sync):
        return f"{state_name(sync)} {queue}"
    parts = [progress_text(sync), rate_text(sync, now), counts_text(sync)]
    if sync.HasField("waiting"):
        parts.append(f"waiting: {waiting_text(sync.waiting, now)}")
    return f"{state_name(sync)} {'; '.join(part for part in parts if part)}"


def queue_text(sync: Sync) -> str:
    """Return "waiting for a worker, 12 before it" for a PENDING sync, else ""."""
    if sync.state != Sync.STATE_PENDING or not sync.HasField("queue_position"):
        return ""
    position = sync.queue_position
    before = (
        f"{position:,} or more" if position >= _MAX_QUEUE_POSITION else f"{position:,}" if position else "none"
    )
    return f"waiting for a worker, {before} before it"


def waiting_text(waiting: Waiting, now: datetime) -> str:
    """Return what the sync waits for and for how long: "throttled by the platform, 2.1 s"."""
    return f"{_waiting_reason(waiting)}{_remaining_text(waiting, now)}"


def _waiting_reason(waiting: Waiting) -> str:
    message = sanitize(waiting.message)
    if waiting.reason == Waiting.REASON_PLATFORM_JOB:
        return _job_text(waiting) or message or "a job on the platform"
    known = {
        Waiting.REASON_THROTTLED: "throttled by the platform",
        Waiting.REASON_SOURCE_UNREACHABLE: "the platform does not answer",
        Waiting.REASON_TOKEN_SERVICE: "the Token Service does not answer",
        Waiting.REASON_CONNECTOR: "connector_svc does not answer",
        Waiting.REASON_STORAGE: "the database is slow to store a batch",
    }
    reason = known.get(waiting.reason)
    return reason or message or enum_name(Waiting.Reason.Name, waiting.reason, "REASON_")


def _job_text(waiting: Waiting) -> str:
    if not waiting.HasField("done_count"):
        return ""
    total = f" of {waiting.total_count:,}" if waiting.HasField("total_count") else ""
    return f"bulk job {waiting.done_count:,}{total}"


def _remaining_text(waiting: Waiting, now: datetime) -> str:
    if not waiting.HasField("resume_time"):
        return ""
    seconds = (to_datetime(waiting.resume_time) - now).total_seconds()
    if seconds <= 0:
        return ""
    return f", {seconds:.1f} s" if seconds < 60 else f", {duration_text(timedelta(seconds=seconds))}"


def summary_lines(sync: Sync) -> list[str]:
    """Return a line with the shop and the outcome of its sync, then one per note (what a sync could not see)."""
    return [
        f"{ShopName.of(sync.shop)} {outcome_text(sync)}",
        *(f"  Note: {sanitize(note)}" for note in sync.notes),
    ]


def nothing_changed(sync: Sync) -> bool:
    """Return whether an incremental sync succeeded without changing any stored record."""
    counts = (sync.progress.products, sync.progress.items)
    return (
        sync.state == Sync.STATE_SUCCEEDED
        and sync.mode == Sync.MODE_INCREMENTAL
        and not any(each.created_count or each.updated_count or each.deleted_count for each in counts)
        and not any(each.rejected_count for each in counts)
    )


def outcome_text(sync: Sync) -> str:
    """Return how a sync ended: state, counts, duration, average rate, and the error if it failed."""
    items, products = sync.progress.items, sync.progress.products
    if nothing_changed(sync):
        return f"{state_name(sync)}: {_nothing_changed_text(sync)}"
    text = (
        f"{state_name(sync)}: {plural(items.seen_count, 'item')}"
        f" of {plural(products.seen_count, 'product')}{_elapsed_and_rate_text(sync)}: {counts_text(sync)}"
    )
    return f"{text}. {error_text(sync)}" if sync.HasField("error") else text


def _nothing_changed_text(sync: Sync) -> str:
    """Return "nothing changed since 2026-11-29 04:53:26Z (2 items of 1 product compared, 9 products checked)"."""
    progress = sync.progress
    seen, checked = progress.items.seen_count, progress.checked_product_count
    details = []
    if seen or not checked:
        details.append(f"{plural(seen, 'item')} of {plural(progress.products.seen_count, 'product')} compared")
    if checked:
        details.append(f"{plural(checked, 'product')} checked")
    if progress.issue_count:
        details.append(plural(progress.issue_count, "issue"))
    known = sync.HasField("changes_since_time")
    since = f"{to_datetime(sync.changes_since_time):%Y-%m-%d %H:%M:%SZ}" if known else "the last complete sync"
    return f"nothing changed since {since} ({', '.join(details)}){_elapsed_text(sync)}"


def error_text(sync: Sync) -> str:
    """Return the message and reason of a failed sync: "the shop is gone (SOURCE_NOT_FOUND)"."""
    reason = error_reason(sync)
    message = sanitize(without_reason(sync.error.message, reason)) or "no message"
    return f"{message} ({reason})" if reason else message


def error_reason(sync: Sync) -> str:
    """Return the reason from the error's ErrorInfo, or ""."""
    return sanitize(error_info(sync).reason)


def _elapsed_and_rate_text(sync: Sync) -> str:
    seconds = _elapsed_seconds(sync)
    rate = f" ({sync.progress.items.seen_count / seconds:,.0f} items/s)" if seconds else ""
    return f"{_elapsed_text(sync)}{rate}"


def _elapsed_text(sync: Sync) -> str:
    seconds = _elapsed_seconds(sync)
    if seconds is None:
        return ""
    return f" in {seconds:.1f} s" if seconds < 60 else f" in {duration_text(timedelta(seconds=seconds))}"


def _elapsed_seconds(sync: Sync) -> float | None:
    if not (sync.HasField("start_time") and sync.HasField("end_time")):
        return None
    return max(0.0, (to_datetime(sync.end_time) - to_datetime(sync.start_time)).total_seconds())


def duration_text(span: timedelta) -> str:
    """Return a duration as "0:03", "12:30" or "1:02:30"."""
    minutes, seconds = divmod(round(span.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def age_text(span: timedelta) -> str:
    """Return "12s ago", "5m ago", "3h ago" or "2d ago"; a negative age, by a wrong clock, is "0s ago"."""
    seconds = max(0, int(span.total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit} ago"
    return f"{seconds}s ago"


def plural(count: int, noun: str) -> str:
    """Return "1 item" or "2,000 items"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def to_datetime(stamp: Timestamp) -> datetime:
    """Return a timestamp as an aware datetime in UTC."""
    return stamp.ToDatetime(UTC)


def utc_now() -> datetime:
    """Return the time of this machine's clock."""
    return datetime.now(UTC)
