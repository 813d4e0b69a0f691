"""The services as real processes whose every secret is a canary, and all that they put out."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from urllib.request import urlopen

import asyncpg
import grpc
import jwt
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync.connector.v1 import connector_service_pb2 as connector_pb
from catalogsync.connector.v1.connector_service_pb2_grpc import ConnectorServiceStub
from catalogsync_common.channel import open_channel
from catalogsync_common.status import read_failure
from catalogsync_common.token_claims import AUTHORIZATION_HEADER, SCOPES, SERVICE_SECRET_HEADER
from catalogsync_common.token_minting import SigningKey, mint_client_token, mint_operator_token
from google.protobuf.message import Message
from sqlalchemy.engine import make_url

from demo.processes import ProcessGroup
from demo.stack import read_first_line, wait_until_serving
from tests.conftest import copied_database
from tests.e2e.conftest import CATALOG, CONNECTOR, ROOT, free_port
from tests.otlp_collector import running_collector
from tests.security.canary_listener import write_certificate
from tests.security.leaking_shops import LeakingShops, domains, leaking_shops, stored_domains
from tests.security.secrets import (
    BIGCOMMERCE_TOKEN,
    CATALOG_SECRET,
    CLIENT_KEY,
    CONNECTOR_SECRET,
    DATABASE_PASSWORD,
    FEED_SECRET,
    FEED_TOKEN,
    OPERATOR_KEY,
    SHOPIFY_CLIENT_ID,
    SHOPIFY_CLIENT_SECRET,
    SHOPIFY_TOKEN,
    WEBHOOK_SECRET,
    WOO_KEY,
    WOO_SECRET,
    FakeSecret,
    settings_of,
)

ROLE: Final = "canary"
CREDENTIALS: Final[Mapping[str, Mapping[str, str | list[str]]]] = {
    "shopify": {"access_token": SHOPIFY_TOKEN.value},
    "app": {"client_id": SHOPIFY_CLIENT_ID.value, "client_secret": SHOPIFY_CLIENT_SECRET.value},
    "bigcommerce": {"access_token": BIGCOMMERCE_TOKEN.value, "webhook_secrets": [WEBHOOK_SECRET.value]},
    "woocommerce": {"consumer_key": WOO_KEY.value, "consumer_secret": WOO_SECRET.value},
    "feed": {"feed_secret": FEED_SECRET.value, "feed_token": FEED_TOKEN.value},
}
WORKING: Final = {
    ("shopify", "works.myshopify.com"): f"token={SHOPIFY_TOKEN.value}",
    ("woocommerce", "works.example"): f"key={WOO_KEY.value},secret={WOO_SECRET.value}",
    ("bigcommerce", "store-works.mybigcommerce.com"): f"token={BIGCOMMERCE_TOKEN.value}",
    ("feed", "works-feed.example"): f"secret={FEED_SECRET.value},token={FEED_TOKEN.value}",
}
"""Shops of the devstore, with their options."""
UNREACHABLE: Final = {
    ("woocommerce", "untrusted.example"): "certificate",
    ("feed", "untrusted.example"): "certificate",
    ("shopify", "nowhere-at-all.myshopify.com"): "DNS, or no network",
    ("woocommerce", "nowhere.invalid"): "DNS",
}


@dataclass(slots=True)
class Outputs:
    """All that the services put out, by source, and how each shop ended."""

    by_source: dict[str, bytes] = field(default_factory=dict)
    reasons: dict[tuple[str, str], str] = field(default_factory=dict)
    received: str = ""
    """What the leaking shops received."""
    credentials: dict[str, str] = field(default_factory=dict)
    """The reason with which catalog_svc refused each kind of credentials; empty: it did not."""
    tokens: list[str] = field(default_factory=list)
    """All tokens that were sent."""
    spans: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Exported spans by service and kind."""

    def add(self, source: str, content: bytes | str) -> None:
        """Append to what is known of a source."""
        raw = content.encode() if isinstance(content, str) else content
        self.by_source[source] = self.by_source.get(source, b"") + raw + b"\n"

    def matching(self, *prefixes: str) -> dict[str, bytes]:
        """Return the sources whose name begins with one of `prefixes`."""
        return {name: content for name, content in self.by_source.items() if name.startswith(prefixes)}


