"""Sessions: only a fresh hand-over token of the platform begins one, and only a valid cookie continues it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from catalogsync_bff.expiring_set import ExpiringSet
from catalogsync_bff.sessions import HANDOVER_LIFETIME, Sessions
from catalogsync_bff.signed_claims import ClaimsInvalid
from catalogsync_common.auth.secret_keys import HmacKeys

from tests.bff_client import BffClient
from tests.fakes.catalog_service import CatalogServer, FakeCatalog
from tests.unit.bff.conftest import served

KEY = "handover-key-of-the-platform-0123456789"
OTHER_KEY = "another-key-that-nobody-knows-0123456789"
CLIENT_KEY = "client:" + "k" * 40


def handover(*, key: str = KEY, kid: str = "p1", without: str = "", **claims: Any) -> str:
    """Return a hand-over token; valid unless the claims say otherwise."""
    now = datetime.now(UTC)
    values = {
        "aud": "catalogsync-bff",
        "sub": "merchant:m-1",
        "jti": f"j-{now.timestamp()}",
        "iat": now,
        "exp": now + timedelta(minutes=1),
        **claims,
    }
    values.pop(without, None)
    return jwt.encode(values, key, algorithm="HS256", headers={"kid": kid})


@pytest.fixture
async def platform_bff(server: CatalogServer) -> AsyncIterator[BffClient]:
    """A client of a BFF that accepts hand-over tokens, without a session."""
    async with served(
        server, handover_keys=f"p1:{KEY}", client_key=CLIENT_KEY, client_issuer="bff", service_secret=f"bff:{KEY}"
    ) as client:
        yield client


async def begin(bff: BffClient, token: str) -> int:
    """Return the status of an attempt to begin a session."""
    return (await bff.call("POST", "/session", json={"token": token})).status


async def test_a_handover_token_begins_a_session_of_its_merchant(platform_bff: BffClient) -> None:
    token = handover(name="Ada's Shop", scope="catalog:read other:scope")
    assert await begin(platform_bff, token) == 201
    session = (await platform_bff.call("GET", "/session")).data
    assert (session["subject"], session["name"]) == ("merchant:m-1", "Ada's Shop")
    assert session["scopes"] == ["catalog:read"]


async def test_a_form_is_redirected_to_the_page_with_a_cookie_that_scripts_cannot_read(
    platform_bff: BffClient,
) -> None:
    answer = await platform_bff.call("POST", "/session", data={"token": handover()})
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("catalogsync-session=")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))


async def test_behind_https_the_cookie_is_secure_and_bound_to_the_host(server: CatalogServer) -> None:
    async with served(
        server,
        handover_keys=f"p1:{KEY}",
        client_key=CLIENT_KEY,
        client_issuer="bff",
        public_url="https://bff.example",
    ) as client:
        answer = await client.call("POST", "/session", json={"token": handover()})
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-catalogsync-session=")
    assert "Secure" in cookie.split("; ")


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(lambda: handover(key=OTHER_KEY), id="signed by others"),
        pytest.param(lambda: handover(kid="p2"), id="unknown key id"),
        pytest.param(lambda: handover(aud="catalogsync"), id="another audience"),
        pytest.param(lambda: handover(aud=["catalogsync-bff"]), id="a list of audiences"),
        pytest.param(
            lambda: handover(iat=datetime.now(UTC) - timedelta(minutes=2), exp=datetime.now(UTC)), id="expired"
        ),
        pytest.param(
            lambda: handover(exp=datetime.now(UTC) + HANDOVER_LIFETIME + timedelta(seconds=30)), id="too long"
        ),
        pytest.param(
            lambda: handover(
                iat=datetime.now(UTC) + timedelta(minutes=2), exp=datetime.now(UTC) + timedelta(minutes=3)
            ),
            id="of the future",
        ),
        pytest.param(lambda: handover(without="jti"), id="without an id"),
        pytest.param(lambda: handover(without="exp"), id="without an end"),
        pytest.param(lambda: handover(sub="merchant:"), id="no merchant"),
        pytest.param(lambda: handover(sub=""), id="no subject"),
        pytest.param(lambda: handover(sub="nodots"), id="no domain"),
        pytest.param(lambda: jwt.encode({"sub": "merchant:m-1"}, "", algorithm="none"), id="unsigned"),
        pytest.param(lambda: "", id="empty"),
        pytest.param(lambda: "a.b.c", id="garbage"),
    ],
)
async def test_other_tokens_begin_no_session(platform_bff: BffClient, token: Any) -> None:
    assert await begin(platform_bff, token()) == 401
    assert (await platform_bff.call("GET", "/session")).status == 401


async def test_a_handover_token_is_used_once(platform_bff: BffClient) -> None:
    token = handover()
    assert await begin(platform_bff, token) == 201
    assert await begin(platform_bff, token) == 401


async def test_a_cookie_is_refused_once_its_session_was_ended(platform_bff: BffClient) -> None:
    await begin(platform_bff, handover())
    answer = await platform_bff.call("POST", "/session", json={"token": handover()})
    copied = answer.headers["Set-Cookie"].partition(";")[0]
    assert (await platform_bff.call("DELETE", "/session")).status == 204
    assert (await platform_bff.call("GET", "/session")).status == 401
    assert (await platform_bff.call("GET", "/session", headers={"Cookie": copied})).status == 401


async def test_sessions_expire_and_their_keys_rotate() -> None:
    """A cookie of an older key is accepted while that key is configured; a forged one never is."""
    now = datetime(2026, 11, 30, tzinfo=UTC)
    old, new = ("old", "o" * 40), ("new", "n" * 40)

    def sessions(*keys: tuple[str, str]) -> Sessions:
        return Sessions.of_keys(HmacKeys(), HmacKeys(keys), lifetime=timedelta(hours=1), clock=lambda: now)

    before = sessions(old)
    cookie = before.encode(before.begin("merchant:m-1", name="n"))
    assert sessions(new, old).decode(cookie).subject == "merchant:m-1"
    with pytest.raises(ClaimsInvalid):
        sessions(new).decode(cookie)
    with pytest.raises(ClaimsInvalid):
        sessions(("old", "f" * 40)).decode(cookie)
    now += timedelta(hours=1)
    with pytest.raises(ClaimsInvalid, match="expired"):
        sessions(new, old).decode(cookie)


async def test_a_handover_token_is_no_cookie(platform_bff: BffClient) -> None:
    cookie = f"catalogsync-session={handover()}"
    assert (await platform_bff.call("GET", "/session", headers={"Cookie": cookie})).status == 401


async def test_the_catalog_gets_a_token_of_the_merchant_and_never_the_cookie(
    platform_bff: BffClient, catalog: FakeCatalog
) -> None:
    await begin(platform_bff, handover(scope="catalog:read catalog:manage"))
    await platform_bff.get("/shops")
    method, _, metadata = catalog.requests[-1]
    claims = jwt.decode(
        metadata["authorization"].removeprefix("Bearer "), CLIENT_KEY[7:], ["HS256"], audience="catalogsync"
    )
    assert method == "ListShops"
    assert (claims["sub"], claims["iss"], claims["scope"]) == ("merchant:m-1", "bff", "catalog:read")
    assert "x-service-secret" not in metadata


async def test_a_token_of_a_program_is_passed_on(platform_bff: BffClient, catalog: FakeCatalog) -> None:
    headers = {"Authorization": "Bearer of-a-program"}
    assert (await platform_bff.get("/shops", headers=headers)).status == 200
    assert catalog.requests[-1][2]["authorization"] == "Bearer of-a-program"
    for malformed in ("Basic x", "Bearer", "Bearer a b"):
        assert (await platform_bff.get("/shops", headers={"Authorization": malformed})).status == 401


async def test_the_development_login_exists_only_when_it_is_switched_on(
    platform_bff: BffClient, bff: BffClient
) -> None:
    assert (await platform_bff.call("POST", "/session/dev")).status == 404
    refused = await platform_bff.call("GET", "/session")
    assert refused.envelope["error"]["details"] == {"dev_login": False}
    assert (await bff.call("GET", "/session")).data["subject"] == "all shops"


def test_a_full_set_of_used_ids_accepts_no_more() -> None:
    """Otherwise a flood of tokens would make used ones usable again."""
    now = datetime(2026, 11, 30, tzinfo=UTC)
    used = ExpiringSet(2, clock=lambda: now)
    assert used.add("a", now + timedelta(seconds=1))
    assert used.add("b", now + timedelta(seconds=9))
    assert not used.add("c", now + timedelta(seconds=9))
    now += timedelta(seconds=2)
    assert used.add("c", now + timedelta(seconds=9))
    assert "a" not in used
    assert "b" in used
