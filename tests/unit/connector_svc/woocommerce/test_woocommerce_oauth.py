"""OAuthSignatures are those of RFC 5849, as WooCommerce checks them."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import parse_qsl

import pytest
from yarl import URL

from connector_svc.platforms.woocommerce.oauth import Moment, base_string, signed
from devstore.woocommerce.auth import OAuthSignatures
from devstore.woocommerce.errors import RestError

URL_OF_PRODUCTS = URL("http://store.example:8088/shop/wp-json/wc/v3/products")
PARAMS = (("_fields", "id,name"), ("per_page", "1"), ("search", "Ünï & ~co= +"))
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def test_the_base_string_is_the_one_of_the_rfc() -> None:
    """Section 3.4.1.1, with the parameters of query, header and body together."""
    query = "b5=%3D%253D&a3=a&c%40=&a2=r%20b&c2&a3=2+q"
    params = [
        *parse_qsl(query, keep_blank_values=True),
        ("oauth_consumer_key", "9djdj82h48djs9d2"),
        ("oauth_token", "kkk9d7dh3k39sjv7"),
        ("oauth_signature_method", "HMAC-SHA1"),
        ("oauth_timestamp", "137131201"),
        ("oauth_nonce", "7d8f3e4a"),
    ]
    assert base_string("post", URL("http://example.com/request"), params) == (
        "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D%25253D%26c%2540%3D"
        "%26c2%3D%26oauth_consumer_key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a%26oauth_signature_method%3DHMAC-SHA1"
        "%26oauth_timestamp%3D137131201%26oauth_token%3Dkkk9d7dh3k39sjv7"
    )


def sent(nonce: str = "n1", timestamp: int = int(NOW.timestamp()), secret: str = "cs") -> dict[str, str]:
    moment = Moment(timestamp=timestamp, nonce=nonce)
    return dict((*PARAMS, *signed("GET", URL_OF_PRODUCTS, PARAMS, key="ck", secret=secret, moment=moment)))


def refusal(params: dict[str, str], checker: OAuthSignatures | None = None) -> str:
    checker = checker or OAuthSignatures(lambda: NOW)
    try:
        checker.check("GET", str(URL_OF_PRODUCTS), params, key="ck", secret="cs")
    except RestError as error:
        return str(error)
    return ""


def test_a_signature_is_what_an_independent_library_makes_of_the_same() -> None:
    """By oauthlib 4.0.1, with the same key, secret, nonce and timestamp."""
    moment = Moment(timestamp=1_795_188_822, nonce="9157ec4b797aee2b3073eb740b3049a3")
    made = dict(signed("GET", URL_OF_PRODUCTS, PARAMS, key="ck_a", secret="cs_b", moment=moment))
    assert made["oauth_signature"] == "FrL0ixhlnKaeABcoa4Xg1BTmzrwG31WCzVQ2Lnt9Y/E="


def test_a_store_accepts_what_is_signed() -> None:
    assert refusal(sent()) == ""


@pytest.mark.parametrize("name", ["per_page", "oauth_nonce", "search"])
def test_a_store_refuses_what_was_changed_on_the_way(name: str) -> None:
    assert "does not match" in refusal({**sent(), name: "7"})


def test_a_store_refuses_another_secret_an_old_time_and_a_spent_nonce() -> None:
    checker = OAuthSignatures(lambda: NOW)
    assert "does not match" in refusal(sent(secret="other"))
    assert refusal(sent(timestamp=int(NOW.timestamp()) - 1_000)) == "Invalid timestamp."
    assert refusal(sent(), checker) == ""
    assert "already been used" in refusal(sent(), checker)


def test_nothing_that_is_sent_holds_the_secret() -> None:
    assert not any("cs_very_secret" in value for value in sent(secret="cs_very_secret").values())
