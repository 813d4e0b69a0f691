"""The analysis of images within a write of items: tasks for new images, and the state of each item.

The caller's transaction holds the shop's write lock, so that neither tasks nor results of the shop change
meanwhile: a result is stored under the same lock.

The state of an item follows from its image:

| Tasks of the image, of the shop's analyzers | State |
|---|---|
| one is open | PENDING |
| none is open, one is dead | FAILED |
| none | ANALYZED: each analyzer has a result |
| there is no image | NOT_APPLICABLE |

The columns `item.image_hash` and `item.analysis_state` are NULL while the shop has no analyzer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.analysis import NO_ANALYSES, AnalysisCounts, AnalysisState
from catalog_svc.domain.records import ItemRecord
from catalog_svc.storage.fence import AnalysisWrite, CatalogChange, count_change
from catalog_svc.storage.shops import ShopScope

_HASH_BYTES: Final = 16

ANALYSIS_COLUMNS: Final = {"image_hash": "bytea", "analysis_state": "text"}
"""The columns of an item that the analysis fills, with their types."""

# In the order of the key: no two transactions wait for each other.
_INSERT_TASKS = text("""
    INSERT INTO analysis_task (shop_id, analyzer, image_hash, image_url, feed_position)
    SELECT CAST(:shop_id AS uuid), analyzer.name, image.image_hash, image.image_url, CAST(:feed_position AS bigint)
    FROM unnest(CAST(:image_hashes AS bytea[]), CAST(:image_urls AS text[])) AS image (image_hash, image_url)
    CROSS JOIN unnest(CAST(:analyzers AS text[])) AS analyzer (name)
    WHERE NOT EXISTS (
        SELECT FROM analysis_result AS result
        WHERE result.shop_id = :shop_id AND result.analyzer = analyzer.name
          AND result.image_hash = image.image_hash)
    ORDER BY analyzer.name, image.image_hash
    ON CONFLICT DO NOTHING""")

_STATE: Final = """(
        SELECT CASE WHEN bool_or(NOT task.dead) THEN 'PENDING' WHEN bool_or(task.dead) THEN 'FAILED'
            ELSE 'ANALYZED' END
        FROM analysis_task AS task
        WHERE task.shop_id = :shop_id AND task.analyzer = ANY(CAST(:analyzers AS text[]))
          AND task.image_hash = image.image_hash)"""

_SELECT_STATES = text(f"""
    SELECT image.image_hash, {_STATE} AS state
    FROM unnest(CAST(:image_hashes AS bytea[])) AS image (image_hash)""")

_COUNT_ITEMS = text("""
    SELECT count(*) FILTER (WHERE item.analysis_state = 'PENDING') AS pending,
        count(*) FILTER (WHERE item.analysis_state = 'ANALYZED') AS analyzed,
        count(*) FILTER (WHERE item.analysis_state = 'FAILED') AS failed
    FROM item
    WHERE item.shop_id = :shop_id AND item.item_id = ANY(CAST(:item_ids AS text[])) AND item.deleted_at IS NULL""")


def _change(state: str) -> str:
    return f"count(*) FILTER (WHERE after = '{state}') - count(*) FILTER (WHERE before = '{state}')"


# OFFSET keeps the subqueries as they are: a look-up by key for each image. Where the planner knows nothing of a
# shop yet, it would read all items of the shop instead.
_UPDATE_ITEMS = text(f"""
    WITH target AS (
        SELECT found.item_id, found.analysis_state, image.state
        FROM (
            SELECT image.image_hash, {_STATE} AS state
            FROM unnest(CAST(:image_hashes AS bytea[])) AS image (image_hash) OFFSET 0) AS image
        CROSS JOIN LATERAL (
            SELECT item.item_id, item.analysis_state FROM item
            WHERE item.shop_id = :shop_id AND item.image_hash = image.image_hash AND item.deleted_at IS NULL
              AND item.analysis_state IS NOT NULL OFFSET 0) AS found),
    updated AS (
        UPDATE item SET analysis_state = target.state, feed_position = :feed_position,
            updated_at = statement_timestamp()
        FROM target WHERE item.shop_id = :shop_id AND item.item_id = target.item_id
        RETURNING target.analysis_state AS before, target.state AS after)
    SELECT {_change("PENDING")} AS pending, {_change("ANALYZED")} AS analyzed, {_change("FAILED")} AS failed
    FROM updated""")


def image_hash(image_url: str, image_version: str) -> bytes:
    """Return the hash of an image's address and version."""
    return hashlib.sha256(f"{image_url}\n{image_version}".encode()).digest()[:_HASH_BYTES]


