"""Group commit of refresh requests: those of one shop that come while some are being stored are stored together.

Each stored request locks the shop's row in the queue of refreshes until its transaction ends, so that one by one
they would wait for each other: a sale of two hundred variants would cost two hundred transactions in a row.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from uuid import UUID

from catalog_svc.domain.refresh import PendingRefreshes, RefreshReason, RefreshReceipt, RefreshRequest
from catalog_svc.domain.shop import Shop
from catalog_svc.usecases.refresh_ports import RefreshRequests


@dataclass(slots=True)
class _Group:
    """Requests that are stored together."""

    product_ids: dict[str, None] = field(default_factory=dict)
    stored: asyncio.Task[RefreshReceipt] | None = None


class GroupedRequests:
    """`RefreshRequests` of which each shop has one being stored, and one that waits for it.

    A request is stored when `add` returns. Requests with variants, whose products only the database knows, are
    stored on their own.
    """

    def __init__(self, requests: RefreshRequests) -> None:
        self._requests = requests
        self._storing: dict[UUID, asyncio.Task[RefreshReceipt]] = {}
        self._waiting: dict[tuple[UUID, RefreshReason], _Group] = {}

    async def add(self, shop: Shop, request: RefreshRequest) -> RefreshReceipt:
        """Let products of the shop be read again soon; if too many wait already, request a sync instead.

        Raises:
            ShopNotFound: the shop was deleted in the meantime.
        """
        if request.variant_ids:
            return await self._requests.add(shop, request)
        key = shop.shop_id, request.reason
        group = self._waiting.get(key)
        if group is None:
            group = self._waiting[key] = _Group()
            group.stored = asyncio.create_task(self._store(shop, request.reason, group))
        group.product_ids |= dict.fromkeys(request.product_ids)
        assert group.stored is not None
        receipt = await self._stored(group.stored)
        return RefreshReceipt(product_count=len(set(request.product_ids)), needs_sync=receipt.needs_sync)

    async def _stored(self, storing: asyncio.Task[RefreshReceipt]) -> RefreshReceipt:
        """Return the receipt. A cancelled caller waits for the end, too, and cancels no request of the others."""
        try:
            return await asyncio.shield(storing)
        except asyncio.CancelledError:
            await asyncio.wait({storing})
            if not storing.cancelled():
                storing.exception()
            raise

    async def pending(self) -> PendingRefreshes:
        """Return how many products wait, of all shops."""
        return await self._requests.pending()

    async def _store(self, shop: Shop, reason: RefreshReason, group: _Group) -> RefreshReceipt:
        """Store the group once the shop's last one is stored, with all that have joined it by then."""
        shop_id = shop.shop_id
        while (before := self._storing.get(shop_id)) is not None:
            await asyncio.wait({before})
        task = asyncio.current_task()
        assert task is not None
        self._storing[shop_id] = task
        del self._waiting[shop_id, reason]
        try:
            request = RefreshRequest(reason=reason, product_ids=tuple(group.product_ids))
            return await self._requests.add(shop, request)
        finally:
            del self._storing[shop_id]
