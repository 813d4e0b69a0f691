"""The words and numbers in which a sync is told to a person; pure text, no terminal."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar

from catalogsync.catalog.v1.catalog_service_pb2 import Sync, Waiting
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import ErrorInfo

from catalogsync_cli.shop import ShopName

ENDED = frozenset({Sync.STATE_SUCCEEDED, Sync.STATE_FAILED, Sync.STATE_CANCELLED})
V = TypeVar("V", bound=int)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]+")


class Extent(NamedTuple):
    """How far a sync is, in the unit that the platform could estimate."""

    done: int
    total: int | None
    noun: str

    @property
    def fraction(self) -> float | None:
        """0 to 1; None when it cannot be told."""
        if self.total is None:
            return None
        return min(1.0, self.done / self.total) if self.total else 1.0


def printable(text: str) -> str:
    """The text on one line, without what could steer a terminal: titles and messages are written by strangers."""
    return _CONTROL.sub(" ", text).strip()


def enum_name(name: Callable[[V], str], value: V, prefix: str) -> str:
    """An enum value without its prefix; one that this program does not know yet, by its number."""
    try:
        return name(value).removeprefix(prefix)
    except ValueError:
        return f"{prefix}{value}"


def state_name(sync: Sync) -> str:
    """RUNNING, SUCCEEDED, ..."""
    return enum_name(Sync.State.Name, sync.state, "STATE_")


def has_ended(sync: Sync) -> bool:
    """Whether nothing more will come. A state that this program does not know counts as not ended."""
    return sync.state in ENDED


def extent(sync: Sync) -> Extent:
    """Items when the platform estimates items, else products, else items without a total."""
    progress = sync.progress
    items = progress.items.seen_count + progress.items.set_aside_count
    if progress.HasField("estimated_item_count"):
        return Extent(items, progress.estimated_item_count, "items")
    if progress.HasField("estimated_product_count"):
        products = progress.products.seen_count + progress.products.set_aside_count
        return Extent(products, progress.estimated_product_count, "products")
    return Extent(items, None, "items")


def extent_text(sync: Sync) -> str:
    """ "4,210 of 8,100 items (52 %)"; the number alone when the total is unknown or was too low.

    A sync that SUCCEEDED has no estimate any more: "4,054 items", or "nothing changed".
    """
    if found_nothing_new(sync):
        return "nothing changed"
    done, total, noun = extent(sync)
    if sync.state == Sync.STATE_SUCCEEDED:
        return plural(sync.progress.items.seen_count, "item")
    if total is None or done > total:
        return f"{done:,} {noun}"
    percent = f" ({done * 100 // total} %)" if total else ""
    return f"{done:,} of {total:,} {noun}{percent}"


def counts_text(sync: Sync) -> str:
    """ "4,000 created, 200 updated, 10 unchanged", of items; what is zero and rare is left out."""
    items = sync.progress.items
    parts = [
        f"{items.created_count:,} created",
        f"{items.updated_count:,} updated",
        f"{items.unchanged_count:,} unchanged",
    ]
    parts += [f"{items.deleted_count:,} deleted"] if items.deleted_count else []
    parts += [f"{items.set_aside_count:,} set aside"] if items.set_aside_count else []
    parts += [plural(sync.progress.issue_count, "issue")] if sync.progress.issue_count else []
    checked = sync.progress.checked_product_count
    parts += [f"{plural(checked, 'product')} checked"] if checked else []
    return ", ".join(parts)


def pace_text(sync: Sync, now: datetime) -> str:
    """ "1,203 items/s, 0:03 left"; empty when neither is known."""
    progress = sync.progress
    parts = []
    if progress.HasField("items_per_second"):
        parts.append(f"{progress.items_per_second:,.0f} items/s")
    if progress.HasField("estimated_end_time"):
        left = utc(progress.estimated_end_time) - now
        parts.append(f"{clock_text(max(left, timedelta()))} left")
    return ", ".join(parts)


def plain_text(sync: Sync, now: datetime) -> str:
    """All on a running sync in one line: state, extent, pace, counts, what it waits for."""
    parts = [extent_text(sync), pace_text(sync, now), counts_text(sync)]
    if sync.HasField("waiting"):
        parts.append(f"waiting: {waiting_text(sync.waiting, now)}")
    return f"{state_name(sync)} {'; '.join(part for part in parts if part)}"


def waiting_text(waiting: Waiting, now: datetime) -> str:
    """What the sync waits for and how long still: "throttled by the platform, 2.1 s"."""
    return f"{_waited_for(waiting)}{_until(waiting, now)}"


def _waited_for(waiting: Waiting) -> str:
    message = printable(waiting.message)
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


def _until(waiting: Waiting, now: datetime) -> str:
    if not waiting.HasField("until_time"):
        return ""
    seconds = (utc(waiting.until_time) - now).total_seconds()
    if seconds <= 0:
        return ""
    return f", {seconds:.1f} s" if seconds < 60 else f", {clock_text(timedelta(seconds=seconds))}"


def summary_lines(sync: Sync) -> list[str]:
    """How the sync of a shop ended, with the shop's name; below it what the sync could not see or decide."""
    return [
        f"{ShopName.of(sync.shop)} {outcome_text(sync)}",
        *(f"  Note: {printable(note)}" for note in sync.notes),
    ]


