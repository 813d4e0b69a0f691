"""Reads products by their ids, and proves that a product is gone before it says so."""

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
from connector_svc.platforms.woocommerce.json_salvage import RecordReader, Records
from connector_svc.platforms.woocommerce.page_reader import PER_PAGE, PRODUCTS
from connector_svc.platforms.woocommerce.prefetch import gather_bounded
from connector_svc.platforms.woocommerce.product_pager import Listed, Place
from connector_svc.platforms.woocommerce.wire import PRODUCT_FIELDS, ProductRow

_UNLISTED_STATUSES: Final = frozenset({"trash", "auto-draft"})
"""Of products that no full pass delivers."""
_UNDECIDED: Final = (
    SourceForbidden,
    SourceNotFound,
    SourceQueryRefused,
    SourceResponseInvalid,
    SourceUnreachable,
)
"""Failures that say nothing about whether a product exists."""


class _State(msgspec.Struct):
    id: int
    status: str
    type: str = ""
    parent_id: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What the store says of some ids."""

    listed: tuple[Listed, ...] = ()
    """In the order of their ids."""
    gone: tuple[int, ...] = ()
    """The store, asked twice, has no such product."""
    undecided: tuple[int, ...] = ()


async def products_by_id(client: StoreClient, ids: Sequence[int]) -> AsyncGenerator[Found, None]:
    """Yields what became of the next ids, 100 at a time. Raises SourceFailure."""
    for start in range(0, len(ids), PER_PAGE):
        yield await _some(client, ids[start : start + PER_PAGE])


async def is_variation_gone(client: StoreClient, variation_id: int, *, parent_id: int) -> bool:
    """Whether the store has no such variation of that product; False: it does not tell. Raises SourceFailure."""
    path = f"{PRODUCTS}/{variation_id}"
    params = (("_fields", "id,status,type,parent_id"),)
    try:
        answer = await client.get(path, params, msgspec.json.Decoder(_State).decode)
    except _UNDECIDED as failure:
        return _says_gone(failure)
    state = answer.value
    moved = state.type != "variation" or state.parent_id not in (0, parent_id)
    return state.status in _UNLISTED_STATUSES or moved


async def _some(client: StoreClient, ids: Sequence[int]) -> Found:
    params = (
        ("include", ",".join(map(str, ids))),
        ("per_page", str(PER_PAGE)),
        ("orderby", "id"),
        ("order", "asc"),
        ("_fields", PRODUCT_FIELDS),
    )
    answer = await client.get(PRODUCTS, params, RecordReader(ProductRow).read)
    wanted = set(ids)
    listed = [entry for entry in _entries(answer.value) if entry.record.id in wanted]
    came = {entry.record.id for entry in listed}
    left = [one for one in ids if one not in came]
    singles = await gather_bounded(client.notes.gate.most, lambda one: _single(client, one), left)
    listed += [entry for single in singles for entry in single.listed]
    return Found(
        listed=tuple(sorted(listed, key=lambda entry: entry.record.id or 0)),
        gone=tuple(one for single in singles for one in single.gone),
        undecided=tuple(one for single in singles for one in single.undecided),
    )


async def _single(client: StoreClient, product_id: int) -> Found:
    """What the store says of an id that its list left out."""
    reader = RecordReader(ProductRow)
    try:
        answer = await client.get(
            f"{PRODUCTS}/{product_id}",
            (("_fields", PRODUCT_FIELDS),),
            lambda text: (msgspec.json.decode(text, type=_State), reader.read(b"[" + text + b"]")),
        )
    except _UNDECIDED as failure:
        if _says_gone(failure):
            return Found(gone=(product_id,))
        return Found(undecided=(product_id,))
    state, records = answer.value
    if state.id != product_id:
        return Found(undecided=(product_id,))
    if state.status in _UNLISTED_STATUSES or state.type == "variation":
        return Found(gone=(product_id,))
    return Found(listed=tuple(_entries(records)))


def _entries(records: Records[ProductRow]) -> list[Listed]:
    return [
        Listed(
            record=record,
            blemishes=records.blemishes.get(record.id, ()) if record.id is not None else (),
            place=Place(),
        )
        for record in records.items
    ]


def _says_gone(failure: Exception) -> bool:
    """Only WooCommerce's own word for an unknown id; a missing route or a web page is a matter of the host."""
    return isinstance(failure, SourceNotFound) and failure.metadata.get("code", "").endswith("_invalid_id")
