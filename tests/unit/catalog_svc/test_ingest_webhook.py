"""What becomes of webhook deliveries: only verified ones of registered shops request anything, and only by ids."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from catalogsync_common.call_limits import RateLimited
from catalogsync_common.failure import Failure, InvalidRequest
from catalogsync_common.rate_limiter import NO_LIMIT, RateLimit

from catalog_svc.domain.errors import ShopNotFound
from catalog_svc.domain.ids import new_shop_id
from catalog_svc.domain.refresh import IngestOutcome, IngestResult
from catalog_svc.domain.shop import Shop, ShopKey, ShopRef
from catalog_svc.metrics import NullRefreshMetrics
from catalog_svc.rpc.call_limits import WebhookRate
from catalog_svc.usecases.ingest_webhook import IngestWebhook
from tests.fakes.known_platforms import KnownPlatforms
from tests.fakes.memory_catalog import MemoryCatalog, MemoryLink
from tests.fakes.memory_refreshes import MemoryRefreshRequests
from tests.fakes.memory_shops import MemoryShops
from tests.fakes.webhook_verifier import SIGNATURE_INVALID, MemoryVerifier, delivery

SHOP = ShopKey("shopify", "demo.myshopify.com")
OTHER = ShopKey("shopify", "other.myshopify.com")
STRANGER = ShopKey("shopify", "stranger.myshopify.com")
SECRETS = {SHOP: "s1", OTHER: "s2", STRANGER: "s3"}


class CountedShops(MemoryShops):
    """Shops that keep what was looked up."""

    def __init__(self, link: MemoryLink) -> None:
        super().__init__(link)
        self.lookups: list[ShopRef] = []

    async def find(self, ref: ShopRef) -> Shop | None:
        self.lookups.append(ref)
        return await super().find(ref)


class World:
    """The use case over two registered shops."""

    def __init__(self, rate: RateLimit = NO_LIMIT) -> None:
        self.catalog = MemoryCatalog()
        for key in (SHOP, OTHER):
            self.catalog.state.shops[key] = Shop(shop_id=new_shop_id(), key=key)
        link = MemoryLink(self.catalog)
        self.verifier = MemoryVerifier(SECRETS)
        self.wakes = 0
        self.shops = CountedShops(link)
        self._ingest = IngestWebhook(
            verifier=self.verifier,
            platforms=KnownPlatforms(),
            shops=self.shops,
            requests=MemoryRefreshRequests(link, max_products=5),
            limit=WebhookRate(rate),
            wake_worker=self._wake,
            metrics=NullRefreshMetrics(),
        )

    def _wake(self) -> None:
        self.wakes += 1

    def shop_id(self, key: ShopKey) -> UUID:
        return self.catalog.state.shops[key].shop_id

    async def ingest(self, body: str, named: ShopKey = SHOP, to: ShopRef | None = None) -> IngestResult:
        return await self._ingest(delivery(body, named), to)

    @property
    def requested(self) -> set[tuple[ShopKey, str]]:
        """The products that wait, by shop."""
        keys = {shop.shop_id: key for key, shop in self.catalog.state.shops.items()}
        return {(keys[shop_id], product_id) for shop_id, product_id in self.catalog.state.refreshes}


async def rejected(world: World, body: str, named: ShopKey = SHOP, to: ShopRef | None = None) -> Failure:
    with pytest.raises(Failure) as caught:
        await world.ingest(body, named, to)
    return caught.value


async def test_a_verified_delivery_requests_its_products_and_wakes_the_worker() -> None:
    world = World()
    result = await world.ingest("s1 products 1 2 1")
    assert result == IngestResult(outcome=IngestOutcome.ACCEPTED, product_count=2)
    assert world.requested == {(SHOP, "1"), (SHOP, "2")}
    assert world.wakes == 1


async def test_a_ping_does_nothing() -> None:
    world = World()
    assert (await world.ingest("")).outcome is IngestOutcome.PING
    assert (world.requested, world.wakes) == (set(), 0)


@pytest.mark.parametrize(
    ("body", "named"), [("s3 products 1", STRANGER), ("s1", SHOP), ("s1 variants unknown", SHOP)]
)
async def test_a_delivery_of_an_unknown_shop_or_about_nothing_that_is_stored_is_ignored(
    body: str, named: ShopKey
) -> None:
    world = World()
    assert await world.ingest(body, named) == IngestResult(outcome=IngestOutcome.IGNORED)
    assert (world.requested, world.wakes) == (set(), 0)


async def test_a_delivery_under_the_header_of_another_shop_changes_nothing_there() -> None:
    world = World()
    assert (await rejected(world, "s1 products 1", named=OTHER)).reason == SIGNATURE_INVALID
    assert world.requested == set()


async def test_a_delivery_to_the_address_of_a_shop_must_be_signed_by_that_shop() -> None:
    world = World()
    for to in (SHOP, world.shop_id(SHOP)):
        assert (await world.ingest("s1 products 1", to=to)).outcome is IngestOutcome.ACCEPTED
        assert (await rejected(world, "s2 products 2", named=OTHER, to=to)).reason == SIGNATURE_INVALID
    assert world.verifier.domains == [SHOP.domain] * 4
    assert world.requested == {(SHOP, "1")}


async def test_an_address_of_a_shop_that_does_not_exist_or_is_of_another_platform_is_refused() -> None:
    world = World()
    assert isinstance(await rejected(world, "s1 products 1", to=uuid4()), ShopNotFound)
    failure = await rejected(world, "s1 products 1", to=ShopKey("woocommerce", "store.example"))
    assert isinstance(failure, InvalidRequest)
    assert [violation.field for violation in failure.violations] == ["shop"]
    assert world.verifier.domains == []


async def test_a_platform_that_the_connector_does_not_know_is_named() -> None:
    world = World()
    failure = await rejected(world, "s1 products 1", named=ShopKey("magento", "demo.example"), to=SHOP)
    assert isinstance(failure, InvalidRequest)
    assert [violation.field for violation in failure.violations] == ["platform"]
    assert world.verifier.domains == []


async def test_while_the_connector_does_not_answer_nothing_is_accepted() -> None:
    world = World()
    world.verifier.available = False
    failure = await rejected(world, "s1 products 1")
    assert failure.reason == "CONNECTOR_UNAVAILABLE"
    assert world.requested == set()


async def test_a_shop_has_a_rate_and_forged_deliveries_do_not_use_it_up() -> None:
    world = World(RateLimit(per_second=0.001, burst=2))
    for _ in range(10):
        assert (await rejected(world, "forged products 1")).reason == SIGNATURE_INVALID
    for n in range(2):
        assert (await world.ingest(f"s1 products {n}")).outcome is IngestOutcome.ACCEPTED
    failure = await rejected(world, "s1 products 3")
    assert isinstance(failure, RateLimited)
    assert failure.retry_after is not None
    assert (await world.ingest("s2 products 4", named=OTHER)).outcome is IngestOutcome.ACCEPTED
    assert world.requested == {(SHOP, "0"), (SHOP, "1"), (OTHER, "4")}


async def test_a_shop_is_looked_up_once_and_again_when_it_was_registered_anew() -> None:
    world = World()
    await world.ingest("s1 products 1")
    world.shops.lookups.clear()
    assert (await world.ingest("s1 products 2")).outcome is IngestOutcome.ACCEPTED
    assert world.shops.lookups == []
    # Deleted and registered again: the rows of the old registration are gone.
    world.catalog.state.refreshes.clear()
    world.catalog.state.shops[SHOP] = Shop(shop_id=new_shop_id(), key=SHOP)
    assert (await world.ingest("s1 products 3")).outcome is IngestOutcome.ACCEPTED
    assert world.requested == {(SHOP, "3")}
    del world.catalog.state.shops[SHOP]
    assert (await world.ingest("s1 products 4")).outcome is IngestOutcome.IGNORED
    assert world.shops.lookups == [SHOP, SHOP]


async def test_more_products_than_may_wait_are_accepted_and_left_to_a_sync() -> None:
    world = World()
    result = await world.ingest("s1 products 1 2 3 4 5 6")
    assert result == IngestResult(outcome=IngestOutcome.ACCEPTED, product_count=6)
    assert world.requested == set()
    assert world.catalog.state.refresh_queue[world.shop_id(SHOP)].wanted_count == 1
    assert world.wakes == 1
