"""Reads the latest ended sync of each shop of a subject, with which its feed begins."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_client import CatalogClient, has_ended
from catalogsync_client.reasons import InvalidRequest, ShopNotFound

_STATES: Final = (pb.Sync.STATE_SUCCEEDED, pb.Sync.STATE_FAILED, pb.Sync.STATE_CANCELLED)
_MAX_SYNCS: Final = 500
_MAX_SHOPS: Final = 200
"""Of a merchant; for others a browser asks for the status of the shop."""
_CONCURRENT_CALLS: Final = 8


async def latest_ended_syncs(catalog: CatalogClient) -> Sequence[pb.Sync]:
    """Return the latest ended sync of each shop, the latest one last.

    Raises:
        CatalogSyncError: the catalog does not answer, or refuses the credentials.
    """
    try:
        page = await catalog.list_syncs(pb.ListSyncsRequest(states=_STATES, page_size=_MAX_SYNCS))
    except InvalidRequest:
        # The token of a client: it must name one of its shops.
        found = await _of_each_shop(catalog)
    else:
        latest: dict[str, pb.Sync] = {}
        for sync in page.syncs:
            latest.setdefault(sync.shop.shop_id, sync)
        found = list(latest.values())
    return sorted(found, key=lambda sync: sync.create_time.ToNanoseconds())


async def _of_each_shop(catalog: CatalogClient) -> list[pb.Sync]:
    free = asyncio.Semaphore(_CONCURRENT_CALLS)

    async def latest(shop_id: str) -> pb.Sync | None:
        async with free:
            try:
                status = await catalog.get_status(pb.ShopRef(shop_id=shop_id))
            except ShopNotFound:
                # Deleted since it was listed.
                return None
        return status.last_finished_sync if has_ended(status.last_finished_sync) else None

    page = await catalog.list_shops(pb.ListShopsRequest(page_size=_MAX_SHOPS))
    found = await asyncio.gather(*(latest(shop.shop.shop_id) for shop in page.shops))
    return [sync for sync in found if sync is not None]
