"""The item feed of a shop: all stored items, then their changes, in the order of feed positions.

A consumer starts with a snapshot: the items that are not deleted, up to the shop's position at the start. Then it
reads the changes after that position, deletions included. The rows themselves are the log: an item that changes
moves to the shop's newest position, so that each item is read once, in its latest state.

Deleted items are purged after their retention period, and the feed's floor rises with them. A cursor is valid
while no deletion after it may have been purged. During the snapshot, that is measured from the position at which
the snapshot began: what was deleted before is not part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from catalog_svc.domain.catalog_reads import Feed, Item, check_incarnation, position_expired


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedCursor:
    """Where a consumer continues to read the feed of a shop."""

    incarnation: UUID
    snapshot_position: int | None = None
    """The shop's position when the consumer began with the snapshot; None: it has read the snapshot."""
    position: int = 0
    """Items up to this position were read."""
    item_id: str = ""
    """Not empty: of the items at `position`, only those up to this id were read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedPage:
    """Items of the feed, in its order."""

    items: Sequence[Item]
    begin: FeedCursor
    """Where the page begins."""
    cursor: FeedCursor
    """Continues after the page."""
    caught_up: bool
    """Whether there was nothing more to read."""

    def cursor_after(self, item: Item) -> FeedCursor:
        """Return the cursor of a consumer that has read the page up to this item."""
        return replace(self.begin, position=item.feed_position, item_id=item.item_id)

    def checkpoint(self) -> FeedPage:
        """Return the page without items that follows this one if nothing has changed."""
        return FeedPage(items=(), begin=self.cursor, cursor=self.cursor, caught_up=self.caught_up)


def start_cursor(feed: Feed) -> FeedCursor:
    """Return the cursor of a consumer that has read nothing."""
    return FeedCursor(incarnation=feed.incarnation, snapshot_position=feed.position)


def check_cursor(feed: Feed, cursor: FeedCursor) -> None:
    """Check that no change after the cursor was purged.

    Args:
        feed: The feed in the database snapshot from which the next page is read.
        cursor: Where the consumer continues.

    Raises:
        PositionExpired: A deletion after the cursor may have been purged; or the cursor is of another
            incarnation, or above the shop's position: the database was restored.
    """
    check_incarnation(feed, cursor.incarnation)
    complete = cursor.position - 1 if cursor.item_id else cursor.position
    begin = complete if cursor.snapshot_position is None else cursor.snapshot_position
    if begin < feed.floor or max(begin, cursor.position) > feed.position:
        raise position_expired(feed)


def page_of(feed: Feed, cursor: FeedCursor, items: Sequence[Item], *, limit: int) -> FeedPage:
    """Return the page of the items that were read after the cursor.

    Args:
        feed: The feed in the same database snapshot.
        cursor: Where the page begins.
        items: Up to `limit` items of the snapshot or of the changes, as the cursor says.
        limit: With fewer items than this, all of them were read.
    """
    if len(items) == limit:
        more = replace(cursor, position=items[-1].feed_position, item_id=items[-1].item_id)
        return FeedPage(items=items, begin=cursor, cursor=more, caught_up=False)
    end = feed.position if cursor.snapshot_position is None else cursor.snapshot_position
    complete = FeedCursor(incarnation=feed.incarnation, position=end)
    return FeedPage(items=items, begin=cursor, cursor=complete, caught_up=end == feed.position)
