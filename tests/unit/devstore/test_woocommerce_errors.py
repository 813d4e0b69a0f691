"""The error replies of the WooCommerce API are the recorded ones of a real 8.2.2."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from devstore.server import serving
from tests.unit.devstore.conftest import SHOPS, Client, client_session, recorded

RECORDED_ERRORS = [
    "products-per-page-500", "products-per-page-0", "products-per-page-neg", "products-page-0",
    "products-page-text", "products-bad-orderby", "products-bad-status", "products-type-variation-400",
    "products-modified-after-bad", "product-404", "product-bad-id", "rest-no-route", "variation-404",
    "settings-404", "variations-v3-all-404", "products-variations-v3-404",
]  # fmt: skip
PRODUCTS = "wc/v3/products?per_page=1&_fields=id,name"


def path_of(name: str) -> str:
    url = urlsplit(str(recorded(name)["request"]["url"]))
    return url.path.removeprefix("/wp-json/") + (f"?{url.query}" if url.query else "")


def basic(key: str, secret: str) -> dict[str, str]:
    return {"Authorization": aiohttp.encode_basic_auth(key, secret)}


@pytest.mark.parametrize("name", RECORDED_ERRORS)
async def test_an_invalid_request_is_rejected_as_recorded(client: Client, name: str) -> None:
    reply, expected = await client.woo(path_of(name)), recorded(name)["response"]
    assert (reply.status, reply.body) == (expected["status"], expected["body_json"])


async def test_all_invalid_parameters_are_named_at_once(client: Client) -> None:
    body = (await client.woo("wc/v3/products?per_page=0&page=x")).body
    assert body["message"] == "Invalid parameter(s): page, per_page"
    assert set(body["data"]["params"]) == {"page", "per_page"}


async def test_no_key_an_unknown_key_and_no_secret_get_the_same_error(client: Client) -> None:
    keys = client.store.credentials("old.example")
    expected = recorded("auth-none")["response"]
    swapped = basic(keys["consumer_secret"], keys["consumer_key"])
    for headers in ({}, basic("ck_unknown", "x"), basic(keys["consumer_key"], ""), swapped):
        reply = await client.woo(PRODUCTS, headers=headers)
        assert (reply.status, reply.body) == (expected["status"], expected["body_json"])
        assert "WWW-Authenticate" not in reply.headers


async def test_a_wrong_secret_has_its_own_error(client: Client) -> None:
    key = client.store.credentials("old.example")["consumer_key"]
    reply, expected = (
        await client.woo(PRODUCTS, headers=basic(key, "cs_x")),
        recorded("auth-wrong-secret")["response"],
    )
    assert (reply.status, reply.body) == (expected["status"], expected["body_json"])


async def test_blanks_are_stripped_from_the_key_but_not_from_the_secret(client: Client) -> None:
    keys = client.store.credentials("old.example")
    padded_key = basic(keys["consumer_key"] + " ", keys["consumer_secret"])
    padded_secret = basic(keys["consumer_key"], keys["consumer_secret"] + " ")
    assert (await client.woo(PRODUCTS, headers=padded_key)).status == 200
    assert (await client.woo(PRODUCTS, headers=padded_secret)).status == 401


async def test_keys_in_the_query_take_precedence_over_the_header(client: Client) -> None:
    keys = client.store.credentials("old.example")
    right = f"&consumer_key={keys['consumer_key']}&consumer_secret={keys['consumer_secret']}"
    assert (await client.woo(PRODUCTS + right, headers={})).status == 200
    reply = await client.woo(PRODUCTS + f"&consumer_key={keys['consumer_key']}&consumer_secret=cs_wrong")
    assert reply.body == recorded("auth-query-https-wrong-secret")["response"]["body_json"]


async def test_a_read_key_may_not_write(client: Client) -> None:
    reply = await client.woo("wc/v3/products/16", method="PUT")
    assert reply.body == recorded("auth-read-key-put")["response"]["body_json"]


async def test_over_plain_http_keys_are_silently_ignored() -> None:
    async with serving(SHOPS[1:], tls_dir=None) as store, client_session(store) as session:
        plain = Client(store=store, session=session)
        reply, expected = await plain.woo(PRODUCTS), recorded("auth-basic-http")["response"]
        assert (reply.status, reply.body) == (expected["status"], expected["body_json"])
        assert (await plain.woo("")).body["namespaces"]


async def test_the_index_and_the_namespace_need_no_key(client: Client) -> None:
    assert "wc/v3" in (await client.woo("", headers={})).body["namespaces"]
    assert (await client.woo("wc/v3", headers={})).body["namespace"] == "wc/v3"


async def test_an_unknown_path_is_a_page_of_the_theme(client: Client) -> None:
    reply = await client.send("GET", client.store.base_url("old.example") + "/wp-json-typo/wc/v3/products")
    assert (reply.status, reply.headers["Content-Type"]) == (404, "text/html; charset=UTF-8")


def test_the_recordings_are_the_shared_ones() -> None:
    # Other tests write to the same folder; a changed file would weaken all comparisons.
    assert all(recorded(name)["response"]["status"] >= 400 for name in RECORDED_ERRORS)
    assert Path(__file__).parents[2].joinpath("data/woocommerce").is_dir()
