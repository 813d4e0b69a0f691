"""Shopify requests, valid and invalid: tokens, versions, costs and throttling."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from devstore.server import serving
from devstore.shopify.rate_limit import LIMITS, LeakyBucket
from devstore.spec import Plan
from tests.unit.devstore.conftest import SHOPIFY, Client, client_session

DOMAIN = "demo.myshopify.com"
EXPENSIVE = (
    "{products(first: 250){nodes{variants(first: 250){nodes{media(first: 50){nodes{preview{image{url}}}}}}}}}"
)
FULL = "{products(first: 250){nodes{seo{title} variants(first: 250){nodes{selectedOptions{name}}}}}}"


@pytest.fixture
async def throttled(tls_dir: Path) -> AsyncIterator[Client]:
    """A client of a separate shop whose rate limit is enforced and never refilled."""
    async with serving([SHOPIFY], tls_dir=tls_dir) as store, client_session(store) as session:
        store.shopify(DOMAIN).bucket = LeakyBucket(LIMITS[SHOPIFY.plan], clock=lambda: 0.0)
        yield Client(store=store, session=session)


async def test_a_wrong_token_is_rejected(client: Client) -> None:
    reply = await client.graphql("{shop{name}}", token="shpat_wrong")
    message = "[API] Invalid API key or access token (unrecognized login or wrong password)"
    assert (reply.status, reply.body) == (401, {"errors": message})


@pytest.mark.parametrize(
    ("requested", "served"),
    [("2026-10", "2026-10"), ("2026-01", "2026-01"), ("2025-10", "2026-01"), ("2019-04", "2026-01")],
)
async def test_a_retired_version_falls_forward(client: Client, requested: str, served: str) -> None:
    reply = await client.graphql("{shop{name}}", version=requested)
    assert (reply.status, reply.headers["X-Shopify-API-Version"]) == (200, served)


@pytest.mark.parametrize("requested", ["2027-04", "2026-02", "latest"])
async def test_a_version_that_does_not_exist_is_not_found(client: Client, requested: str) -> None:
    reply = await client.graphql("{shop{name}}", version=requested)
    assert (reply.status, reply.body) == (404, {"errors": "Not Found"})


async def test_an_invalid_query_is_rejected_with_status_200(client: Client) -> None:
    reply = await client.graphql("{products(first: 1){nodes{colour}}}")
    assert reply.status == 200
    assert "Cannot query field 'colour' on type 'Product'" in reply.body["errors"][0]["message"]
    assert "data" not in reply.body


async def test_a_syntax_error_is_rejected(client: Client) -> None:
    assert "Syntax Error" in (await client.graphql("{")).body["errors"][0]["message"]
    reply = await client.graphql("")
    assert reply.body["errors"]


async def test_a_body_that_is_not_json_is_a_bad_request(client: Client) -> None:
    url = client.store.base_url(DOMAIN) + "/admin/api/2026-10/graphql.json"
    token = client.store.credentials(DOMAIN)["access_token"]
    reply = await client.send("POST", url, data="{", headers={"X-Shopify-Access-Token": token})
    assert reply.status == 400


async def test_a_field_that_is_not_modelled_is_an_error_and_not_null(client: Client) -> None:
    body = (await client.graphql("{products(first: 1){nodes{templateSuffix}}}")).body
    assert body["errors"][0]["message"] == "devstore does not serve Product.templateSuffix"


async def test_each_reply_has_its_cost(throttled: Client) -> None:
    cost = (await throttled.graphql(FULL)).body["extensions"]["cost"]
    assert cost["requestedQueryCost"] == 2 + 11 * (1 + 1 + 2 + 11 * 2)
    assert 0 < cost["actualQueryCost"] <= cost["requestedQueryCost"]
    left = cost["throttleStatus"]
    assert (left["maximumAvailable"], left["restoreRate"]) == (2000.0, 100.0)
    assert left["currentlyAvailable"] == 2000 - cost["actualQueryCost"]


async def test_an_empty_bucket_answers_throttled_with_status_200(throttled: Client) -> None:
    for _ in range(20):
        reply = await throttled.graphql(FULL)
        if "errors" in reply.body:
            break
    assert reply.status == 200
    assert reply.body["errors"][0]["message"] == "Throttled"
    assert reply.body["errors"][0]["extensions"]["code"] == "THROTTLED"
    assert "data" not in reply.body
    cost = reply.body["extensions"]["cost"]
    assert cost["actualQueryCost"] is None
    assert cost["throttleStatus"]["currentlyAvailable"] < cost["requestedQueryCost"]
    log = throttled.store.requests(DOMAIN)
    assert (log.throttled, log.points > 0) == (1, True)


async def test_a_query_above_the_maximum_cost_is_rejected(throttled: Client) -> None:
    body = (await throttled.graphql(EXPENSIVE)).body
    extensions = body["errors"][0]["extensions"]
    assert (extensions["code"], extensions["maxCost"]) == ("MAX_COST_EXCEEDED", 1000)
    assert extensions["cost"] > 1000


async def test_the_plan_decides_the_bucket(tls_dir: Path) -> None:
    async with serving([replace(SHOPIFY, plan=Plan.PLUS)], tls_dir=tls_dir) as store, client_session(store) as s:
        body = (await Client(store=store, session=s).graphql("{shop{name}}")).body
    assert body["extensions"]["cost"]["throttleStatus"]["maximumAvailable"] == 20_000


async def test_variables_that_are_not_an_object_are_ignored(client: Client) -> None:
    url = client.store.base_url(DOMAIN) + "/admin/api/2026-10/graphql.json"
    token = client.store.credentials(DOMAIN)["access_token"]
    body = {"query": "{shop{name}}", "variables": []}
    reply = await client.send("POST", url, json=body, headers={"X-Shopify-Access-Token": token})
    assert reply.body["data"]["shop"]["name"] == "Demo"


async def test_a_repeated_query_is_charged_again_and_gets_the_same_reply(throttled: Client) -> None:
    first, second = [(await throttled.graphql(FULL)).body for _ in range(2)]
    assert first["data"] == second["data"]
    cost = [body["extensions"]["cost"]["actualQueryCost"] for body in (first, second)]
    assert throttled.store.requests(DOMAIN).points == sum(cost) == 2 * cost[0]
