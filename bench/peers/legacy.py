"""A miniature of the legacy services: what cost them their time, and nothing else.

The legacy services are the HTTP + NATS + Prisma + Redis services that this project replaces. In results, the chart
and the table of docs/performance.md they are called "legacy services".

The miniature works row by row: an ORM get, then an add or an update, and a commit of its own for each product and
each item; prices are floats; one call after the other. Where the legacy services called each other over HTTP and
NATS there is nothing here, the half second that they slept between pages is off unless `pause` says so, and the
variations of a product come by one call unless `variations` is "one by one". All of that favours the legacy
services.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias
from uuid import UUID

import aiohttp
from sqlalchemy import Double, MetaData, Numeric, Table
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import registry

from bench.peers.clients import LegacyShopifyPages, woocommerce_pages
from bench.peers.job import Job, listing_params, run
from catalog_svc.storage import tables

_KEYS = {"shop_id": UUID(int=2)}
_metadata = MetaData()


def _with_float_prices(table: Table) -> Table:
    """Return a copy of one of our tables, with the same indexes and with floats for decimals."""
    copy = table.to_metadata(_metadata)
    for column in copy.columns:
        if isinstance(column.type, Numeric):
            column.type = Double()
    return copy


class LegacyProduct:
    """A row of products."""


class LegacyItem:
    """A row of items."""


_registry = registry(metadata=_metadata)
_registry.map_imperatively(LegacyProduct, _with_float_prices(tables.product))
_registry.map_imperatively(LegacyItem, _with_float_prices(tables.item))


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """The values of a product's row and of its items' rows, by column."""

    product: dict[str, Any]
    items: list[dict[str, Any]]


Pages: TypeAlias = AsyncGenerator[list[Record], None]


async def _load(job: Job, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(_metadata.create_all)
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=job.ca_file))
    async with aiohttp.ClientSession(connector=connector, raise_for_status=True) as http:
        async for page in _READERS[job.platform](http, job):
            # A new session for every page: expired objects would be read again after each commit.
            async with AsyncSession(engine, expire_on_commit=False) as session:
                for record in page:
                    await _store(session, record)


async def _store(session: AsyncSession, record: Record) -> None:
    await _get_and_set(session, LegacyProduct, "product_id", record.product)
    for item in record.items:
        await _get_and_set(session, LegacyItem, "item_id", item)


async def _get_and_set(session: AsyncSession, kind: type[Any], key: str, values: dict[str, Any]) -> None:
    stored = await session.get(kind, {**_KEYS, key: values[key]})
    if stored is None:
        stored = kind()
        session.add(stored)
        values = {**_KEYS, **values}
    for name, value in values.items():
        setattr(stored, name, value)
    await session.commit()


async def _shopify_records(http: aiohttp.ClientSession, job: Job) -> Pages:
    """Yield 250 products a page with 100 variants each; more variants are not read."""
    client = LegacyShopifyPages(pause_seconds=float(job.options["pause"]))
    http.headers["X-Shopify-Access-Token"] = job.credentials["access_token"]
    async for page in client.pages(http, f"{job.base_url}/admin/api/2026-10/graphql.json"):
        yield [_from_shopify(node) for node in page]


async def _woocommerce_records(http: aiohttp.ClientSession, job: Job) -> Pages:
    """Yield 100 products a page; send one call for the variations of each variable product, or one for each."""
    store = _WooCommerceClient(http, job)
    async for page in store.products():
        yield [_from_woocommerce(row, await store.variations(row)) for row in page]
        await asyncio.sleep(float(job.options["pause"]))


_READERS: dict[str, Callable[[aiohttp.ClientSession, Job], Pages]] = {
    "shopify": _shopify_records,
    "woocommerce": _woocommerce_records,
}


class _WooCommerceClient:
    def __init__(self, http: aiohttp.ClientSession, job: Job) -> None:
        self._http = http
        self._url = f"{job.base_url}/wp-json/wc/v3/products"
        http.headers["Authorization"] = aiohttp.encode_basic_auth(
            job.credentials["consumer_key"], job.credentials["consumer_secret"]
        )
        self._one_by_one = job.options["variations"] == "one by one"

    def products(self) -> AsyncGenerator[list[dict[str, Any]], None]:
        return woocommerce_pages(self._http, self._url, listing_params())

    async def variations(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        if row["type"] != "variable":
            return []
        url = f"{self._url}/{row['id']}/variations"
        if self._one_by_one:
            return [await self._variation(f"{url}/{variation_id}") for variation_id in row["variations"]]
        pages = woocommerce_pages(self._http, url, listing_params())
        return [variation async for page in pages for variation in page]

    async def _variation(self, url: str) -> dict[str, Any]:
        async with self._http.get(url) as reply:
            variation: dict[str, Any] = await reply.json()
        return variation


def _from_shopify(node: Mapping[str, Any]) -> Record:
    """Convert a product of the legacy query, which selects fewer fields than ours."""
    product_id = _numeric_id(node["id"])
    product = {
        "product_id": product_id,
        "title": node["title"],
        "handle": node["handle"],
        "description_html": node["descriptionHtml"],
        "vendor": node["vendor"],
        "product_type": node["productType"],
        "tags": node["tags"],
        "status": node["status"],
        "options": [],
        "images": [image["id"] for image in node["media"]["nodes"]],
        "source_created_at": datetime.fromisoformat(node["createdAt"]),
        "source_updated_at": datetime.fromisoformat(node["updatedAt"]),
    }
    variants = enumerate(node["variants"]["nodes"], 1)
    return _record(product, [_shopify_item(product_id, position, variant) for position, variant in variants])


def _from_woocommerce(row: Mapping[str, Any], variations: Sequence[Mapping[str, Any]]) -> Record:
    """Convert a product; its items are its variations, or the product itself."""
    product_id = str(row["id"])
    product = {
        "product_id": product_id,
        "title": row["name"],
        "handle": row["slug"],
        "description_html": row["description"],
        "product_type": row["type"],
        "tags": [tag["name"] for tag in row["tags"]],
        "status": row["status"],
        "url": row["permalink"],
        "options": [{"name": one["name"], "values": one["options"]} for one in row["attributes"]],
        "images": [image["src"] for image in row["images"]],
        "source_created_at": _utc(row["date_created_gmt"]),
        "source_updated_at": _utc(row["date_modified_gmt"]),
    }
    sold = variations if row["type"] == "variable" else [row]
    return _record(product, [_woocommerce_item(product_id, position, one) for position, one in enumerate(sold, 1)])


def _record(product: dict[str, Any], items: list[dict[str, Any]]) -> Record:
    return Record(product={**product, "content_hash": b"", "item_count": len(items)}, items=items)


def _shopify_item(product_id: str, position: int, variant: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "item_id": _numeric_id(variant["id"]),
        "product_id": product_id,
        "position": position,
        "title": variant["title"],
        "sku": variant["sku"] or "",
        "price": float(variant["price"]),
        "stock_quantity": variant["inventoryQuantity"],
        "available": (variant["inventoryQuantity"] or 0) > 0,
        "sellable_without_stock": False,
        "options": variant["selectedOptions"],
    }


def _woocommerce_item(product_id: str, position: int, row: Mapping[str, Any]) -> dict[str, Any]:
    image = row.get("image")
    return {
        "item_id": str(row["id"]),
        "product_id": product_id,
        "position": position,
        "title": row.get("name", ""),
        "sku": row["sku"],
        "price": _float(row["price"]),
        "compare_at_price": _float(row["regular_price"]),
        "stock_quantity": row["stock_quantity"],
        "available": row["stock_status"] == "instock",
        "sellable_without_stock": row["backorders"] != "no",
        "options": [{"name": one["name"], "value": one.get("option", "")} for one in row["attributes"]],
        "image_url": image["src"] if image else "",
        "weight": _float(row["weight"]),
        "source_created_at": _utc(row["date_created_gmt"]),
        "source_updated_at": _utc(row["date_modified_gmt"]),
    }


def _numeric_id(gid: str) -> str:
    return gid.rpartition("/")[2]


def _float(text: str) -> float | None:
    return float(text) if text else None


def _utc(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else None


async def _main(job: Job) -> None:
    engine = create_async_engine(make_url(job.database_url).set(drivername="postgresql+asyncpg"))
    try:
        await _load(job, engine)
    finally:
        await engine.dispose()


def main() -> None:
    """Load the shop of the job."""
    job = Job.read()
    run(lambda: asyncio.run(_main(job)))


if __name__ == "__main__":
    main()
