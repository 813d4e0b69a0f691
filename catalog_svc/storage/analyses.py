"""Analyses as clients read them: of an item's image, lists of results and of tasks, and short forms within items.

A page of results reads the index `analysis_result_by_score` or `analysis_result_by_category` in its order; a page
of tasks reads `analysis_task_dead` or the primary key.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.analysis import (
    AnalysisCursor,
    AnalysisFilter,
    AnalysisResult,
    AnalysisState,
    AnalysisSummary,
    ImageAnalysis,
    ImageKey,
    TaskFailure,
)
from catalog_svc.domain.shop import Shop
from catalog_svc.storage.database import Database
from catalog_svc.storage.shops import Row, ShopScope

_ANALYZERS: Final = """ANY(CAST(ARRAY(
        SELECT unnest(analyzers) FROM shop_state WHERE shop_state.shop_id = :shop_id) AS text[]))"""
"""The analyzers that are switched on: what others have found is kept, and not shown with items."""

_SELECT_SUMMARIES = text(f"""
    SELECT result.image_hash, result.analyzer, result.model_version, result.category, result.subcategory,
        result.quality_score, result.confidence_score, result.updated_at
    FROM analysis_result AS result
    WHERE result.shop_id = :shop_id AND result.analyzer = {_ANALYZERS}
      AND result.image_hash = ANY(CAST(:image_hashes AS bytea[]))
    ORDER BY result.analyzer""")

_RESULT_COLUMNS: Final = """result.image_url AS result_url, result.model_version, result.category,
        result.subcategory, result.description, result.gender, result.attributes, result.quality_score,
        result.confidence_score, result.processing_time, result.updated_at AS analyzed_at"""
_TASK_COLUMNS: Final = """task.image_url AS task_url, task.dead, task.attempt_count, task.failure_reason,
        task.failure_message"""

_ITEM: Final = """(
        SELECT item.item_id FROM item
        WHERE item.shop_id = :shop_id AND item.image_hash = found.image_hash AND item.deleted_at IS NULL
        LIMIT 1) AS item_id"""

_SELECT_IMAGE = text("""
    SELECT image_hash, analysis_state, image_url, deleted_at FROM item
    WHERE shop_id = :shop_id AND item_id = :item_id""")

_SELECT_OF_IMAGE = text(f"""
    SELECT analyzer.name AS analyzer, CAST(:image_hash AS bytea) AS image_hash, :item_id AS item_id,
        {_RESULT_COLUMNS}, {_TASK_COLUMNS}
    FROM (
        SELECT unnest(analyzers) FROM shop_state WHERE shop_state.shop_id = :shop_id) AS analyzer (name)
    LEFT JOIN analysis_result AS result ON result.shop_id = :shop_id AND result.analyzer = analyzer.name
        AND result.image_hash = :image_hash
    LEFT JOIN analysis_task AS task ON task.shop_id = :shop_id AND task.analyzer = analyzer.name
        AND task.image_hash = :image_hash
    ORDER BY analyzer.name""")


class AnalysisStore:
    """Analyses of the images of a shop."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_item(self, shop: Shop, item_id: str) -> tuple[AnalysisState | None, list[ImageAnalysis]] | None:
        """Return the state of an item and the analyses of its image, by analyzer; None if there is no such item.

        The state is None while the shop has no analyzer, and of a deleted item.
        """
        values = {**ShopScope.of(shop).values, "item_id": item_id}

        async def read(connection: AsyncConnection) -> tuple[AnalysisState | None, list[ImageAnalysis]] | None:
            item = (await connection.execute(_SELECT_IMAGE, values)).first()
            if item is None:
                return None
            if item.analysis_state is None or item.deleted_at is not None:
                return None, []
            state = AnalysisState(item.analysis_state)
            if item.image_hash is None:
                return state, []
            of_image = {**values, "image_hash": item.image_hash}
            rows = (await connection.execute(_SELECT_OF_IMAGE, of_image)).mappings()
            return state, [_to_analysis(row) for row in rows]

        return await self._database.read(read, shops=[shop.shop_id])

    async def page(
        self, shop: Shop, which: AnalysisFilter, *, after: AnalysisCursor | None, limit: int
    ) -> list[ImageAnalysis]:
        """Return up to `limit` analyses: results by score and image, tasks by image."""
        values = {
            **ShopScope.of(shop).values,
            "analyzer": which.analyzer,
            "category": which.category,
            "min_quality": _millionths(which.min_quality),
            "max_quality": _millionths(which.max_quality),
            "after_score": _millionths(after.quality_score) if after else None,
            "after_hash": after.image_hash if after else b"",
            "limit": limit,
        }
        if which.state is AnalysisState.ANALYZED:
            query = _select_results(
                category=bool(which.category),
                at_least=which.min_quality is not None,
                at_most=which.max_quality is not None,
                continued=after is not None,
            )
        else:
            query = _select_tasks(dead=which.state is AnalysisState.FAILED)

        async def read(connection: AsyncConnection) -> list[ImageAnalysis]:
            return [_to_analysis(row) for row in (await connection.execute(query, values)).mappings()]

        return await self._database.read(read, shops=[shop.shop_id])

    async def dead(
        self, shop: Shop, analyzer: str, *, after: AnalysisCursor | None, limit: int
    ) -> list[ImageAnalysis]:
        """Return up to `limit` dead tasks by analyzer and image; an empty analyzer: of all."""
        values = {
            **ShopScope.of(shop).values,
            "analyzer": analyzer,
            "after_analyzer": after.analyzer if after else "",
            "after_hash": after.image_hash if after else b"",
            "limit": limit,
        }
        query = _SELECT_DEAD_OF_ANALYZER if analyzer else _SELECT_DEAD

        async def read(connection: AsyncConnection) -> list[ImageAnalysis]:
            return [_to_analysis(row) for row in (await connection.execute(query, values)).mappings()]

        return await self._database.read(read, shops=[shop.shop_id])


