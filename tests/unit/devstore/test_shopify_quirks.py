"""The switches of a Shopify shop, its events and the tokens that it grants."""

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
async def own(tls_dir: Path) -> AsyncIterator[Client]:
    """A client of a shop that the test may change."""
    async with serving([SHOPIFY], tls_dir=tls_dir) as store, client_session(store) as session:
        yield Client(store=store, session=session)


async def granted(own: Client, **changes: str) -> Reply:
    oauth = own.store.shopify(DOMAIN).oauth
    form = {"client_id": oauth.client_id, "client_secret": oauth.client_secret, **changes}
    return await own.send("POST", f"{own.store.base_url(DOMAIN)}/admin/oauth/access_token", data=form)


async def test_events_tell_of_deleted_products_and_can_be_searched(own: Client) -> None:
    catalog = own.catalog(DOMAIN)
    product = next(catalog.products())
    catalog.delete_product(product.id)
    [event] = (await own.data(EVENTS, search="subject_type:PRODUCT AND action:destroy"))["events"]["nodes"]
    assert (event["action"], event["subjectType"]) == ("destroy", "PRODUCT")
    assert event["subjectId"] == f"gid://shopify/Product/{product.id}"
    late = f"created_at:>'{event['createdAt']}'"
    for search in ("action:create", "subject_type:ORDER", late, "id:>1"):
        assert (await own.data(EVENTS, search=search))["events"]["nodes"] == []


async def test_a_granted_token_opens_the_shop_until_its_end(own: Client) -> None:
    face = own.store.shopify(DOMAIN)
    face.quirks.static_token_works = False
    assert (await own.graphql("{shop{name}}")).status == 401
    token = (await granted(own, grant_type="client_credentials")).body
    assert token["expires_in"] == 24 * 60 * 60
    assert (await own.graphql("{shop{name}}", token=token["access_token"])).status == 200
    face.oauth.expire_all()
    assert (await own.graphql("{shop{name}}", token=token["access_token"])).status == 401
    face.quirks.granted_token_lifetime = timedelta(0)
    dead = (await granted(own, grant_type="client_credentials")).body["access_token"]
    assert (await own.graphql("{shop{name}}", token=dead)).status == 401


async def test_a_refresh_token_works_until_its_successor_is_used(own: Client) -> None:
    first = own.store.shopify(DOMAIN).oauth.refresh_token
    second = (await granted(own, grant_type="refresh_token", refresh_token=first)).body["refresh_token"]
    assert (await granted(own, grant_type="refresh_token", refresh_token=first)).body["refresh_token"] == second
    assert (await granted(own, grant_type="refresh_token", refresh_token=second)).status == 200
    refused = await granted(own, grant_type="refresh_token", refresh_token=first)
    assert (refused.status, refused.body["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"client_secret": "wrong", "grant_type": "client_credentials"}, 401),
        ({"grant_type": "password"}, 400),
        ({}, 400),
    ],
)
async def test_a_wrong_request_for_a_token_is_refused(own: Client, changes: dict[str, str], status: int) -> None:
    assert (await granted(own, **changes)).status == status


async def test_nodes_may_be_charged_one_by_one_and_may_miss_what_lists_show(own: Client) -> None:
    query = "query($ids: [ID!]!){nodes(ids: $ids){... on Product{id seo{title}}}}"
    products = [product.id for product in own.catalog(DOMAIN).products()][:10]
    ids = [f"gid://shopify/Product/{number}" for number in products]
    together = (await own.graphql(query, ids=ids)).body["extensions"]["cost"]["requestedQueryCost"]
    quirks = own.store.shopify(DOMAIN).quirks
    quirks.nodes_charged_per_id = True
    quirks.vanished = {products[3]}
    body = (await own.graphql(query, ids=ids)).body
    assert body["extensions"]["cost"]["requestedQueryCost"] == 10 * together
    assert [index for index, node in enumerate(body["data"]["nodes"]) if node is None] == [3]


async def test_another_app_takes_its_points_first(own: Client) -> None:
    quirks = own.store.shopify(DOMAIN).quirks
    quirks.other_app_spends = 1_500
    left = [
        (await own.graphql("{shop{name}}")).body["extensions"]["cost"]["throttleStatus"]["currentlyAvailable"]
        for _ in range(2)
    ]
    assert left[0] < 520
    assert left[1] < 20


async def test_totals_may_lag_behind_the_variants(own: Client) -> None:
    catalog = own.catalog(DOMAIN)
    product = next(catalog.products())
    query = f'{{product(id: "gid://shopify/Product/{product.id}"){{totalInventory}}}}'
    before = (await own.data(query))["product"]["totalInventory"]
    catalog.update_variant(product.variants[0].id, stock=9_999)
    assert (await own.data(query))["product"]["totalInventory"] >= 9_999
    own.store.shopify(DOMAIN).quirks.totals_lag = True
    assert (await own.data(query))["product"]["totalInventory"] == before


async def test_another_version_scopes_and_name_than_the_usual(own: Client) -> None:
    quirks = own.store.shopify(DOMAIN).quirks
    quirks.served_version, quirks.scopes, quirks.myshopify_domain = "2027-01", ("write_products",), "other.shop"
    reply = await own.graphql("{shop{myshopifyDomain} currentAppInstallation{accessScopes{handle}}}")
    assert reply.headers["X-Shopify-API-Version"] == "2027-01"
    data = reply.body["data"]
    assert data["shop"]["myshopifyDomain"] == "other.shop"
    assert data["currentAppInstallation"]["accessScopes"] == [{"handle": "write_products"}]
