"""Tasks of AnalysisService as they are stored: lease, extend, submit, bury, requeue.

The fence of a lease is its task's `feed_position` and `epoch`: a statement that ends, extends or completes a lease
has an effect only on the row with both. No clock takes part in this: a lease that has expired and that nobody else
has taken is still the right to submit.

A lease writes the task alone and does not wait for a batch of the shop. What changes items, namely results and
dead tasks, takes the shop's write lock first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import Row as SqlRow
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.analysis import (
    LEASE_EXPIRED,
    MAX_ATTEMPTS,
    AnalysisResult,
    ImageKey,
    LeasedPage,
    LeasedTask,
    SubmittedResult,
    TaskFailure,
    TaskLease,
    TaskOutcome,
    Worker,
    retry_delay,
)
from catalog_svc.storage.analysis_images import update_items
from catalog_svc.storage.analysis_queue import activate, charge, due_analyzers, due_shops, lock_worker, settle
from catalog_svc.storage.database import Database
from catalog_svc.storage.fence import AnalysisWrite, CatalogChange, count_change, lock_for_analysis
from catalog_svc.storage.shops import ShopScope

_MAX_BURIED: Final = 500
"""Tasks that one transaction declares dead."""

_LEASE = text("""
    WITH picked AS (
        SELECT image_hash FROM analysis_task
        WHERE shop_id = :shop_id AND analyzer = :analyzer AND NOT dead AND feed_position >= :from_position
          AND available_at <= statement_timestamp() AND attempt_count < :max_attempts
        ORDER BY feed_position, image_hash LIMIT :limit FOR UPDATE SKIP LOCKED)
    UPDATE analysis_task AS task SET epoch = task.epoch + 1, attempt_count = task.attempt_count + 1,
        worker_id = :worker_id, available_at = statement_timestamp() + :duration
    FROM picked
    WHERE task.shop_id = :shop_id AND task.analyzer = :analyzer AND task.image_hash = picked.image_hash
    RETURNING task.analyzer, task.image_hash, task.image_url, task.feed_position, task.epoch, task.attempt_count,
        task.available_at""")

# One item of each image. OFFSET keeps the subqueries as they are: a look-up by key for each image.
_SELECT_ITEMS = text("""
    SELECT image.image_hash, item.item_id, item.item_title, product.product_id, product.title AS product_title,
        product.product_type, product.vendor, product.tags
    FROM unnest(CAST(:image_hashes AS bytea[])) AS image (image_hash)
    CROSS JOIN LATERAL (
        SELECT item.item_id, item.title AS item_title, item.product_id FROM item
        WHERE item.shop_id = :shop_id AND item.image_hash = image.image_hash AND item.deleted_at IS NULL
        LIMIT 1 OFFSET 0) AS item
    CROSS JOIN LATERAL (
        SELECT product.product_id, product.title, product.product_type, product.vendor, product.tags FROM product
        WHERE product.shop_id = :shop_id AND product.product_id = item.product_id OFFSET 0) AS product""")

# No item has the image any more. Under the shop's write lock, so that no batch adds such an item meanwhile.
_DELETE_UNUSED = text("""
    DELETE FROM analysis_task AS task
    WHERE task.shop_id = :shop_id AND task.analyzer = :analyzer
      AND task.image_hash = ANY(CAST(:image_hashes AS bytea[]))
      AND NOT EXISTS (
        SELECT FROM item WHERE item.shop_id = :shop_id AND item.image_hash = task.image_hash
          AND item.deleted_at IS NULL)""")

_LEASES: Final = """unnest(CAST(:analyzers AS text[]), CAST(:image_hashes AS bytea[]),
        CAST(:feed_positions AS bigint[]), CAST(:epochs AS bigint[]))
        AS lease (analyzer, image_hash, feed_position, epoch)"""
_LEASE_COLUMNS: Final = "lease.analyzer, lease.image_hash, lease.feed_position, lease.epoch"
_OF_LEASE: Final = """task.shop_id = :shop_id AND task.analyzer = lease.analyzer
      AND task.image_hash = lease.image_hash AND task.feed_position = lease.feed_position
      AND task.epoch = lease.epoch AND NOT task.dead"""

# Not an expired one: another task may have taken its place already.
_EXTEND = text(f"""
    UPDATE analysis_task AS task SET available_at = statement_timestamp() + :duration
    FROM {_LEASES} WHERE {_OF_LEASE} AND task.worker_id = :worker_id
      AND task.available_at > statement_timestamp()
    RETURNING {_LEASE_COLUMNS}, task.available_at""")

# The next lease has another epoch: a result of this one is late from now on.
_RELEASE = text(f"""
    UPDATE analysis_task AS task SET available_at = statement_timestamp(), worker_id = NULL,
        epoch = task.epoch + 1, attempt_count = task.attempt_count - 1
    FROM {_LEASES} WHERE {_OF_LEASE} AND task.worker_id = :worker_id
    RETURNING {_LEASE_COLUMNS}, task.available_at""")

_COMPLETE = text(f"""
    DELETE FROM analysis_task AS task USING {_LEASES} WHERE {_OF_LEASE}
    RETURNING {_LEASE_COLUMNS}, task.image_url""")

# The end of the delay, by the number of the attempt that failed: computed without a column of the row, since Citus
# computes times on the coordinator.
_RETRY_TIMES: Final = ", ".join(
    f"statement_timestamp() + CAST(:delay_{attempt} AS interval)" for attempt in range(1, MAX_ATTEMPTS + 1)
)
_RETRY_DELAYS: Final = {f"delay_{attempt}": retry_delay(attempt) for attempt in range(1, MAX_ATTEMPTS + 1)}

# A row lock keeps two answers to one lease apart; the shop's write lock does so already.
_FAIL = text(f"""
    UPDATE analysis_task AS task SET worker_id = NULL, failure_reason = lease.reason,
        failure_message = lease.message, epoch = task.epoch + 1,
        dead = lease.permanent OR task.attempt_count >= :max_attempts,
        available_at = (ARRAY[{_RETRY_TIMES}])[task.attempt_count]
    FROM (SELECT * FROM unnest(
            CAST(:analyzers AS text[]), CAST(:image_hashes AS bytea[]), CAST(:feed_positions AS bigint[]),
            CAST(:epochs AS bigint[]), CAST(:reasons AS text[]), CAST(:messages AS text[]),
            CAST(:permanents AS boolean[]))
        AS lease (analyzer, image_hash, feed_position, epoch, reason, message, permanent)) AS lease
    WHERE {_OF_LEASE}
    RETURNING {_LEASE_COLUMNS}, task.dead""")

_STORE = text("""
    INSERT INTO analysis_result (shop_id, analyzer, image_hash, image_url, model_version, category, subcategory,
        description, gender, attributes, quality_score, confidence_score, processing_time, task_position,
        task_epoch)
    SELECT CAST(:shop_id AS uuid), analyzer, image_hash, image_url, model_version, category, subcategory,
        description, gender, CAST(attributes AS jsonb), CAST(quality_score AS numeric),
        CAST(confidence_score AS numeric), processing_time, feed_position, epoch
    FROM unnest(CAST(:analyzers AS text[]), CAST(:image_hashes AS bytea[]), CAST(:image_urls AS text[]),
            CAST(:model_versions AS text[]), CAST(:categories AS text[]), CAST(:subcategories AS text[]),
            CAST(:descriptions AS text[]), CAST(:genders AS text[]), CAST(:attributes AS text[]),
            CAST(:quality_scores AS text[]), CAST(:confidence_scores AS text[]),
            CAST(:processing_times AS interval[]), CAST(:feed_positions AS bigint[]), CAST(:epochs AS bigint[]))
        AS result (analyzer, image_hash, image_url, model_version, category, subcategory, description, gender,
            attributes, quality_score, confidence_score, processing_time, feed_position, epoch)
    ON CONFLICT (shop_id, analyzer, image_hash) DO UPDATE
    SET image_url = excluded.image_url, model_version = excluded.model_version, category = excluded.category,
        subcategory = excluded.subcategory, description = excluded.description, gender = excluded.gender,
        attributes = excluded.attributes, quality_score = excluded.quality_score,
        confidence_score = excluded.confidence_score, processing_time = excluded.processing_time,
        task_position = excluded.task_position, task_epoch = excluded.task_epoch,
        updated_at = excluded.updated_at""")

# The submission was stored before, and its answer got lost.
_SELECT_STORED = text(f"""
    SELECT {_LEASE_COLUMNS} FROM {_LEASES}
    JOIN analysis_result AS result ON result.shop_id = :shop_id AND result.analyzer = lease.analyzer
        AND result.image_hash = lease.image_hash AND result.task_position = lease.feed_position
        AND result.task_epoch = lease.epoch""")

_BURY = text("""
    UPDATE analysis_task SET dead = true, worker_id = NULL, epoch = epoch + 1, failure_reason = :reason,
        failure_message = 'The leases of all attempts expired: the workers did not answer in time.'
    WHERE shop_id = :shop_id AND analyzer = :analyzer AND image_hash IN (
        SELECT image_hash FROM analysis_task
        WHERE shop_id = :shop_id AND analyzer = :analyzer AND NOT dead AND attempt_count >= :max_attempts
          AND available_at <= statement_timestamp()
        ORDER BY feed_position, image_hash LIMIT :limit)
    RETURNING image_hash""")


class AnalysisTaskStore:
    """Tasks of all shops, each leased to one worker at a time."""

    def __init__(self, database: Database, *, write_ttl: timedelta) -> None:
        """Create the store; no statement of a write under a shop's lock takes longer than `write_ttl`."""
        self._database = database
        self._ttl = write_ttl

    async def due_analyzers(self, analyzers: Collection[str]) -> list[str]:
        """Return those of these analyzers for which a shop may have tasks."""
        return await self._database.read(lambda connection: due_analyzers(connection, analyzers))

    async def due_shops(self, analyzer: str, *, limit: int) -> list[UUID]:
        """Return up to `limit` shops that may have tasks for the analyzer, the one that was served least first."""
        return await self._database.read(lambda connection: due_shops(connection, analyzer, limit=limit))

    async def lease(self, worker: Worker, shop_id: UUID, *, limit: int, from_position: int = 0) -> LeasedPage:
        """Lease up to `limit` tasks of a shop, no more than the worker has free places.

        Args:
            worker: The worker.
            shop_id: The shop.
            limit: Maximum number of tasks.
            from_position: Tasks of earlier positions are left out: the caller has found none a moment ago.
        """
        return await self._database.write(
            lambda connection: _lease(connection, worker, shop_id, limit=limit, from_position=from_position),
            shops=[shop_id],
        )

    async def extend(
        self, worker_id: str, leases: Sequence[TaskLease], duration: timedelta
    ) -> dict[TaskLease, datetime]:
        """Extend leases of the worker; with a duration of zero end them.

        Returns:
            Until when the extended leases last; those that are lost are missing.
        """
        extended: dict[TaskLease, datetime] = {}
        for shop_id, some in _by_shop(leases):
            extended |= await self._database.write(
                lambda connection, shop_id=shop_id, some=some: _extend(  # type: ignore[misc]
                    connection, worker_id, shop_id, some, duration
                ),
                shops=[shop_id],
            )
        return extended

    async def submit(self, shop_id: UUID, results: Sequence[SubmittedResult]) -> list[TaskOutcome]:
        """Store results of leases of one shop, each only if its lease is the current one.

        A repeated call returns the same outcomes and changes nothing, but for failures, which are then stale.

        Returns:
            The outcomes, in the order of the results.
        """
        return await self._database.write(
            lambda connection: self._submit(connection, shop_id, results), shops=[shop_id]
        )

    async def drop_unused(self, worker_id: str, leases: Sequence[TaskLease]) -> None:
        """Delete leased tasks of one shop and analyzer whose image no item has; end the leases of the others."""
        shop_id, analyzer = leases[0].shop_id, leases[0].image.analyzer

        async def work(connection: AsyncConnection) -> None:
            if await lock_for_analysis(connection, shop_id, ttl=self._ttl) is None:
                return
            hashes = sorted(lease.image.image_hash for lease in leases)
            values = {**ShopScope(shop_id=shop_id).values, "analyzer": analyzer, "image_hashes": hashes}
            await connection.execute(_DELETE_UNUSED, values)
            await _extend(connection, worker_id, shop_id, leases, timedelta())

        await self._database.write(work, shops=[shop_id])

    async def bury(self, shop_id: UUID, analyzer: str) -> int:
        """Declare those tasks dead whose last lease has expired, and return how many."""

        async def work(connection: AsyncConnection) -> int:
            write = await lock_for_analysis(connection, shop_id, ttl=self._ttl)
            if write is None:
                return 0
            scope = ShopScope(shop_id=shop_id)
            values = {"analyzer": analyzer, "max_attempts": MAX_ATTEMPTS, "reason": LEASE_EXPIRED}
            buried = list(
                (await connection.execute(_BURY, {**scope.values, **values, "limit": _MAX_BURIED})).scalars()
            )
            await _update_items(connection, scope, write, buried)
            await settle(connection, scope, analyzer, max_attempts=MAX_ATTEMPTS)
            return len(buried)

        return await self._database.write(work, shops=[shop_id])

    async def _submit(
        self, connection: AsyncConnection, shop_id: UUID, results: Sequence[SubmittedResult]
    ) -> list[TaskOutcome]:
        write = await lock_for_analysis(connection, shop_id, ttl=self._ttl)
        outcomes = dict.fromkeys((result.lease for result in results), TaskOutcome.STALE)
        if write is None:
            return [outcomes[result.lease] for result in results]
        scope = ShopScope(shop_id=shop_id)
        failures = {r.lease: r.outcome for r in results if isinstance(r.outcome, TaskFailure)}
        found = {r.lease: r.outcome for r in results if isinstance(r.outcome, AnalysisResult)}
        completed = await _complete(connection, scope, found)
        failed = await _fail(connection, scope, failures)
        outcomes |= dict.fromkeys(completed, TaskOutcome.STORED)
        outcomes |= {lease: TaskOutcome.DEAD if dead else TaskOutcome.RETRY for lease, dead in failed.items()}
        changed = {*completed, *(lease for lease, dead in failed.items() if dead)}
        await _update_items(connection, scope, write, {lease.image.image_hash for lease in changed})
        retried = sorted({lease.image.analyzer for lease, dead in failed.items() if not dead})
        if late := [lease for lease in found if lease not in completed]:
            outcomes |= dict.fromkeys(await _stored(connection, scope, late), TaskOutcome.STORED)
        if retried:
            await activate(connection, scope, retried, delay=retry_delay(1))
        return [outcomes[result.lease] for result in results]


