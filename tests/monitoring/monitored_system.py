"""A system that Prometheus scrapes: shops, both services, the BFF and PostgreSQL, each of which can be broken."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_client import CatalogClient, ServiceSecret

from catalog_svc.storage.embedded import service_url
from demo.stack import CATALOG_SERVICE, CONNECTOR_SERVICE
from devstore import server as devstore
from devstore.catalog.model import Platform
from devstore.server import RunningStore
from devstore.spec import ShopSpec, VariantRange
from tests.bff_client import BffClient
from tests.chaos.instance import Instance
from tests.chaos.postgres import Postgres, running_postgres
from tests.e2e.bff_system import CATALOG_SETTINGS, MERCHANT, SERVICE_SECRET, bff_settings, handover
from tests.e2e.conftest import free_port
from tests.monitoring.alert_receiver import AlertReceiver, receiving_alerts
from tests.monitoring.deployed_files import scaled_rules
from tests.monitoring.prometheus_server import Prometheus, running_prometheus
from tests.tls import Authority
from tests.waiting import until_found

TIME_FACTOR = 120
"""Of the alerts: an hour is half a minute."""
RANGE_SECONDS = 5.0
"""The shortest range of a rate: ten samples."""
HEALTHY = "healthy.myshopify.com"
"""With some products that must be rejected."""
SLOW = ("slow-1.myshopify.com", "slow-2.myshopify.com", "slow-3.myshopify.com", "slow-4.myshopify.com")
WEBHOOKS = "webhooks.myshopify.com"
REFUSING = ("refusing-1.example", "refusing-2.example")
UNREACHABLE = "unreachable.myshopify.com"
MISCOUNTING = "store-mis123.mybigcommerce.com"
_HOST = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class MonitoredSystem:
    """The running system."""

    prometheus: Prometheus
    alerts: AlertReceiver
    postgres: Postgres
    store: RunningStore
    worker: Instance
    """The replica of catalog_svc that runs all syncs."""
    front: Instance
    """The replica that answers all calls, and runs none."""
    connector: Instance
    bff: Instance
    authority: Authority
    client: CatalogClient
    """Of the front, with all rights."""
    bff_url: str
    secrets: Mapping[str, str] = field(repr=False)
    """Webhook secrets of Shopify shops by domain."""

    async def sync(self, domain: str, platform: str = "shopify") -> pb.Sync:
        """Run a full sync of a shop to its end, and return it."""
        started = await self.client.start_sync(f"{platform}:{domain}", mode=pb.Sync.MODE_FULL)
        return await self.ended(started)

    async def ended(self, sync: pb.Sync) -> pb.Sync:
        """Return the sync once it has ended."""
        last = sync
        async for newer in self.client.watch(sync.sync_id):
            last = newer
        return last

    @asynccontextmanager
    async def browser(self) -> AsyncIterator[BffClient]:
        """Yield a browser of the merchant of all shops."""
        async with BffClient(self.bff_url) as browser:
            answer = await browser.call("POST", "/session", json={"token": handover(f"merchant:{MERCHANT}")})
            assert answer.status == 201, answer.body
            yield browser


@asynccontextmanager
async def monitored_system(directory: Path) -> AsyncIterator[MonitoredSystem]:
    """Yield the system once Prometheus has scraped all of its processes; stop it at the end."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(
            devstore.serving(_specs(), tls_dir=directory / "tls", throttle=False, latency=0.02)
        )
        postgres = await stack.enter_async_context(running_postgres(directory / "postgres", free_port()))
        await postgres.migrate()
        authority = Authority(directory / "authority")
        ports = {name: free_port() for name in ("worker", "front", "connector", "tls_connector", "bff")}
        metrics = {name: f"{_HOST}:{free_port()}" for name in ports}
        instances = _instances(directory, store, postgres, authority, ports, metrics)
        for instance in instances.values():
            stack.push_async_callback(instance.stop)
            await instance.start()
            if instance.name != "bff":
                await instance.wait_until_ready()
                assert instance.up, instance.violations
        bff_url = f"http://{_HOST}:{ports['bff']}"
        await until_found(lambda: _answers(f"{bff_url}/readyz"))
        client = await stack.enter_async_context(
            CatalogClient(instances["front"].address, credentials=ServiceSecret(SERVICE_SECRET))
        )
        await _register_shops(client)
        receiver_port = free_port()
        receiver = await stack.enter_async_context(receiving_alerts(receiver_port))
        prometheus = await stack.enter_async_context(
            running_prometheus(
                directory / "prometheus",
                rules=scaled_rules(TIME_FACTOR, shortest_range_seconds=RANGE_SECONDS),
                targets={
                    "catalog_svc": [metrics["worker"], metrics["front"]],
                    "connector_svc": [metrics["connector"], metrics["tls_connector"]],
                    "bff": [metrics["bff"]],
                },
                alert_receiver=f"{_HOST}:{receiver_port}",
            )
        )

        async def all_scraped() -> bool | None:
            return True if await prometheus.healthy_targets() == len(metrics) else None

        await until_found(all_scraped)
        yield MonitoredSystem(
            prometheus=prometheus,
            alerts=receiver,
            postgres=postgres,
            store=store,
            worker=instances["worker"],
            front=instances["front"],
            connector=instances["connector"],
            bff=instances["bff"],
            authority=authority,
            client=client,
            bff_url=bff_url,
            secrets=_webhook_secrets(store),
        )


