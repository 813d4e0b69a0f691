"""Each scripted fault has its effect on the requests that its matcher selects; churn changes the catalog."""

from __future__ import annotations

import asyncio
import email.utils
import gzip
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from devstore.catalog.model import Platform
from devstore.faults import FaultKind, InvalidFault, RequestMatcher, ScriptedFault, parse_fault
from devstore.server import RunningStore, serving
from devstore.spec import ShopSpec
from tests.waiting import until, within_timeout

SPEC = ShopSpec(platform=Platform.WOOCOMMERCE, domain="new.example", products=60)
BROKEN = (aiohttp.ClientPayloadError, aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)


class FaultClient:
    """Sends requests to one store, without redirects or decompression."""

    def __init__(self, store: RunningStore, session: aiohttp.ClientSession) -> None:
        self.store = store
        self._session = session

    def fault(self, kind: FaultKind, *, matcher: RequestMatcher | None = None, **options: Any) -> ScriptedFault:
        fault = ScriptedFault(kind=kind, matcher=matcher or RequestMatcher(), **options)
        self.store.add_fault(SPEC.domain, fault)
        return fault

    @asynccontextmanager
    async def open_reply(self, path: str = "/wp-json/") -> AsyncIterator[aiohttp.ClientResponse]:
        url = self.store.base_url(SPEC.domain) + path
        async with self._session.get(url, allow_redirects=False) as reply:
            yield reply

    async def get(self, path: str = "/wp-json/") -> tuple[int, bytes, dict[str, str]]:
        async with self.open_reply(path) as reply:
            headers = {str(name): value for name, value in reply.headers.items()}
            return reply.status, await reply.read(), headers

    async def control(self, method: str, what: str, body: Any = None) -> tuple[int, Any]:
        url = f"{self.store.url}/_control/{SPEC.domain}/{what}"
        async with self._session.request(method, url, json=body) as reply:
            text = await reply.text()
            return reply.status, json.loads(text) if text.startswith(("{", "[")) else text


@pytest.fixture
async def client() -> AsyncIterator[FaultClient]:
    async with (
        serving([SPEC], tls_dir=None) as store,
        aiohttp.ClientSession(auto_decompress=False) as session,
    ):
        yield FaultClient(store, session)


async def test_retry_after_is_absent_in_seconds_or_a_date(client: FaultClient) -> None:
    client.fault(FaultKind.STATUS, matcher=RequestMatcher(nth=frozenset({1})), status=429)
    client.fault(FaultKind.STATUS, matcher=RequestMatcher(nth=frozenset({1})), status=429, retry_after=7)
    client.fault(
        FaultKind.STATUS, matcher=RequestMatcher(nth=frozenset({1})), status=503, retry_after=60, as_date=True
    )
    status, _, headers = await client.get()
    assert (status, "Retry-After" in headers) == (429, False)
    status, _, headers = await client.get()
    assert (status, headers["Retry-After"]) == (429, "7")
    earliest = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=1)
    status, _, headers = await client.get()
    retry_at = email.utils.parsedate_to_datetime(headers["Retry-After"])
    assert status == 503
    assert earliest <= retry_at <= datetime.now(UTC) + timedelta(minutes=1)
    assert (await client.get())[0] == 200


@pytest.mark.parametrize("kind", [FaultKind.CUT, FaultKind.RESET_MIDDLE, FaultKind.RESET_BEFORE])
async def test_a_connection_breaks_during_or_before_the_reply(client: FaultClient, kind: FaultKind) -> None:
    client.fault(kind)
    with pytest.raises(BROKEN):
        await client.get()


async def test_a_slow_reply_is_complete_in_the_end(client: FaultClient) -> None:
    whole = (await client.get())[1]
    client.fault(FaultKind.DRIP, matcher=RequestMatcher(times=1), bytes_per_second=len(whole) * 2)
    assert (await client.get())[1] == whole
    client.fault(FaultKind.DRIP, bytes_per_second=20)
    async with client.open_reply() as reply:
        first = await reply.content.readany()
    assert whole.startswith(first)
    assert 0 < len(first) < len(whole)


async def test_a_hanging_request_gets_nothing_and_is_closed_in_the_end(client: FaultClient) -> None:
    hanging = client.fault(FaultKind.HANG, matcher=RequestMatcher(times=1), seconds=3600)
    request_task = asyncio.create_task(client.get())
    await until(lambda: hanging.matched)
    assert (await client.get())[0] == 200
    assert not request_task.done()
    request_task.cancel()
    client.fault(FaultKind.HANG, seconds=0.1)
    with pytest.raises(BROKEN):
        await client.get()


async def test_a_store_with_a_hanging_request_shuts_down_quickly() -> None:
    """The shutdown does not wait for the hour that the request hangs."""
    async with aiohttp.ClientSession() as session:
        async with serving([SPEC], tls_dir=None) as store:
            client = FaultClient(store, session)
            hanging = client.fault(FaultKind.HANG, seconds=3600)
            request_task = asyncio.create_task(client.get())
            await until(lambda: hanging.matched)
        with pytest.raises(BROKEN):
            await within_timeout(request_task)


