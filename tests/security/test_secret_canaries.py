"""No secret of the services is in a log, reply, metric, span, repr or table, whatever a shop does with it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.conftest import open_directory
from tests.security.canary_system import UNREACHABLE, WORKING, Outputs, collect_outputs
from tests.security.secrets import NOT_SENT_TO_SHOPS, SECRETS, leaks

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
async def outputs(postgres_url: str) -> AsyncIterator[Outputs]:
    """Yield all that the services put out while every shop was checked, fetched and synchronized."""
    with open_directory("canaries") as directory:
        yield await collect_outputs(directory, postgres_url)


@pytest.mark.parametrize("form", SECRETS[0].written())
def test_a_secret_is_found_in_every_form(form: str) -> None:
    for secret in SECRETS:
        assert leaks({"x": f'{{"a": "{secret.written()[form]}"}}'.encode()}), secret.name
    assert leaks({"x": b"nothing here"}) == []


def test_every_secret_was_sent_and_every_failure_met(outputs: Outputs) -> None:
    """The control: a search finds nothing where nothing was sent."""
    for secret in SECRETS:
        if secret not in NOT_SENT_TO_SHOPS:
            assert secret.core in outputs.received, secret.name
    assert {shop: outputs.reasons[shop] for shop in WORKING} == dict.fromkeys(WORKING, "")
    assert {shop: outputs.reasons[shop] for shop in UNREACHABLE} == dict.fromkeys(
        UNREACHABLE, "SOURCE_UNREACHABLE"
    )
    assert set(outputs.reasons.values()) >= {
        "SOURCE_UNAUTHORIZED",
        "SOURCE_FORBIDDEN",
        "SOURCE_NOT_FOUND",
        "SOURCE_RATE_LIMITED",
        "SOURCE_REDIRECTED",
        "SOURCE_RESPONSE_INVALID",
        "SOURCE_QUERY_REFUSED",
        "TOKEN_SERVICE_UNAVAILABLE",
    }
    assert "INTERNAL" not in outputs.reasons.values()
    # A webhook with the secret was created.
    assert b"store/product/*" in b"".join(outputs.matching("replies of EnsureWebhooks").values())
    # Requests to all shops, and the transactions of their syncs.
    assert outputs.spans["connector_svc", "CLIENT"] > len(outputs.reasons)
    assert outputs.spans["catalog_svc", "CLIENT"] > len(WORKING)
    assert outputs.credentials == {
        "service secret": "",
        "operator token": "",
        "client token": "",
        "secret of another name": "UNAUTHENTICATED",
        "secret as a token": "UNAUTHENTICATED",
        "token with a wrong signature": "UNAUTHENTICATED",
        "expired token": "TOKEN_EXPIRED",
        "client token without scope": "PERMISSION_DENIED",
    }


def test_no_token_is_put_out(outputs: Outputs) -> None:
    assert len(outputs.tokens) > 3
    for token in outputs.tokens:
        signature = token.rpartition(".")[2].encode()
        assert [name for name, content in outputs.by_source.items() if signature in content] == []


@pytest.mark.parametrize("source", ["log of catalog", "log of connector", "replies", "metrics", "spans", "table"])
def test_no_secret_is_put_out(outputs: Outputs, source: str) -> None:
    searched = outputs.matching(source)
    assert sum(map(len, searched.values())) > 1_000
    assert leaks(searched) == []
