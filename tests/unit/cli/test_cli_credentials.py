"""Credentials of the command line: which are sent to whom, fresh tokens from a file, and minted tokens."""

from __future__ import annotations

import asyncio
import stat
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import Shop, Sync
from catalogsync_cli.client import open_catalog
from catalogsync_cli.command import Options
from catalogsync_client import CatalogClient, CatalogSyncError, RetryPolicy
from catalogsync_common.auth.access_rules import AccessRules
from catalogsync_common.auth.call_access import CallAccess
from catalogsync_common.auth.secret_keys import HmacKeys, ServiceSecrets
from catalogsync_common.auth.tokens import ClientTokenPolicy, TokenKeys, TokenVerifier
from catalogsync_common.principal import PrincipalKind
from catalogsync_common.token_minting import SigningKey, mint_operator_token

from tests.fakes.catalog_service import CatalogServer, FailureWithReason, FakeCatalog
from tests.unit.cli.conftest import TOKEN, CommandLine, eventually
from tests.waiting import within_timeout

NAME = "shopify:demo.myshopify.com"
SECRET = "operator:" + "s" * 40
KEY = "k" * 40
QUICK = RetryPolicy(initial_backoff_seconds=0.05, max_backoff_seconds=0.1)


def sent_tokens(catalog: FakeCatalog) -> list[str | None]:
    return [metadata.get("authorization") for _, _, metadata in catalog.requests]


async def test_the_catalog_gets_the_token_and_the_connector_the_secret(
    catalog: FakeCatalog, run: CommandLine, shop: Shop
) -> None:
    catalog.register(shop)
    await run("status", NAME, "--service-secret", SECRET)
    ((_, _, metadata),) = catalog.requests
    assert metadata["authorization"] == f"Bearer {TOKEN}"
    assert "x-service-secret" not in metadata
    await run("status", NAME, "--service-secret", SECRET, "--token-file", "/dev/null")
    assert catalog.requests[-1][2]["x-service-secret"] == SECRET


async def test_a_token_file_is_read_before_each_call_and_wins(
    catalog: FakeCatalog, run: CommandLine, shop: Shop, tmp_path: Path
) -> None:
    catalog.register(shop)
    file = tmp_path / "token"
    for token in ("first", "second"):
        file.write_text(f"{token}\n")
        await run("status", NAME, "--token-file", str(file))
    assert sent_tokens(catalog) == ["Bearer first", "Bearer second"]


def verifier() -> TokenVerifier:
    keys = TokenKeys(client_hmac=HmacKeys([("c1", KEY)]), operator=HmacKeys([("o1", KEY)]))
    return TokenVerifier(keys, ClientTokenPolicy(audience="catalogsync", issuer="catalogsync"))


def operator_token(lifetime: timedelta) -> str:
    key = SigningKey(kid="o1", key=KEY)
    return mint_operator_token(key, "alice", scopes=["catalog:read"], lifetime=lifetime)


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("old")
    return file


def replace_text(file: Path, text: str) -> None:
    file.write_text(text)


async def watch_with(client: CatalogClient, sync: Sync) -> list[int]:
    revisions = []
    async with aclosing(client.watch(sync.sync_id, retry_policy=QUICK)) as snapshots:
        async for snapshot in snapshots:
            revisions.append(snapshot.revision)
    return revisions


async def test_a_watch_goes_on_with_a_fresh_token_and_misses_no_revision(shop: Shop, token_file: Path) -> None:
    fake = FakeCatalog()
    rules = AccessRules.of_services(["catalogsync.catalog.v1.CatalogService"])
    server = CatalogServer(fake, access=CallAccess(rules, secrets=ServiceSecrets(), tokens=verifier()))
    await server.start()
    sync = fake.add_sync(shop)
    replace_text(token_file, operator_token(timedelta(seconds=5)))
    async with open_catalog(Options(catalog=server.address, token_file=token_file)) as client:
        watching = asyncio.ensure_future(watch_with(client, sync))
        await eventually(lambda: fake.watcher_count == 1)
        await fake.change(sync.sync_id, state=Sync.STATE_RUNNING)
        # Whoever renews the token does so before it expires.
        replace_text(token_file, operator_token(timedelta(minutes=10)))
        await eventually(lambda: len(fake.requests) == 2 and fake.watcher_count == 1)
        await fake.change(sync.sync_id, state=Sync.STATE_SUCCEEDED)
        assert await within_timeout(watching) == [1, 2, 3]
    await server.kill()
    await fake.close()
    assert [request.after_revision for _, request, _ in fake.requests] == [0, 2]


