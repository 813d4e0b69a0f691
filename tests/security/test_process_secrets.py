"""No secret is written by a process that cannot start, or that fails with an exception that holds one."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import grpc
import pytest
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.connector.v1.connector_service_pb2_grpc import ConnectorServiceStub
from catalogsync_common.channel import open_channel
from catalogsync_common.settings import load_settings
from catalogsync_common.status import ReceivedFailure, read_failure
from pydantic import SecretStr
from yarl import URL

from catalog_svc.settings import CatalogSettings
from connector_svc.credentials.providers import _CachedToken
from connector_svc.credentials.token_service import TokenServiceConfig, _TokenReply
from connector_svc.domain.shop import Shop
from connector_svc.http.transport import HttpRequest
from connector_svc.platforms.base import AccessToken, Secret
from connector_svc.platforms.bigcommerce.webhook_registrar import _Hook
from connector_svc.platforms.feed.client import parse_credentials
from connector_svc.platforms.shopify import access_token
from connector_svc.settings import ConnectorSettings
from demo.processes import process_environment
from tests.e2e.conftest import ROOT
from tests.security.canary_system import url_with_password
from tests.security.crashing_service import messages
from tests.security.secrets import (
    DATABASE_PASSWORD,
    FEED_SECRET,
    FEED_TOKEN,
    SECRET_SETTINGS,
    SHOPIFY_TOKEN,
    TOKEN_SERVICE_SECRET,
    WRONG_PASSWORD,
    leaks,
    settings_of,
)
from tests.waiting import within_timeout

PASSWORD = quote(WRONG_PASSWORD.value, safe="")
DATABASE_URLS = (
    f"postgresql://user:{PASSWORD}@[::1/catalog",
    f"postgresql://user:{PASSWORD}@db:port/catalog",
    f"postgresql//user:{PASSWORD}@db/catalog",
    f"postgresql://user@db/catalog?password={PASSWORD}",
    f"postgresql://user:{PASSWORD}@db/catalog?sslmode={PASSWORD}",
    f"mysql://user:{PASSWORD}@db/catalog",
    WRONG_PASSWORD.value,
)
CREDENTIALS_FILES = (
    f'[shopify."a.myshopify.com"]\naccess_token = "{SHOPIFY_TOKEN.core}',
    f'[shopify."a.myshopify.com"]\naccess_token = {SHOPIFY_TOKEN.core}',
    f'[shopify."a.myshopify.com"]\naccess_token = "a"\naccess_token = "{SHOPIFY_TOKEN.core}"',
    f'[shopify."a.myshopify.com"]\naccess_token = ["{SHOPIFY_TOKEN.core}"]',
    f'[shopify]\n"a.myshopify.com" = "{SHOPIFY_TOKEN.core}"',
    f'shopify = "{SHOPIFY_TOKEN.core}"',
    f'[shopify."a.myshopify.com"]\nrefresh_token = "{SHOPIFY_TOKEN.core}"',
    f'[shopify."a.myshopify.com"]\naccess_token = "{SHOPIFY_TOKEN.core}\\nX-Other: 1"',
    f'[shopify."a.myshopify.com"]\nwebhook_secrets = "{SHOPIFY_TOKEN.core}"',
    f'[shopify."a.myshopify.com"]\nwebhook_secrets = ["{SHOPIFY_TOKEN.core}", 1]',
    f'[shopify."a.myshopify.com"]\nwebhook_secrets = ["{SHOPIFY_TOKEN.core}", "b", "c"]',
)
CONNECTOR_SETTINGS: tuple[Mapping[str, str], ...] = (
    {"CONNECTOR_TOKEN_SERVICE_URL": f"https://user:{PASSWORD}@tokens.example"},
    {"CONNECTOR_TOKEN_SERVICE_URL": f"https://tokens.example/?key={PASSWORD}"},
    {"CONNECTOR_TOKEN_SERVICE_URL": WRONG_PASSWORD.value},
    {"CONNECTOR_ENDPOINT_OVERRIDES": f'{{"a.example": "https://user:{PASSWORD}@b.example"'},
    {"CONNECTOR_ENDPOINT_OVERRIDES": f'{{"a.example": "https://user:{PASSWORD}@b.example"}}'},
    {"CONNECTOR_ENDPOINT_OVERRIDES": f'{{"a.example": ["{PASSWORD}"]}}'},
    {"CONNECTOR_LISTEN_ADDRESS": WRONG_PASSWORD.value},
    {"CONNECTOR_METRICS_ADDRESS": WRONG_PASSWORD.value},
    {"CONNECTOR_LOG_LEVEL": WRONG_PASSWORD.value},
)


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that has ended."""

    code: int | None
    output: bytes


