"""The BFF as a process in front of the real services: tenants, webhooks, images, and what survives a kill."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientError
from catalogsync.catalog.v1 import catalog_service_pb2 as pb

from demo.processes import ProcessExited
from tests.bff_client import API, BffClient
from tests.e2e.bff_system import CATALOG_SETTINGS, MERCHANT, OTHER_DOMAIN, STRANGER, BffSystem, bff_system
from tests.e2e.small_system import DOMAIN
from tests.waiting import forever, until_found, within_timeout

SHOP = {"platform": "shopify", "domain": DOMAIN}
SUBSCRIBE = """
mutation Subscribe($url: String!) {
  webhookSubscriptionCreate(topic: PRODUCTS_UPDATE, webhookSubscription: {uri: $url}) { userErrors { message } }
}"""


@pytest.fixture(scope="module")
async def system() -> AsyncIterator[BffSystem]:
    """A system that no test of this module breaks, with a synced shop."""
    async with bff_system(products=20) as system:
        async with system.browser() as browser:
            await sync_to_end(browser)
        yield system


async def sync_to_end(browser: BffClient) -> dict[str, Any]:
    """Sync the shop and return the terminal snapshot."""
    started = await browser.post("/sync", json={**SHOP, "mode": "FULL"})
    assert started.status == 201, started.body
    async with browser.stream(f"/sync/{started.data['sync_id']}/events") as stream:
        events = await stream.rest()
    last: dict[str, Any] = events[-1].content
    assert last["state"] == "SUCCEEDED", last
    return last


class TestTenants:
    async def test_a_merchant_sees_its_own_shop(self, system: BffSystem) -> None:
        async with system.browser() as browser:
            shops = (await browser.get("/shops")).data
            assert [shop["shop"]["domain"] for shop in shops] == [DOMAIN]
            assert (await browser.get("/status")).data["item_count"] == system.small.items
            listed = (await browser.get("/sync")).data
            assert {sync["shop"]["domain"] for sync in listed} == {DOMAIN}

    @pytest.mark.parametrize("subject", [f"merchant:{STRANGER}", OTHER_DOMAIN])
    async def test_another_merchant_sees_nothing_of_it(self, system: BffSystem, subject: str) -> None:
        async with system.browser() as owner:
            shop_id = await system.shop_id()
            sync_id = (await owner.get("/sync")).data[0]["sync_id"]
            item = (await owner.get(f"/shops/{shop_id}/items")).data[0]
        paths = [
            f"/shops/{shop_id}",
            f"/shops/{shop_id}/status",
            f"/shops/{shop_id}/items",
            f"/shops/{shop_id}/items/{item['item_id']}",
            f"/shops/{shop_id}/items/{item['item_id']}/image",
            f"/shops/{shop_id}/products",
            f"/shops/{shop_id}/products/{item['product_id']}/image",
            f"/sync?shop_id={shop_id}",
            f"/sync/{sync_id}",
            f"/sync/{sync_id}/issues",
            f"/sync/{sync_id}/events",
        ]
        async with system.browser(subject) as stranger:
            for path in paths:
                answer = await stranger.get(path)
                assert (answer.status, answer.code) in ((404, "SHOP_NOT_FOUND"), (404, "SYNC_NOT_FOUND")), path
            assert (await stranger.get("/sync")).data == []
            for path in (f"/sync/{sync_id}/cancel", f"/sync/{sync_id}/resume"):
                assert (await stranger.post(path)).status == 404
            refused = await stranger.call("PATCH", f"{API}/shops/{shop_id}", json={"paused": True})
            assert refused.status == 404
            headers = {"X-Platform": "shopify", "X-Shop-Domain": DOMAIN}
            assert (await stranger.get("/status", headers=headers)).status == 403

    async def test_a_sync_of_one_merchant_is_no_event_of_another(self, system: BffSystem) -> None:
        async with (
            system.browser() as owner,
            system.browser(f"merchant:{STRANGER}") as stranger,
            owner.stream("/events") as own,
            stranger.stream("/events") as foreign,
        ):
            await own.next("caught_up")
            assert (await foreign.next("sync", "caught_up")).name == "caught_up"
            ended = await sync_to_end(owner)
            async with asyncio.timeout(60):
                async with aclosing(own.events()) as events:
                    async for event in events:
                        if event.content.get("revision") == ended["revision"]:
                            break
            # Something of its own ends the wait for what must not come.
            started = await stranger.post("/sync", json={"platform": "shopify", "domain": OTHER_DOMAIN})
            first = await foreign.next("sync")
            assert first.content["sync_id"] == started.data["sync_id"]

    async def test_a_session_with_fewer_scopes_may_less(self, system: BffSystem) -> None:
        shop_id = await system.shop_id()
        async with system.browser(scope="catalog:read") as reader:
            assert (await reader.get("/shops")).status == 200
            started = await reader.post("/sync", json=SHOP)
            patched = await reader.call("PATCH", f"{API}/shops/{shop_id}", json={"paused": True})
        assert [(one.status, one.code) for one in (started, patched)] == [(403, "PERMISSION_DENIED")] * 2

    async def test_the_schedule_of_the_own_shop_is_changed(self, system: BffSystem) -> None:
        shop_id = await system.shop_id()
        async with system.browser() as browser:
            changed = await browser.call("PATCH", f"{API}/shops/{shop_id}", json={"incremental_interval": 3600})
            reset = await browser.call("PATCH", f"{API}/shops/{shop_id}", json={"incremental_interval": None})
        assert changed.data["schedule"]["incremental_interval"] == 3600
        assert reset.data["schedule"]["incremental_is_default"] is True
        assert changed.data["shop"]["merchant_id"] == MERCHANT

    async def test_a_forged_token_is_refused_by_the_catalog(self, system: BffSystem) -> None:
        async with BffClient(system.url, headers={"Authorization": "Bearer a.b.c"}) as program:
            for path in ("/shops", f"/sync/{'0' * 8}-0000-0000-0000-{'0' * 12}/events"):
                assert (await program.get(path)).status == 401
            async with program.stream("/events") as stream:
                assert [event.name for event in await stream.rest()] == ["hello"]


async def test_the_image_of_an_item_comes_from_the_shop(system: BffSystem) -> None:
    shop_id = await system.shop_id()
    async with system.browser() as browser:
        item = (await browser.get(f"/shops/{shop_id}/items?page_size=1")).data[0]
        image = await browser.get(f"/shops/{shop_id}/items/{item['item_id']}/image")
    assert (image.status, image.headers["Content-Type"]) == (200, "image/jpeg")


async def control(system: BffSystem, method: str, path: str, **options: Any) -> str:
    """Call the devstore's control API."""
    tls = ssl.create_default_context(cafile=system.small.ca_file)
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        url = f"{system.small.store}/_control/{DOMAIN}/{path}"
        async with session.request(method, url, ssl=tls, **options) as response:
            return await response.text()