async def collect_outputs(directory: Path, server_url: str) -> Outputs:
    """Drive every shop through both services, and return all that they put out until their end."""
    outputs = Outputs()
    logs = directory / "logs"
    logs.mkdir()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(copied_database(server_url))
        collector = await stack.enter_async_context(running_collector())
        async with _services(directory, logs, database, collector.endpoint) as (
            catalog,
            connector,
            catalog_address,
            metrics,
            shops,
        ):
            limit = asyncio.Semaphore(25)
            async with asyncio.timeout(240):
                # On their own, since a busy machine must not make a shop that works time out.
                for shop in WORKING:
                    await _ask(connector, shop, outputs, limit)
                    await _sync(catalog, shop, outputs)
                failing = [*domains(), *UNREACHABLE]
                await asyncio.gather(*(_ask(connector, shop, outputs, limit) for shop in failing))
                await asyncio.gather(
                    *(_sync(catalog, shop, outputs) for shop in [*stored_domains(), *UNREACHABLE])
                )
            await _try_credentials(catalog_address, outputs)
            for service, port in metrics.items():
                outputs.add(f"metrics of {service}", await asyncio.to_thread(_read_metrics, port))
            outputs.received = " ".join(shops.received)
        # With the last spans, which the services send when they stop.
        outputs.add("spans", bytes(collector.raw))
        outputs.spans.update((span.service, span.kind) for span in collector.spans)
        await _dump_database(database, outputs)
    for log in logs.glob("*_svc.log"):
        outputs.add(f"log of {log.stem}", log.read_bytes())
    return outputs


@asynccontextmanager
async def _services(
    directory: Path, logs: Path, database: str, collector: str
) -> AsyncIterator[tuple[Any, Any, str, dict[str, int], LeakingShops]]:
    certificate = write_certificate(directory / "shops.pem", ["localhost"])
    other_certificate = write_certificate(directory / "untrusted.pem", ["localhost"])
    async with (
        leaking_shops(certificate) as shops,
        leaking_shops(other_certificate) as untrusted,
        ProcessGroup(directory=ROOT, logs=logs) as processes,
    ):
        store = await _start_devstore(processes, directory)
        addresses = {name: f"127.0.0.1:{free_port()}" for name in ("catalog", "connector")}
        metrics = {name: free_port() for name in addresses}
        common = {
            name: {
                f"{name.upper()}_LISTEN_ADDRESS": addresses[name],
                f"{name.upper()}_METRICS_ADDRESS": f"127.0.0.1:{metrics[name]}",
                f"{name.upper()}_LOG_LEVEL": "DEBUG",
                f"{name.upper()}_TRACE_ENDPOINT": collector,
                "LOG_FORMAT": "json",
                **settings_of(name),
            }
            for name in addresses
        }
        settings = _connector_settings(directory, store, certificate, shops, untrusted)
        await processes.start("connector_svc", "-m", "connector_svc", settings={**common["connector"], **settings})
        settings = {
            "CATALOG_DATABASE_URL": await url_with_password(database, DATABASE_PASSWORD.value),
            "CATALOG_CONNECTOR_ADDRESS": addresses["connector"],
            "CATALOG_CLIENT_ISSUER": "bff",
            "CATALOG_GIVE_UP_AFTER": "1s",
            "CATALOG_GIVE_UP_NEW_SHOP_AFTER": "1s",
            "CATALOG_MAX_RUNNING_SYNCS": "60",
            "CATALOG_MAX_RUNNING_PER_PLATFORM": "60",
        }
        await processes.start("catalog_svc", "-m", "catalog_svc", settings={**common["catalog"], **settings})
        async with asyncio.timeout(60):
            await processes.supervise(wait_until_serving(addresses["connector"], CONNECTOR))
            await processes.supervise(wait_until_serving(addresses["catalog"], CATALOG))
        async with open_channel(addresses["catalog"]) as one, open_channel(addresses["connector"]) as other:
            yield (
                _as_service(CatalogServiceStub(one), CATALOG_SECRET),
                _as_service(ConnectorServiceStub(other), CONNECTOR_SECRET),
                addresses["catalog"],
                metrics,
                shops,
            )


def _as_service(stub: Any, secret: FakeSecret) -> Any:
    """Return a stub whose every call carries the service secret."""
    metadata = ((SERVICE_SECRET_HEADER, f"caller:{secret.value}"),)
    return SimpleNamespace(**{name: partial(method, metadata=metadata) for name, method in vars(stub).items()})


