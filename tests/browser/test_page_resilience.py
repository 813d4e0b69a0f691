"""After every interruption the page is right again by itself, and it never shows an older state than before."""

from __future__ import annotations

from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from playwright.async_api import BrowserContext, Request, expect

from tests.browser.demo_shops import add_demo_shops
from tests.browser.scripted_catalog import progress
from tests.browser.scripted_system import ScriptedSystem, bar, record_values, recorded_values
from tests.waiting import until

SUCCEEDED, FAILED = pb.Sync.STATE_SUCCEEDED, pb.Sync.STATE_FAILED


class _OpenStreams:
    """The streams of events that the tabs of a browser have open."""

    def __init__(self, context: BrowserContext) -> None:
        self.requests: set[Request] = set()
        context.on("request", self._opened)
        context.on("requestfinished", self._closed)
        context.on("requestfailed", self._closed)

    def _opened(self, request: Request) -> None:
        if request.url.endswith("/events"):
            self.requests.add(request)

    def _closed(self, request: Request) -> None:
        self.requests.discard(request)


async def test_a_reload_shows_the_same_state(scripted: ScriptedSystem) -> None:
    """The address has everything that is needed to show a view again."""
    shops = add_demo_shops(scripted.catalog)
    page = await scripted.open(f"shops/{shops.running.shop_id}")
    await expect(bar(page)).to_have_attribute("aria-valuenow", "62")
    await page.reload()
    await expect(bar(page)).to_have_attribute("aria-valuenow", "62")
    await page.goto(f"{scripted.bff.url}/#/shops/{shops.healthy.shop_id}/catalog?text=linen")
    await expect(page.get_by_role("link", name="Linen Shirt")).to_be_visible()
    await page.reload()
    await expect(page.get_by_label("Name")).to_have_value("linen")
    await expect(page.get_by_role("article")).to_have_count(1)


async def test_tabs_share_one_stream_and_survive_its_tab(scripted: ScriptedSystem) -> None:
    """Seven tabs on HTTP/1.1, which allows six connections; then the tab with the stream is closed."""
    shop = scripted.catalog.add_shop()
    sync = scripted.catalog.add_running(shop, items=100, total=1000)
    context = await scripted.new_context()
    open_streams = _OpenStreams(context)
    tabs = [await scripted.open(f"shops/{shop.shop_id}", context=context) for _ in range(7)]
    for tab in tabs:
        await expect(bar(tab)).to_have_attribute("aria-valuenow", "10")
        await expect(tab.get_by_text("Live")).to_be_visible()
    assert len(open_streams.requests) == 1
    await scripted.catalog.change(sync.sync_id, progress=progress(500, 1000))
    for tab in tabs:
        await expect(bar(tab)).to_have_attribute("aria-valuenow", "50")
    (before,) = open_streams.requests
    holder = before.frame.page
    await holder.close()
    await until(lambda: bool(open_streams.requests - {before}))
    await scripted.catalog.change(sync.sync_id, state=SUCCEEDED)
    for tab in (tab for tab in tabs if tab is not holder):
        await expect(bar(tab)).to_have_attribute("aria-valuenow", "100")


async def test_what_ended_while_the_browser_was_offline_is_shown_after_it(scripted: ScriptedSystem) -> None:
    """Offline, the page says since when its state is old; online, it is right without a reload."""
    shop = scripted.catalog.add_shop()
    sync = scripted.catalog.add_running(shop, items=500, total=1000)
    context = await scripted.new_context()
    page = await scripted.open(f"shops/{shop.shop_id}", context=context)
    await expect(bar(page)).to_have_attribute("aria-valuenow", "50")
    await context.set_offline(True)
    await expect(page.get_by_text("You are offline.")).to_be_visible()
    await expect(page.get_by_text("Not up to date")).to_be_visible()
    await scripted.catalog.change(sync.sync_id, state=FAILED)
    other = scripted.catalog.add_running(shop, items=20, total=1000)
    await expect(bar(page)).to_have_attribute("aria-valuenow", "50")
    await context.set_offline(False)
    await expect(bar(page)).to_have_attribute("aria-valuenow", "2")
    await expect(page.get_by_text("You are offline.")).to_have_count(0)
    await scripted.catalog.change(other.sync_id, state=SUCCEEDED)
    await expect(bar(page)).to_have_attribute("aria-valuenow", "100")