async def subscribe(system: BffSystem, url: str) -> None:
    """Let the shop send its webhooks to an address."""
    tls = ssl.create_default_context(cafile=system.small.ca_file)
    headers = {"X-Shopify-Access-Token": system.small.access_token}
    query = {"query": SUBSCRIBE, "variables": {"url": url}}
    async with (
        aiohttp.ClientSession(raise_for_status=True, headers=headers) as session,
        session.post(f"{system.small.shop_url}/admin/api/2026-10/graphql.json", json=query, ssl=tls) as response,
    ):
        answer = await response.json()
    assert answer["data"]["webhookSubscriptionCreate"]["userErrors"] == [], answer


async def test_a_webhook_of_the_platform_makes_its_change_visible(system: BffSystem) -> None:
    shop_id = await system.shop_id()
    await subscribe(system, f"{system.url}/webhooks/shopify/{shop_id}")
    await control(system, "POST", "churn", json={"changes_per_second": 50, "seed": 7})

    async def changed() -> bool | None:
        counts = json.loads(await control(system, "GET", "webhooks"))["counts"]
        return True if sum(counts.values()) >= 5 else None

    await until_found(changed)
    await control(system, "DELETE", "churn")
    truth = {}
    for line in (await control(system, "GET", "truth")).splitlines():
        item = json.loads(line)
        truth[str(item["item_id"])] = item
    async with system.browser() as browser:

        async def differing() -> bool | None:
            found = (await browser.get(f"/shops/{shop_id}/items?page_size=1000")).data
            prices = {item["item_id"]: item["price"]["amount"] for item in found}
            wanted = {item_id: item["price"] for item_id, item in truth.items() if item_id in prices}
            return True if all(float(prices[key]) == float(wanted[key]) for key in wanted) else None

        await until_found(differing)


