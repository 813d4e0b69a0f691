"""The analyzers of a shop: switching them on and off, and the backfill of the stored items.

A change of the analyzers takes effect at once for what is written from then on. The backfill visits the items that
are stored already, in the order of their ids: it makes the missing tasks, and stores the state of each item.
`shop_state.analysis_backfill_after` is the last item that it has visited. Each step is a transaction under the
shop's write lock, which any replica may do.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.analysis import AnalysisCounts, AnalysisState, RequeueSelection
from catalog_svc.domain.errors import AnalyzerNotEnabled, ShopBeingDeleted
from catalog_svc.domain.shop import Shop
from catalog_svc.storage.analysis_images import image_hash, image_states, make_tasks, update_items
from catalog_svc.storage.analysis_queue import activate, set_analyzers
from catalog_svc.storage.database import Database
from catalog_svc.storage.fence import AnalysisWrite, CatalogChange, count_change, lock_for_analysis
from catalog_svc.storage.planner_statistics import analyze_if_grown
from catalog_svc.storage.shops import ShopScope

_ITEMS_PER_STEP: Final = 1_000
_TASKS_PER_STEP: Final = 5_000
"""Tasks of analyzers that were switched off, which one step deletes."""
MAX_REQUEUED: Final = 1_000
"""Tasks that one call queues again."""

_SELECT_BACKFILLS = text("SELECT analysis_backfills(CAST(:limit AS integer)) AS shop_id")

# The state of the shop is locked before its queue, as a write of items does it.
_SET_ANALYZERS = text("""
    UPDATE shop_state SET analyzers = CAST(:analyzers AS text[]), analysis_backfill_after = ''
    WHERE shop_id = :shop_id AND NOT deleting AND analyzers <> CAST(:analyzers AS text[])""")

_SELECT_ITEMS = text("""
    SELECT item_id, image_url, image_version, image_hash, analysis_state, deleted_at IS NOT NULL AS deleted
    FROM item WHERE shop_id = :shop_id AND item_id > :after ORDER BY item_id LIMIT :limit""")

_UPDATE_ITEMS = text("""
    UPDATE item SET image_hash = visited.image_hash, analysis_state = visited.state,
        feed_position = :feed_position, updated_at = statement_timestamp()
    FROM unnest(CAST(:item_ids AS text[]), CAST(:image_hashes AS bytea[]), CAST(:states AS text[]))
        AS visited (item_id, image_hash, state)
    WHERE item.shop_id = :shop_id AND item.item_id = visited.item_id""")

_DELETE_TASKS = text("""
    DELETE FROM analysis_task WHERE shop_id = :shop_id AND (analyzer, image_hash) IN (
        SELECT analyzer, image_hash FROM analysis_task
        WHERE shop_id = :shop_id AND analyzer <> ALL(CAST(:analyzers AS text[])) LIMIT :limit)""")

_SELECT_ITEM_COUNT = text("SELECT item_count FROM shop_state WHERE shop_id = :shop_id")

_SET_VISITED = text("UPDATE shop_state SET analysis_backfill_after = :after WHERE shop_id = :shop_id")

_REQUEUE_DEAD = text("""
    UPDATE analysis_task SET dead = false, attempt_count = 0, epoch = epoch + 1, worker_id = NULL,
        feed_position = :feed_position, available_at = statement_timestamp()
    WHERE shop_id = :shop_id AND analyzer = :analyzer AND dead AND image_hash IN (
        SELECT image_hash FROM analysis_task WHERE shop_id = :shop_id AND analyzer = :analyzer AND dead
          AND (CAST(:image_hashes AS bytea[]) IS NULL OR image_hash = ANY(CAST(:image_hashes AS bytea[])))
        ORDER BY image_hash LIMIT :limit)
    RETURNING image_hash""")

# Images with a result that a live item has; the open and dead tasks of others stay as they are.
_REQUEUE_RESULTS: Final = """
    INSERT INTO analysis_task (shop_id, analyzer, image_hash, image_url, feed_position)
    SELECT :shop_id, result.analyzer, result.image_hash, result.image_url, CAST(:feed_position AS bigint)
    FROM analysis_result AS result
    WHERE result.shop_id = :shop_id AND result.analyzer = :analyzer AND {condition}
      AND NOT EXISTS (
        SELECT FROM analysis_task AS task
        WHERE task.shop_id = :shop_id AND task.analyzer = :analyzer AND task.image_hash = result.image_hash)
      AND EXISTS (
        SELECT FROM item
        WHERE item.shop_id = :shop_id AND item.image_hash = result.image_hash AND item.deleted_at IS NULL)
    ORDER BY result.image_hash LIMIT :limit
    ON CONFLICT DO NOTHING RETURNING image_hash"""
_REQUEUE_IMAGES = text(
    _REQUEUE_RESULTS.format(condition="result.image_hash = ANY(CAST(:image_hashes AS bytea[]))")
)
_REQUEUE_OTHER_MODELS = text(_REQUEUE_RESULTS.format(condition="result.model_version <> :model_version"))


class AnalyzerStore:
    """The analyzers of shops."""

    def __init__(self, database: Database, *, write_ttl: timedelta) -> None:
        """Create the store; no statement of a write under a shop's lock takes longer than `write_ttl`."""
        self._database = database
        self._ttl = write_ttl

    async def backfills(self, *, limit: int) -> list[UUID]:
        """Return up to `limit` shops whose stored items are to be visited."""

        async def read(connection: AsyncConnection) -> list[UUID]:
            return list((await connection.execute(_SELECT_BACKFILLS, {"limit": limit})).scalars())

        return await self._database.read(read)

    async def backfill_step(self, shop_id: UUID) -> bool:
        """Visit the next items of a shop; return whether there are more."""

        scope = ShopScope(shop_id=shop_id)

        async def step(connection: AsyncConnection) -> tuple[bool, bool]:
            write = await lock_for_analysis(connection, shop_id, ttl=self._ttl)
            if write is None or write.backfill_after is None:
                return False, False
            remaining = await _backfill(connection, scope, write, write.backfill_after)
            return remaining, bool(write.analyzers) and not remaining

        async def analyze(connection: AsyncConnection) -> None:
            items = (await connection.execute(_SELECT_ITEM_COUNT, scope.values)).scalar_one_or_none()
            await analyze_if_grown(connection, rows=items or 0)

        remaining, is_complete = await self._database.write(step, shops=[shop_id])
        if is_complete:
            # Without the shop's write lock, under which no batch could be stored meanwhile.
            await self._database.write(analyze, shops=[shop_id])
        return remaining

    async def requeue(self, shop: Shop, analyzer: str, which: RequeueSelection) -> tuple[int, bool]:
        """Queue images for another analysis.

        Returns:
            How many were queued, and whether there may be more.

        Raises:
            AnalyzerNotEnabled: The analyzer is not switched on for the shop.
        """

        async def work(connection: AsyncConnection) -> tuple[int, bool]:
            write = await lock_for_analysis(connection, shop.shop_id, ttl=self._ttl)
            if write is None:
                raise ShopBeingDeleted(shop.shop_id)
            if analyzer not in write.analyzers:
                raise AnalyzerNotEnabled(shop_id=shop.shop_id, analyzer=analyzer)
            return await _requeue(connection, ShopScope.of(shop), write, analyzer, which)

        return await self._database.write(work, shops=[shop.shop_id])


