"""Writing change events: one for each transaction that changes items of a shop or the state of a sync.

Each event is written by the statement that updates the shop's row, and so under the write lock of the shop, in the
transaction of the change. Its `xid` is the id of that transaction; `catalog_svc.storage.change_feed` reads the
events in that order.
"""

from __future__ import annotations

from sqlalchemy import TextClause, text


def with_event(assignments: str, *, sync_id: str = "NULL", condition: str = "") -> TextClause:
    """Return an UPDATE of the row of `shop_state` that also writes an event.

    Args:
        assignments: What the update sets, in SQL.
        sync_id: The sync whose state changes, in SQL; NULL: items of the shop change, or it is deleted.
        condition: Without a row of this query there is no event; empty: there is one in any case.
    """
    return text(f"""
    WITH changed AS (
        UPDATE shop_state SET {assignments}, event_number = event_number + 1 WHERE shop_id = :shop_id
        RETURNING event_number, feed_position)
    INSERT INTO change_event (shop_id, number, sync_id, feed_position)
    SELECT :shop_id, changed.event_number, {sync_id}, changed.feed_position
    FROM changed{f" WHERE EXISTS ({condition})" if condition else ""}""")
