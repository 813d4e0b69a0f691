"""A sync of a shop that cannot be read fails with a reason that the merchant can act on."""

from __future__ import annotations

import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.errors.v1.error_reason_pb2 import ErrorReason

from tests.e2e.conftest import System


@pytest.mark.parametrize(
    ("platform", "domain", "reason"),
    [
        ("woocommerce", "locked.example", "SOURCE_UNAUTHORIZED"),
        ("shopify", "revoked.myshopify.com", "SOURCE_UNAUTHORIZED"),
        ("woocommerce", "missing.example", "SOURCE_NOT_FOUND"),
        ("shopify", "missing.myshopify.com", "SOURCE_NOT_FOUND"),
        ("woocommerce", "html.example", "SOURCE_RESPONSE_INVALID"),
        ("shopify", "html.myshopify.com", "SOURCE_RESPONSE_INVALID"),
        ("woocommerce", "moved.example", "SOURCE_REDIRECTED"),
        ("shopify", "moved.myshopify.com", "SOURCE_REDIRECTED"),
        ("woocommerce", "silent.example", "SOURCE_UNREACHABLE"),
        ("shopify", "silent.myshopify.com", "SOURCE_UNREACHABLE"),
        ("woocommerce", "dead.example", "SOURCE_UNREACHABLE"),
        ("shopify", "dead.myshopify.com", "SOURCE_UNREACHABLE"),
        ("shopify", "stranger.myshopify.com", "CREDENTIALS_NOT_FOUND"),
    ],
)
async def test_the_sync_fails_with_a_reason_and_a_message_without_secrets(
    system: System, platform: str, domain: str, reason: str
) -> None:
    sync = await system.sync(platform, domain)
    assert sync.state == pb.Sync.STATE_FAILED
    status = await system.catalog.GetStatus(pb.GetStatusRequest(shop=pb.ShopRef(platform=platform, domain=domain)))
    assert ErrorReason.Name(status.connection.reason) == f"ERROR_REASON_{reason}"
    assert sync.error.message.startswith(f"{reason}: ")
    assert domain in sync.error.message
    assert len(sync.error.message) > 40
    for secret in ("shpat_", "ck_", "cs_", "127.0.0.1"):
        assert secret not in sync.error.message


async def test_no_log_contains_a_credential(system: System) -> None:
    for log in system.logs.glob("*_svc.log"):
        text = log.read_text()
        for secret in ("shpat_devstore", "shpat_revoked", "ck_devstore", "cs_devstore", "cs_wrong"):
            assert secret not in text, (log.name, secret)
