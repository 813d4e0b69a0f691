"""A journal of leases and results, which triggers write into the database in the transactions that make them.

Its numbers are drawn while the transaction holds the row of the task: for one image they have the order in which
the transactions took effect.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

import asyncpg

from catalog_svc.domain.analysis import TaskLease

JOURNAL: Final = """
    CREATE TABLE analysis_journal (
        number bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(), kind text NOT NULL,
        shop_id uuid NOT NULL, image_hash bytea NOT NULL, feed_position bigint NOT NULL, epoch bigint NOT NULL,
        worker_id text, held bigint);
    CREATE INDEX ON analysis_journal (shop_id, image_hash, number);
    CREATE INDEX ON analysis_journal (at) WHERE kind = 'stored';
    CREATE FUNCTION journal_task() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public AS $$ BEGIN
        INSERT INTO analysis_journal (kind, shop_id, image_hash, feed_position, epoch, worker_id, held)
        SELECT CASE
                WHEN TG_OP = 'INSERT' THEN 'made'
                WHEN NEW.attempt_count > OLD.attempt_count THEN 'granted'
                WHEN (NEW.feed_position, NEW.epoch) = (OLD.feed_position, OLD.epoch) THEN 'extended'
                ELSE 'ended' END,
            NEW.shop_id, NEW.image_hash, NEW.feed_position, NEW.epoch, NEW.worker_id,
            (SELECT count(*) FROM analysis_task AS task WHERE task.worker_id = NEW.worker_id AND NOT task.dead
                AND task.available_at > clock_timestamp());
        RETURN NULL;
    END $$;
    CREATE FUNCTION journal_result() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public AS $$ BEGIN
        INSERT INTO analysis_journal (kind, shop_id, image_hash, feed_position, epoch, worker_id)
        VALUES ('stored', NEW.shop_id, NEW.image_hash, NEW.task_position, NEW.task_epoch, NEW.model_version);
        RETURN NULL;
    END $$;
    CREATE TRIGGER journal_task AFTER INSERT OR UPDATE ON analysis_task
        FOR EACH ROW EXECUTE FUNCTION journal_task();
    CREATE TRIGGER journal_result AFTER INSERT OR UPDATE ON analysis_result
        FOR EACH ROW EXECUTE FUNCTION journal_result();"""
"""`held` counts the unexpired leases of the worker, the new ones included. Workers name themselves in the model
version of their results."""

_COUNTS: Final = "SELECT kind, count(*) AS count FROM analysis_journal GROUP BY kind"

# A lease has lost its right as soon as its task has another epoch or position.
_STALE: Final = """
    SELECT count(*) FROM analysis_journal AS stored WHERE stored.kind = 'stored' AND EXISTS (
        SELECT FROM analysis_journal AS later
        WHERE later.shop_id = stored.shop_id AND later.image_hash = stored.image_hash
          AND later.number < stored.number AND later.kind IN ('made', 'granted', 'ended')
          AND (later.feed_position, later.epoch) > (stored.feed_position, stored.epoch))"""

_NOT_GRANTED: Final = """
    SELECT count(*) FROM analysis_journal AS stored WHERE stored.kind = 'stored' AND NOT EXISTS (
        SELECT FROM analysis_journal AS lease
        WHERE lease.shop_id = stored.shop_id AND lease.image_hash = stored.image_hash
          AND lease.number < stored.number AND lease.kind = 'granted'
          AND (lease.feed_position, lease.epoch) = (stored.feed_position, stored.epoch))"""

_DOUBLED: Final = """
    SELECT count(*) FROM (
        SELECT FROM analysis_journal WHERE kind = 'stored'
        GROUP BY shop_id, image_hash, feed_position HAVING count(*) > 1) AS doubled"""

_HELD: Final = """
    SELECT worker_id, coalesce(max(held) FILTER (WHERE kind = 'granted'), 0) AS at_grant,
        coalesce(max(held) FILTER (WHERE kind = 'extended'), 0) AS at_extension
    FROM analysis_journal WHERE kind IN ('granted', 'extended') AND worker_id IS NOT NULL GROUP BY worker_id"""

# An image of an item that has neither a result nor a task, and one that no task was made for.
_LOST: Final = """
    SELECT count(*) FROM (
        SELECT DISTINCT shop_id, image_url, image_hash FROM item
        WHERE deleted_at IS NULL AND image_url <> '') AS image
    WHERE NOT EXISTS (SELECT FROM analysis_result AS result
            WHERE result.shop_id = image.shop_id AND result.image_hash = image.image_hash)
      AND NOT EXISTS (SELECT FROM analysis_task AS task
            WHERE task.shop_id = image.shop_id AND task.image_hash = image.image_hash)"""

_IMAGES: Final = """
    SELECT count(DISTINCT (shop_id, image_url)) FROM item WHERE deleted_at IS NULL AND image_url <> ''"""
_DONE: Final = """
    SELECT (SELECT count(*) FROM analysis_journal WHERE kind = 'made')
        - (SELECT count(*) FROM analysis_task WHERE NOT dead)"""
_OPEN: Final = "SELECT count(*) FROM analysis_task WHERE NOT dead"
_WAITING: Final = "SELECT count(*) FROM analysis_task WHERE NOT dead AND available_at <= clock_timestamp()"
_DEAD: Final = "SELECT count(*) FROM analysis_task WHERE dead"
_LAST: Final = "SELECT coalesce(max(number), 0) FROM analysis_journal"

# When nothing is open, the state of each item and the counters of its shop follow from tasks and results.
_WRONG_ITEMS: Final = """
    SELECT count(*) FROM item WHERE deleted_at IS NULL AND image_url <> '' AND analysis_state IS DISTINCT FROM
        CASE WHEN EXISTS (SELECT FROM analysis_task AS task WHERE task.shop_id = item.shop_id
                AND task.image_hash = item.image_hash AND NOT task.dead) THEN 'PENDING'
            WHEN EXISTS (SELECT FROM analysis_task AS task WHERE task.shop_id = item.shop_id
                AND task.image_hash = item.image_hash) THEN 'FAILED'
            ELSE 'ANALYZED' END"""
_WRONG_COUNTERS: Final = """
    SELECT count(*) FROM shop_state AS shop CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE analysis_state = 'PENDING') AS pending,
            count(*) FILTER (WHERE analysis_state = 'ANALYZED') AS analyzed,
            count(*) FILTER (WHERE analysis_state = 'FAILED') AS failed
        FROM item WHERE item.shop_id = shop.shop_id AND deleted_at IS NULL) AS item
    WHERE (analysis_pending_count, analysis_analyzed_count, analysis_failed_count)
        <> (item.pending, item.analyzed, item.failed)"""

_STORED: Final = """
    SELECT shop_id, image_hash, feed_position, epoch FROM analysis_journal WHERE kind = 'stored'"""

_NEXT_STORE: Final = """
    SELECT extract(epoch FROM min(at))::float8 - $1 FROM analysis_journal
    WHERE kind = 'stored' AND at > to_timestamp($1)"""

# Leases of the worker, of the last so many seconds, whose tasks another worker has completed.
_COMPLETED_BY_OTHERS: Final = """
    SELECT DISTINCT lease.shop_id, encode(lease.image_hash, 'hex') AS image_id FROM analysis_journal AS lease
    JOIN analysis_result AS result ON result.shop_id = lease.shop_id AND result.image_hash = lease.image_hash
        AND result.task_position = lease.feed_position AND result.task_epoch > lease.epoch
    WHERE lease.kind = 'granted' AND lease.worker_id = $1 AND result.model_version <> $1
      AND lease.at > clock_timestamp() - interval '30 seconds' LIMIT 1000"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """The most unexpired leases that a worker had."""

    at_grant: int
    at_extension: int
    """A lease that has expired, and that nobody else has taken, is extended beside those granted meanwhile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What the journal and the tables say at the end."""

    images: int
    counts: Mapping[str, int]
    """Entries of the journal by kind."""
    lost: int
    """Images with neither a result nor a task."""
    left_open: int
    """Tasks that nobody completes although nothing else is going on."""
    dead: int
    stale_stored: int
    """Results whose lease was superseded before they were stored."""
    not_granted: int
    """Results under a lease that was never granted."""
    doubled: int
    """Tasks of which two results were stored."""
    wrong_items: int
    """Items whose state is not what tasks and results say."""
    wrong_counters: int
    """Shops whose counters are not the numbers of their items."""
    unstored: int
    """Results that were answered with STORED, and are not in the journal."""
    held: Mapping[str, Held]


async def read_findings(connection: asyncpg.Connection, acknowledged: Collection[TaskLease]) -> Findings:
    """Return what the journal says.

    Args:
        connection: Of the superuser.
        acknowledged: The leases whose results were answered with STORED.
    """
    stored = {tuple(row.values()) for row in await connection.fetch(_STORED)}
    wanted = {(one.shop_id, one.image.image_hash, one.feed_position, one.epoch) for one in acknowledged}
    return Findings(
        images=await connection.fetchval(_IMAGES),
        counts={row["kind"]: row["count"] for row in await connection.fetch(_COUNTS)},
        lost=await connection.fetchval(_LOST),
        left_open=await connection.fetchval(_OPEN),
        dead=await connection.fetchval(_DEAD),
        stale_stored=await connection.fetchval(_STALE),
        not_granted=await connection.fetchval(_NOT_GRANTED),
        doubled=await connection.fetchval(_DOUBLED),
        wrong_items=await connection.fetchval(_WRONG_ITEMS),
        wrong_counters=await connection.fetchval(_WRONG_COUNTERS),
        unstored=len(wanted - stored),
        held={
            row["worker_id"]: Held(at_grant=row["at_grant"], at_extension=row["at_extension"])
            for row in await connection.fetch(_HELD)
        },
    )


async def image_count(connection: asyncpg.Connection) -> int:
    """Return the number of images of all items."""
    count: int = await connection.fetchval(_IMAGES)
    return count


async def done_count(connection: asyncpg.Connection) -> int:
    """Return the number of tasks that were made and are not open any more."""
    count: int = await connection.fetchval(_DONE)
    return count


async def open_tasks(connection: asyncpg.Connection) -> tuple[int, int]:
    """Return the number of open tasks, and the number of the last entry."""
    return await connection.fetchval(_OPEN), await connection.fetchval(_LAST)


async def waiting_tasks(connection: asyncpg.Connection) -> int:
    """Return the number of tasks that can be leased."""
    count: int = await connection.fetchval(_WAITING)
    return count


async def seconds_until_store(connection: asyncpg.Connection, at: float) -> float | None:
    """Return the seconds from a Unix time to the next stored result; None: there was none."""
    seconds: float | None = await connection.fetchval(_NEXT_STORE, at)
    return seconds


async def completed_by_others(connection: asyncpg.Connection, worker_id: str) -> dict[str, list[str]]:
    """Return the images, by shop, that the worker has leased lately and that others have completed since."""
    images: dict[str, list[str]] = {}
    for row in await connection.fetch(_COMPLETED_BY_OTHERS, worker_id):
        images.setdefault(str(row["shop_id"]), []).append(row["image_id"])
    return images