def found_nothing_new(sync: Sync) -> bool:
    """Whether an incremental sync succeeded without a change to any stored record."""
    counts = (sync.progress.products, sync.progress.items)
    return (
        sync.state == Sync.STATE_SUCCEEDED
        and sync.mode == Sync.MODE_INCREMENTAL
        and not any(each.created_count or each.updated_count or each.deleted_count for each in counts)
        and not any(each.set_aside_count for each in counts)
    )


def outcome_text(sync: Sync) -> str:
    """How a sync ended: state, counts, duration, average rate, and why when it failed."""
    items, products = sync.progress.items, sync.progress.products
    if found_nothing_new(sync):
        return f"{state_name(sync)}: {_nothing_new_text(sync)}"
    text = (
        f"{state_name(sync)}: {plural(items.seen_count, 'item')}"
        f" of {plural(products.seen_count, 'product')}{_duration_text(sync)}: {counts_text(sync)}"
    )
    return f"{text}. {error_text(sync)}" if sync.HasField("error") else text


def _nothing_new_text(sync: Sync) -> str:
    """ "nothing changed since 2026-11-29 04:53:26Z (1,200 products checked) in 0.9 s"."""
    progress = sync.progress
    seen, checked = progress.items.seen_count, progress.checked_product_count
    looked_at = []
    if seen:
        looked_at.append(f"{plural(seen, 'item')} of {plural(progress.products.seen_count, 'product')} compared")
    if checked:
        looked_at.append(f"{plural(checked, 'product')} checked")
    if progress.issue_count:
        looked_at.append(plural(progress.issue_count, "issue"))
    known = sync.HasField("changes_since_time")
    since = f"{utc(sync.changes_since_time):%Y-%m-%d %H:%M:%SZ}" if known else "the last complete sync"
    details = f" ({', '.join(looked_at)})" if looked_at else ""
    return f"nothing changed since {since}{details}{_length_text(sync)}"


def error_text(sync: Sync) -> str:
    """The message of a failed sync and its reason: "the shop is gone (SOURCE_NOT_FOUND)"."""
    message = printable(sync.error.message) or "no message"
    reason = error_reason(sync)
    return f"{message} ({reason})" if reason else message


def error_reason(sync: Sync) -> str:
    """The reason in the error's ErrorInfo; empty when it has none."""
    return printable(error_info(sync).reason)


def error_info(sync: Sync) -> ErrorInfo:
    """The ErrorInfo of the sync's error; an empty one when it has none."""
    info = ErrorInfo()
    for detail in sync.error.details:
        if detail.Unpack(info):
            break
    return info


def _duration_text(sync: Sync) -> str:
    seconds = _seconds(sync)
    rate = f" ({sync.progress.items.seen_count / seconds:,.0f} items/s)" if seconds else ""
    return f"{_length_text(sync)}{rate}"


def _length_text(sync: Sync) -> str:
    seconds = _seconds(sync)
    if seconds is None:
        return ""
    return f" in {seconds:.1f} s" if seconds < 60 else f" in {clock_text(timedelta(seconds=seconds))}"


def _seconds(sync: Sync) -> float | None:
    if not (sync.HasField("start_time") and sync.HasField("end_time")):
        return None
    return max(0.0, (utc(sync.end_time) - utc(sync.start_time)).total_seconds())


def clock_text(span: timedelta) -> str:
    """ "0:03", "12:30", "1:02:30"."""
    minutes, seconds = divmod(round(span.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def age_text(span: timedelta) -> str:
    """ "12s ago", "5m ago", "3h ago", "2d ago"; a time yet to come by this machine's clock is "0s ago"."""
    seconds = max(0, int(span.total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit} ago"
    return f"{seconds}s ago"


def plural(count: int, noun: str) -> str:
    """ "1 item", "2,000 items"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def utc(stamp: Timestamp) -> datetime:
    """A timestamp as an aware datetime."""
    return stamp.ToDatetime(UTC)


def local_now() -> datetime:
    """The time by this machine's clock."""
    return datetime.now(UTC)