async def load_summaries(
    connection: AsyncConnection, scope: ShopScope, image_hashes: Collection[bytes | None]
) -> Mapping[bytes, tuple[AnalysisSummary, ...]]:
    """Return the results of these images, of the analyzers that are switched on, by image."""
    hashes = [one for one in image_hashes if one is not None]
    if not hashes:
        return {}
    found: defaultdict[bytes, tuple[AnalysisSummary, ...]] = defaultdict(tuple)
    for row in await connection.execute(_SELECT_SUMMARIES, {**scope.values, "image_hashes": hashes}):
        found[row.image_hash] += (
            AnalysisSummary(
                analyzer=row.analyzer,
                model_version=row.model_version,
                category=row.category,
                subcategory=row.subcategory,
                quality_score=row.quality_score,
                confidence_score=row.confidence_score,
                analyzed_at=row.updated_at,
            ),
        )
    return found


@lru_cache
def _select_results(*, category: bool, at_least: bool, at_most: bool, continued: bool) -> TextClause:
    conditions = ["result.shop_id = :shop_id", "result.analyzer = :analyzer"]
    if category:
        conditions.append("result.category = :category")
    if at_least:
        conditions.append("result.quality_millionths >= CAST(:min_quality AS bigint)")
    if at_most:
        conditions.append("result.quality_millionths <= CAST(:max_quality AS bigint)")
    if continued:
        conditions.append(
            "(result.quality_millionths, result.image_hash) > (CAST(:after_score AS bigint), :after_hash)"
        )
    return text(f"""
    SELECT found.*, task.image_url AS task_url, task.dead, task.attempt_count, task.failure_reason,
        task.failure_message, {_ITEM}
    FROM (
        SELECT result.analyzer, result.image_hash, result.quality_millionths, {_RESULT_COLUMNS}
        FROM analysis_result AS result WHERE {" AND ".join(conditions)}
        ORDER BY result.quality_millionths, result.image_hash LIMIT :limit) AS found
    LEFT JOIN LATERAL (
        SELECT {_TASK_COLUMNS.replace(" AS task_url", "")} FROM analysis_task AS task
        WHERE task.shop_id = :shop_id AND task.analyzer = found.analyzer AND task.image_hash = found.image_hash
        OFFSET 0) AS task ON true
    ORDER BY found.quality_millionths, found.image_hash""")


def _of_tasks(conditions: str, order: str) -> TextClause:
    return text(f"""
    SELECT found.*, {_RESULT_COLUMNS}, {_ITEM}
    FROM (
        SELECT task.analyzer, task.image_hash, {_TASK_COLUMNS} FROM analysis_task AS task
        WHERE task.shop_id = :shop_id AND {conditions} ORDER BY {order} LIMIT :limit) AS found
    LEFT JOIN LATERAL (
        SELECT * FROM analysis_result AS result
        WHERE result.shop_id = :shop_id AND result.analyzer = found.analyzer
          AND result.image_hash = found.image_hash OFFSET 0) AS result ON true
    ORDER BY {order.replace("task.", "found.")}""")


@lru_cache
def _select_tasks(*, dead: bool) -> TextClause:
    state = "task.dead" if dead else "NOT task.dead"
    return _of_tasks(f"task.analyzer = :analyzer AND {state} AND task.image_hash > :after_hash", "task.image_hash")


_SELECT_DEAD_OF_ANALYZER: Final = _of_tasks(
    "task.analyzer = :analyzer AND task.dead AND task.image_hash > :after_hash", "task.analyzer, task.image_hash"
)
_SELECT_DEAD: Final = _of_tasks(
    "task.dead AND (task.analyzer, task.image_hash) > (:after_analyzer, :after_hash)",
    "task.analyzer, task.image_hash",
)


def _millionths(score: Decimal | None) -> int | None:
    """Return a score, which has at most 6 digits after the point, in the unit by which results are ordered."""
    return None if score is None else int(score * 1_000_000)


def _to_analysis(row: Row) -> ImageAnalysis:
    return ImageAnalysis(
        image=ImageKey(analyzer=row["analyzer"], image_hash=row["image_hash"]),
        image_url=row["task_url"] or row["result_url"] or "",
        state=_state(row),
        result=_to_result(row) if row["model_version"] is not None else None,
        analyzed_at=row["analyzed_at"],
        failure=TaskFailure(reason=row["failure_reason"], message=row["failure_message"])
        if row["failure_reason"]
        else None,
        attempt_count=row["attempt_count"] or 0,
        item_id=row["item_id"] or "",
    )


def _state(row: Row) -> AnalysisState:
    if row["dead"] is None:
        return AnalysisState.PENDING if row["model_version"] is None else AnalysisState.ANALYZED
    return AnalysisState.FAILED if row["dead"] else AnalysisState.PENDING


def _to_result(row: Row) -> AnalysisResult:
    attributes: Mapping[str, Any] = row["attributes"]
    return AnalysisResult(
        model_version=row["model_version"],
        category=row["category"],
        subcategory=row["subcategory"],
        description=row["description"],
        gender=row["gender"],
        attributes=attributes,
        quality_score=row["quality_score"],
        confidence_score=row["confidence_score"],
        processing_time=row["processing_time"],
    )
