"""No forged token is accepted, whatever key and algorithm it imitates; the valid token of each is the control."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from catalogsync_common.auth.failures import TokenExpired, Unauthenticated
from catalogsync_common.auth.jwks_file import JwksFile
from catalogsync_common.auth.secret_keys import HmacKeys
from catalogsync_common.auth.tokens import ClientTokenPolicy, TokenKeys, TokenVerifier
from catalogsync_common.status import ReceivedFailure

from tests.security.forged_tokens import Forger, Signer, client_forger, operator_forger
from tests.security.methods import METHODS
from tests.security.target import Target, bearer
from tests.security.token_families import FAMILIES, Forged, forge

KINDS = ("HS256", "RS256", "ES256", "EdDSA", "operator")
MIN_TOKENS = 1_000
"""Of each kind."""
LEGACY_CLAIMS = {"aud", "iss"}
REFUSED = {"UNAUTHENTICATED", "TOKEN_EXPIRED"}
CALLS_AT_ONCE = 32


def new_hmac(kid: str) -> Signer:
    return Signer(kid=kid, algorithm="HS256", key=secrets.token_hex(32).encode())


class Issuers:
    """One key of each kind, and verifiers that know all of them."""

    def __init__(self, directory: Path) -> None:
        client, operator = new_hmac("c1"), new_hmac("o1")
        public = {name: Signer.new(name, f"p-{name}") for name in ("RS256", "ES256", "EdDSA")}
        file = directory / "jwks.json"
        file.write_text(json.dumps({"keys": [signer.public_jwk for signer in public.values()]}))
        self._keys = TokenKeys(
            client_hmac=HmacKeys([(client.kid, client.key.decode())]),
            client_public=JwksFile(file),
            operator=HmacKeys([(operator.kid, operator.key.decode())]),
        )
        self.forgers: dict[str, Forger] = {
            name: client_forger(signer, operator, issuer="bff", subject="one.example")
            for name, signer in {"HS256": client, **public}.items()
        }
        self.forgers["operator"] = operator_forger(operator, client, issuer="bff", subject="one.example")

    def verifier(self, *, compatibility: bool = False) -> TokenVerifier:
        policy = ClientTokenPolicy(audience="catalogsync", issuer="bff", compatibility=compatibility)
        return TokenVerifier(self._keys, policy)


@pytest.fixture(scope="module")
def issuers(tmp_path_factory: pytest.TempPathFactory) -> Issuers:
    return Issuers(tmp_path_factory.mktemp("jwks"))


def accepted(verifier: TokenVerifier, forged: list[Forged]) -> Iterator[Forged]:
    """Yield the tokens that the verifier accepts; anything but its two failures is raised."""
    for one in forged:
        try:
            verifier.verify(one.token)
        except (Unauthenticated, TokenExpired):
            continue
        yield one


@pytest.mark.parametrize("kind", KINDS)
def test_the_valid_token_is_accepted(issuers: Issuers, kind: str) -> None:
    principal = issuers.verifier().verify(issuers.forgers[kind].token())
    assert principal.id == ("operator:tester" if kind == "operator" else "client:one.example")
    assert "catalog:read" in principal.scopes


@pytest.mark.parametrize("kind", KINDS)
def test_headers_that_name_other_keys_are_ignored_in_a_valid_token(issuers: Issuers, kind: str) -> None:
    attacker = Signer.new("ES256", "attacker")
    header = {"jku": "https://attacker.example", "x5u": "https://attacker.example", "jwk": attacker.public_jwk}
    issuers.verifier().verify(issuers.forgers[kind].token(header))


@pytest.mark.parametrize("kind", KINDS)
def test_no_forged_token_is_accepted(issuers: Issuers, kind: str) -> None:
    forged = forge(issuers.forgers[kind])
    assert len(forged) >= MIN_TOKENS
    assert {one.family for one in forged} == set(FAMILIES)
    assert list(accepted(issuers.verifier(), forged)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_compatibility_switch_accepts_the_old_tokens_alone(issuers: Issuers, kind: str) -> None:
    forger = issuers.forgers[kind]
    old = {forger.token(without=("kid",)), *(forger.token(without=(name,)) for name in LEGACY_CLAIMS)}
    # Their names in capitals are claims without a meaning.
    old |= {forger.token(without=(name,), **{name.upper(): forger.claims[name]}) for name in LEGACY_CLAIMS}
    found = {one.token for one in accepted(issuers.verifier(compatibility=True), forge(forger))}
    assert found == (old if kind == "HS256" else set())


def target_forgers(target: Target) -> tuple[Forger, Forger]:
    client, operator = (
        Signer(kid=key.kid, algorithm="HS256", key=key.key.encode())
        for key in (target.client_key, target.operator_key)
    )
    domain = target.shops[0].partition(":")[2]
    return (
        client_forger(client, operator, issuer=target.issuer, subject=domain),
        operator_forger(operator, client, issuer=target.issuer, subject=domain),
    )


async def test_the_running_services_accept_none_of_them(
    target: Target, catalog_channel: grpc.aio.Channel, connector_channel: grpc.aio.Channel
) -> None:
    free = asyncio.Semaphore(CALLS_AT_ONCE)

    async def reason_of(number: int, token: str) -> str:
        """Call the method whose turn it is."""
        method = METHODS[number % len(METHODS)]
        channel = catalog_channel if method.is_of_catalog else connector_channel
        async with free:
            result = await method.call(channel, b"", bearer(token))
        return result.reason if isinstance(result, ReceivedFailure) else "accepted"

    for forger in target_forgers(target):
        sent = [one for one in forge(forger) if one.can_be_sent]
        assert {one.family for one in sent} == set(FAMILIES)
        reasons = await asyncio.gather(*(reason_of(number, one.token) for number, one in enumerate(sent)))
        assert [one for one, reason in zip(sent, reasons, strict=True) if reason not in REFUSED] == []

        # The services still work, and know the keys.
        (list_shops,) = (method for method in METHODS if str(method) == "ListShops")
        assert not isinstance(await list_shops.call(catalog_channel, b"", bearer(forger.token())), ReceivedFailure)
