"""A miniature of the old services: what cost them their time, and nothing else.

Row by row: an ORM get, then an add or an update, and a commit of its own for each product and each item; prices
are floats; one call after the other. Where the old services called each other over HTTP and NATS there is nothing
here, the half second that they slept between pages is off unless `pause` says so, and the variations of a product
come by one call unless `variations` is "one by one". All of that favours the old design.


How the old design reads: page by page, one call after the other.

What the old design makes of a platform's JSON: the values of a product's row and of its items' rows.

Where the old design stores: our products and items with the same indexes, and with money as floats."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import aiohttp
from sqlalchemy import Double, MetaData, Numeric, Table
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import registry

from bench.peers.clients import OldSystem, followed
from bench.peers.job import Job, listing, run
from catalog_svc.storage import tables

_OWNER = {"merchant_id": UUID(int=1), "shop_id": UUID(int=2)}
_READERS = {"shopify": shopify, "woocommerce": old_pages.woocommerce}


async def _stored(session: AsyncSession, kind: type[Any], key: str, values: dict[str, Any]) -> None:
    known = await session.get(kind, {**_OWNER, key: values[key]})
    if known is None:
        known = kind()
        session.add(known)
        values = {**_OWNER, **values}
    for name, value in values.items():
        setattr(known, name, value)
    await session.commit()


async def _store(session: AsyncSession, record: OldRecord) -> None:
    await _stored(session, OldProduct, "product_id", record.product)
    for item in record.items:
        await _stored(session, OldItem, "item_id", item)


async def _load(job: Job, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=job.ca_file))
    async with aiohttp.ClientSession(connector=connector, raise_for_status=True) as http:
        async for page in _READERS[job.platform](http, job):
            # Asked of its session for every page: expired objects would be read again after each commit.
            async with AsyncSession(engine, expire_on_commit=False) as session:
                for record in page:
                    await _store(session, record)


async def _main(job: Job) -> None:
    engine = create_async_engine(make_url(job.database_url).set(drivername="postgresql+asyncpg"))
    try:
        await _load(job, engine)
    finally:
        await engine.dispose()


def main() -> None:
    """Loads the shop of the job."""
    job = Job.read()
    run(lambda: asyncio.run(_main(job)))


if __name__ == "__main__":
    main()


Pages = AsyncGenerator[list[OldRecord], None]


async def shopify(http: aiohttp.ClientSession, job: Job) -> Pages:
    """250 products a page with 100 variants each; more are not seen."""
    query = OldSystem()
    query.pause = float(job.options["pause"])
    http.headers["X-Shopify-Access-Token"] = job.credentials["access_token"]
    async for page in query.pages(http, f"{job.base_url}/admin/api/2026-10/graphql.json"):
        yield [from_shopify(node) for node in page]


async def woocommerce(http: aiohttp.ClientSession, job: Job) -> Pages:
    """100 products a page, and for each variable product one call for its variations, or one for each of them."""
    store = _Store(http, job)
    async for page in store.products():
        yield [from_woocommerce(row, await store.variations(row)) for row in page]
        await asyncio.sleep(float(job.options["pause"]))


class _Store:
    def __init__(self, http: aiohttp.ClientSession, job: Job) -> None:
        self._http = http
        self._url = f"{job.base_url}/wp-json/wc/v3/products"
        http.headers["Authorization"] = aiohttp.encode_basic_auth(
            job.credentials["consumer_key"], job.credentials["consumer_secret"]
        )
        self._one_by_one = job.options["variations"] == "one by one"

    def products(self) -> AsyncGenerator[list[dict[str, Any]], None]:
        return followed(self._http, self._url, listing())

    async def variations(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        if row["type"] != "variable":
            return []
        below = f"{self._url}/{row['id']}/variations"
        if self._one_by_one:
            return [await self._one(f"{below}/{child}") for child in row["variations"]]
        return [variation async for page in followed(self._http, below, listing()) for variation in page]

    async def _one(self, url: str) -> dict[str, Any]:
        async with self._http.get(url) as reply:
            found: dict[str, Any] = await reply.json()
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class OldRecord:
    """A product with its items, by column."""

    product: dict[str, Any]
    items: list[dict[str, Any]]


def from_shopify(node: Mapping[str, Any]) -> OldRecord:
    """A product of the old system's query, which asks for fewer fields than we do."""
    product_id = _number(node["id"])
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


def from_woocommerce(row: Mapping[str, Any], variations: Sequence[Mapping[str, Any]]) -> OldRecord:
    """A product; its variations, or the product itself, are the items."""
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
    return _record(product, [_woo_item(product_id, position, one) for position, one in enumerate(sold, 1)])


def _record(product: dict[str, Any], items: list[dict[str, Any]]) -> OldRecord:
    return OldRecord(product={**product, "content_hash": b"", "item_count": len(items)}, items=items)


def _shopify_item(product_id: str, position: int, variant: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "item_id": _number(variant["id"]),
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


def _woo_item(product_id: str, position: int, row: Mapping[str, Any]) -> dict[str, Any]:
    picture = row.get("image")
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
        "image_url": picture["src"] if picture else "",
        "weight": _float(row["weight"]),
        "source_created_at": _utc(row["date_created_gmt"]),
        "source_updated_at": _utc(row["date_modified_gmt"]),
    }


def _number(gid: str) -> str:
    return gid.rpartition("/")[2]


def _float(text: str) -> float | None:
    return float(text) if text else None


def _utc(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else None


metadata = MetaData()


def _copied(table: Table) -> Table:
    copy = table.to_metadata(metadata)
    for column in copy.columns:
        if isinstance(column.type, Numeric):
            column.type = Double()
    return copy


class OldProduct:
    """A row of products."""


class OldItem:
    """A row of items."""


_registry = registry(metadata=metadata)
_registry.map_imperatively(OldProduct, _copied(tables.product))
_registry.map_imperatively(OldItem, _copied(tables.item))