async def test_a_webhook_without_a_valid_signature_is_refused(system: BffSystem) -> None:
    async with BffClient(system.url) as platform:
        headers = {"X-Shopify-Topic": "products/update", "X-Shopify-Shop-Domain": DOMAIN}
        unsigned = await platform.call("POST", "/webhooks/shopify", json={"id": 1}, headers=headers)
        forged = await platform.call(
            "POST", "/webhooks/shopify", json={"id": 1}, headers={**headers, "X-Shopify-Hmac-Sha256": "AAAA"}
        )
        unknown = await platform.call("POST", "/webhooks/nothing", json={"id": 1})
    assert (unsigned.status, forged.status) == (401, 401)
    assert unknown.status in (400, 401)


@pytest.mark.timeout(300)
async def test_streams_resume_after_the_replica_and_the_bff_were_killed() -> None:
    """No revision that a browser sees ever falls, and the end of the sync is shown."""
    async with bff_system(products=300, latency_ms=300) as system, system.browser() as browser:
        await system.small.start_catalog("second", **CATALOG_SETTINGS)
        await restart_with_both_replicas(system)
        started = (await browser.post("/sync", json={**SHOP, "mode": "FULL"})).data
        follower = Follower(browser, started["sync_id"])
        watching = asyncio.create_task(until_found(follower.reconnect, seconds=180))
        await until_found(lambda: running(browser, started["sync_id"]))
        system.small.processes.kill_one("catalog")
        await until_found(lambda: running(browser, started["sync_id"]))
        system.small.processes.kill_one("restarted")
        await system.start_bff("again", CATALOG_ADDRESS=both(system))
        await watching
    assert follower.last["state"] == "SUCCEEDED"
    assert follower.connections > 1
    assert follower.revisions == sorted(follower.revisions)
    assert follower.last["progress"]["items"]["seen_count"] == system.small.items


def both(system: BffSystem) -> str:
    """Return the address of both replicas."""
    ports = [system.small.catalog_address(name) for name in ("catalog", "second")]
    return f"ipv4:{','.join(ports)}"


async def restart_with_both_replicas(system: BffSystem) -> None:
    system.small.processes.kill_one("bff")
    await system.start_bff("restarted", CATALOG_ADDRESS=both(system))


async def running(browser: BffClient, sync_id: str) -> bool | None:
    """Return True once items of the sync are stored and the catalog answers; None before."""
    answer = await browser.get(f"/sync/{sync_id}")
    return True if answer.status == 200 and answer.data["progress"]["items"]["seen_count"] else None


class Follower:
    """Does what EventSource does: reconnects with the last id until the sync has ended."""

    def __init__(self, browser: BffClient, sync_id: str) -> None:
        self._browser = browser
        self._path = f"/sync/{sync_id}/events"
        self.revisions: list[int] = []
        self.last: dict[str, Any] = {}
        self.connections = 0

    async def reconnect(self) -> bool | None:
        """Read one stream; return True once the sync has ended."""
        try:
            last_event_id = str(self.revisions[-1]) if self.revisions else ""
            async with self._browser.stream(self._path, last_event_id=last_event_id) as stream:
                self.connections += 1
                async with aclosing(stream.events()) as events:
                    async for event in events:
                        if event.name == "sync":
                            self.last = event.content
                            self.revisions.append(event.content["revision"])
        except (ClientError, AssertionError):
            # Nothing listens, or the catalog does not answer.
            return None
        return True if self.last.get("state") in ("SUCCEEDED", "FAILED") else None


@pytest.mark.timeout(180)
async def test_a_terminated_bff_ends_streams_and_exits_with_success() -> None:
    async with bff_system(products=5) as system, system.browser() as browser:
        async with system.client() as client:
            sync = await client.start_sync(f"shopify:{OTHER_DOMAIN}", mode=pb.Sync.MODE_FULL)
        assert sync.sync_id
        async with browser.stream("/events") as stream:
            await stream.next("caught_up")
            os.kill(system.small.processes.pids["bff"], signal.SIGTERM)
            await stream.rest()
        with pytest.raises(ProcessExited, match="bff exited with code 0"):
            await within_timeout(system.small.processes.supervise(forever()))
