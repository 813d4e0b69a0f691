"""What a verified token says about its principal, and the compatibility switch for the old BFF's tokens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from catalogsync_common.auth.failures import TokenExpired, Unauthenticated
from catalogsync_common.auth.secret_keys import HmacKeys
from catalogsync_common.auth.tokens import ClientTokenPolicy, TokenKeys, TokenVerifier
from catalogsync_common.principal import Principal, PrincipalKind
from catalogsync_common.token_claims import MAX_CLOCK_SKEW
from catalogsync_common.token_minting import SigningKey, mint_client_token, mint_operator_token

NOW = datetime.now(UTC).replace(microsecond=0)
CLIENT, NEXT, OPERATOR = (SigningKey(kid=kid, key=kid * 32) for kid in ("c1", "c2", "o1"))
KEYS = TokenKeys(
    client_hmac=HmacKeys([(key.kid, key.key) for key in (CLIENT, NEXT)]),
    operator=HmacKeys([(OPERATOR.kid, OPERATOR.key)]),
)
SCOPES = ("catalog:read", "catalog:sync")


def verify_minted(token: str) -> Principal:
    """Return the principal of a token that was minted this moment."""
    return verifier(now=datetime.now(UTC)).verify(token)


def verifier(*, compatibility: bool = False, now: datetime = NOW) -> TokenVerifier:
    policy = ClientTokenPolicy(audience="catalogsync", issuer="bff", compatibility=compatibility)
    return TokenVerifier(KEYS, policy, clock=lambda: now)


def token(key: SigningKey = CLIENT, *, kid: bool = True, **claims: Any) -> str:
    """Return a client's token; a claim of None is left out."""
    valid = {"sub": "one.example", "aud": "catalogsync", "iss": "bff", "scope": "catalog:read", "iat": NOW}
    chosen = {**valid, "exp": NOW + timedelta(minutes=5), **claims}
    headers = {"kid": key.kid} if kid else None
    present = {name: value for name, value in chosen.items() if value is not None}
    return jwt.encode(present, key.key, algorithm="HS256", headers=headers)


def test_the_principal_of_a_domain() -> None:
    principal = verify_minted(mint_client_token(CLIENT, issuer="bff", domain="one.example", scopes=SCOPES))
    assert (principal.kind, principal.domain, principal.merchant_id) == (PrincipalKind.CLIENT, "one.example", "")
    assert principal.scopes == set(SCOPES)
    assert principal.expires_at is not None


def test_the_principal_of_a_merchant() -> None:
    principal = verify_minted(mint_client_token(CLIENT, issuer="bff", merchant_id="m 17:é", scopes=SCOPES))
    assert (principal.kind, principal.domain, principal.merchant_id) == (PrincipalKind.CLIENT, "", "m 17:é")
    assert principal.id == "client:merchant:m 17:é"


def test_the_principal_of_an_operator() -> None:
    principal = verify_minted(mint_operator_token(OPERATOR, "ada", scopes=SCOPES))
    assert (principal.id, principal.domain, principal.merchant_id) == ("operator:ada", "", "")


@pytest.mark.parametrize("subject", ["ONE.Example", "one.example.", "One.EXAMPLE."])
def test_a_domain_is_made_canonical_as_in_requests(subject: str) -> None:
    assert verifier().verify(token(sub=subject)).domain == "one.example"


def test_a_rotated_key_verifies_beside_the_old_one() -> None:
    assert verifier().verify(token(CLIENT)).id == verifier().verify(token(NEXT)).id


def test_a_token_without_scope_permits_nothing() -> None:
    assert verifier().verify(token(scope=None)).scopes == set()


def test_a_token_is_valid_until_its_expiry_and_not_before_it_was_issued() -> None:
    assert verifier(now=NOW + timedelta(minutes=5, seconds=-1)).verify(token())
    with pytest.raises(TokenExpired):
        verifier(now=NOW + timedelta(minutes=5)).verify(token())
    assert verifier(now=NOW - MAX_CLOCK_SKEW).verify(token())
    with pytest.raises(Unauthenticated):
        verifier(now=NOW - MAX_CLOCK_SKEW - timedelta(seconds=1)).verify(token())


def test_a_token_is_no_longer_valid_than_the_policy_allows() -> None:
    assert verifier().verify(token(exp=NOW + timedelta(minutes=15)))
    with pytest.raises(Unauthenticated):
        verifier().verify(token(exp=NOW + timedelta(minutes=15, seconds=1)))


def test_the_message_repeats_nothing_of_the_token() -> None:
    with pytest.raises(Unauthenticated) as raised:
        verifier().verify(token(aud="canary", sub="canary.example"))
    assert "canary" not in str(raised.value)


OLD_TOKENS: dict[str, dict[str, Any]] = {
    "without kid": {"kid": False},
    "without aud": {"aud": None},
    "without iss": {"iss": None},
    "without any of them": {"kid": False, "aud": None, "iss": None, "scope": "bff:call"},
    "with the next key, without kid": {"key": NEXT, "kid": False},
}


@pytest.mark.parametrize("name", OLD_TOKENS)
def test_tokens_of_the_old_bff_need_the_switch(name: str) -> None:
    old = token(**OLD_TOKENS[name])
    with pytest.raises(Unauthenticated):
        verifier().verify(old)
    assert verifier(compatibility=True).verify(old).domain == "one.example"


def test_the_scope_of_the_old_bff_needs_the_switch() -> None:
    old = token(scope="bff:call")
    assert verifier().verify(old).scopes == {"bff:call"}
    assert verifier(compatibility=True).verify(old).scopes == {"bff:call", "catalog:read", "catalog:sync"}


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "other"}, {"iss": "other"}, {"aud": ["catalogsync"]}, {"exp": None}, {"iat": None}, {"sub": None},
        {"exp": NOW + timedelta(days=1)}, {"key": OPERATOR, "kid": False}, {"key": OPERATOR, "aud": None,
        "iss": None},
        {"key": SigningKey(kid="c1", key="x" * 32), "kid": False},
    ],
    ids=range(10),
)  # fmt: skip
def test_the_switch_changes_nothing_else(claims: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        verifier(compatibility=True).verify(token(**claims))