async def run_module(*arguments: str, settings: Mapping[str, str]) -> Ended:
    """Run `python -m <arguments>` to its end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *arguments,
        cwd=ROOT,
        env=process_environment(os.environ, settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await within_timeout(process.communicate())
    finally:
        if process.returncode is None:
            process.kill()
    return Ended(process.returncode, output)


def assert_refused_silently(ended: Ended) -> None:
    """Assert that the settings were refused with a sentence that holds no secret."""
    assert (ended.code, leaks({"output": ended.output})) == (2, [])
    assert b"Traceback" not in ended.output
    assert ended.output.startswith((b"CATALOG_", b"CONNECTOR_")), ended.output


@pytest.mark.parametrize("command", ["serve", "migrate"])
async def test_a_wrong_database_password_is_not_written(postgres_url: str, command: str) -> None:
    settings = {
        "CATALOG_DATABASE_URL": await url_with_password(postgres_url, WRONG_PASSWORD.value),
        "CATALOG_DATABASE_STARTUP_TIMEOUT": "1s",
        "CATALOG_LOG_LEVEL": "DEBUG",
    }
    ended = await run_module("catalog_svc", command, settings=settings)
    assert (ended.code, leaks({"output": ended.output})) == (2, [])
    assert b"CATALOG_DATABASE_URL: the database was not ready" in ended.output
    assert b"password" in ended.output


@pytest.mark.parametrize("number", range(len(DATABASE_URLS)))
async def test_a_malformed_database_url_is_not_written(number: int) -> None:
    settings = {"CATALOG_DATABASE_URL": DATABASE_URLS[number], "CATALOG_DATABASE_STARTUP_TIMEOUT": "1s"}
    assert_refused_silently(await run_module("catalog_svc", settings=settings))


@pytest.mark.parametrize("number", range(len(CREDENTIALS_FILES)))
async def test_a_malformed_credentials_file_is_not_quoted(number: int, tmp_path: Path) -> None:
    file = tmp_path / "credentials.toml"
    file.write_text(CREDENTIALS_FILES[number])
    settings = {"CONNECTOR_CREDENTIALS_FILE": str(file), **settings_of("connector")}
    assert_refused_silently(await run_module("connector_svc", settings=settings))


@pytest.mark.parametrize("number", range(len(CONNECTOR_SETTINGS)))
async def test_malformed_settings_are_not_quoted(number: int) -> None:
    settings = {**CONNECTOR_SETTINGS[number], **settings_of("connector")}
    assert_refused_silently(await run_module("connector_svc", settings=settings))


async def test_an_exception_at_the_start_is_logged_without_secrets() -> None:
    ended = await run_module("tests.security.crashing_service", "start", settings=settings_of("connector"))
    assert (ended.code, leaks({"output": ended.output})) == (1, [])
    assert b"RuntimeError: cannot send" in ended.output


@asynccontextmanager
async def crashing_service(log: Path) -> AsyncIterator[ConnectorServiceStub]:
    """Run a connector whose calls all fail."""
    settings = {"CONNECTOR_LISTEN_ADDRESS": "127.0.0.1:0", **settings_of("connector")}
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.security.crashing_service", "serve"),
            cwd=ROOT,
            env=process_environment(os.environ, settings),
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
        )
    assert process.stdout is not None
    try:
        port = (await within_timeout(process.stdout.readline())).decode().strip()
        async with open_channel(f"127.0.0.1:{port}") as channel:
            yield ConnectorServiceStub(channel)
    finally:
        process.terminate()
        await process.communicate()


async def failures_of(connector: ConnectorServiceStub, name: str) -> list[ReceivedFailure]:
    """Return the failures of a unary call and of a stream."""
    ref = pb.ShopRef(platform="listed", domain=f"{name}.example")
    check = connector.CheckShop(pb.CheckShopRequest(shop=ref))
    stream = connector.FetchProducts(pb.FetchProductsRequest(shop=ref))
    found: list[ReceivedFailure] = []
    for call in (check, stream):
        assert "cannot" not in repr(await call.trailing_metadata())
        try:
            await (anext(aiter(call)) if call is stream else check)
        except grpc.aio.AioRpcError as error:
            found.append(await read_failure(error, call))
    return found


async def test_an_unexpected_exception_is_an_id_for_the_caller_and_redacted_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with crashing_service(log) as connector:
        failures = {name: await failures_of(connector, name) for name in messages(None)}
    replies = repr(failures)
    assert leaks({"replies": replies.encode(), "log": log.read_bytes()}) == []
    assert "cannot" not in replies
    logged = {line.get("error_id"): line for line in map(json.loads, log.read_text().splitlines())}
    for both in failures.values():
        assert [failure.reason for failure in both] == ["INTERNAL", "INTERNAL"]
        for failure in both:
            assert "RuntimeError: cannot" in logged[failure.metadata["error_id"]]["exception"]


def test_no_repr_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = Secret(SHOPIFY_TOKEN.value)
    feed = {"feed_secret": Secret(FEED_SECRET.value), "feed_token": Secret(FEED_TOKEN.value)}
    for name, value in (*settings_of("connector").items(), *settings_of("catalog").items()):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CATALOG_DATABASE_URL", f"postgresql://user:{DATABASE_PASSWORD.value}@db/catalog")
    monkeypatch.setenv("CATALOG_MIGRATE_DATABASE_URL", f"postgresql://user:{DATABASE_PASSWORD.value}@db/catalog")
    connector, catalog = load_settings(ConnectorSettings), load_settings(CatalogSettings)
    url = URL("https://a.example/").with_query(key=SHOPIFY_TOKEN.value)
    body, headers = SHOPIFY_TOKEN.value.encode(), {"X-Token": SHOPIFY_TOKEN.value}
    shown: list[object] = [
        secret,
        {"access_token": secret},
        connector,
        catalog,
        connector.model_dump(),
        catalog.model_dump(),
        TokenServiceConfig(base_url=URL("https://a.example"), secret=Secret(TOKEN_SERVICE_SECRET.value)),
        AccessToken(credentials={"access_token": secret}, lifetime=None),
        _CachedToken(stored={"a": secret}, credentials={"a": secret}, renew_at=None, expires_at=None),
        parse_credentials(Shop("feed", "a.example"), feed),
        HttpRequest(method="GET", url=url, headers=headers, body=body),
        access_token._TokenReply(access_token=SHOPIFY_TOKEN.value),
        _TokenReply(data={"access_token": SHOPIFY_TOKEN.value}),
        _Hook(id=1, scope="s", destination="d", is_active=True, headers={"X": SHOPIFY_TOKEN.value}),
    ]
    for one in shown:
        assert leaks({type(one).__name__: f"{one!r} {one!s} {one}".encode()}) == []
    assert leaks({"JSON": (connector.model_dump_json() + catalog.model_dump_json()).encode()}) == []


def test_every_secret_setting_is_a_secret_type() -> None:
    """A new setting whose name says that it is a secret must be a SecretStr, and in SECRET_SETTINGS."""
    known = {one.variable for one in SECRET_SETTINGS} | {"CATALOG_DATABASE_URL", "CATALOG_MIGRATE_DATABASE_URL"}
    secret_types = {
        f"{settings.model_config['env_prefix']}{name}".upper()
        for settings in (CatalogSettings, ConnectorSettings)
        for name, field in settings.model_fields.items()
        if SecretStr.__name__ in str(field.annotation)
    }
    assert secret_types == known


async def test_a_process_writes_no_core_dump() -> None:
    code = (
        "import resource, sys\n"
        "from catalogsync_common.process import run\n"
        "async def main(stop): print(resource.getrlimit(resource.RLIMIT_CORE))\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)\n"
        "sys.exit(run(main))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    output, _ = await within_timeout(process.communicate())
    assert output == b"(0, 0)\n"
