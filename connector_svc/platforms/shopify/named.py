"""Reads the products that a request names by their ids."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from connector_svc.domain.fetch import Batch
from connector_svc.domain.records import IssueReason
from connector_svc.platforms.shopify.hydrator import Hydrator
from connector_svc.platforms.shopify.ids import number_of, product_gid
from connector_svc.platforms.shopify.record import Record
from connector_svc.platforms.shopify.tally import Tally


async def named_products(hydrator: Hydrator, tally: Tally, ids: Sequence[str]) -> AsyncGenerator[Batch, None]:
    """What becomes of at most 250 ids: products, then those that are gone. Raises SourceFailure.

    What is no id of Shopify is gone as well. A product that the platform answers with an error is in no batch:
    nobody knows whether it is there.
    """
    asked = [product_id for product_id in ids if _is_id(product_id)]
    records = dict(zip(asked, await hydrator.read([product_gid(one) for one in asked]), strict=True))
    for batch in tally.late(
        record for record in records.values() if record is not None and not _is_unknown(record)
    ):
        yield batch
    gone = tuple(product_id for product_id in ids if records.get(product_id) is None)
    if gone:
        yield Batch(products=(), checkpoint=tally.moved(), deleted_product_ids=gone)


def _is_id(text: str) -> bool:
    return bool(number_of(product_gid(text), "Product")) and not text.startswith("0")


def _is_unknown(record: Record) -> bool:
    return record.product is None and any(one.reason is IssueReason.SOURCE_ERROR for one in record.issues)
