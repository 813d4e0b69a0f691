"""Results of analysis tasks: each is stored only if its lease is the current one.

What changes items, namely results and dead tasks, takes the shop's write lock first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.analysis import (
    MAX_ATTEMPTS,
    AnalysisResult,
    SubmittedResult,
    TaskFailure,
    TaskLease,
    TaskOutcome,
    retry_delay,
)
from catalog_svc.storage.analysis_images import update_items
from catalog_svc.storage.analysis_leases import LEASE_COLUMNS, LEASES, OF_LEASE, lease_values, to_lease
from catalog_svc.storage.analysis_queue import activate
from catalog_svc.storage.fence import AnalysisWrite
from catalog_svc.storage.shops import ShopScope

_COMPLETE = text(f"""
    DELETE FROM analysis_task AS task USING {LEASES} WHERE {OF_LEASE}
    RETURNING {LEASE_COLUMNS}, task.image_url""")

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
    WHERE {OF_LEASE}
    RETURNING {LEASE_COLUMNS}, task.dead""")

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
    SELECT {LEASE_COLUMNS} FROM {LEASES}
    JOIN analysis_result AS result ON result.shop_id = :shop_id AND result.analyzer = lease.analyzer
        AND result.image_hash = lease.image_hash AND result.task_position = lease.feed_position
        AND result.task_epoch = lease.epoch""")


async def store_results(
    connection: AsyncConnection, scope: ShopScope, write: AnalysisWrite, results: Sequence[SubmittedResult]
) -> dict[TaskLease, TaskOutcome]:
    """Store results of leases of one shop, under its write lock, and return their outcomes."""
    outcomes = dict.fromkeys((result.lease for result in results), TaskOutcome.STALE)
    failures = {r.lease: r.outcome for r in results if isinstance(r.outcome, TaskFailure)}
    found = {r.lease: r.outcome for r in results if isinstance(r.outcome, AnalysisResult)}
    completed = await _complete(connection, scope, found)
    failed = await _fail(connection, scope, failures)
    outcomes |= dict.fromkeys(completed, TaskOutcome.STORED)
    outcomes |= {lease: TaskOutcome.DEAD if dead else TaskOutcome.RETRY for lease, dead in failed.items()}
    changed = {*completed, *(lease for lease, dead in failed.items() if dead)}
    await update_items(connection, scope, write, {lease.image.image_hash for lease in changed})
    if late := [lease for lease in found if lease not in completed]:
        outcomes |= dict.fromkeys(await _stored(connection, scope, late), TaskOutcome.STORED)
    if retried := sorted({lease.image.analyzer for lease, dead in failed.items() if not dead}):
        await activate(connection, scope, retried, delay=retry_delay(1))
    return outcomes


async def _complete(
    connection: AsyncConnection, scope: ShopScope, results: Mapping[TaskLease, AnalysisResult]
) -> set[TaskLease]:
    """Delete the tasks of these leases and store their results; return those whose lease is the current one."""
    if not results:
        return set()
    rows = await connection.execute(_COMPLETE, {**scope.values, **lease_values(results)})
    urls = {to_lease(scope, row): row.image_url for row in rows}
    if urls:
        stored = {lease: results[lease] for lease in urls}
        values = {**lease_values(stored), **_result_values(stored.values()), "image_urls": list(urls.values())}
        await connection.execute(_STORE, {**scope.values, **values})
    return set(urls)


async def _fail(
    connection: AsyncConnection, scope: ShopScope, failures: Mapping[TaskLease, TaskFailure]
) -> dict[TaskLease, bool]:
    """Record failures; return those whose lease is the current one, and whether their tasks are dead."""
    if not failures:
        return {}
    values = {
        **lease_values(failures),
        "reasons": [failure.reason for failure in failures.values()],
        "messages": [failure.message for failure in failures.values()],
        "permanents": [failure.permanent for failure in failures.values()],
        "max_attempts": MAX_ATTEMPTS,
        **_RETRY_DELAYS,
    }
    rows = await connection.execute(_FAIL, {**scope.values, **values})
    return {to_lease(scope, row): row.dead for row in rows}


async def _stored(connection: AsyncConnection, scope: ShopScope, leases: Sequence[TaskLease]) -> set[TaskLease]:
    """Return those of these leases whose result is the stored one."""
    rows = await connection.execute(_SELECT_STORED, {**scope.values, **lease_values(leases)})
    return {to_lease(scope, row) for row in rows}


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
