"""The loop that checks webhooks: which shops it repairs when, and what a failure keeps it from.

The event loop's clock skips to the next timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID, uuid4

from catalogsync_common.drain import Drain
from catalogsync_common.failure import Failure, InvalidRequest

from catalog_svc.domain.errors import ConnectorUnavailable, SourceFailed, StorageCause, StorageUnavailable
from catalog_svc.domain.shop import Shop, ShopKey, ShopRef
from catalog_svc.domain.webhook_health import EnsuredWebhooks, WebhookCheckOutcome
from catalog_svc.usecases.webhook_checks import WebhookChecks
from tests.fakes.exclusive_right import Right
from tests.fakes.known_platforms import SHOPIFY, WOOCOMMERCE, KnownPlatforms
from tests.fakes.skipping_loop import skipping

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
ADDRESS = "https://bff.example/hooks/{platform}/{domain}"
UNREACHABLE = SourceFailed(reason="SOURCE_UNREACHABLE", message="away", transient=True)
FORBIDDEN = SourceFailed(reason="SOURCE_FORBIDDEN", message="the key may only read", transient=False)
NO_SECRET = SourceFailed(reason="CREDENTIALS_NOT_FOUND", message="no secret", transient=False)


@dataclass(slots=True)
class _Record:
    attempted_at: float = -1e9
    must_retry: bool = False


class ShopsWithWebhooks:
    """Shops in memory: the directory, the records of their checks, and their platforms."""

    def __init__(self, *names: str) -> None:
        keys = [ShopKey("shopify", f"{name}.myshopify.com") for name in names]
        self.shops = {shop.shop_id: shop for shop in (Shop(shop_id=uuid4(), key=key) for key in keys)}
        self.records = {shop_id: _Record() for shop_id in self.shops}
        self.owners: dict[str, UUID] = {}
        self.calls: dict[str, list[str]] = {key.domain: [] for key in keys}
        """The addresses at which webhooks were ensured, by domain."""
        self.repaired_shops: list[tuple[str, EnsuredWebhooks]] = []
        self.failures: list[tuple[str, str]] = []
        """Domain and reason."""
        self.postponed: list[str] = []
        self.failing: dict[str, Failure] = {}
        """Raised by the next call, by domain."""
        self.storage_failures = 0
        self.outcomes: list[str] = []
        self.running = self.most_running = 0

    async def find(self, ref: ShopRef) -> Shop | None:
        return self.shops.get(ref) if isinstance(ref, UUID) else None

    async def find_deleting(self, ref: ShopRef) -> UUID | None:
        raise NotImplementedError

    async def due(
        self, *, interval: timedelta, retry_interval: timedelta, platforms: Sequence[str], limit: int
    ) -> list[UUID]:
        if self.storage_failures:
            self.storage_failures -= 1
            raise StorageUnavailable(cause=StorageCause.UNREACHABLE)
        assert platforms == ["shopify"]
        now = asyncio.get_running_loop().time()

        def is_due(record: _Record) -> bool:
            wait = retry_interval if record.must_retry else interval
            return record.attempted_at + wait.total_seconds() <= now

        due = [shop_id for shop_id, record in self.records.items() if is_due(record)]
        return sorted(due, key=lambda shop_id: self.records[shop_id].attempted_at)[:limit]

    async def repaired(self, shop: Shop, found: EnsuredWebhooks) -> None:
        self._attempted(shop, must_retry=False)
        self.repaired_shops.append((shop.key.domain, found))

    async def failed(self, shop: Shop, failure: Failure, *, must_retry: bool) -> None:
        self._attempted(shop, must_retry=must_retry)
        self.failures.append((shop.key.domain, failure.reason))

    async def postpone(self, shop: Shop) -> None:
        self._attempted(shop, must_retry=True)
        self.postponed.append(shop.key.domain)

    def _attempted(self, shop: Shop, *, must_retry: bool) -> None:
        now = asyncio.get_running_loop().time()
        self.records[shop.shop_id] = _Record(attempted_at=now, must_retry=must_retry)

    async def ensure(self, shop: ShopKey, address: str) -> EnsuredWebhooks:
        self.calls[shop.domain].append(address)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await asyncio.sleep(1)
        self.running -= 1
        if shop.domain in self.failing:
            raise self.failing.pop(shop.domain)
        return EnsuredWebhooks(active=3, inactive=0, repaired=len(self.calls[shop.domain]) == 1)

    def webhooks_checked(self, outcome: WebhookCheckOutcome) -> None:
        self.outcomes.append(outcome.value)


@dataclass(slots=True)
class Running:
    """The loop of one replica."""

    shops: ShopsWithWebhooks
    drain: Drain = field(default_factory=Drain)
    platforms: KnownPlatforms = field(
        default_factory=lambda: KnownPlatforms((replace(SHOPIFY, webhooks=True), WOOCOMMERCE))
    )

    def start(self) -> asyncio.Task[None]:
        checks = WebhookChecks(
            records=self.shops,
            shops=self.shops,
            platforms=self.platforms,
            setup=self.shops,
            lease=Right(self.shops.owners, "webhook checks", uuid4()),
            drain=self.drain,
            metrics=self.shops,
            address=ADDRESS,
            interval=DAY,
        )
        return asyncio.create_task(checks.run())

    async def run_for(self, duration: timedelta) -> None:
        task = self.start()
        await asyncio.sleep(duration.total_seconds())
        self.drain.start()
        await task


@skipping
async def test_each_shop_is_checked_once_a_day_at_its_own_address() -> None:
    shops = ShopsWithWebhooks(*(f"shop{n}" for n in range(90)))
    await Running(shops).run_for(1.5 * DAY)
    for domain, addresses in shops.calls.items():
        assert addresses == [f"https://bff.example/hooks/shopify/{domain}"] * 2
    assert sorted(set(shops.outcomes)) == ["repaired", "unchanged"]
    assert 1 < shops.most_running <= 4


@skipping
async def test_of_two_replicas_one_checks() -> None:
    shops = ShopsWithWebhooks("one", "two")
    replicas = [Running(shops), Running(shops)]
    await asyncio.gather(*(replica.run_for(HOUR) for replica in replicas))
    assert [len(addresses) for addresses in shops.calls.values()] == [1, 1]
    # One that stops lets another one continue at once.
    assert shops.owners == {}


@skipping
async def test_a_transient_failure_is_repeated_within_hours_and_another_one_the_next_day() -> None:
    shops = ShopsWithWebhooks("away", "forbidden", "fine")
    shops.failing = {"away.myshopify.com": UNREACHABLE, "forbidden.myshopify.com": FORBIDDEN}
    await Running(shops).run_for(2 * HOUR)
    assert {domain: len(addresses) for domain, addresses in shops.calls.items()} == {
        "away.myshopify.com": 2,
        "forbidden.myshopify.com": 1,
        "fine.myshopify.com": 1,
    }
    assert sorted(shops.failures) == [
        ("away.myshopify.com", "SOURCE_UNREACHABLE"),
        ("forbidden.myshopify.com", "SOURCE_FORBIDDEN"),
    ]


@skipping
async def test_a_shop_that_is_not_set_up_and_an_invalid_address_keep_no_other_from_being_checked() -> None:
    shops = ShopsWithWebhooks("none", "invalid", "fine")
    shops.failing = {
        "none.myshopify.com": NO_SECRET,
        "invalid.myshopify.com": InvalidRequest.of("address", "must be an https URL"),
    }
    await Running(shops).run_for(HOUR)
    assert [domain for domain, _ in shops.repaired_shops] == ["fine.myshopify.com"]
    assert sorted(shops.outcomes) == ["failed", "not_set_up", "repaired"]


@skipping
async def test_an_unavailable_connector_is_no_failure_of_a_shop_and_no_shop_stays_the_first_one() -> None:
    """A call that never ends looks like an unavailable connector, and may be that of one shop alone."""
    shops = ShopsWithWebhooks(*(f"shop{n}" for n in range(6)))
    shops.failing = {"shop0.myshopify.com": ConnectorUnavailable()}
    await Running(shops).run_for(0.5 * HOUR)
    assert shops.failures == []
    assert shops.postponed == ["shop0.myshopify.com"]
    assert len(shops.repaired_shops) == 5
    unknown = Running(ShopsWithWebhooks("one"), platforms=KnownPlatforms(answers=False))
    await unknown.run_for(HOUR)
    assert unknown.shops.calls == {"one.myshopify.com": []}


@skipping
async def test_while_the_database_is_unavailable_the_loop_lives_on() -> None:
    shops = ShopsWithWebhooks("one")
    shops.storage_failures = 3
    await Running(shops).run_for(HOUR)
    assert len(shops.repaired_shops) == 1


@skipping
async def test_the_drain_ends_a_check_in_the_middle() -> None:
    shops = ShopsWithWebhooks("one")
    await Running(shops).run_for(timedelta(seconds=0.5))
    assert (len(shops.calls["one.myshopify.com"]), shops.repaired_shops) == (1, [])