async def test_a_watch_with_an_expired_token_and_no_other_one_fails(
    catalog: FakeCatalog, server: CatalogServer, shop: Shop, token_file: Path
) -> None:
    sync = catalog.add_sync(shop)
    catalog.errors["WatchSync"] = [FailureWithReason("TOKEN_EXPIRED")] * 2
    async with open_catalog(Options(catalog=server.address, token_file=token_file)) as client:
        with pytest.raises(CatalogSyncError) as caught:
            await within_timeout(watch_with(client, sync))
    assert caught.value.failure.reason == "TOKEN_EXPIRED"
    assert len(catalog.requests) == 1


async def test_a_minted_operator_token_is_accepted(run: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "operator.key"
    file.write_text(f"o1:{KEY}\n")
    result = await run("token", "--signing-key-file", str(file), "--operator", "alice", "--scope", "catalog:read")
    principal = verifier().verify(result.out.strip())
    assert (principal.kind, principal.name) == (PrincipalKind.OPERATOR, "alice")
    assert principal.scopes == {"catalog:read"}
    assert KEY not in result.out + result.err


async def test_a_minted_client_token_is_accepted_and_short(run: CommandLine) -> None:
    result = await run("token", "--merchant", "m-1", "--lifetime", "5m", CATALOGSYNC_SIGNING_KEY=f"c1:{KEY}")
    principal = verifier().verify(result.out.strip())
    assert (principal.kind, principal.merchant_id) == (PrincipalKind.CLIENT, "m-1")
    assert principal.scopes == {"catalog:read", "catalog:sync"}
    assert principal.expires_at is not None
    assert principal.expires_at - datetime.now(UTC) <= timedelta(minutes=5)
    assert jwt.get_unverified_header(result.out.strip())["kid"] == "c1"


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ([], ""),
        ([], KEY),
        (["--lifetime", "13h"], f"o1:{KEY}"),
        (["--lifetime", "soon"], f"o1:{KEY}"),
        (["--shop", "a.example", "--merchant", "m"], f"c1:{KEY}"),
        (["--scope", "everything"], f"o1:{KEY}"),
    ],
)
async def test_wrong_options_of_token_are_usage_errors_without_the_key(
    run: CommandLine, arguments: list[str], key: str
) -> None:
    result = await run("token", *arguments, CATALOGSYNC_SIGNING_KEY=key)
    assert (result.code, result.out) == (2, "")
    assert KEY not in result.err


async def test_credentials_without_encryption_are_a_warning_beyond_loopback(run: CommandLine) -> None:
    elsewhere = await run("status", NAME, "--catalog", "192.0.2.1:1", "--timeout", "0.1")
    assert "Warning: credentials are sent to 192.0.2.1:1 without encryption" in elsewhere.err
    here = await run("status", NAME)
    assert "Warning" not in here.err


async def test_a_secret_that_cannot_be_sent_is_not_printed(run: CommandLine) -> None:
    result = await run("status", NAME, "--service-secret", "name:sécret")
    assert result.code == 2
    assert "sécret" not in result.err


def test_the_demo_writes_its_keys_for_its_owner_only(tmp_path: Path) -> None:
    from demo.keys import DemoKeys

    file = tmp_path / "keys.json"
    keys = DemoKeys.load_or_create(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert DemoKeys.load_or_create(file) == keys
    assert keys.operator not in repr(keys)
