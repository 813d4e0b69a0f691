"""Lists of the WooCommerce API: pages, totals, links, filters and their traps."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from devstore.catalog.model import Product
from devstore.woocommerce.urls import list_headers
from tests.unit.devstore.conftest import Client, recorded

OLD, NEW = "old.example", "new.example"
LISTS = [
    "products-full-p1-pp2", "products-full-p2-pp2", "products-full-p3-pp2", "products-lean-pp25-p1",
    "products-lean-pp25-p2", "products-fields-array-syntax", "products-exclude", "products-offset",
    "products-page-beyond", "products-page-beyond-full", "products-head-lean", "products-ids-pp100",
    "products-empty-filter", "variations-74-p1-full2", "variations-74-pp100-p3-beyond", "auth-query-https",
    "variations-all-wc-analytics-p1", "variations-all-wc-analytics-p2", "variations-of-missing",
    "products-fields-nested", "products-fields-unknown", "products-default-order",
]  # fmt: skip


def listed(client: Client, domain: str = OLD) -> list[Product]:
    return [product for product in client.catalog(domain).products() if product.status != "trash"]


async def ids(client: Client, path: str, domain: str = OLD) -> list[int]:
    return [row["id"] for row in (await client.woo(path, domain=domain)).body]


async def all_ids(client: Client, path: str, domain: str = OLD) -> list[int]:
    first = await client.woo(f"{path}&page=1", domain=domain)
    found = [row["id"] for row in first.body]
    for page in range(2, int(first.headers["X-WP-TotalPages"]) + 1):
        found += await ids(client, f"{path}&page={page}", domain)
    return found


@pytest.mark.parametrize("name", LISTS)
def test_totals_and_links_are_as_recorded(name: str) -> None:
    exchange = recorded(name)
    url, expected = urlsplit(exchange["request"]["url"]), dict(exchange["response"]["headers"])
    query = parse_qsl(url.query, keep_blank_values=True)
    actual = list_headers(
        f"{url.scheme}://{url.netloc}",
        url.path.removeprefix("/wp-json/"),
        query,
        page=int(dict(query).get("page", 1)),
        per_page=int(dict(query).get("per_page", 10)),
        total=int(expected["X-WP-Total"]),
    )
    assert actual == {key: expected[key] for key in ("X-WP-Total", "X-WP-TotalPages", "Link")}


async def test_pages_sorted_by_id_are_the_whole_list(client: Client) -> None:
    found = await all_ids(client, "wc/v3/products?per_page=25&orderby=id&order=asc&_fields=id")
    assert found == [product.id for product in listed(client)]


async def test_the_default_order_of_8_2_loses_rows_of_the_same_second(client: Client) -> None:
    found = await all_ids(client, "wc/v3/products?per_page=10&_fields=id")
    assert len(found) == len(listed(client))
    assert len(set(found)) < len(found)


async def test_the_default_order_of_10_3_is_stable(client: Client) -> None:
    found = await all_ids(client, "wc/v3/products?per_page=10&_fields=id", NEW)
    assert len(set(found)) == len(found) == len(listed(client, NEW))


async def test_a_page_past_the_end_is_empty_with_correct_totals(client: Client) -> None:
    reply = await client.woo("wc/v3/products?per_page=100&page=9&orderby=id")
    assert (reply.status, reply.body) == (200, [])
    assert reply.headers["X-WP-Total"] == str(len(listed(client)))


async def test_offset_takes_precedence_over_page(client: Client) -> None:
    found = await ids(client, "wc/v3/products?offset=5&page=3&per_page=2&orderby=id&order=asc")
    assert found == [product.id for product in listed(client)[5:7]]


async def test_head_counts_without_a_body(client: Client) -> None:
    reply = await client.woo("wc/v3/products?per_page=1", method="HEAD")
    assert (reply.status, reply.raw) == (200, b"")
    assert reply.headers["X-WP-Total"] == str(len(listed(client)))


async def test_trash_is_listed_only_on_request(client: Client) -> None:
    trash_ids = await ids(client, "wc/v3/products?status=trash&orderby=id&order=asc")
    trashed = [p.id for p in client.catalog(OLD).products() if p.status == "trash"]
    assert trash_ids == trashed
    assert not set(trash_ids) & set(await ids(client, "wc/v3/products?per_page=100&status=any&orderby=id"))
    single = (await client.woo(f"wc/v3/products/{trashed[0]}")).body
    assert single["status"] == "trash"
    assert single["slug"].endswith("__trashed")


async def test_include_omits_unknown_and_trashed_products_and_variations(client: Client) -> None:
    catalog = client.catalog(OLD)
    parent, trashed = catalog.edge_case("variations-130"), catalog.edge_case("trashed")
    wanted = f"{parent.id},{parent.variants[0].id},{trashed.id},999999"
    assert await ids(client, f"wc/v3/products?include={wanted}&orderby=include") == [parent.id]
    assert await ids(client, f"wc/v3/products?include[]={parent.id}") == [parent.id]


async def test_a_sku_finds_products_and_variations(client: Client) -> None:
    catalog = client.catalog(OLD)
    parent = catalog.edge_case("variations-130")
    rows = (await client.woo(f"wc/v3/products?sku={parent.variants[3].sku}&_fields=id,type,parent_id")).body
    assert rows == [{"id": parent.variants[3].id, "type": "variation", "parent_id": parent.id}]
    assert len(await ids(client, "wc/v3/products?sku=DUP-1")) == 2


async def modified(client: Client, bound: str) -> list[int]:
    return await ids(client, f"wc/v3/products?per_page=100&orderby=id&order=asc&_fields=id&{bound}")


async def test_naive_utc_with_gmt_finds_all_changes(client: Client) -> None:
    products = sorted(listed(client), key=lambda product: product.updated)
    middle = products[len(products) * 3 // 4]
    bound = f"modified_after={middle.updated:%Y-%m-%dT%H:%M:%S}&dates_are_gmt=true"
    later = sorted(product.id for product in products if product.updated > middle.updated)
    assert await modified(client, bound) == later
    assert middle.id not in later


async def test_a_z_together_with_gmt_skips_an_hour_of_changes(client: Client) -> None:
    newest = max(listed(client), key=lambda product: product.updated)
    just_before = newest.updated.replace(minute=0, second=0)
    value = f"modified_after={just_before:%Y-%m-%dT%H:%M:%S}"
    right = await modified(client, f"{value}&dates_are_gmt=true")
    assert newest.id in right
    assert newest.id not in await modified(client, f"{value}Z&dates_are_gmt=true")
    assert await modified(client, f"{value}Z") == right


async def test_fields_selects_top_level_names_only(client: Client) -> None:
    row: dict[str, Any] = (await client.woo("wc/v3/products?per_page=1&_fields=id,images.src,nosuch")).body[0]
    assert list(row) == ["id"]
    row = (await client.woo("wc/v3/products?per_page=1&_fields[]=id&_fields[]=sku")).body[0]
    assert list(row) == ["id", "sku"]
    single = (await client.woo(f"wc/v3/products/{listed(client)[0].id}?_fields=id")).body
    assert list(single) == ["id", "_links"]
