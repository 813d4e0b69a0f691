"""Pacing against the devstore's bucket of the Standard plan, which counts as the genuine one does."""

from __future__ import annotations

import pytest

from connector_svc.domain.fetch import WaitReason
from connector_svc.platforms.shopify.hydration import Hydration
from connector_svc.platforms.shopify.pages import Pages, Place
from tests.integration.connector_svc.shopify.test_shopify_hydration import DOMAIN, flat, reading


async def test_nearly_all_points_are_used_and_no_call_is_throttled() -> None:
    """airbyte#12549, shopify_python_api#242: slow by waiting too long, or throttled by not waiting."""
    # Small pages are dear and quick to make: also on a slow machine the points are gone long before the products.
    async with reading(240, throttle=True, variants=None) as shop:
        assert len(flat(await shop.by(Pages, Place(None), largest=20))) == 240
        bucket = shop.store.shopify(DOMAIN).bucket
        assert shop.store.requests(DOMAIN).throttled == 0
        assert shop.waits
    first, last = bucket.first_take, bucket.last_take
    assert first is not None
    assert last is not None
    given = bucket.limit.maximum + (last.at - first.at) * bucket.limit.per_second
    assert 1 - (last.left + bucket.lost - first.lost) / given >= 0.9, (
        "make bench-pacing asks for 0.97; here a busy machine is allowed for"
    )


async def test_calls_at_once_share_one_bucket_and_none_is_throttled() -> None:
    async with reading(480, throttle=True) as shop:
        shop.store.shopify(DOMAIN).bucket.drain(1_900)
        await shop.by(Hydration, Place("id:>0"), largest=20)
        assert shop.store.requests(DOMAIN).throttled == 0
        assert shop.waits


@pytest.mark.parametrize(("way", "left"), [(Pages, 300), (Hydration, 60)])
async def test_another_app_that_drains_the_bucket_slows_a_pass_and_never_fails_it(
    way: type[Pages] | type[Hydration], left: int
) -> None:
    """Airbyte's source-shopify failed its stream on one THROTTLED."""
    async with reading(60, throttle=True) as shop:
        face = shop.store.shopify(DOMAIN)
        face.bucket.drain(2_000 - left)
        face.quirks.other_app_spends = 5
        found = flat(await shop.by(way, Place(None), largest=20))
        assert shop.store.requests(DOMAIN).throttled > 0
    assert len(found) == 60
    assert {wait.reason for wait in shop.waits} == {WaitReason.THROTTLED}