async def change_analyzers(connection: AsyncConnection, scope: ShopScope, analyzers: Sequence[str]) -> None:
    """Switch on exactly these analyzers; nothing changes if they are.

    Called at the beginning of a transaction: it locks the state of the shop.
    """
    values = {**scope.values, "analyzers": sorted(set(analyzers))}
    if (await connection.execute(_SET_ANALYZERS, values)).rowcount:
        await set_analyzers(connection, scope, sorted(set(analyzers)))


async def _backfill(connection: AsyncConnection, scope: ShopScope, write: AnalysisWrite, after: str) -> bool:
    values = {**scope.values, "after": after, "limit": _ITEMS_PER_STEP}
    rows = (await connection.execute(_SELECT_ITEMS, values)).all()
    live = [row for row in rows if not row.deleted]
    images = {row.item_id: _image_hash(row.image_url, row.image_version, write) for row in live}
    urls = {key: row.image_url for row in live if (key := images[row.item_id]) is not None}
    new = 0
    if write.analyzers:
        new = await make_tasks(
            connection, scope, urls, analyzers=write.analyzers, feed_position=write.feed_position
        )
    states = await image_states(connection, scope, urls, write.analyzers)
    wanted = {row.item_id: _state(images[row.item_id], states, write) for row in live}
    changed = [
        row for row in live if (row.image_hash, row.analysis_state) != (images[row.item_id], wanted[row.item_id])
    ]
    if changed:
        before = AnalysisCounts.of(row.analysis_state for row in changed)
        after_change = AnalysisCounts.of(wanted[row.item_id] for row in changed)
        await connection.execute(
            _UPDATE_ITEMS,
            {
                **scope.values,
                "item_ids": [row.item_id for row in changed],
                "image_hashes": [images[row.item_id] for row in changed],
                "states": [wanted[row.item_id] for row in changed],
                "feed_position": write.feed_position,
            },
        )
        change = CatalogChange(analysis=after_change - before, changed=True)
        await count_change(connection, scope.shop_id, change)
    removed = await connection.execute(
        _DELETE_TASKS, {**scope.values, "analyzers": list(write.analyzers), "limit": _TASKS_PER_STEP}
    )
    remaining = len(rows) == _ITEMS_PER_STEP or removed.rowcount == _TASKS_PER_STEP
    visited = rows[-1].item_id if rows else after
    await connection.execute(_SET_VISITED, {**scope.values, "after": visited if remaining else None})
    if new:
        await activate(connection, scope, write.analyzers)
    return remaining


def _image_hash(image_url: str, image_version: str, write: AnalysisWrite) -> bytes | None:
    return image_hash(image_url, image_version) if image_url and write.analyzers else None


def _state(image: bytes | None, states: dict[bytes, str], write: AnalysisWrite) -> str | None:
    if not write.analyzers:
        return None
    return AnalysisState.NOT_APPLICABLE.value if image is None else states[image]


async def _requeue(
    connection: AsyncConnection,
    scope: ShopScope,
    write: AnalysisWrite,
    analyzer: str,
    which: RequeueSelection,
) -> tuple[int, bool]:
    values = {
        **scope.values,
        "analyzer": analyzer,
        "feed_position": write.feed_position,
        "image_hashes": list(which.image_hashes) or None,
        "model_version": which.other_than_model_version,
        "limit": MAX_REQUEUED,
    }
    requeued: list[bytes] = []
    if which.other_than_model_version is None:
        requeued += (await connection.execute(_REQUEUE_DEAD, values)).scalars()
    if which.image_hashes:
        requeued += (await connection.execute(_REQUEUE_IMAGES, values)).scalars()
    if which.other_than_model_version is not None:
        requeued += (await connection.execute(_REQUEUE_OTHER_MODELS, values)).scalars()
    if requeued:
        await update_items(connection, scope, write, requeued)
        await activate(connection, scope, [analyzer])
    return len(requeued), len(requeued) >= MAX_REQUEUED and not which.image_hashes
