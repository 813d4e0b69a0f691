"""Rate limiting against the devstore's bucket of the Standard plan, which counts as Shopify's does."""

from __future__ import annotations

import asyncio

import pytest

from connector_svc.domain.fetch import WaitReason
from connector_svc.platforms.shopify.hydration import HydratedPages
from connector_svc.platforms.shopify.pages import PageCursor, ProductPages
from tests.integration.connector_svc.shopify.test_shopify_hydration import DOMAIN, flatten, reading
from tests.waiting import TIMEOUT_SECONDS


async def test_nearly_all_points_are_used_and_no_call_is_throttled() -> None:
    """airbyte#12549, shopify_python_api#242: slow by waiting too long, or throttled by not waiting."""
    # Small pages are expensive and quick to serve: even on a slow machine the points run out before the products.
    async with reading(240, throttle=True, variants=None) as shop:
        assert len(flatten(await shop.read(ProductPages, PageCursor(None), page_size=20))) == 240
        bucket = shop.store.shopify(DOMAIN).bucket
        assert shop.store.requests(DOMAIN).throttled == 0
        assert shop.waits
    first, last = bucket.first_take, bucket.last_take
    assert first is not None
    assert last is not None
    given = bucket.limit.maximum + (last.at - first.at) * bucket.limit.per_second
    assert 1 - (last.left + bucket.lost - first.lost) / given >= 0.9, (
        "make bench-pacing requires 0.97; this allows for a busy machine"
    )


async def test_concurrent_calls_share_one_bucket_and_none_is_throttled() -> None:
    async with reading(480, throttle=True) as shop:
        shop.store.shopify(DOMAIN).bucket.drain(1_900)
        await shop.read(HydratedPages, PageCursor("id:>0"), page_size=20)
        assert shop.store.requests(DOMAIN).throttled == 0
        assert shop.waits


@pytest.mark.parametrize(("pages_type", "left"), [(ProductPages, 300), (HydratedPages, 60)])
async def test_another_app_that_drains_the_bucket_slows_a_pass_and_never_fails_it(
    pages_type: type[ProductPages] | type[HydratedPages], left: int
) -> None:
    """Airbyte's source-shopify failed its stream on one THROTTLED."""
    async with reading(60, throttle=True) as shop:
        face = shop.store.shopify(DOMAIN)
        face.quirks.other_app_spends = 5
        async with asyncio.timeout(TIMEOUT_SECONDS):
            # On a busy machine the bucket may be refilled faster than a pass spends it; then another one is read.
            while not shop.store.requests(DOMAIN).throttled:
                face.bucket.drain(2_000 - left)
                found = flatten(await shop.read(pages_type, PageCursor(None), page_size=20))
                assert len(found) == 60
    assert {wait.reason for wait in shop.waits} == {WaitReason.THROTTLED}
