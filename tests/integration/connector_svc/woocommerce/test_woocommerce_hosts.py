"""Hosts as they are: what they take off, print, redirect and refuse costs no product, or is told plainly."""

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
from connector_svc.platforms.woocommerce.gate import MOST_CALLS
from devstore.spec import VariantRange
from devstore.woocommerce.quirks import WooQuirk
from tests.contract.woocommerce.reading import SHOP, read
from tests.integration.connector_svc.woocommerce.woo_store import KEY, SECRET, Store, woo_store
from tests.waiting import PATIENCE, settled, turns, until, within_patience

EQUALLY_QUICK = {"monotonic": lambda: 0.0}
"""Options of a platform that finds no answer slow, however busy this machine is."""


async def reads_whole(store: Store, platform: Platform) -> None:
    seen = await read(platform)
    assert {key: item.stock_quantity for key, item in seen.items().items()} == store.stock()
    assert {product.id for product in seen.products} == store.live()
    assert seen.issues == []
    assert (await platform.check(SHOP)).product_count == len(store.live())


SURVIVED = [
    WooQuirk.STRIPPED_AUTHORIZATION,
    WooQuirk.PLAIN_PERMALINKS,
    WooQuirk.NO_REWRITING,
    WooQuirk.NO_BULK_VARIATIONS,
    WooQuirk.STALE_VARIATIONS,
    WooQuirk.NOTICES,
    WooQuirk.BYTE_ORDER_MARK,
    WooQuirk.OTHER_HOME,
]


@pytest.mark.parametrize("quirk", SURVIVED)
@pytest.mark.parametrize("version", ["8.2", "10.3"])
async def test_a_store_with_a_quirk_is_read_whole(tmp_path: Path, quirk: WooQuirk, version: str) -> None:
    async with woo_store(tmp_path, products=90, version=version, woo_quirks=frozenset({quirk})) as (
        store,
        platform,
    ):
        await reads_whole(store, platform)


async def test_all_of_them_together_are_read_whole(tmp_path: Path) -> None:
    quirks = frozenset({*SURVIVED} - {WooQuirk.NO_REWRITING})
    async with woo_store(tmp_path, products=90, woo_quirks=quirks) as (store, platform):
        await reads_whole(store, platform)


@pytest.mark.parametrize("quirk", [WooQuirk.PLAIN_PERMALINKS, WooQuirk.NO_REWRITING])
async def test_where_the_api_is_gets_remembered_and_forgotten_when_it_moves(
    tmp_path: Path, quirk: WooQuirk
) -> None:
    async with woo_store(tmp_path, products=20, woo_quirks=frozenset({quirk})) as (store, platform):
        await read(platform)
        calls = store.running.requests(SHOP.domain)
        calls.reset()
        await read(platform)
        again = calls.calls
        assert set(calls.by_status) == {200}
        store.shop.woo_quirks.clear()
        store.shop.woo_quirks.add(
            WooQuirk.PLAIN_PERMALINKS if quirk is WooQuirk.NO_REWRITING else WooQuirk.NOTICES
        )
        await reads_whole(store, platform)
        store.shop.woo_quirks.clear()
        calls.reset()
        await read(platform)
        assert calls.calls == again


async def test_over_plain_http_a_store_is_read_by_signed_requests_that_show_no_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with woo_store(None, products=90) as (store, platform):
        await reads_whole(store, platform)
        asked = list(store.running.requests(SHOP.domain).recent)
    signed = [note for note in asked if "oauth_timestamp" in note.query]
    assert len(signed) > 5
    assert len({note.query["oauth_nonce"] for note in signed}) == len(signed)
    text = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert KEY not in text
    assert SECRET not in text
    assert "oauth" not in text


@pytest.mark.parametrize(
    "quirk", [WooQuirk.OTHER_HOME, WooQuirk.PLAIN_PERMALINKS, WooQuirk.STRIPPED_AUTHORIZATION]
)
async def test_over_plain_http_signatures_fit_whatever_the_host_does(quirk: WooQuirk) -> None:
    async with woo_store(None, products=90, woo_quirks=frozenset({quirk})) as (store, platform):
        await reads_whole(store, platform)


async def test_over_plain_http_a_wrong_secret_is_told() -> None:
    async with woo_store(None, products=20, secret="cs_other") as (_, platform):
        with pytest.raises(SourceUnauthorized, match="signature"):
            await read(platform)


async def test_a_web_page_with_status_200_says_who_must_do_what(tmp_path: Path) -> None:
    async with woo_store(tmp_path, products=20, woo_quirks=frozenset({WooQuirk.WEB_PAGE})) as (_, platform):
        with pytest.raises(SourceResponseInvalid, match="web page instead of JSON") as raised:
            await read(platform)
    assert "Ask the shop's host" in raised.value.message


