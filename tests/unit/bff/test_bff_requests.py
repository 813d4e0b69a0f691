"""What every request has: its ids, the envelope, checks against other websites, and the shop headers."""

from __future__ import annotations

import io
from typing import Any

import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import Shop, ShopRef

from tests.bff_client import API, BffClient
from tests.fakes.catalog_service import CatalogServer, FakeCatalog
from tests.unit.bff.conftest import served

DEMO = ShopRef(platform="shopify", domain="demo.myshopify.com")
START = {"platform": "shopify", "domain": "demo.myshopify.com"}


async def test_the_envelope_names_the_request_and_links_to_the_next_page(
    bff: BffClient, catalog: FakeCatalog
) -> None:
    for number in range(3):
        catalog.register(ShopRef(platform="shopify", domain=f"s{number}.myshopify.com"))
    answer = await bff.get("/shops?page_size=2", headers={"X-Correlation-ID": "from-the-caller"})
    envelope = answer.envelope
    assert list(envelope) == ["data", "error", "pagination", "links", "meta"]
    assert answer.headers["X-Correlation-ID"] == envelope["meta"]["correlation_id"] == "from-the-caller"
    assert answer.headers["X-Request-ID"] == envelope["meta"]["request_id"]
    assert envelope["meta"]["timestamp"].endswith("Z")
    assert envelope["pagination"] == {"next_page_token": "2", "page_size": 2}
    assert envelope["links"]["self"] == f"{API}/shops?page_size=2"
    following = await bff.call("GET", envelope["links"]["next"])
    assert len(envelope["data"]) == 2
    assert len(following.data) == 1
    assert "next" not in following.envelope["links"]


async def test_the_catalog_gets_the_correlation_id(bff: BffClient, catalog: FakeCatalog) -> None:
    await bff.get("/shops", headers={"X-Correlation-ID": "from-the-caller"})
    assert catalog.requests[-1][2]["x-correlation-id"] == "from-the-caller"


@pytest.mark.parametrize("malformed", ["", "a" * 65, 'x"y', "ümlaut"])
async def test_a_malformed_correlation_id_is_replaced(bff: BffClient, malformed: str) -> None:
    answer = await bff.get("/shops", headers={"X-Correlation-ID": malformed})
    assert answer.headers["X-Correlation-ID"] not in ("", malformed)


async def test_each_request_has_another_id(bff: BffClient) -> None:
    answers = [await bff.get("/shops", headers={"X-Request-ID": "mine"}) for _ in range(2)]
    assert len({answer.headers["X-Request-ID"] for answer in answers} | {"mine"}) == 3


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "NOT_FOUND"),
        ("GET", f"{API}/nothing", 404, "NOT_FOUND"),
        ("PUT", f"{API}/shops", 405, "METHOD_NOT_ALLOWED"),
        ("GET", f"{API}/shops?page_size=0", 400, "INVALID_REQUEST"),
        ("GET", f"{API}/shops?page_size=501", 400, "INVALID_REQUEST"),
        ("GET", f"{API}/shops?page_size=2&page_size=3", 400, "INVALID_REQUEST"),
        ("GET", f"{API}/shops?unknown=1", 400, "INVALID_REQUEST"),
        ("GET", f"{API}/sync?state=DONE", 400, "INVALID_REQUEST"),
        ("GET", f"{API}/shops/00000000-0000-0000-0000-000000000000", 404, "SHOP_NOT_FOUND"),
        ("GET", f"{API}/sync/00000000-0000-0000-0000-000000000000/events", 404, "SYNC_NOT_FOUND"),
    ],
)
async def test_errors_of_requests_have_the_envelope(
    bff: BffClient, method: str, path: str, status: int, code: str
) -> None:
    answer = await bff.call(method, path)
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "1",
        "{",
        "[" * 100_000,
        '{"platform": 1}',
        '{"platform": "\\ud800"}',
        '{"\\ud800": 1}',
        '{"mode": "PARTIAL"}',
        '{"allow_mass_delete": "maybe"}',
        '{"unknown": 1}',
    ],
)
async def test_a_wrong_body_is_refused(bff: BffClient, catalog: FakeCatalog, body: str) -> None:
    answer = await bff.post("/sync", data=body, headers={"Content-Type": "application/json"})
    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
    assert not catalog.syncs


async def test_a_large_body_is_refused(bff: BffClient) -> None:
    answer = await bff.post(
        "/sync", data=io.BytesIO(b" " * 1_100_000), headers={"Content-Type": "application/json"}
    )
    assert (answer.status, answer.code) == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("path", ["/shops", "/events", "/status", "/sync", "/shops/x/items/y/image"])
async def test_without_a_session_nothing_is_answered(server: CatalogServer, path: str) -> None:
    async with served(server) as stranger:
        answer = await stranger.get(path)
    assert (answer.status, answer.code) == (401, "UNAUTHENTICATED")
    assert not server.fake.requests


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 201),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"X-Requested-With": "XMLHttpRequest"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Host": "evil.example"}, 403),
    ],
)
async def test_another_website_cannot_start_a_sync(
    bff: BffClient, catalog: FakeCatalog, headers: dict[str, str], status: int
) -> None:
    answer = await bff.post(
        "/sync",
        data='{"platform":"shopify","domain":"demo.myshopify.com"}',
        headers={"Content-Type": "application/json", **headers},
    )
    assert answer.status == status
    assert len(catalog.syncs) == (status == 201)


async def test_the_own_origin_is_accepted(bff: BffClient) -> None:
    assert (await bff.post("/sync", json=START, headers={"Origin": bff.url})).status == 201