@dataclass(frozen=True, kw_only=True, slots=True)
class StagedAnalysis:
    """The analysis of the items that a batch writes."""

    columns: Sequence[tuple[bytes | None, str]] = ()
    """The values of `ANALYSIS_COLUMNS` of each item, in the order of the items; empty: they are NULL."""
    counts: AnalysisCounts = NO_ANALYSES
    new_tasks: bool = False
    """Whether tasks were made."""


async def stage_analysis(
    connection: AsyncConnection,
    scope: ShopScope,
    items: Sequence[ItemRecord],
    *,
    analyzers: Sequence[str],
    feed_position: int,
) -> StagedAnalysis:
    """Make the missing tasks of the images of these items, and return the state of each item.

    Args:
        connection: The caller's transaction, which holds the shop's write lock.
        scope: The shop.
        items: The items that are about to be written.
        analyzers: The analyzers of the shop, at least one.
        feed_position: Of the tasks that are made.
    """
    hashes = [image_hash(item.image_url, item.image_version) if item.image_url else None for item in items]
    urls = {key: item.image_url for key, item in zip(hashes, items, strict=True) if key is not None}
    new = await make_tasks(connection, scope, urls, analyzers=analyzers, feed_position=feed_position)
    if new == len(urls) * len(analyzers):
        states = dict.fromkeys(urls, AnalysisState.PENDING.value)
    else:
        states = await image_states(connection, scope, urls, analyzers)
    columns = [(key, AnalysisState.NOT_APPLICABLE.value if key is None else states[key]) for key in hashes]
    return StagedAnalysis(
        columns=columns, counts=AnalysisCounts.of(state for _, state in columns), new_tasks=new > 0
    )


async def make_tasks(
    connection: AsyncConnection,
    scope: ShopScope,
    image_urls: Mapping[bytes, str],
    *,
    analyzers: Sequence[str],
    feed_position: int,
) -> int:
    """Make a task for each image and analyzer that has neither a task nor a result; return how many.

    Args:
        connection: The caller's transaction, which holds the shop's write lock.
        scope: The shop.
        image_urls: The addresses of the images, by their hashes.
        analyzers: The analyzers of the shop.
        feed_position: Of the tasks that are made.
    """
    if not image_urls:
        return 0
    values = {
        **scope.values,
        "image_hashes": list(image_urls),
        "image_urls": list(image_urls.values()),
        "analyzers": list(analyzers),
        "feed_position": feed_position,
    }
    return (await connection.execute(_INSERT_TASKS, values)).rowcount


async def count_items(connection: AsyncConnection, scope: ShopScope, item_ids: Collection[str]) -> AnalysisCounts:
    """Return the stored states of those of these items that are not deleted."""
    row = (await connection.execute(_COUNT_ITEMS, {**scope.values, "item_ids": list(item_ids)})).one()
    return AnalysisCounts(pending=row.pending, analyzed=row.analyzed, failed=row.failed)


async def update_items(
    connection: AsyncConnection, scope: ShopScope, write: AnalysisWrite, image_hashes: Collection[bytes]
) -> None:
    """Store the state of the items that have these images, with a new position, and count the change.

    Args:
        connection: The caller's transaction, which holds the shop's write lock.
        scope: The shop.
        write: The shop under its write lock.
        image_hashes: The images whose tasks or results have changed.
    """
    if not image_hashes:
        return
    values = {
        **scope.values,
        "image_hashes": list(image_hashes),
        "analyzers": list(write.analyzers),
        "feed_position": write.feed_position,
    }
    row = (await connection.execute(_UPDATE_ITEMS, values)).one()
    change = AnalysisCounts(pending=row.pending, analyzed=row.analyzed, failed=row.failed)
    await count_change(connection, scope.shop_id, CatalogChange(analysis=change, changed=True))


async def image_states(
    connection: AsyncConnection, scope: ShopScope, image_hashes: Iterable[bytes], analyzers: Sequence[str]
) -> dict[bytes, str]:
    """Return the state of each of these images, all of which have a task or a result of each analyzer."""
    if not (hashes := list(image_hashes)):
        return {}
    values = {**scope.values, "image_hashes": hashes, "analyzers": list(analyzers)}
    return {row.image_hash: row.state for row in await connection.execute(_SELECT_STATES, values)}