async def _lease(
    connection: AsyncConnection, worker: Worker, shop_id: UUID, *, limit: int, from_position: int
) -> LeasedPage:
    scope = ShopScope(shop_id=shop_id)
    held = await lock_worker(
        connection, worker.worker_id, analyzer=worker.analyzer, model_version=worker.model_version
    )
    if (free := min(limit, worker.max_in_flight - held)) <= 0:
        return LeasedPage(is_full=True)
    values = {
        **scope.values,
        "analyzer": worker.analyzer,
        "worker_id": worker.worker_id,
        "duration": worker.lease_duration,
        "limit": free,
        "from_position": from_position,
        "max_attempts": MAX_ATTEMPTS,
    }
    rows = {row.image_hash: row for row in await connection.execute(_LEASE, values)}
    tasks = await _with_items(connection, scope, rows)
    if tasks:
        await charge(connection, scope, worker.analyzer, count=len(tasks))
    exhausted = False
    if len(rows) < free and from_position == 0:
        exhausted = await settle(connection, scope, worker.analyzer, max_attempts=MAX_ATTEMPTS)
    unused = rows.keys() - {task.lease.image.image_hash for task in tasks}
    return LeasedPage(
        tasks=tuple(tasks),
        unused=tuple(_to_lease(scope, rows[image]) for image in sorted(unused)),
        has_exhausted=exhausted,
    )