async def test_behind_a_proxy_the_public_origin_counts(server: CatalogServer) -> None:
    async with served(server, public_url="https://bff.example") as client:
        headers = {"Authorization": "", "Host": "internal:8080"}
        own = await client.call("DELETE", "/session", headers={**headers, "Origin": "https://bff.example"})
        other = await client.call("DELETE", "/session", headers={"Origin": client.url})
    assert (own.status, other.status) == (204, 403)


async def test_a_program_with_a_token_needs_no_header_of_the_page(bff: BffClient) -> None:
    headers = {"Authorization": "Bearer token", "X-Requested-With": ""}
    assert (await bff.post("/sync", json=START, headers=headers)).status == 201


@pytest.fixture
def registered(catalog: FakeCatalog) -> Shop:
    return catalog.register(DEMO)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X-Platform": "shopify", "X-Shop-Domain": "demo.myshopify.com"}, 200),
        ({"X-Platform": "shopify", "X-Shop-Domain": "other.myshopify.com"}, 403),
        ({"X-Platform": "shopify", "X-Shop-Domain": "unknown.myshopify.com"}, 403),
        ({"X-Platform": "shopify"}, 400),
        ({"X-Shop-Domain": "demo.myshopify.com"}, 400),
    ],
)
async def test_the_shop_headers_must_name_the_shop_of_the_request(
    bff: BffClient, catalog: FakeCatalog, registered: Shop, headers: dict[str, str], status: int
) -> None:
    catalog.register(ShopRef(platform="shopify", domain="other.myshopify.com"))
    answer = await bff.get(f"/shops/{registered.shop_id}", headers=headers)
    assert answer.status == status


async def test_the_shop_headers_name_the_shop_of_status_and_start(
    bff: BffClient, catalog: FakeCatalog, registered: Shop
) -> None:
    catalog.register(ShopRef(platform="shopify", domain="other.myshopify.com"))
    headers = {"X-Platform": "shopify", "X-Shop-Domain": "demo.myshopify.com"}
    assert (await bff.get("/status", headers=headers)).data["shop"]["domain"] == "demo.myshopify.com"
    started = await bff.post("/sync", headers=headers)
    assert started.data["shop"]["domain"] == "demo.myshopify.com"
    other = {"platform": "shopify", "domain": "other.myshopify.com"}
    assert (await bff.post("/sync", json=other, headers=headers)).status == 400


async def test_without_headers_the_status_is_that_of_the_only_shop(
    bff: BffClient, catalog: FakeCatalog, registered: Shop
) -> None:
    catalog.register(ShopRef(platform="shopify", domain="other.myshopify.com"))
    answer = await bff.get("/status")
    assert (answer.status, answer.code) == (400, "SHOP_REQUIRED")


async def test_a_started_sync_is_created_once_per_key(bff: BffClient, catalog: FakeCatalog) -> None:
    key = "00000000-0000-4000-8000-000000000001"
    first = await bff.post("/sync", json={**START, "mode": "FULL"}, headers={"Idempotency-Key": key})
    again = await bff.post("/sync", json={**START, "mode": "FULL", "request_id": key})
    assert (first.status, again.status) == (201, 201)
    assert first.headers["Location"] == f"{API}/sync/{first.data['sync_id']}"
    assert again.data["sync_id"] == first.data["sync_id"]
    other = await bff.post("/sync", json={**START, "request_id": key}, headers={"Idempotency-Key": "x"})
    assert other.status == 400


async def test_a_sync_is_cancelled_and_resumed(bff: BffClient) -> None:
    sync_id = (await bff.post("/sync", json=START)).data["sync_id"]
    assert (await bff.post(f"/sync/{sync_id}/cancel")).data["state"] == "CANCELLED"
    resumed = await bff.post(f"/sync/{sync_id}/resume", json={})
    assert (resumed.status, resumed.data["parent_sync_id"]) == (201, sync_id)
    again = await bff.post(f"/sync/{sync_id}/resume")
    assert (again.status, again.envelope["error"]["details"]["sync_id"]) == (409, resumed.data["sync_id"])
    listed = await bff.get("/sync?state=CANCELLED&state=FAILED")
    assert [sync["sync_id"] for sync in listed.data] == [sync_id]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"incremental_interval": 900}, {"incremental_interval": 900, "incremental_is_default": False}),
        ({"incremental_interval": 900.0}, {"incremental_interval": 900}),
        ({"full_interval": 0}, {"full_interval": 0, "full_is_default": False}),
        ({"full_interval": None}, {"full_is_default": True}),
        ({"paused": True}, {"paused": True}),
    ],
)
async def test_the_schedule_of_a_shop_is_changed(
    bff: BffClient, registered: Shop, body: dict[str, Any], expected: dict[str, Any]
) -> None:
    answer = await bff.call("PATCH", f"{API}/shops/{registered.shop_id}", json=body)
    assert expected.items() <= answer.data["schedule"].items()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"paused": "perhaps"},
        {"full_interval": -1},
        {"full_interval": 1.5},
        {"full_interval": True},
        {"merchant_id": "mine"},
    ],
)
async def test_other_changes_of_a_shop_are_refused(
    bff: BffClient, catalog: FakeCatalog, registered: Shop, body: dict[str, Any]
) -> None:
    answer = await bff.call("PATCH", f"{API}/shops/{registered.shop_id}", json=body)
    assert answer.status == 400
    assert "UpdateShop" not in [method for method, _, _ in catalog.requests]
