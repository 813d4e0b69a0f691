"""Quirks of hosts: whatever they strip, print, redirect or reject, no product is lost or the cause is named."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from aiohttp import web

from connector_svc.domain.errors import SourceFailure, SourceResponseInvalid, SourceUnauthorized
from connector_svc.domain.fetch import Batch, FetchRequest
from connector_svc.platforms.base import Platform
from connector_svc.platforms.woocommerce.concurrency_limiter import MAX_CONCURRENT_CALLS
from devstore.spec import VariantRange
from devstore.woocommerce.quirks import WooQuirk
from tests.contract.woocommerce.read_pass import SHOP, read_pass
from tests.integration.connector_svc.woocommerce.woo_store import KEY, SECRET, Store, woo_store
from tests.waiting import TIMEOUT_SECONDS, let_tasks_run, until, until_stable, within_timeout

CONSTANT_LATENCY = {"monotonic": lambda: 0.0}
"""Platform options with which no response is slow, however busy this machine is."""


async def assert_reads_everything(store: Store, platform: Platform) -> None:
    seen = await read_pass(platform)
    assert {key: item.stock_quantity for key, item in seen.items().items()} == store.stock()
    assert {product.id for product in seen.products} == store.live_ids()
    assert seen.issues == []
    assert (await platform.check(SHOP)).product_count == len(store.live_ids())


HANDLED_QUIRKS = [
    WooQuirk.STRIPPED_AUTHORIZATION,
    WooQuirk.PLAIN_PERMALINKS,
    WooQuirk.NO_REWRITING,
    WooQuirk.NO_BULK_VARIATIONS,
    WooQuirk.STALE_VARIATIONS,
    WooQuirk.NOTICES,
    WooQuirk.BYTE_ORDER_MARK,
    WooQuirk.OTHER_HOME,
]


@pytest.mark.parametrize("quirk", HANDLED_QUIRKS)
@pytest.mark.parametrize("version", ["8.2", "10.3"])
async def test_a_store_with_a_quirk_is_read_completely(tmp_path: Path, quirk: WooQuirk, version: str) -> None:
    async with woo_store(tmp_path, products=90, version=version, woo_quirks=frozenset({quirk})) as (
        store,
        platform,
    ):
        await assert_reads_everything(store, platform)


async def test_a_store_with_all_quirks_is_read_completely(tmp_path: Path) -> None:
    quirks = frozenset({*HANDLED_QUIRKS} - {WooQuirk.NO_REWRITING})
    async with woo_store(tmp_path, products=90, woo_quirks=quirks) as (store, platform):
        await assert_reads_everything(store, platform)


@pytest.mark.parametrize("quirk", [WooQuirk.PLAIN_PERMALINKS, WooQuirk.NO_REWRITING])
async def test_the_address_form_is_remembered_and_forgotten_when_it_changes(
    tmp_path: Path, quirk: WooQuirk
) -> None:
    async with woo_store(tmp_path, products=20, woo_quirks=frozenset({quirk})) as (store, platform):
        await read_pass(platform)
        calls = store.running.requests(SHOP.domain)
        calls.reset()
        await read_pass(platform)
        again = calls.calls
        assert set(calls.by_status) == {200}
        store.shop.woo_quirks.clear()
        store.shop.woo_quirks.add(
            WooQuirk.PLAIN_PERMALINKS if quirk is WooQuirk.NO_REWRITING else WooQuirk.NOTICES
        )
        await assert_reads_everything(store, platform)
        store.shop.woo_quirks.clear()
        calls.reset()
        await read_pass(platform)
        assert calls.calls == again


async def test_over_plain_http_requests_are_signed_and_contain_no_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with woo_store(None, products=90) as (store, platform):
        await assert_reads_everything(store, platform)
        requests = list(store.running.requests(SHOP.domain).recent)
    signed = [note for note in requests if "oauth_timestamp" in note.query]
    assert len(signed) > 5
    assert len({note.query["oauth_nonce"] for note in signed}) == len(signed)
    text = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert KEY not in text
    assert SECRET not in text
    assert "oauth" not in text


@pytest.mark.parametrize(
    "quirk", [WooQuirk.OTHER_HOME, WooQuirk.PLAIN_PERMALINKS, WooQuirk.STRIPPED_AUTHORIZATION]
)
async def test_over_plain_http_signatures_are_valid_with_every_host_quirk(quirk: WooQuirk) -> None:
    async with woo_store(None, products=90, woo_quirks=frozenset({quirk})) as (store, platform):
        await assert_reads_everything(store, platform)


async def test_over_plain_http_a_wrong_secret_is_reported() -> None:
    async with woo_store(None, products=20, secret="cs_other") as (_, platform):
        with pytest.raises(SourceUnauthorized, match="signature"):
            await read_pass(platform)


async def test_a_web_page_with_status_200_says_who_can_fix_the_store(tmp_path: Path) -> None:
    async with woo_store(tmp_path, products=20, woo_quirks=frozenset({WooQuirk.WEB_PAGE})) as (_, platform):
        with pytest.raises(SourceResponseInvalid, match="web page instead of JSON") as raised:
            await read_pass(platform)
    assert "Ask the shop's host" in raised.value.message


async def test_a_web_page_in_the_middle_fails_the_pass_and_loses_nothing(tmp_path: Path) -> None:
    async with woo_store(tmp_path, products=250, edge_cases=False) as (store, platform):
        batches: list[Batch] = []
        with pytest.raises(SourceResponseInvalid):  # noqa: PT012 - the page must be sent between two batches
            async for event in platform.fetch(
                FetchRequest(shop=SHOP, max_batch_products=20), on_wait=lambda _: None
            ):
                if isinstance(event, Batch):
                    batches.append(event)
                    store.shop.woo_quirks.add(WooQuirk.WEB_PAGE)
        store.shop.woo_quirks.clear()
        rest = await read_pass(platform, FetchRequest(shop=SHOP, checkpoint=batches[-1].checkpoint))
        received = [product.id for batch in batches for product in batch.products]
        assert sorted([*received, *(product.id for product in rest.products)]) == sorted(store.live_ids())


@pytest.mark.parametrize(("store_unit", "unit"), [("kg", "kg"), ("lbs", "lb"), ("g", "g"), ("oz", "oz")])
async def test_weights_have_the_stores_unit(tmp_path: Path, store_unit: str, unit: str) -> None:
    async with woo_store(tmp_path, products=60, weight_unit=store_unit) as (store, platform):
        items = (await read_pass(platform)).items()
        variants = [variant for product in store.catalog.products() for variant in product.variants]
        with_weight = [v for v in variants if v.weight and str(v.id) in items]
        assert len(with_weight) > 50
        for variant in with_weight:
            item = items[str(variant.id)]
            assert (item.weight, item.weight_unit) == (Decimal(variant.weight), unit)


@pytest.mark.parametrize("quirk", [WooQuirk.NO_BULK_VARIATIONS, WooQuirk.NOTICES])
async def test_concurrent_passes_share_the_limit_of_eight_calls(tmp_path: Path, quirk: WooQuirk) -> None:
    async with woo_store(
        tmp_path,
        products=80,
        workers=MAX_CONCURRENT_CALLS,
        work_ms=5,
        woo_quirks=frozenset({quirk}),
        options=CONSTANT_LATENCY,
    ) as (store, platform):
        await asyncio.gather(read_pass(platform), read_pass(platform))
        assert 2 <= store.shop.woocommerce.host.peak_requests <= MAX_CONCURRENT_CALLS


async def test_a_host_with_one_worker_is_read_without_errors(tmp_path: Path) -> None:
    async with woo_store(
        tmp_path, products=60, workers=1, work_ms=80, woo_quirks=frozenset({WooQuirk.NO_BULK_VARIATIONS})
    ) as (store, platform):
        await assert_reads_everything(store, platform)
        assert store.running.requests(SHOP.domain).by_status.keys() == {200, 404}


class ThrottlingHost:
    """Rejects one request after `after` others with 429, three times, and delays its repetitions."""

    def __init__(self, after: int) -> None:
        self._after = after
        self.paths: list[str] = []
        self.throttled_path = ""

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        self.paths.append(request.path)
        if not self.throttled_path and len(self.paths) > self._after:
            self.throttled_path = request.path
        tries = self.paths.count(request.path) if request.path == self.throttled_path else 0
        if tries in (2, 3):
            await until_stable(lambda: len(self.paths))
        return web.Response(status=429, headers={"Retry-After": "1"}) if tries in (1, 2, 3) else None


async def test_no_other_request_is_sent_while_one_waits_for_its_retry(tmp_path: Path) -> None:
    """Retries have no delay here, so the test checks that no request overtakes the one that waits."""
    async with woo_store(tmp_path, products=90, woo_quirks=frozenset({WooQuirk.NO_BULK_VARIATIONS})) as (
        store,
        platform,
    ):
        host = ThrottlingHost(after=25)
        store.running.add_fault(SHOP.domain, host)
        await assert_reads_everything(store, platform)
    assert host.throttled_path.endswith("/variations")
    first, _, _, last = (place for place, path in enumerate(host.paths) if path == host.throttled_path)
    others = set(host.paths[first:last]) - {host.throttled_path}
    assert len(others) < MAX_CONCURRENT_CALLS, "only those that were in flight with the first attempt"
    assert len(host.paths) - last > 2 * MAX_CONCURRENT_CALLS, "there were others to send meanwhile"


class RoundTrips:
    """A fault that groups requests into round trips of 200 ms by `clock`: all that are sent before a response."""

    def __init__(self) -> None:
        self.request_counts: list[int] = []
        self._waiting: list[asyncio.Future[None]] = []

    def clock(self) -> float:
        return 0.2 * len(self.request_counts)

    async def __call__(self, request: web.Request) -> None:
        response: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(response)
        if len(self._waiting) == 1:
            await until_stable(lambda: len(self._waiting))
            self.request_counts.append(len(self._waiting))
            for other in self._waiting:
                other.set_result(None)
            self._waiting = []
        await response


async def test_a_distant_host_receives_several_requests_at_a_time(tmp_path: Path) -> None:
    """200 ms latency, 80 variable products, listed one by one: 2,000 variations once took 410 s this way."""
    trips = RoundTrips()
    async with woo_store(
        tmp_path,
        products=80,
        variants=VariantRange(least=2, most=2),
        simple=False,
        edge_cases=False,
        woo_quirks=frozenset({WooQuirk.NO_BULK_VARIATIONS}),
        options={"monotonic": trips.clock},
    ) as (store, platform):
        store.running.add_fault(SHOP.domain, trips)
        await read_pass(platform)
    assert sum(trips.request_counts) / len(trips.request_counts) > 3
    assert max(trips.request_counts) <= MAX_CONCURRENT_CALLS


async def test_a_distant_store_with_a_bulk_route_is_read_in_four_round_trips(tmp_path: Path) -> None:
    """The index; the first products; their variations and the store info; the currency."""
    trips = RoundTrips()
    async with woo_store(
        tmp_path,
        products=100,
        variants=VariantRange(least=5, most=5),
        simple=False,
        edge_cases=False,
        options={"monotonic": trips.clock},
    ) as (store, platform):
        store.running.add_fault(SHOP.domain, trips)
        seen = await read_pass(platform)
        calls = [note.path for note in store.running.requests(SHOP.domain).recent]
    assert len(seen.products) == 100
    assert len(trips.request_counts) == 4
    assert len(calls) == 1 + 5 + 5 + 1


async def test_a_slow_version_request_delays_the_first_product_and_no_request(tmp_path: Path) -> None:
    """The request takes seconds on real stores; only the header needs the version."""

    class SlowVersion:
        """Returns the version when the variations of two pages have been requested."""

        def __init__(self) -> None:
            self.list_requests = 0
            self.enough = asyncio.Event()

        async def __call__(self, request: web.Request) -> None:
            if request.path.endswith("/wc/v3/variations"):
                self.list_requests += 1
                if self.list_requests == 2:
                    self.enough.set()
            elif request.path.endswith("/system_status"):
                await within_timeout(self.enough.wait())

    async with woo_store(tmp_path, products=100, edge_cases=False, options=CONSTANT_LATENCY) as (store, platform):
        store.running.add_fault(SHOP.domain, SlowVersion())
        await assert_reads_everything(store, platform)


async def test_the_configured_number_of_connections_limits_concurrent_calls(tmp_path: Path) -> None:
    trips = RoundTrips()
    options = {"connections_per_host": 2, "monotonic": trips.clock}
    async with woo_store(tmp_path, options=options, products=80, edge_cases=False) as (store, platform):
        store.running.add_fault(SHOP.domain, trips)
        await read_pass(platform)
    assert max(trips.request_counts) == 2


async def test_the_failure_of_the_store_info_takes_precedence(tmp_path: Path) -> None:
    """The product page fails first and says less: the key is what a person can act on."""

    page_failed = asyncio.Event()

    class Closed:
        async def __call__(self, request: web.Request) -> web.StreamResponse | None:
            if request.path.endswith("/wc/v3/products"):
                page_failed.set()
                return web.Response(status=400, text="{}")
            if request.path.endswith("/currencies/current"):
                await page_failed.wait()
                await let_tasks_run()
                return web.json_response(
                    {"code": "woocommerce_rest_authentication_error", "message": "Consumer secret is invalid."},
                    status=401,
                )
            return None

    async with woo_store(tmp_path, products=20) as (store, platform):
        store.running.add_fault(SHOP.domain, Closed())
        with pytest.raises(SourceUnauthorized, match="secret"):
            await read_pass(platform)


async def test_the_watermark_is_not_later_than_the_request_for_the_first_page(tmp_path: Path) -> None:
    """The store's clock in the first page may be later: changes in between must be in the next pass."""

    class LatePage:
        requested_at: datetime | None = None

        async def __call__(self, request: web.Request) -> None:
            if request.path.endswith("/wc/v3/products"):
                at = self.requested_at = self.requested_at or datetime.now(UTC)
                # The store's clock has a resolution of one second.
                await until(lambda: datetime.now(UTC) > at + timedelta(seconds=2))

    late = LatePage()
    async with woo_store(tmp_path, products=20) as (store, platform):
        store.running.add_fault(SHOP.domain, late)
        began = datetime.now(UTC)
        seen = await read_pass(platform)
    assert late.requested_at is not None
    assert seen.headers[0].watermark <= late.requested_at
    assert seen.headers[0].watermark > began - timedelta(seconds=TIMEOUT_SECONDS)


async def test_a_redirect_to_the_store_itself_names_permalinks_as_the_cause(tmp_path: Path) -> None:
    """Plain permalinks, and a firewall that blocks the only address form that is left."""

    class Closed:
        async def __call__(self, request: web.Request) -> web.StreamResponse | None:
            if "rest_route" in request.query:
                return web.Response(status=403, text="<html>no</html>", content_type="text/html")
            return None

    quirks = frozenset({WooQuirk.PLAIN_PERMALINKS})
    async with woo_store(tmp_path, products=20, woo_quirks=quirks) as (store, platform):
        store.running.add_fault(SHOP.domain, Closed())
        with pytest.raises(SourceFailure, match="Permalinks") as raised:
            await platform.check(SHOP)
    assert "Connect it under that address" not in raised.value.message
