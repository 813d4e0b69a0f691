"""A devstore, the real connector, and the catalog's stores over PostgreSQL, in one process and over sockets."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from catalogsync_common.channel import open_channel
from catalogsync_common.settings import ListenAddress
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.errors import SourceFailed
from catalog_svc.domain.shop import ShopKey
from catalog_svc.domain.source import SourceBatch, SourceEvent, SourceRequest
from catalog_svc.domain.sync import StartSyncCommand, Sync, SyncMode, SyncState
from catalog_svc.source.connector_client import ConnectorSource
from connector_svc.bootstrap import running
from connector_svc.platforms.registry import PLATFORMS as CONNECTOR_PLATFORMS
from connector_svc.settings import ConnectorSettings, settings_with_options
from devstore.catalog.catalog import Catalog
from devstore.catalog.model import Platform
from devstore.server import RunningStore, serving
from devstore.spec import ShopSpec
from tests.integration.catalog_svc.conftest import CatalogWorld

PLATFORMS: dict[str, dict[str, Any]] = {
    "shopify": {"platform": Platform.SHOPIFY, "domain": "demo.myshopify.com"},
    "woocommerce-8.2": {"platform": Platform.WOOCOMMERCE, "domain": "old.example", "version": "8.2"},
    "woocommerce-10.3": {"platform": Platform.WOOCOMMERCE, "domain": "store.example", "version": "10.3"},
    "feed": {"platform": Platform.FEED, "domain": "shop.example", "feed_format": "ndjson.gz"},
    "bigcommerce": {"platform": Platform.BIGCOMMERCE, "domain": "store-abc123.mybigcommerce.com"},
}
WEBHOOK_SECRET = "endToEndWebhookSecret0123456789"
REVOKED = SourceFailed(reason="SOURCE_UNAUTHORIZED", message="connect the shop again", transient=False)
_ROWS = """
    SELECT (to_jsonb({table}) - ARRAY['shop_id', 'feed_position', 'created_at', 'updated_at'])::text AS row
    FROM {table}"""


@dataclass(slots=True)
class StoppingSource:
    """The connector, with batches of a given size, which fails permanently after `stop_after` batches."""

    inner: ConnectorSource
    batch_size: int = 250
    stop_after: int | None = None
    checkpoints: list[bytes] = field(default_factory=list)

    async def fetch(self, request: SourceRequest) -> AsyncGenerator[SourceEvent, None]:
        events = self.inner.fetch(replace(request, max_batch_products=self.batch_size))
        try:
            async for event in events:
                if self.stop_after == len(self.checkpoints):
                    raise REVOKED
                yield event
                if isinstance(event, SourceBatch):
                    self.checkpoints.append(event.checkpoint)
        finally:
            await events.aclose()


class EndToEnd:
    """One shop, and everything that syncs it into the database."""

    def __init__(
        self,
        spec: ShopSpec,
        store: RunningStore,
        connector: ConnectorSource,
        engine: AsyncEngine,
        *,
        connector_address: str,
    ) -> None:
        self.store = store
        self.connector_address = connector_address
        self.domain = spec.domain
        self.connector = connector
        self.engine = engine
        self.world = CatalogWorld(engine)
        self.platform = spec.platform.value
        self.spec = spec
        self._key = ShopKey(spec.platform.value, spec.domain)

    @property
    def catalog(self) -> Catalog:
        """The shop's products as the platform has them."""
        return self.store.catalog(self.domain)

    @property
    def calls(self) -> int:
        return self.store.requests(self.domain).calls

    async def create_sync(self, mode: SyncMode = SyncMode.FULL) -> Sync:
        """Create a sync without overlap: an incremental one finds changes by the watermark alone."""
        return await self.world.commands.start(StartSyncCommand(shop=self._key, mode=mode, overlap=timedelta(0)))

    async def run(self, sync: Sync, *, batch_size: int = 250, stop_after: int | None = None) -> Sync:
        """Run the sync with a supervisor of its own, to its end or to where the source stops."""
        source = StoppingSource(self.connector, batch_size, stop_after)
        replica = CatalogWorld(self.engine)
        await replica.supervisor(source, items_per_transaction=1).run(await replica.claim())
        return await replica.syncs.get(sync.sync_id)

    async def sync(self, mode: SyncMode = SyncMode.FULL, **options: int) -> Sync:
        """Create a sync, run it, and return it."""
        return await self.run(await self.create_sync(mode), **options)

    async def succeed(self, mode: SyncMode = SyncMode.FULL, **options: int) -> Sync:
        """Create a sync and run it; it must succeed in the requested mode."""
        sync = await self.sync(mode, **options)
        assert (sync.state, sync.mode, sync.error) == (SyncState.SUCCEEDED, mode, None)
        return sync

    async def resume(self, sync: Sync, **options: int) -> Sync:
        """Resume an ended sync, run it, and return it."""
        resumed = await self.world.commands.resume(sync.sync_id, request_id="", correlation_id="")
        return await self.run(resumed, **options)

    async def tables(self, rows: str = _ROWS) -> tuple[Counter[str], Counter[str]]:
        """Return every column of every product and item, except the catalog's own ids and times."""
        products, items = [await self.world.rows(rows.format(table=table)) for table in ("product", "item")]
        return Counter(row["row"] for row in products), Counter(row["row"] for row in items)

    async def item(self, item_id: str) -> Mapping[Any, Any]:
        """Return the row of the item, with numbers as text."""
        (row,) = await self.world.rows(
            "SELECT sku, price::text AS price, weight::text AS weight, weight_unit, deleted_at IS NULL AS live"
            " FROM item WHERE item_id = :id",
            id=item_id,
        )
        return row

    async def clear(self) -> None:
        """Delete everything, as if no sync had ever run."""
        await self.world.execute("TRUNCATE shop, product, item, sync, sync_seen, sync_issue")

    async def check_items(self) -> None:
        """Check that the live items in the database are exactly those that the shop sells."""
        rows = await self.world.rows(
            "SELECT product_id, item_id, sku, price::text AS price, stock_quantity FROM item"
            " WHERE deleted_at IS NULL"
        )
        stored = {tuple(row.values()) for row in rows}
        assert stored == {
            (i.product_id, i.item_id, i.sku, None if i.price is None else str(i.price), i.stock)
            for i in self.catalog.sellable_items()
        }


