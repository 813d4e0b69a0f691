"""Registered shops of a catalog in memory."""

from __future__ import annotations

from uuid import UUID

from catalog_svc.domain.shop import Shop, ShopRef
from tests.fakes.memory_catalog import MemoryLink


class MemoryShops:
    """`Shops`. None of them is ever deleted."""

    def __init__(self, link: MemoryLink) -> None:
        self._link = link

    async def find(self, ref: ShopRef) -> Shop | None:
        return await self._link.transaction(
            lambda state: next((shop for shop in state.shops.values() if ref in (shop.key, shop.shop_id)), None)
        )

    async def find_deleting(self, ref: ShopRef) -> UUID | None:
        return None
