"""BulkClient operations of the Shopify API, over a real socket."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import aiohttp
import pytest

from devstore.catalog.model import Platform
from devstore.server import RunningStore, serving
from devstore.shopify.bulk_jobs import ENDED, BulkJob, BulkJobs
from devstore.spec import ShopSpec
from tests.waiting import until

DOMAIN = "bulk.myshopify.com"
RUN = """mutation Run($query: String!, $grouped: Boolean! = false) {
  bulkOperationRunQuery(query: $query, groupObjects: $grouped) {
    bulkOperation { id status } userErrors { code field message }
  }
}"""
JOB = """query Job($id: ID!) { bulkOperation(id: $id) {
  id status errorCode objectCount rootObjectCount fileSize url partialDataUrl
} }"""
CANCEL = """mutation Cancel($id: ID!) {
  bulkOperationCancel(id: $id) { bulkOperation { id status } userErrors { message } }
}"""
PRODUCTS = """{ products(sortKey: ID) { edges { node { id title
  variants { edges { node { id sku media { edges { node { id } } } } } }
  media(query: "media_type:IMAGE") { edges { node { id } } } } } } }"""
Json = dict[str, Any]


@dataclass
class BulkClient:
    """A client that runs bulk operations in one shop."""

    store: RunningStore
    session: aiohttp.ClientSession

    @property
    def jobs(self) -> BulkJobs:
        return self.store.bulk(DOMAIN)

    async def ask(self, text: str, /, **variables: Any) -> Json:
        url = f"{self.store.base_url(DOMAIN)}/admin/api/2026-10/graphql.json"
        headers = {"X-Shopify-Access-Token": self.store.credentials(DOMAIN)["access_token"]}
        async with self.session.post(url, json={"query": text, "variables": variables}, headers=headers) as reply:
            body: Json = await reply.json()
        assert "errors" not in body, body["errors"]
        return body

    async def run(self, query: str = PRODUCTS, **variables: Any) -> Json:
        body = await self.ask(RUN, query=query, **variables)
        result: Json = body["data"]["bulkOperationRunQuery"]
        return result

    async def rejection(self, query: str) -> tuple[str, str]:
        result = await self.run(query)
        assert result["bulkOperation"] is None
        [error] = result["userErrors"]
        return error["code"], error["message"]

    async def job(self, gid: str) -> Json:
        body = await self.ask(JOB, id=gid)
        job: Json = body["data"]["bulkOperation"]
        return job

    async def ended(self, gid: str) -> Json:
        await until(lambda: self.jobs.jobs[gid].status in ENDED)
        return await self.job(gid)

    async def completed(self, query: str = PRODUCTS, **variables: Any) -> Json:
        result = await self.run(query, **variables)
        assert result["userErrors"] == []
        return await self.ended(result["bulkOperation"]["id"])

    async def file(self, url: str, begin: int = 0) -> tuple[int, bytes]:
        async with self.session.get(url, headers={"Range": f"bytes={begin}-"} if begin else {}) as reply:
            return reply.status, await reply.read()

    async def rows(self, job: Json) -> list[Json]:
        _, body = await self.file(job["url"] or job["partialDataUrl"])
        return [json.loads(line) for line in body.splitlines()]


@asynccontextmanager
async def shop(products: int = 30, *, edge_cases: bool = True) -> AsyncIterator[BulkClient]:
    spec = ShopSpec(platform=Platform.SHOPIFY, domain=DOMAIN, products=products, edge_cases=edge_cases)
    async with serving([spec], tls_dir=None, throttle=True) as store, aiohttp.ClientSession() as session:
        store.bulk(DOMAIN).switches.seconds = 0.0
        yield BulkClient(store, session)


@pytest.fixture
async def bulk() -> AsyncIterator[BulkClient]:
    async with shop() as running:
        yield running


def parents(rows: list[Json]) -> dict[str, str | None]:
    return {row["id"]: row.get("__parentId") for row in rows}


async def test_a_result_has_every_object_once_with_its_parent(bulk: BulkClient) -> None:
    rows = await bulk.rows(await bulk.completed())
    products = list(bulk.store.catalog(DOMAIN).products())
    variants = {f"gid://shopify/ProductVariant/{v.id}": p.id for p in products for v in p.variants}
    found = parents(rows)
    assert [row["id"] for row in rows if "__parentId" not in row] == [
        f"gid://shopify/Product/{p.id}" for p in products
    ]
    assert {i: found[i] for i in variants} == {i: f"gid://shopify/Product/{p}" for i, p in variants.items()}
    below = Counter((row["id"].split("/")[3], row.get("__parentId", "////").split("/")[3]) for row in rows)
    assert below["MediaImage", "Product"] == sum(len(p.images) for p in products)
    assert below["MediaImage", "ProductVariant"] == sum(1 for p in products for v in p.variants if v.image_id)
    assert below.total() == len(rows)


async def test_children_follow_their_parent_and_each_connection_keeps_its_order(
    bulk: BulkClient,
) -> None:
    rows = await bulk.rows(await bulk.completed())
    place = {(row["id"], row.get("__parentId")): index for index, row in enumerate(rows)}
    first = {row["id"]: index for index, row in reversed(list(enumerate(rows)))}
    assert all(first[parent] < index for (_, parent), index in place.items() if parent)
    neighbours = pairwise((row["id"], row.get("__parentId")) for row in rows)
    assert any(parent and parent not in before for before, (_, parent) in neighbours), "they are interleaved"
    for product in bulk.store.catalog(DOMAIN).products():
        own = [row["id"] for row in rows if row.get("__parentId") == f"gid://shopify/Product/{product.id}"]
        assert [i for i in own if "Variant" in i] == [
            f"gid://shopify/ProductVariant/{v.id}" for v in product.variants
        ]


async def test_grouped_objects_directly_follow_their_parents(bulk: BulkClient) -> None:
    rows = await bulk.rows(await bulk.completed(grouped=True))
    ungrouped = await bulk.rows(await bulk.completed())
    root = ""
    for row in rows:
        root = row["id"] if "__parentId" not in row else root
        if "Product/" in row.get("__parentId", ""):
            assert row["__parentId"] == root
    assert Counter(map(str, rows)) == Counter(map(str, ungrouped))
    assert rows != ungrouped


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("{ shop { id } }", "at least one connection"),
        ("{ products { nodes { id } } }", "edges and node"),
        ("{ products { edges { node { title variants { edges { node { id } } } } } } }", "select its id"),
        ("{ products { edges { node { key: id } } } }", "select its id"),
        ("{ products { edges { node { id } } } shop { id } }", "one top-level field"),
        ('{ node(id: "gid://shopify/Product/1") { ... on Product { media { edges { node { id } } } } } }', "node"),
        ("{ products { edges { node { id wrong } } } }", "Cannot query field"),
        ("{ products", "Syntax Error"),
        ("mutation { bulkOperationCancel(id: 1) { userErrors { message } } }", "exactly one query"),
        (
            "{ products { edges { node { id variants { edges { node { id product { id variants { edges { node { "
            "id media { edges { node { id } } } } } } } } } } } } } }",
            "deeper than 2",
        ),
        (
            "{ products { edges { node { id "
            + " ".join(f"{name}: media {{ edges {{ node {{ id }} }} }}" for name in "abcde")
            + "} } } }",
            "more than 5",
        ),
    ],
)
async def test_a_query_that_cannot_run_in_bulk_is_rejected(bulk: BulkClient, query: str, text: str) -> None:
    code, message = await bulk.rejection(query)
    assert code == "INVALID"
    assert text in message


async def test_first_and_cursors_are_ignored(bulk: BulkClient) -> None:
    query = PRODUCTS.replace("products(sortKey: ID)", 'products(first: 2, after: "x")')
    job = await bulk.completed(query.replace("variants {", "variants(first: 1) {", 1))
    assert (job["rootObjectCount"], job["objectCount"]) == ("30", (await bulk.completed())["objectCount"])


async def test_a_job_is_created_running_and_completed_and_its_counts_lag() -> None:
    async with shop(edge_cases=False) as bulk:
        bulk.jobs.switches.seconds, bulk.jobs.switches.counts_lag = 10, 10
        started = await bulk.run()
        job = bulk.jobs.jobs[started["bulkOperation"]["id"]]
        await until(lambda: job.is_executed)
        seen = [await job_after(bulk, job, seconds) for seconds in (0, 0.9, 1, 4, 9.9, 10)]
    assert [status for status, _ in seen] == [*["CREATED"] * 2, *["RUNNING"] * 3, "COMPLETED"]
    counts = [count for _, count in seen]
    assert counts == sorted(counts)
    assert counts[0] == 0 < counts[-2] <= counts[-1] - 10


async def job_after(bulk: BulkClient, job: BulkJob, seconds: float) -> tuple[str, int]:
    """Return status and objectCount of a job that was started `seconds` ago."""
    job.clock = lambda: job.began + seconds
    shown = await bulk.job(job.id)
    assert isinstance(shown["objectCount"], str)
    assert (shown["url"] is None) == (shown["status"] != "COMPLETED")
    return shown["status"], int(shown["objectCount"])


async def test_counts_and_file_size_are_those_of_the_result(bulk: BulkClient) -> None:
    job = await bulk.completed()
    _, body = await bulk.file(job["url"])
    assert job["objectCount"] == str(body.count(b"\n"))
    assert job["rootObjectCount"] == "30"
    assert job["fileSize"] == str(len(body))


async def test_the_sixth_job_is_rejected_and_the_active_five_are_named(bulk: BulkClient) -> None:
    others = bulk.jobs.start_others(5)
    code, message = await bulk.rejection(PRODUCTS)
    assert code == "OPERATION_IN_PROGRESS"
    assert all(job.id in message for job in others)
    others[0].cancel()
    assert (await bulk.run())["userErrors"] == []


async def test_a_job_can_be_rejected_for_other_reasons(bulk: BulkClient) -> None:
    bulk.jobs.switches.refuses = "LIMIT_REACHED"
    assert (await bulk.rejection(PRODUCTS))[0] == "LIMIT_REACHED"


async def test_a_failed_job_has_a_code_and_part_of_its_rows(bulk: BulkClient) -> None:
    whole = await bulk.rows(await bulk.completed())
    bulk.jobs.switches.fails = "TIMEOUT"
    job = await bulk.completed()
    assert (job["status"], job["errorCode"], job["url"]) == ("FAILED", "TIMEOUT", None)
    assert await bulk.rows(job) == whole[: len(whole) // 2]


async def test_a_cancelled_job_is_canceling_for_a_while(bulk: BulkClient) -> None:
    bulk.jobs.switches.seconds, bulk.jobs.switches.cancel_seconds = 60.0, 10.0
    result = await bulk.run()
    gid = result["bulkOperation"]["id"]
    job = bulk.jobs.jobs[gid]
    job.clock = lambda: job.began
    cancelled = (await bulk.ask(CANCEL, id=gid))["data"]["bulkOperationCancel"]
    assert cancelled == {"bulkOperation": {"id": gid, "status": "CANCELING"}, "userErrors": []}
    job.clock = lambda: job.began + 10.0
    assert (await bulk.job(gid))["status"] == "CANCELED"
    again = (await bulk.ask(CANCEL, id=gid))["data"]["bulkOperationCancel"]
    assert len(again["userErrors"]) == 1


async def test_a_stalled_job_makes_no_progress(bulk: BulkClient) -> None:
    bulk.jobs.switches.stalls = True
    result = await bulk.run()
    job = bulk.jobs.jobs[result["bulkOperation"]["id"]]
    await until(lambda: job.is_executed)
    seen = []
    for seconds in (1, 60, 3600):
        job.clock = lambda passed=seconds: job.began + passed  # type: ignore[misc]
        seen.append(await bulk.job(job.id))
    assert {(job["status"], job["objectCount"]) for job in seen} == {("RUNNING", seen[0]["objectCount"])}
    assert seen[0]["objectCount"] != "0"


async def test_an_expired_job_has_no_file_and_an_unknown_job_is_null(bulk: BulkClient) -> None:
    job = await bulk.completed()
    bulk.jobs.expire()
    assert (await bulk.job(job["id"]))["status"] == "EXPIRED"
    assert (await bulk.file(job["url"]))[0] == 404
    assert await bulk.job("gid://shopify/BulkOperation/1") is None


async def test_a_result_without_rows_has_no_url() -> None:
    async with shop(products=0) as empty:
        job = await empty.completed()
    assert (job["status"], job["url"], job["objectCount"]) == ("COMPLETED", None, "0")


async def test_jobs_can_be_listed_by_status(bulk: BulkClient) -> None:
    done = await bulk.completed()
    [other] = bulk.jobs.start_others(1)
    query = "query List($query: String) { bulkOperations(first: 10, query: $query) { nodes { id status } } }"

    async def listed(search: str | None) -> list[str]:
        body = await bulk.ask(query, query=search)
        return [job["id"] for job in body["data"]["bulkOperations"]["nodes"]]

    assert await listed("status:running operation_type:query") == [other.id]
    assert await listed("status:completed") == [done["id"]]
    assert await listed(None) == [done["id"], other.id]


async def test_a_result_needs_a_signature_but_no_token_and_supports_ranges(bulk: BulkClient) -> None:
    job = await bulk.completed()
    url = job["url"]
    assert not url.startswith(bulk.store.base_url(DOMAIN))
    _, body = await bulk.file(url)
    assert await bulk.file(url, begin=100) == (206, body[100:])
    assert (await bulk.file(url, begin=len(body)))[0] == 416
    assert (await bulk.file(url.partition("?")[0]))[0] == 403
    bulk.jobs.switches.whole_files = True
    assert await bulk.file(url, begin=100) == (200, body)


async def test_a_download_can_be_cut_and_a_file_can_be_too_short(bulk: BulkClient) -> None:
    job = await bulk.completed()
    _, body = await bulk.file(job["url"])
    bulk.jobs.switches.cut_files = 1
    with pytest.raises(aiohttp.ClientPayloadError):
        await bulk.file(job["url"])
    assert (await bulk.file(job["url"]))[1] == body
    bulk.jobs.switches.short_files = True
    status, short = await bulk.file(job["url"])
    assert (status, short) == (200, body[:-20])


async def test_nested_rows_and_root_objects_can_be_silently_missing(bulk: BulkClient) -> None:
    bulk.jobs.switches.nested_limit = 100
    job = await bulk.completed()
    most = Counter(row["__parentId"] for row in await bulk.rows(job) if "Variant/" in row["id"]).most_common(1)
    assert (job["status"], most[0][1]) == ("COMPLETED", 100)
    bulk.jobs.switches.loses_every = 10
    rows = await bulk.rows(await bulk.completed())
    assert sum("__parentId" not in row for row in rows) == 27


async def test_starting_a_job_costs_ten_points_and_reading_it_costs_one(bulk: BulkClient) -> None:
    started = await bulk.ask(RUN, query=PRODUCTS)
    polled = await bulk.ask(JOB, id=started["data"]["bulkOperationRunQuery"]["bulkOperation"]["id"])
    assert started["extensions"]["cost"]["requestedQueryCost"] == 10
    assert polled["extensions"]["cost"]["requestedQueryCost"] == 1