async def test_a_page_that_comes_in_the_middle_ends_the_pass_and_loses_nothing(tmp_path: Path) -> None:
    async with woo_store(tmp_path, products=250, edge_cases=False) as (store, platform):
        batches: list[Batch] = []
        with pytest.raises(SourceResponseInvalid):  # noqa: PT012 - the page must come between two batches
            async for event in platform.fetch(
                FetchRequest(shop=SHOP, max_batch_products=20), on_wait=lambda _: None
            ):
                if isinstance(event, Batch):
                    batches.append(event)
                    store.shop.woo_quirks.add(WooQuirk.WEB_PAGE)
        store.shop.woo_quirks.clear()
        rest = await read(platform, FetchRequest(shop=SHOP, checkpoint=batches[-1].checkpoint))
        came = [product.id for batch in batches for product in batch.products]
        assert sorted([*came, *(product.id for product in rest.products)]) == sorted(store.live())


@pytest.mark.parametrize(("theirs", "ours"), [("kg", "kg"), ("lbs", "lb"), ("g", "g"), ("oz", "oz")])
async def test_weights_arrive_with_the_stores_unit(tmp_path: Path, theirs: str, ours: str) -> None:
    async with woo_store(tmp_path, products=60, weight_unit=theirs) as (store, platform):
        items = (await read(platform)).items()
        truth = [variant for product in store.catalog.products() for variant in product.variants]
        weighed = [v for v in truth if v.weight and str(v.id) in items]
        assert len(weighed) > 50
        for variant in weighed:
            item = items[str(variant.id)]
            assert (item.weight, item.weight_unit) == (Decimal(variant.weight), ours)


@pytest.mark.parametrize("quirk", [WooQuirk.NO_BULK_VARIATIONS, WooQuirk.NOTICES])
async def test_never_more_than_eight_calls_are_under_way_however_many_passes_read(
    tmp_path: Path, quirk: WooQuirk
) -> None:
    async with woo_store(
        tmp_path,
        products=80,
        workers=MOST_CALLS,
        work_ms=5,
        woo_quirks=frozenset({quirk}),
        options=EQUALLY_QUICK,
    ) as (store, platform):
        await asyncio.gather(read(platform), read(platform))
        assert 2 <= store.shop.woocommerce.host.peak_requests <= MOST_CALLS


async def test_a_host_of_one_worker_is_read_without_a_refusal(tmp_path: Path) -> None:
    async with woo_store(
        tmp_path, products=60, workers=1, work_ms=80, woo_quirks=frozenset({WooQuirk.NO_BULK_VARIATIONS})
    ) as (store, platform):
        await reads_whole(store, platform)
        assert store.running.requests(SHOP.domain).by_status.keys() == {200, 404}


class BusyOnce:
    """Asks one call after so many others to wait, three times, and takes its time to repeat it."""

    def __init__(self, after: int) -> None:
        self._after = after
        self.paths: list[str] = []
        self.paused = ""

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        self.paths.append(request.path)
        if not self.paused and len(self.paths) > self._after:
            self.paused = request.path
        tries = self.paths.count(request.path) if request.path == self.paused else 0
        if tries in (2, 3):
            await settled(lambda: len(self.paths))
        return web.Response(status=429, headers={"Retry-After": "1"}) if tries in (1, 2, 3) else None


async def test_a_host_that_asks_for_a_pause_is_left_alone_meanwhile(tmp_path: Path) -> None:
    """No pause is slept here, so what counts is that no call overtakes the one that waits."""
    async with woo_store(tmp_path, products=90, woo_quirks=frozenset({WooQuirk.NO_BULK_VARIATIONS})) as (
        store,
        platform,
    ):
        busy = BusyOnce(after=25)
        store.running.add_fault(SHOP.domain, busy)
        await reads_whole(store, platform)
    assert busy.paused.endswith("/variations")
    first, _, _, last = (place for place, path in enumerate(busy.paths) if path == busy.paused)
    others = set(busy.paths[first:last]) - {busy.paused}
    assert len(others) < MOST_CALLS, "only those that were under way with the first try"
    assert len(busy.paths) - last > 2 * MOST_CALLS, "there were others that could have been sent meanwhile"