async def test_a_truncated_reply_has_status_200_and_a_matching_length(client: FaultClient) -> None:
    whole = (await client.get())[1]
    client.fault(FaultKind.TRUNCATED)
    status, body, headers = await client.get()
    assert (status, body) == (200, whole[: len(whole) // 2])
    assert headers["Content-Type"].startswith("application/json")


async def test_empty_and_html_replies_have_status_200(client: FaultClient) -> None:
    whole = (await client.get())[1]
    client.fault(FaultKind.EMPTY, matcher=RequestMatcher(times=1))
    client.fault(FaultKind.HTML, matcher=RequestMatcher(times=1))
    client.fault(FaultKind.WRONG_TYPE, matcher=RequestMatcher(times=1))
    assert (await client.get())[:2] == (200, b"")
    status, body, headers = await client.get()
    assert (status, body[:14], headers["Content-Type"][:9]) == (200, b"<!DOCTYPE html", "text/html")
    status, body, headers = await client.get()
    assert (status, body, headers["Content-Type"][:9]) == (200, whole, "text/html")


async def test_a_dropped_row_is_missing_from_its_page_and_still_counted(tmp_path: Path) -> None:
    async with serving([SPEC], tls_dir=tmp_path) as store:
        trust = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=store.ca_file))
        keys = store.credentials(SPEC.domain)
        async with aiohttp.ClientSession(connector=trust) as session:

            async def page() -> tuple[list[int], str]:
                url = store.base_url(SPEC.domain) + "/wp-json/wc/v3/products"
                params = {**keys, "orderby": "id", "per_page": "20", "_fields": "id"}
                async with session.get(url, params=params) as reply:
                    return [row["id"] for row in await reply.json()], reply.headers["X-WP-Total"]

            original, total = await page()
            fault = ScriptedFault(kind=FaultKind.DROPPED_ROWS, matcher=RequestMatcher(where="products", times=1))
            store.add_fault(SPEC.domain, fault)
            short, counted = await page()
            assert await page() == (original, total)
    assert (len(set(original) - set(short)), set(short) - set(original), counted) == (1, set(), total)


async def test_a_gzip_bomb_is_small_until_it_is_decompressed(client: FaultClient) -> None:
    client.fault(FaultKind.GZIP_BOMB)
    _, body, headers = await client.get()
    assert headers["Content-Encoding"] == "gzip"
    assert len(body) < 2**18
    assert len(gzip.decompress(body)) > 100 * 2**20


async def test_deep_json_is_nested_and_a_redirect_has_its_location(client: FaultClient) -> None:
    client.fault(FaultKind.DEEP, matcher=RequestMatcher(times=1))
    client.fault(FaultKind.REDIRECT, location="https://evil.example/?x=1")
    assert (await client.get())[1] == b"[" * 100_000 + b"]" * 100_000
    status, _, headers = await client.get()
    assert (status, headers["Location"]) == (302, "https://evil.example/?x=1")


async def test_a_matcher_counts_only_the_requests_of_its_route(client: FaultClient) -> None:
    fault = client.fault(
        FaultKind.STATUS, matcher=RequestMatcher(where="wc/v3/products", nth=frozenset({2})), status=418
    )
    paths = ["/wp-json/", "/wp-json/wc/v3/products", "/wp-json/", "/wp-json/wc/v3/products?page=2", "/wp-json/"]
    assert [(await client.get(path))[0] == 418 for path in paths] == [False, False, False, True, False]
    assert (fault.matcher.candidates, fault.matched) == (2, 1)


async def test_a_share_is_about_that_share_and_the_same_for_a_seed(client: FaultClient) -> None:
    async def statuses() -> list[int]:
        client.store.clear_faults(SPEC.domain)
        client.fault(FaultKind.STATUS, matcher=RequestMatcher(share=0.3, seed=5), status=418)
        return [(await client.get())[0] for _ in range(100)]

    first = await statuses()
    assert 15 < first.count(418) < 45
    assert await statuses() == first


async def test_the_control_api_adds_counts_and_removes_faults(client: FaultClient) -> None:
    fault = {"kind": "status", "status": 429, "retry_after": 3, "where": "wp-json", "nth": [1, 2]}
    assert (await client.control("POST", "faults", fault))[0] == 201
    assert [(await client.get())[0] for _ in range(3)] == [429, 429, 200]
    assert await client.control("GET", "faults") == (200, [{"kind": "status", "met": 2}])
    assert (await client.control("DELETE", "faults"))[0] == 204
    assert (await client.control("GET", "faults"))[1] == []
    status, message = await client.control("POST", "faults", {"kind": "flood"})
    assert (status, "flood" in message) == (400, True)


@pytest.mark.parametrize(
    "described",
    [{}, {"kind": "status", "statuz": 1}, {"kind": "cut", "share": 2}, {"kind": "drip", "bytes_per_second": 0}],
)
def test_an_invalid_fault_is_rejected(described: dict[str, object]) -> None:
    with pytest.raises(InvalidFault):
        parse_fault(json.dumps(described).encode())


def mutator_tasks() -> list[asyncio.Task[Any]]:
    """Return the tasks that change a catalog."""
    return [task for task in asyncio.all_tasks() if "Mutator.run" in repr(task.get_coro())]


async def test_a_catalog_changes_from_the_start_to_the_end_of_its_churn(client: FaultClient) -> None:
    catalog = client.store.catalog(SPEC.domain)
    before = [str(item) for item in catalog.sellable_items()]
    assert (await client.control("POST", "churn", {"changes_per_second": 200, "seed": 1}))[0] == 201
    await until(lambda: [str(item) for item in catalog.sellable_items()] != before)
    assert len(mutator_tasks()) == 1
    status, counts = await client.control("DELETE", "churn")
    assert (status, sum(counts.values()) > 0) == (200, True)
    assert mutator_tasks() == []
    assert await client.control("DELETE", "churn") == (200, {})
    assert (await client.control("POST", "churn", {"changes_per_second": 0}))[0] == 400