async def _with_items(
    connection: AsyncConnection, scope: ShopScope, rows: Mapping[bytes, SqlRow[Any]]
) -> list[LeasedTask]:
    """Return the leased tasks in order, each with an item; without those whose image no item has."""
    if not rows:
        return []
    items = (await connection.execute(_SELECT_ITEMS, {**scope.values, "image_hashes": list(rows)})).all()
    tasks = [_to_task(scope, rows[item.image_hash], item) for item in items]
    return sorted(tasks, key=lambda task: (task.lease.feed_position, task.lease.image.image_hash))


def _to_task(scope: ShopScope, row: SqlRow[Any], item: SqlRow[Any]) -> LeasedTask:
    return LeasedTask(
        lease=_to_lease(scope, row),
        image_url=row.image_url,
        attempt=row.attempt_count,
        expires_at=row.available_at,
        item_id=item.item_id,
        item_title=item.item_title,
        product_id=item.product_id,
        product_title=item.product_title,
        product_type=item.product_type,
        vendor=item.vendor,
        tags=tuple(item.tags),
    )


async def _extend(
    connection: AsyncConnection,
    worker_id: str,
    shop_id: UUID,
    leases: Sequence[TaskLease],
    duration: timedelta,
) -> dict[TaskLease, datetime]:
    scope = ShopScope(shop_id=shop_id)
    values = {**scope.values, **_lease_values(leases), "worker_id": worker_id}
    if duration:
        rows = await connection.execute(_EXTEND, {**values, "duration": duration})
    else:
        rows = await connection.execute(_RELEASE, values)
    until = {_to_lease(scope, row): row.available_at for row in rows}
    if until and not duration:
        await activate(connection, scope, sorted({lease.image.analyzer for lease in until}))
    return until


