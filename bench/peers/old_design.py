"""A miniature of the old services: what cost them their time, and nothing else.

Row by row: an ORM get, then an add or an update, and a commit of its own for each product and each item; prices
are floats; one call after the other. Where the old services called each other over HTTP and NATS there is nothing
here, the half second that they slept between pages is off unless `pause` says so, and the variations of a product
come by one call unless `variations` is "one by one". All of that favours the old design.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any
from uuid import UUID

import aiohttp
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from bench.peers import old_pages
from bench.peers.job import Job, run
from bench.peers.old_shapes import OldRecord
from bench.peers.old_tables import OldItem, OldProduct, metadata

_OWNER = {"merchant_id": UUID(int=1), "shop_id": UUID(int=2)}
_READERS = {"shopify": old_pages.shopify, "woocommerce": old_pages.woocommerce}


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