Opens = Callable[..., AbstractAsyncContextManager[EndToEnd]]


@dataclass(slots=True)
class StoreClock:
    """The clock of the store: `at`, or the real time."""

    at: datetime | None = None

    def __call__(self) -> datetime:
        return (self.at or datetime.now(UTC)).replace(microsecond=0)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of the TLS certificates, which are made once."""
    return tmp_path_factory.mktemp("end-to-end-tls")


@pytest.fixture
def opens(engine: AsyncEngine, certificates: Path, tmp_path: Path) -> Opens:
    """Return a function that opens a shop of a platform of PLATFORMS."""

    @asynccontextmanager
    async def opened(
        platform: str,
        *,
        latency: float = 0,
        clock: Callable[[], datetime] | None = None,
        shopify_strategy: str = "auto",
        **shape: Any,
    ) -> AsyncIterator[EndToEnd]:
        spec = ShopSpec(**(PLATFORMS[platform] | shape))
        store_clock = clock or StoreClock()
        async with (
            serving([spec], tls_dir=certificates, throttle=False, latency=latency, clock=store_clock) as store,
            running(_settings(spec, store, tmp_path, shopify_strategy=shopify_strategy)) as port,
            open_channel(f"127.0.0.1:{port}") as channel,
        ):
            address = f"127.0.0.1:{port}"
            yield EndToEnd(spec, store, ConnectorSource(channel), engine, connector_address=address)

    return opened


def _settings(spec: ShopSpec, store: RunningStore, directory: Path, *, shopify_strategy: str) -> ConnectorSettings:
    file = directory / "credentials.toml"
    lines = [f'{name} = "{value}"' for name, value in spec.credentials.items()]
    if spec.platform is not Platform.FEED:
        lines.append(f'webhook_secrets = ["{WEBHOOK_SECRET}", "shpss_devstore_{spec.domain}"]')
    file.write_text(f'[{spec.platform.value}."{spec.domain}"]\n' + "\n".join(lines) + "\n")
    file.chmod(0o600)
    values: dict[str, Any] = {"shopify_strategy": shopify_strategy}
    return settings_with_options(CONNECTOR_PLATFORMS)(
        **values,
        listen_address=ListenAddress("127.0.0.1:0"),
        credentials_file=file,
        ca_file=store.ca_file,
        endpoint_overrides={spec.domain: store.base_url(spec.domain)},
        settle_delay=timedelta(0),
        stop_grace=timedelta(0),
    )