async def _complete(
    connection: AsyncConnection, scope: ShopScope, results: Mapping[TaskLease, AnalysisResult]
) -> set[TaskLease]:
    """Delete the tasks of these leases and store their results; return those whose lease is the current one."""
    if not results:
        return set()
    rows = await connection.execute(_COMPLETE, {**scope.values, **_lease_values(results)})
    urls = {_to_lease(scope, row): row.image_url for row in rows}
    if urls:
        stored = {lease: results[lease] for lease in urls}
        values = {**_lease_values(stored), **_result_values(stored.values()), "image_urls": list(urls.values())}
        await connection.execute(_STORE, {**scope.values, **values})
    return set(urls)


async def _fail(
    connection: AsyncConnection, scope: ShopScope, failures: Mapping[TaskLease, TaskFailure]
) -> dict[TaskLease, bool]:
    """Record failures; return those whose lease is the current one, and whether their tasks are dead."""
    if not failures:
        return {}
    values = {
        **_lease_values(failures),
        "reasons": [failure.reason for failure in failures.values()],
        "messages": [failure.message for failure in failures.values()],
        "permanents": [failure.permanent for failure in failures.values()],
        "max_attempts": MAX_ATTEMPTS,
        **_RETRY_DELAYS,
    }
    rows = await connection.execute(_FAIL, {**scope.values, **values})
    return {_to_lease(scope, row): row.dead for row in rows}