class Trips:
    """A `Fault` of round trips, 200 ms each by `clock`: all who asked before the first answer at once."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self._waiting: list[asyncio.Future[None]] = []

    def clock(self) -> float:
        return 0.2 * len(self.sizes)

    async def __call__(self, request: web.Request) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        if len(self._waiting) == 1:
            await settled(lambda: len(self._waiting))
            self.sizes.append(len(self._waiting))
            for other in self._waiting:
                other.set_result(None)
            self._waiting = []
        await place


async def test_a_distant_host_is_asked_for_several_things_at_a_time(tmp_path: Path) -> None:
    """200 ms away, 80 variable products, listed one by one: 2,000 variations once took 410 s this way."""
    trips = Trips()
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
        await read(platform)
    assert sum(trips.sizes) / len(trips.sizes) > 3
    assert max(trips.sizes) <= MOST_CALLS


async def test_a_distant_store_with_a_bulk_route_is_read_in_as_few_round_trips_as_can_be(tmp_path: Path) -> None:
    """The index; the first products; their variations beside the store's other facts; the currency."""
    trips = Trips()
    async with woo_store(
        tmp_path,
        products=100,
        variants=VariantRange(least=5, most=5),
        simple=False,
        edge_cases=False,
        options={"monotonic": trips.clock},
    ) as (store, platform):
        store.running.add_fault(SHOP.domain, trips)
        seen = await read(platform)
        calls = [note.path for note in store.running.requests(SHOP.domain).recent]
    assert len(seen.products) == 100
    assert len(trips.sizes) == 4
    assert len(calls) == 1 + 5 + 5 + 1


async def test_a_slow_version_holds_back_the_first_product_and_no_call(tmp_path: Path) -> None:
    """It takes seconds on real stores; the header tells the version, and nothing else waits for it."""

    class Slow:
        """Tells the version when the variations of two pages have been asked for."""

        def __init__(self) -> None:
            self.listed = 0
            self.enough = asyncio.Event()

        async def __call__(self, request: web.Request) -> None:
            if request.path.endswith("/wc/v3/variations"):
                self.listed += 1
                if self.listed == 2:
                    self.enough.set()
            elif request.path.endswith("/system_status"):
                await within_patience(self.enough.wait())

    async with woo_store(tmp_path, products=100, edge_cases=False, options=EQUALLY_QUICK) as (store, platform):
        store.running.add_fault(SHOP.domain, Slow())
        await reads_whole(store, platform)


async def test_the_operators_limit_of_connections_is_the_most(tmp_path: Path) -> None:
    trips = Trips()
    options = {"connections_per_host": 2, "monotonic": trips.clock}
    async with woo_store(tmp_path, options=options, products=80, edge_cases=False) as (store, platform):
        store.running.add_fault(SHOP.domain, trips)
        await read(platform)
    assert max(trips.sizes) == 2


async def test_a_closed_store_is_told_as_such_whatever_else_fails(tmp_path: Path) -> None:
    """The page fails first and says less: what a person can act on is the key."""

    page_failed = asyncio.Event()

    class Closed:
        async def __call__(self, request: web.Request) -> web.StreamResponse | None:
            if request.path.endswith("/wc/v3/products"):
                page_failed.set()
                return web.Response(status=400, text="{}")
            if request.path.endswith("/currencies/current"):
                await page_failed.wait()
                await turns()
                return web.json_response(
                    {"code": "woocommerce_rest_authentication_error", "message": "Consumer secret is invalid."},
                    status=401,
                )
            return None

    async with woo_store(tmp_path, products=20) as (store, platform):
        store.running.add_fault(SHOP.domain, Closed())
        with pytest.raises(SourceUnauthorized, match="secret"):
            await read(platform)


async def test_what_changes_after_the_first_page_was_asked_for_is_in_the_next_window(tmp_path: Path) -> None:
    """The store's clock of the first page, which may come late, is not yet the watermark."""

    class LatePage:
        asked_at: datetime | None = None

        async def __call__(self, request: web.Request) -> None:
            if request.path.endswith("/wc/v3/products"):
                at = self.asked_at = self.asked_at or datetime.now(UTC)
                # The store's clock tells whole seconds.
                await until(lambda: datetime.now(UTC) > at + timedelta(seconds=2))

    late = LatePage()
    async with woo_store(tmp_path, products=20) as (store, platform):
        store.running.add_fault(SHOP.domain, late)
        began = datetime.now(UTC)
        seen = await read(platform)
    assert late.asked_at is not None
    assert seen.headers[0].watermark <= late.asked_at
    assert seen.headers[0].watermark > began - timedelta(seconds=PATIENCE)


async def test_a_redirect_to_the_store_itself_is_told_as_a_matter_of_permalinks(tmp_path: Path) -> None:
    """Plain permalinks, and a firewall that closes the only address that is left."""

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
