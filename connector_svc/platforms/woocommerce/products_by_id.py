"""Read products by their ids. A product or variation counts as gone only when the store says so."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from connector_svc.domain.errors import (
    SourceForbidden,
    SourceNotFound,
    SourceQueryRefused,
    SourceResponseInvalid,
    SourceUnreachable,
)
from connector_svc.platforms.woocommerce.client import StoreClient
from connector_svc.platforms.woocommerce.json_salvage import DecodedRecords, RecordDecoder
from connector_svc.platforms.woocommerce.prefetch import gather_bounded
from connector_svc.platforms.woocommerce.product_pager import Cursor, ListedProduct
from connector_svc.platforms.woocommerce.wire import (
    ORDER_BY_ID,
    PER_PAGE,
    PRODUCT_FIELDS,
    PRODUCTS_PATH,
    UNDELIVERED_STATUSES,
    ProductRow,
)

_LOOKUP_ERRORS: Final = (
    SourceForbidden,
    SourceNotFound,
    SourceQueryRefused,
    SourceResponseInvalid,
    SourceUnreachable,
)
"""Failures that do not tell whether a product exists."""


class _RecordState(msgspec.Struct):
    id: int
    status: str
    type: str = ""
    parent_id: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class LookupResult:
    """The outcome for some product ids."""

    products: tuple[ListedProduct, ...] = ()
    """In the order of their ids."""
    gone: tuple[int, ...] = ()
    """Ids for which the store, asked twice, has no such product."""
    undecided: tuple[int, ...] = ()
    """Ids for which the store gave no answer."""


async def read_products_by_id(client: StoreClient, ids: Sequence[int]) -> AsyncGenerator[LookupResult, None]:
    """Yield the outcome for the next ids, up to 100 at a time. Raise SourceFailure."""
    for start in range(0, len(ids), PER_PAGE):
        yield await _read_some(client, ids[start : start + PER_PAGE])


async def is_variation_gone(client: StoreClient, variation_id: int, *, parent_id: int) -> bool:
    """Return whether the store says that the product has no such variation. Raise SourceFailure."""
    path = f"{PRODUCTS_PATH}/{variation_id}"
    params = (("_fields", "id,status,type,parent_id"),)
    try:
        response = await client.get(path, params, msgspec.json.Decoder(_RecordState).decode)
    except _LOOKUP_ERRORS as failure:
        return _is_unknown_id(failure)
    state = response.value
    has_moved = state.type != "variation" or state.parent_id not in (0, parent_id)
    return state.status in UNDELIVERED_STATUSES or has_moved


async def _read_some(client: StoreClient, ids: Sequence[int]) -> LookupResult:
    params = (
        ("include", ",".join(map(str, ids))),
        ("per_page", str(PER_PAGE)),
        *ORDER_BY_ID,
        ("_fields", PRODUCT_FIELDS),
    )
    response = await client.get(PRODUCTS_PATH, params, RecordDecoder(ProductRow).decode)
    requested = set(ids)
    products = [listed for listed in _listed_products(response.value) if listed.record.id in requested]
    found = {listed.record.id for listed in products}
    not_listed = [product_id for product_id in ids if product_id not in found]
    singles = await gather_bounded(
        client.state.limiter.max_limit, lambda product_id: _read_single(client, product_id), not_listed
    )
    products += [listed for single in singles for listed in single.products]
    return LookupResult(
        products=tuple(sorted(products, key=lambda listed: listed.record.id or 0)),
        gone=tuple(product_id for single in singles for product_id in single.gone),
        undecided=tuple(product_id for single in singles for product_id in single.undecided),
    )


async def _read_single(client: StoreClient, product_id: int) -> LookupResult:
    """Read a product that the list of the requested ids leaves out."""
    decoder = RecordDecoder(ProductRow)
    try:
        response = await client.get(
            f"{PRODUCTS_PATH}/{product_id}",
            (("_fields", PRODUCT_FIELDS),),
            lambda text: (msgspec.json.decode(text, type=_RecordState), decoder.decode(b"[" + text + b"]")),
        )
    except _LOOKUP_ERRORS as failure:
        if _is_unknown_id(failure):
            return LookupResult(gone=(product_id,))
        return LookupResult(undecided=(product_id,))
    state, records = response.value
    if state.id != product_id:
        return LookupResult(undecided=(product_id,))
    if state.status in UNDELIVERED_STATUSES or state.type == "variation":
        return LookupResult(gone=(product_id,))
    return LookupResult(products=tuple(_listed_products(records)))


def _listed_products(records: DecodedRecords[ProductRow]) -> list[ListedProduct]:
    return [
        ListedProduct(record=record, field_faults=records.faults_of(record), cursor=Cursor())
        for record in records.items
    ]


def _is_unknown_id(failure: Exception) -> bool:
    """Return whether WooCommerce itself does not know the id. A missing route or a web page proves nothing."""
    return isinstance(failure, SourceNotFound) and failure.metadata.get("code", "").endswith("_invalid_id")
