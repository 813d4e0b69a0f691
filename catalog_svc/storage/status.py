"""The status of a shop: counters of its state row, its latest syncs and its schedule, as of one moment."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.analysis import AnalysisCounts
from catalog_svc.domain.errors import ShopNotFound
from catalog_svc.domain.schedule import ScheduleDefaults
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.status import CatalogCounts, ShopStatus
from catalog_svc.storage.audit_records import last_audit
from catalog_svc.storage.database import Database
from catalog_svc.storage.schedules import find_schedule
from catalog_svc.storage.shops import STATE_COLUMNS, Row, with_state
from catalog_svc.storage.syncs import latest_syncs

_SELECT_STATE = text(f"""
    SELECT product_count, item_count, item_with_image_count, cardinality(analyzers) > 0 AS has_analyzer,
        analysis_pending_count, analysis_analyzed_count, analysis_failed_count, {STATE_COLUMNS}
    FROM shop_state WHERE shop_id = :shop_id AND NOT deleting""")


class StatusStore:
    """Reads the status of shops: a few rows, whatever the size of the shop."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, shop: Shop, defaults: ScheduleDefaults) -> ShopStatus:
        """Return the status of a registered shop, all of it from one snapshot of the database.

        Raises:
            ShopNotFound: The shop was deleted since it was found.
        """

        async def read(connection: AsyncConnection) -> ShopStatus:
            state = (await connection.execute(_SELECT_STATE, {"shop_id": shop.shop_id})).mappings().first()
            if state is None:
                raise ShopNotFound(shop.key)
            return ShopStatus(
                shop=with_state(shop, state),
                counts=CatalogCounts(
                    products=state["product_count"],
                    items=state["item_count"],
                    items_with_image=state["item_with_image_count"],
                    analysis=_analysis_counts(state) if state["has_analyzer"] else None,
                ),
                syncs=await latest_syncs(connection, shop),
                schedule=(await find_schedule(connection, shop)).effective(defaults),
                last_audit=await last_audit(connection, shop),
            )

        return await self._database.read(read, shops=[shop.shop_id])


def _analysis_counts(state: Row) -> AnalysisCounts:
    return AnalysisCounts(
        pending=state["analysis_pending_count"],
        analyzed=state["analysis_analyzed_count"],
        failed=state["analysis_failed_count"],
    )
