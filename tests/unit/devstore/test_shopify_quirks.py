"""Quirks of a Shopify shop, its events and its OAuth tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from devstore.server import serving
from tests.unit.devstore.conftest import SHOPIFY, Client, Reply, client_session

DOMAIN = SHOPIFY.domain
EVENTS = """query($search: String){events(first: 250, query: $search){
    nodes{id ... on BasicEvent{action subjectType subjectId createdAt}}}}"""


@pytest.fixture
async def client(tls_dir: Path) -> AsyncIterator[Client]:
    """A client of a shop that the test may change."""
    async with serving([SHOPIFY], tls_dir=tls_dir) as store, client_session(store) as session:
        yield Client(store=store, session=session)


async def request_token(client: Client, **changes: str) -> Reply:
    oauth = client.store.shopify(DOMAIN).oauth
    form = {"client_id": oauth.client_id, "client_secret": oauth.client_secret, **changes}
    return await client.send("POST", f"{client.store.base_url(DOMAIN)}/admin/oauth/access_token", data=form)


async def test_events_report_deleted_products_and_can_be_searched(client: Client) -> None:
    catalog = client.catalog(DOMAIN)
    product = next(catalog.products())
    catalog.delete_product(product.id)
    [event] = (await client.data(EVENTS, search="subject_type:PRODUCT AND action:destroy"))["events"]["nodes"]
    assert (event["action"], event["subjectType"]) == ("destroy", "PRODUCT")
    assert event["subjectId"] == f"gid://shopify/Product/{product.id}"
    late = f"created_at:>'{event['createdAt']}'"
    for search in ("action:create", "subject_type:ORDER", late, "id:>1"):
        assert (await client.data(EVENTS, search=search))["events"]["nodes"] == []


async def test_a_granted_token_is_valid_until_it_expires(client: Client) -> None:
    api = client.store.shopify(DOMAIN)
    api.quirks.static_token_works = False
    assert (await client.graphql("{shop{name}}")).status == 401
    token = (await request_token(client, grant_type="client_credentials")).body
    assert token["expires_in"] == 24 * 60 * 60
    assert (await client.graphql("{shop{name}}", token=token["access_token"])).status == 200
    api.oauth.expire_all()
    assert (await client.graphql("{shop{name}}", token=token["access_token"])).status == 401
    api.quirks.granted_token_lifetime = timedelta(0)
    dead = (await request_token(client, grant_type="client_credentials")).body["access_token"]
    assert (await client.graphql("{shop{name}}", token=dead)).status == 401


async def test_a_refresh_token_is_valid_until_its_successor_is_used(client: Client) -> None:
    first = client.store.shopify(DOMAIN).oauth.refresh_token
    second = (await request_token(client, grant_type="refresh_token", refresh_token=first)).body["refresh_token"]
    assert (await request_token(client, grant_type="refresh_token", refresh_token=first)).body[
        "refresh_token"
    ] == second
    assert (await request_token(client, grant_type="refresh_token", refresh_token=second)).status == 200
    rejected = await request_token(client, grant_type="refresh_token", refresh_token=first)
    assert (rejected.status, rejected.body["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"client_secret": "wrong", "grant_type": "client_credentials"}, 401),
        ({"grant_type": "password"}, 400),
        ({}, 400),
    ],
)
async def test_an_invalid_token_request_is_rejected(client: Client, changes: dict[str, str], status: int) -> None:
    assert (await request_token(client, **changes)).status == status


async def test_nodes_can_be_charged_per_id_and_can_miss_products_that_lists_show(client: Client) -> None:
    query = "query($ids: [ID!]!){nodes(ids: $ids){... on Product{id seo{title}}}}"
    products = [product.id for product in client.catalog(DOMAIN).products()][:10]
    ids = [f"gid://shopify/Product/{number}" for number in products]
    together = (await client.graphql(query, ids=ids)).body["extensions"]["cost"]["requestedQueryCost"]
    quirks = client.store.shopify(DOMAIN).quirks
    quirks.nodes_charged_per_id = True
    quirks.vanished = {products[3]}
    body = (await client.graphql(query, ids=ids)).body
    assert body["extensions"]["cost"]["requestedQueryCost"] == 10 * together
    assert [index for index, node in enumerate(body["data"]["nodes"]) if node is None] == [3]


async def test_another_client_spends_points_first(client: Client) -> None:
    quirks = client.store.shopify(DOMAIN).quirks
    quirks.other_app_spends = 1_500
    left = [
        (await client.graphql("{shop{name}}")).body["extensions"]["cost"]["throttleStatus"]["currentlyAvailable"]
        for _ in range(2)
    ]
    assert left[0] < 520
    assert left[1] < 20


async def test_total_inventory_can_lag(client: Client) -> None:
    catalog = client.catalog(DOMAIN)
    product = next(catalog.products())
    query = f'{{product(id: "gid://shopify/Product/{product.id}"){{totalInventory}}}}'
    before = (await client.data(query))["product"]["totalInventory"]
    catalog.update_variant(product.variants[0].id, stock=9_999)
    assert (await client.data(query))["product"]["totalInventory"] >= 9_999
    client.store.shopify(DOMAIN).quirks.totals_lag = True
    assert (await client.data(query))["product"]["totalInventory"] == before


async def test_version_scopes_and_domain_can_differ(client: Client) -> None:
    quirks = client.store.shopify(DOMAIN).quirks
    quirks.served_version, quirks.scopes, quirks.myshopify_domain = "2027-01", ("write_products",), "other.shop"
    reply = await client.graphql("{shop{myshopifyDomain} currentAppInstallation{accessScopes{handle}}}")
    assert reply.headers["X-Shopify-API-Version"] == "2027-01"
    data = reply.body["data"]
    assert data["shop"]["myshopifyDomain"] == "other.shop"
    assert data["currentAppInstallation"]["accessScopes"] == [{"handle": "write_products"}]