async def test_a_killed_bff_is_replaced_without_a_step_backwards(scripted: ScriptedSystem) -> None:
    """The session, which is a signed cookie, outlives the process as well."""
    shop = scripted.catalog.add_shop()
    sync = scripted.catalog.add_running(shop, items=500, total=1000)
    page = await scripted.open(f"shops/{shop.shop_id}")
    await expect(bar(page)).to_have_attribute("aria-valuenow", "50")
    await record_values(page)
    await scripted.bff.kill()
    await expect(page.get_by_text("The connection is lost.", exact=True)).to_be_visible()
    await scripted.catalog.change(sync.sync_id, progress=progress(800, 1000))
    await scripted.bff.start()
    await expect(bar(page)).to_have_attribute("aria-valuenow", "80")
    await expect(page.get_by_text("The connection is lost.", exact=True)).to_have_count(0)
    values = await recorded_values(page)
    assert values == sorted(values)


async def test_a_killed_catalog_is_reported_and_its_return_too(scripted: ScriptedSystem) -> None:
    """The stream to the BFF lives on, and yet the page does not claim to be up to date."""
    shop = scripted.catalog.add_shop()
    sync = scripted.catalog.add_running(shop, items=500, total=1000)
    page = await scripted.open(f"shops/{shop.shop_id}")
    await expect(bar(page)).to_have_attribute("aria-valuenow", "50")
    await record_values(page)
    await scripted.server.kill()
    await expect(page.get_by_text("The catalog service does not answer.").first).to_be_visible()
    await expect(page.get_by_text("Not up to date")).to_be_visible()
    await scripted.catalog.change(sync.sync_id, state=SUCCEEDED, progress=progress(1000, 1000))
    await scripted.server.start()
    await expect(bar(page)).to_have_attribute("aria-valuenow", "100")
    await expect(page.get_by_text("Live")).to_be_visible()
    values = await recorded_values(page)
    assert values == sorted(values)


async def test_a_page_that_is_opened_during_an_outage_appears_after_it(scripted: ScriptedSystem) -> None:
    """It says what is wrong, and needs no reload."""
    scripted.catalog.add_shop()
    await scripted.server.kill()
    page = await scripted.open()
    await expect(page.get_by_role("main")).to_contain_text("does not answer")
    await scripted.server.start()
    await expect(page.get_by_role("link", name="Demo Shop")).to_be_visible()
    await expect(page.get_by_text("does not answer")).to_have_count(0)


async def test_a_sync_that_is_not_stored_any_more_disappears(scripted: ScriptedSystem) -> None:
    """A scheduled sync that changed nothing is removed, also while the page is disconnected."""
    shop = scripted.catalog.add_shop()
    sync = scripted.catalog.add_running(shop, items=500, total=1000)
    page = await scripted.open()
    await expect(page.get_by_role("progressbar")).to_be_visible()
    await scripted.bff.kill()
    # Only the snapshot of the stream shows it, by what it lacks.
    await page.route("**/status", lambda route: route.abort())
    del scripted.catalog.syncs[sync.sync_id]
    await scripted.bff.start()
    await expect(page.get_by_role("progressbar")).to_have_count(0)
    await expect(page.get_by_text("Running")).to_have_count(0)


async def test_the_end_of_the_session_leads_to_the_sign_in(scripted: ScriptedSystem) -> None:
    """In every tab; nothing of the shops stays visible."""
    scripted.catalog.add_shop()
    context = await scripted.new_context()
    one = await scripted.open(context=context)
    other = await scripted.open(context=context)
    await expect(other.get_by_role("link", name="Demo Shop")).to_be_visible()
    # The first tab has the stream, which the server does not end at once.
    await other.get_by_role("button", name="Sign out").click()
    for tab in (one, other):
        await expect(tab.get_by_role("button", name="Open the demo")).to_be_visible()
        await expect(tab.get_by_text("Demo Shop")).to_have_count(0)
