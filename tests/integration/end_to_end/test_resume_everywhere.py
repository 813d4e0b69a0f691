"""Wherever a sync stops, the resumed sync stores what an uninterrupted one would have stored."""

from __future__ import annotations

import zlib

import pytest

from catalog_svc.domain.sync import SyncState
from tests.integration.end_to_end.conftest import PLATFORMS, EndToEnd, Opens

# Small batches of ordinary products; larger ones of all the difficult products of the platform.
SHAPES = {"ordinary": (4, {"products": 15, "edge_cases": False}), "difficult": (20, {"products": 45})}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("platform", PLATFORMS)
async def test_resuming_from_every_checkpoint_ends_with_the_same_tables(
    opens: Opens, platform: str, shape: str
) -> None:
    size, spec = SHAPES[shape]
    async with opens(platform, seed=zlib.crc32(platform.encode()), **spec) as shop:
        whole = await shop.succeed(batch_size=size)
        await shop.check_items()
        uninterrupted = await shop.tables()
        batches = await _batches(shop)
        assert batches > 1
        for stop_after in range(1, batches + 1):
            await shop.clear()
            broken = await shop.sync(batch_size=size, stop_after=stop_after)
            assert broken.state is SyncState.FAILED
            resumed = await shop.resume(broken, batch_size=size)
            assert (resumed.state, resumed.error) == (SyncState.SUCCEEDED, None)
            assert await shop.tables() == uninterrupted, stop_after
            assert resumed.progress.products == whole.progress.products
            assert resumed.progress.items == whole.progress.items


async def _batches(shop: EndToEnd) -> int:
    """Return the number of transactions of the last sync, without the one that found nothing to sweep."""
    rows = await shop.world.rows("SELECT next_seq FROM shop_state")
    return int(rows[0]["next_seq"]) - 1