async def _try_credentials(address: str, outputs: Outputs) -> None:
    """Call catalog_svc with every kind of credentials, right and wrong."""
    client = SigningKey(kid="c1", key=CLIENT_KEY.value)
    operator = SigningKey(kid="o1", key=OPERATOR_KEY.value)
    of_client = partial(mint_client_token, client, issuer="bff", merchant_id="m-1")
    valid = of_client(scopes=SCOPES)
    tokens = {
        "operator token": mint_operator_token(operator, "alice", scopes=SCOPES),
        "client token": valid,
        "token with a wrong signature": valid[:-6] + "AAAAAA",
        "expired token": _expired(valid, client),
        "client token without scope": of_client(scopes=[]),
    }
    outputs.tokens += tokens.values()
    bearer = {name: (AUTHORIZATION_HEADER, f"Bearer {token}") for name, token in tokens.items()}
    sent = {
        "service secret": (SERVICE_SECRET_HEADER, f"caller:{CATALOG_SECRET.value}"),
        "secret of another name": (SERVICE_SECRET_HEADER, f"other:{CATALOG_SECRET.value}"),
        "secret as a token": (AUTHORIZATION_HEADER, f"Bearer {CATALOG_SECRET.value}"),
        **bearer,
    }
    async with open_channel(address) as channel:
        stub = CatalogServiceStub(channel)
        for name, metadata in sent.items():
            call = stub.ListShops(pb.ListShopsRequest(), metadata=(metadata,))
            outputs.credentials[name] = await _record(call, "replies of ListShops", outputs)


def _expired(token: str, key: SigningKey) -> str:
    """Return the token as it was issued an hour ago."""
    claims = jwt.decode(token, options={"verify_signature": False})
    claims |= {name: claims[name] - 3_600 for name in ("iat", "exp")}
    return jwt.encode(claims, key.key, algorithm="HS256", headers={"kid": key.kid})


async def _start_devstore(processes: ProcessGroup, directory: Path) -> Any:
    shops = [f"{platform}:{domain}:products=5,{options}" for (platform, domain), options in WORKING.items()]
    arguments = [part for shop in shops for part in ("--shop", shop)]
    ready = directory / "devstore.json"
    options = ("--listen", "127.0.0.1:0", "--tls-dir", str(directory / "tls"), "--no-throttle")
    await processes.start("devstore", "-m", "devstore", *options, *arguments, stdout=ready)
    async with asyncio.timeout(60):
        return json.loads(await processes.supervise(read_first_line(ready)))


def _connector_settings(
    directory: Path, store: Any, certificate: Path, shops: LeakingShops, untrusted: LeakingShops
) -> dict[str, str]:
    overrides = {domain: shops.base_url(kind) for (_, domain), kind in domains().items()}
    overrides |= {name.partition(":")[2]: shop["base_url"] for name, shop in store["shops"].items()}
    overrides["untrusted.example"] = untrusted.base_url("s404")
    lines: list[str] = []
    for platform, domain in [*domains(), *WORKING, *UNREACHABLE]:
        if domain.startswith(("served", "refresh", "ts-")):
            continue
        keys = CREDENTIALS["app" if domain.startswith("app") else platform]
        lines += [
            f"[{platform}.{json.dumps(domain)}]",
            *(f"{key} = {json.dumps(value)}" for key, value in keys.items()),
        ]
    file = directory / "credentials.toml"
    file.write_text("\n".join(lines))
    file.chmod(0o600)
    trusted = directory / "trusted.pem"
    trusted.write_text(Path(store["ca_file"]).read_text() + certificate.read_text())
    return {
        "CONNECTOR_CREDENTIALS_FILE": str(file),
        "CONNECTOR_TOKEN_SERVICE_URL": f"https://127.0.0.1:{shops.port}",
        "CONNECTOR_CA_FILE": str(trusted),
        "CONNECTOR_ENDPOINT_OVERRIDES": json.dumps(overrides),
        "CONNECTOR_HTTP_TIMEOUT": "5s",
        "CONNECTOR_HTTP_ATTEMPTS": "1",
    }


async def url_with_password(database: str, password: str) -> str:
    """Return the URL of a superuser whom the server lets in with DATABASE_PASSWORD alone."""
    url = make_url(database)
    connection = await asyncpg.connect(url.render_as_string(hide_password=False))
    try:
        _require_password(Path(await connection.fetchval("SHOW hba_file")))
        await connection.execute("SELECT pg_reload_conf()")
        if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", ROLE):
            literal = DATABASE_PASSWORD.value.replace("'", "''")
            await connection.execute(f"CREATE ROLE {ROLE} SUPERUSER LOGIN PASSWORD '{literal}'")
    finally:
        await connection.close()
    return url.set(username=ROLE, password=password).render_as_string(hide_password=False)