def _specs() -> list[ShopSpec]:
    few = VariantRange(least=1, most=2)
    shopify = [
        ShopSpec(platform=Platform.SHOPIFY, domain=domain, products=60, edge_cases=domain == HEALTHY, variants=few)
        for domain in (HEALTHY, *SLOW, WEBHOOKS, UNREACHABLE)
    ]
    woocommerce = [
        ShopSpec(platform=Platform.WOOCOMMERCE, domain=domain, products=20, edge_cases=False, variants=few)
        for domain in REFUSING
    ]
    bigcommerce = ShopSpec(platform=Platform.BIGCOMMERCE, domain=MISCOUNTING, products=50, edge_cases=False)
    return [*shopify, *woocommerce, bigcommerce]


def _webhook_secrets(store: RunningStore) -> dict[str, str]:
    return {
        shop.spec.domain: shop.shopify.oauth.client_secret
        for shop in store.shops.values()
        if shop.spec.platform is Platform.SHOPIFY
    }


def _instances(
    directory: Path,
    store: RunningStore,
    postgres: Postgres,
    authority: Authority,
    ports: Mapping[str, int],
    metrics: Mapping[str, str],
) -> dict[str, Instance]:
    """Return the processes in the order of their start."""
    connector = _connector_settings(directory, store)
    certificate = authority.issue("server")
    catalog = {
        "CATALOG_DATABASE_URL": service_url(postgres.url),
        "CATALOG_CONNECTOR_ADDRESS": f"{_HOST}:{ports['connector']}",
        "CATALOG_LEASE_TTL": "2s",
        "CATALOG_START_SYNC_INTERVAL": "500ms",
        "CATALOG_METRICS_INTERVAL": "500ms",
        # So small that a few calls that wait for a lock exhaust it.
        "CATALOG_DATABASE_READ_POOL_SIZE": "2",
        **{f"CATALOG_{key}": value for key, value in CATALOG_SETTINGS.items()},
    }
    settings: dict[str, tuple[str, str, dict[str, str]]] = {
        "connector": ("connector_svc", CONNECTOR_SERVICE, {**connector, "CONNECTOR_LISTEN_ADDRESS": ""}),
        "tls_connector": (
            "connector_svc",
            CONNECTOR_SERVICE,
            {
                **connector,
                "CONNECTOR_LISTEN_ADDRESS": f"{_HOST}:{free_port()}",
                # Instance asks for the health without TLS.
                "CONNECTOR_HEALTH_ADDRESS": f"{_HOST}:{ports['tls_connector']}",
                "CONNECTOR_TLS_CERT_FILE": str(certificate.certificate),
                "CONNECTOR_TLS_KEY_FILE": str(certificate.key),
            },
        ),
        "front": ("catalog_svc", CATALOG_SERVICE, {**catalog, "CATALOG_MAX_RUNNING_SYNCS": "0"}),
        "worker": (
            "catalog_svc",
            CATALOG_SERVICE,
            {**catalog, "CATALOG_WEBHOOK_ADDRESS": "http://127.0.0.1:9/webhooks/{platform}/{domain}"},
        ),
        "bff": (
            "catalogsync_bff",
            "",
            bff_settings(
                address=f"{_HOST}:{ports['bff']}",
                catalog=f"{_HOST}:{ports['front']}",
                image_hosts=store.url.partition("://")[2],
                image_ca_file=str(store.ca_file),
            ),
        ),
    }
    instances = {}
    for name, (module, service, values) in settings.items():
        prefix = {"catalog_svc": "CATALOG", "connector_svc": "CONNECTOR", "catalogsync_bff": "BFF"}[module]
        values[f"{prefix}_LISTEN_ADDRESS"] = values.get(f"{prefix}_LISTEN_ADDRESS") or f"{_HOST}:{ports[name]}"
        values[f"{prefix}_METRICS_ADDRESS"] = metrics[name]
        instances[name] = Instance(name, service, ports[name], ("-m", module), values, directory / f"{name}.log")
    return instances


def _connector_settings(directory: Path, store: RunningStore) -> dict[str, str]:
    secrets = _webhook_secrets(store)
    tables = []
    for shop in store.shops.values():
        domain = shop.spec.domain
        keys = [f"{key} = {json.dumps(value)}" for key, value in shop.spec.credentials.items()]
        if domain in (WEBHOOKS, UNREACHABLE):
            keys.append(f"webhook_secrets = [{json.dumps(secrets[domain])}]")
        tables.append("\n".join([f"[{shop.spec.platform.value}.{json.dumps(domain)}]", *keys, ""]))
    file = directory / "credentials.toml"
    file.write_text("\n".join(tables))
    file.chmod(0o600)
    return {
        "CONNECTOR_CREDENTIALS_FILE": str(file),
        "CONNECTOR_CA_FILE": str(store.ca_file),
        "CONNECTOR_ENDPOINT_OVERRIDES": json.dumps({domain: store.base_url(domain) for domain in store.shops}),
    }


async def _register_shops(client: CatalogClient) -> None:
    platforms: Mapping[str, Sequence[str]] = {
        "shopify": (HEALTHY, *SLOW, WEBHOOKS, UNREACHABLE),
        "woocommerce": REFUSING,
        "bigcommerce": (MISCOUNTING,),
    }
    for platform, domains in platforms.items():
        for domain in domains:
            await client.register_shop(
                pb.RegisterShopRequest(platform=platform, domain=domain, merchant_id=MERCHANT)
            )


async def _answers(url: str) -> bool | None:
    async with aiohttp.ClientSession() as session:
        try:
            async with session.get(url) as reply:
                return True if reply.status == 200 else None
        except aiohttp.ClientError:
            return None