async def _stored(connection: AsyncConnection, scope: ShopScope, leases: Sequence[TaskLease]) -> set[TaskLease]:
    """Return those of these leases whose result is the stored one."""
    rows = await connection.execute(_SELECT_STORED, {**scope.values, **_lease_values(leases)})
    return {_to_lease(scope, row) for row in rows}


async def _update_items(
    connection: AsyncConnection, scope: ShopScope, write: AnalysisWrite, image_hashes: Collection[bytes]
) -> None:
    """Store the state of the items with these images, and count the change."""
    if not image_hashes:
        return
    counts = await update_items(
        connection, scope, image_hashes, analyzers=write.analyzers, feed_position=write.feed_position
    )
    await count_change(connection, scope.shop_id, CatalogChange(analysis=counts, changed=True))


def _to_lease(scope: ShopScope, row: SqlRow[Any]) -> TaskLease:
    return TaskLease(
        shop_id=scope.shop_id,
        image=ImageKey(analyzer=row.analyzer, image_hash=row.image_hash),
        feed_position=row.feed_position,
        epoch=row.epoch,
    )


def _by_shop(leases: Sequence[TaskLease]) -> Iterator[tuple[UUID, list[TaskLease]]]:
    for shop_id in dict.fromkeys(lease.shop_id for lease in leases):
        yield shop_id, [lease for lease in leases if lease.shop_id == shop_id]


def _lease_values(leases: Collection[TaskLease]) -> dict[str, object]:
    return {
        "analyzers": [lease.image.analyzer for lease in leases],
        "image_hashes": [lease.image.image_hash for lease in leases],
        "feed_positions": [lease.feed_position for lease in leases],
        "epochs": [lease.epoch for lease in leases],
    }


def _result_values(results: Collection[AnalysisResult]) -> dict[str, object]:
    return {
        "model_versions": [result.model_version for result in results],
        "categories": [result.category for result in results],
        "subcategories": [result.subcategory for result in results],
        "descriptions": [result.description for result in results],
        "genders": [result.gender for result in results],
        "attributes": [msgspec.json.encode(result.attributes).decode() for result in results],
        "quality_scores": [format(result.quality_score, "f") for result in results],
        "confidence_scores": [format(result.confidence_score, "f") for result in results],
        "processing_times": [result.processing_time for result in results],
    }
