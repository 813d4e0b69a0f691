"""The storage of audits: samples of a shop's products, the stored rows to compare, and repairs.

A repair is a write outside of any sync, under the rules of `catalog_svc.storage.product_refresh`: the audit
becomes the reader of a product before it reads it, and neither judges nor writes it if it is not the reader any
more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.audit import (
    AuditResult,
    AuditSample,
    SettledProducts,
    StoredState,
)
from catalog_svc.domain.audit_comparison import ReadProducts
from catalog_svc.domain.errors import ShopNotFound
from catalog_svc.domain.refresh import RefreshClaim, RefreshReason
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.source import SourceBatch
from catalog_svc.domain.sync import SyncMode
from catalog_svc.storage.analysis_queue import activate
from catalog_svc.storage.audit_rows import load_state
from catalog_svc.storage.audit_sample import sample_products
from catalog_svc.storage.database import Database
from catalog_svc.storage.fence import UnfencedWrite, lock_outside_sync
from catalog_svc.storage.product_refresh import share_shop
from catalog_svc.storage.products import WriteResult
from catalog_svc.storage.refresh_queue import enqueue_shop
from catalog_svc.storage.reread import write_reread
from catalog_svc.storage.shops import ShopScope, with_state
from catalog_svc.storage.stock import clear_hashes

# A product that waits for a refresh, or is being read by one, is left to it.
_TAKE = text("""
    INSERT INTO product_refresh (
        shop_id, product_id, reason, first_requested_at, last_requested_at, pending, reader)
    SELECT CAST(:shop_id AS uuid), taken.product_id, CAST(:reason AS text), statement_timestamp(),
        statement_timestamp(), false, CAST(:claim_id AS uuid)
    FROM unnest(CAST(:product_ids AS text[])) AS taken (product_id) ORDER BY taken.product_id
    ON CONFLICT (shop_id, product_id) DO UPDATE SET reader = excluded.reader, read_count = 0
    WHERE NOT product_refresh.pending AND product_refresh.reader IS NULL
    RETURNING product_id""")

_SELECT_READ = text("""
    SELECT product_id FROM product_refresh
    WHERE shop_id = :shop_id AND product_id = ANY(CAST(:product_ids AS text[]))
      AND reader = CAST(:claim_id AS uuid)
    ORDER BY product_id FOR UPDATE""")

_MARK_WRITTEN = text("""
    UPDATE product_refresh SET refreshed = true
    WHERE shop_id = :shop_id AND product_id = ANY(CAST(:product_ids AS text[]))
      AND reader = CAST(:claim_id AS uuid)""")

_LOCK_ALL_READ = text("""
    SELECT FROM product_refresh WHERE shop_id = :shop_id AND reader = CAST(:claim_id AS uuid)
    ORDER BY product_id FOR UPDATE""")

_DELETE_READ = text("""
    DELETE FROM product_refresh
    WHERE shop_id = :shop_id AND reader = CAST(:claim_id AS uuid) AND NOT pending
      AND (NOT refreshed OR CAST(:no_open_pass AS boolean))""")

_RELEASE_READ = text("""
    UPDATE product_refresh SET reader = NULL WHERE shop_id = :shop_id AND reader = CAST(:claim_id AS uuid)""")

_SELECT_COUNTS = text("""
    SELECT state.incarnation, state.product_count, state.item_count, state.item_with_image_count,
        (SELECT count(*) FROM product WHERE shop_id = :shop_id AND deleted_at IS NULL) AS products,
        items.count AS items, items.with_image AS items_with_image
    FROM shop_state AS state,
        (SELECT count(*) AS count, count(*) FILTER (WHERE image_url <> '') AS with_image
         FROM item WHERE shop_id = :shop_id AND deleted_at IS NULL) AS items
    WHERE state.shop_id = :shop_id AND NOT state.deleting""")

_CORRECT_COUNTERS = text("""
    UPDATE shop_state SET product_count = product_count + :products, item_count = item_count + :items,
        item_with_image_count = item_with_image_count + :items_with_image
    WHERE shop_id = :shop_id""")


class AuditStore:
    """Samples, comparisons and repairs of one shop at a time."""

    def __init__(self, database: Database, *, ttl: timedelta) -> None:
        """Create the store; a claim is left to the refresh worker after `ttl`, and no statement takes longer."""
        self._database = database
        self._ttl = ttl

    async def sample(self, shop: Shop, *, size: int, seed: int) -> AuditSample:
        """Return a uniform random sample of the stored products, each at most once, and those that changed lately.

        Tombstones are sampled at the same rate, at most a quarter of `size`.

        Args:
            shop: The shop.
            size: Products that are not deleted; fewer if there are fewer.
            seed: Any 64-bit number; the same number chooses the same products.

        Raises:
            ShopNotFound: The shop was deleted.
        """

        async def read(connection: AsyncConnection) -> AuditSample:
            return await sample_products(connection, shop, size=size, seed=seed)

        return await self._database.read(read, shops=[shop.shop_id])

    async def state(self, shop: Shop, product_ids: Collection[str], item_ids: Collection[str]) -> StoredState:
        """Return what is stored of these products, with whatever is stored under these ids of items.

        Raises:
            ShopNotFound: The shop was deleted.
        """

        async def read(connection: AsyncConnection) -> StoredState:
            return await load_state(connection, ShopScope.of(shop), product_ids, item_ids)

        return await self._database.read(read, shops=[shop.shop_id])

    async def take(self, shop: Shop, claim_id: UUID, product_ids: Sequence[str]) -> RefreshClaim:
        """Make the claim the reader of those of these products that no refresh reads or waits for.

        The read must begin after this. If the audit dies, the refresh worker reads the products.

        Raises:
            ShopNotFound: The shop was deleted.
        """

        async def work(connection: AsyncConnection) -> RefreshClaim:
            scope = ShopScope.of(shop)
            state = await share_shop(connection, scope)
            if state is None:
                raise ShopNotFound(shop.key)
            values = {**scope.values, "claim_id": claim_id, "product_ids": sorted(product_ids)}
            taken = await connection.execute(_TAKE, {**values, "reason": RefreshReason.AUDIT.value})
            ids = tuple(sorted(taken.scalars()))
            await enqueue_shop(connection, shop, delay=self._ttl)
            return RefreshClaim(
                shop=with_state(shop, state),
                claim_id=claim_id,
                incarnation=state["incarnation"],
                product_ids=ids,
                has_active_sync=state["has_active_sync"],
            )

        return await self._database.write(work, shops=[shop.shop_id])

    async def settle(
        self,
        claim: RefreshClaim,
        batch: SourceBatch,
        *,
        suspected: Collection[str],
        overlap: timedelta,
        repair: bool = True,
    ) -> SettledProducts:
        """Compare products that were read for the claim, and write those that differ as the platform has them.

        Args:
            claim: Their reader. Products of which it is not the reader any more stay undecided.
            batch: What was read.
            suspected: Products that differed in an earlier read: only these are reported and repaired.
            overlap: Changes that were dated within this time before the watermark may be unknown to the catalog.
            repair: Whether to write.

        Raises:
            MassDeleteBlocked: The deletion guard stopped the repair; nothing was written.
            ShopNotFound: The shop was deleted, or registered again.
        """

        async def work(connection: AsyncConnection) -> SettledProducts:
            scope = ShopScope.of(claim.shop)
            locked = await lock_outside_sync(
                connection, scope.shop_id, incarnation=claim.incarnation, ttl=self._ttl
            )
            if locked is None:
                raise ShopNotFound(claim.shop.key)
            read = ReadProducts.of(batch)
            values = {**scope.values, "claim_id": claim.claim_id, "product_ids": sorted(read.product_ids)}
            own = frozenset((await connection.execute(_SELECT_READ, values)).scalars())
            state = await load_state(connection, scope, own, read.item_ids)
            differences = read.differences(state, own, overlap=overlap)
            decided = own - (differences.keys() - set(suspected))
            different = sorted(decided & differences.keys())
            if repair and different:
                written = await _repair(connection, scope, locked, batch, different)
                if locked.open_pass_id is not None:
                    await connection.execute(_MARK_WRITTEN, {**values, "product_ids": different})
                if written.new_tasks:
                    await activate(connection, scope, locked.analyzers)
            return SettledProducts(
                result=read.count(decided, differences) + AuditResult(repaired=len(different) if repair else 0),
                decided=decided,
                differing=own - decided,
            )

        return await self._database.write(work, shops=[claim.shop.shop_id])

    async def release(self, claim: RefreshClaim) -> None:
        """End the claim. What was written stays marked while a pass is open, so that its syncs leave it out."""
        values = {"shop_id": claim.shop.shop_id, "claim_id": claim.claim_id}

        async def work(connection: AsyncConnection) -> None:
            state = await share_shop(connection, ShopScope.of(claim.shop))
            if state is not None:
                await connection.execute(_LOCK_ALL_READ, values)
                await connection.execute(_DELETE_READ, {**values, "no_open_pass": not state["has_open_pass"]})
                await connection.execute(_RELEASE_READ, values)

        await self._database.write(work, shops=[claim.shop.shop_id])

    async def correct_counters(self, shop: Shop) -> None:
        """Set the shop's counters to the rows that are stored.

        A row that others than the catalog changed was not counted. The difference of one snapshot is applied: the
        catalog itself changes counters and rows alike.
        """

        async def read(connection: AsyncConnection) -> Mapping[Any, Any] | None:
            return (await connection.execute(_SELECT_COUNTS, {"shop_id": shop.shop_id})).mappings().first()

        row = await self._database.read(read, shops=[shop.shop_id])
        if row is None:
            return
        differences = {
            "products": row["products"] - row["product_count"],
            "items": row["items"] - row["item_count"],
            "items_with_image": row["items_with_image"] - row["item_with_image_count"],
        }
        if not any(differences.values()):
            return

        async def work(connection: AsyncConnection) -> None:
            locked = await lock_outside_sync(
                connection, shop.shop_id, incarnation=row["incarnation"], ttl=self._ttl
            )
            if locked is not None:
                await connection.execute(_CORRECT_COUNTERS, {"shop_id": shop.shop_id, **differences})

        await self._database.write(work, shops=[shop.shop_id])

    async def request_full_sync(self, shop: Shop) -> None:
        """Let the refresh worker start a full sync of the shop soon."""

        async def work(connection: AsyncConnection) -> None:
            if await share_shop(connection, ShopScope.of(shop)) is not None:
                await enqueue_shop(connection, shop, delay=timedelta(), wanted_sync=SyncMode.FULL)

        await self._database.write(work, shops=[shop.shop_id])


async def _repair(
    connection: AsyncConnection,
    scope: ShopScope,
    locked: UnfencedWrite,
    batch: SourceBatch,
    product_ids: Sequence[str],
) -> WriteResult:
    """Write these products as they were read. Raises MassDeleteBlocked."""
    wanted = frozenset(product_ids)
    products = {p.product_id: p for p in batch.products if p.product_id in wanted}
    # The hash may be the right one although the cells are not: the writer would take the product for unchanged.
    await clear_hashes(connection, scope, sorted(products))
    return await write_reread(
        connection,
        scope,
        locked,
        [products[product_id] for product_id in sorted(products)],
        deleted_ids=sorted(wanted - products.keys()),
    )