def _require_password(hba_file: Path) -> None:
    rules = f"local all {ROLE} scram-sha-256\nhost all {ROLE} samehost scram-sha-256\n"
    text = hba_file.read_text()
    if rules not in text:
        hba_file.write_text(rules + text)


async def _ask(connector: Any, shop: tuple[str, str], outputs: Outputs, limit: asyncio.Semaphore) -> None:
    ref = connector_pb.ShopRef(platform=shop[0], domain=shop[1])
    async with limit:
        if shop[0] == "bigcommerce":
            await _use_webhooks(connector, ref, outputs)
        check = connector.CheckShop(connector_pb.CheckShopRequest(shop=ref))
        fetch = connector.FetchProducts(connector_pb.FetchProductsRequest(shop=ref))
        for name, call in (("CheckShop", check), ("FetchProducts", fetch)):
            outputs.reasons[shop] = await _record(call, f"replies of {name}", outputs)


async def _use_webhooks(connector: Any, ref: connector_pb.ShopRef, outputs: Outputs) -> None:
    """Create webhooks, whose headers have the secret, and verify deliveries with the right and a wrong one."""
    ensure = connector_pb.EnsureWebhooksRequest(shop=ref, address="https://bff.example/webhooks")
    await _record(connector.EnsureWebhooks(ensure), "replies of EnsureWebhooks", outputs)
    for secret in (WEBHOOK_SECRET.value, f"{WEBHOOK_SECRET.value}x"):
        verify = connector_pb.VerifyWebhookRequest(platform=ref.platform, body=WEBHOOK_SECRET.value.encode())
        verify.headers.add(name="X-Catalogsync-Shop", value=ref.domain)
        verify.headers.add(name="X-Catalogsync-Secret", value=secret)
        await _record(connector.VerifyWebhook(verify), "replies of VerifyWebhook", outputs)


async def _sync(catalog: Any, shop: tuple[str, str], outputs: Outputs) -> None:
    ref = pb.ShopRef(platform=shop[0], domain=shop[1])
    started = await catalog.StartSync(pb.StartSyncRequest(shop=ref, mode=pb.Sync.MODE_FULL))
    watch = catalog.WatchSync(pb.WatchSyncRequest(sync_id=started.sync.sync_id))
    await _record(watch, "replies of WatchSync", outputs)
    for name, request in (
        ("GetSync", pb.GetSyncRequest(sync_id=started.sync.sync_id)),
        ("ListSyncIssues", pb.ListSyncIssuesRequest(sync_id=started.sync.sync_id)),
        ("GetStatus", pb.GetStatusRequest(shop=ref)),
        ("GetShop", pb.GetShopRequest(shop=ref)),
        ("ListProducts", pb.ListProductsRequest(shop=ref)),
        ("ListItems", pb.ListItemsRequest(shop=ref)),
        ("ListItemChanges", pb.ListItemChangesRequest(shop=ref)),
    ):
        await _record(getattr(catalog, name)(request), f"replies of {name}", outputs)


async def _record(call: Any, source: str, outputs: Outputs) -> str:
    """Add the messages, or the error with its trailers, to `outputs`. Return the reason of the error."""
    try:
        if hasattr(call, "__aiter__"):
            async for message in call:
                _add_message(message, source, outputs)
        else:
            _add_message(await call, source, outputs)
    except grpc.aio.AioRpcError as error:
        outputs.add(source, f"{error!r} {await call.details()}")
        for _, value in await call.trailing_metadata() or ():
            outputs.add(source, value)
        return (await read_failure(error, call)).reason
    return ""


def _add_message(message: Message, source: str, outputs: Outputs) -> None:
    outputs.add(source, message.SerializeToString())
    outputs.add(source, str(message))


def _read_metrics(port: int) -> bytes:
    with urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        content: bytes = response.read()
        return content


async def _dump_database(database: str, outputs: Outputs) -> None:
    connection = await asyncpg.connect(database)
    try:
        tables = await connection.fetch(
            "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables "
            "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        for table in tables:
            parts: list[bytes] = []

            async def keep(data: bytes, parts: list[bytes] = parts) -> None:
                parts.append(data)

            await connection.copy_from_query(f"SELECT * FROM {table['name']}", output=keep)
            outputs.add(f"table {table['name']}", b"".join(parts))
    finally:
        await connection.close()
