"""Reads products of a shop by their ids, outside of any sync."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence

from catalog_svc.domain.errors import ConnectorUnavailable, SourceCurrencyChanged, SourceIncomplete
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.source import SourceBatch, SourceEnd, SourceEvent, SourceHeader, SourceRequest
from catalog_svc.usecases.ports import ProductSource
from catalog_svc.usecases.prefetch import Prefetch


async def read_by_id(
    source: ProductSource, shop: Shop, product_ids: Sequence[str], *, timeout_seconds: float
) -> AsyncGenerator[SourceBatch, None]:
    """Yield batches with these products, and with the ids of those that do not exist.

    A product is deleted only if no batch of the whole read has it.

    Raises:
        SourceFailed: The read failed, or took longer than `timeout_seconds`.
    """
    request = SourceRequest(shop=shop.key, updated_after=None, checkpoint=b"", product_ids=tuple(product_ids))
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    async with Prefetch(source.fetch(request)) as events:
        while (event := await _next(events, deadline, timeout_seconds)) is not None:
            match event:
                case SourceHeader():
                    _check_currency(shop, event)
                case SourceBatch():
                    yield event
                case SourceEnd():
                    return
    raise SourceIncomplete


def existing_ids(batch: SourceBatch) -> set[str]:
    """Return the ids of the products that the platform has, those that were rejected among them."""
    rejected = {issue.product_id for issue in batch.issues if issue.product_rejected}
    return {product.product_id for product in batch.products} | rejected


def batch_of_deleted(product_ids: Collection[str]) -> SourceBatch:
    """Return a batch that says that the platform does not have these products."""
    return SourceBatch(products=(), issues=(), checkpoint=b"", deleted_product_ids=tuple(sorted(product_ids)))


async def _next(events: Prefetch, deadline: float, timeout_seconds: float) -> SourceEvent | None:
    try:
        async with asyncio.timeout_at(deadline):
            return await events.next()
    except TimeoutError:
        raise ConnectorUnavailable(
            f"products were not read by id within {timeout_seconds:.0f} s; try again later"
        ) from None


def _check_currency(shop: Shop, header: SourceHeader) -> None:
    stored, received = shop.currency_code, header.profile.currency_code
    if stored != received:
        raise SourceCurrencyChanged(expected=stored, received=received)
