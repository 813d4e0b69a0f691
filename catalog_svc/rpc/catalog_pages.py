"""Pages of items and products: their tokens and their messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias, TypeVar
from uuid import UUID

from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from google.protobuf.message import Message

from catalog_svc.domain.catalog_reads import (
    ItemCursor,
    ItemFilter,
    ItemPage,
    ProductCursor,
    ProductFilter,
    ProductPage,
    named_conditions,
)
from catalog_svc.domain.shop import ShopRef
from catalog_svc.rpc import convert_catalog
from catalog_svc.rpc.page_tokens import PageTokens, PositionNumber, PositionText

_MAX_PAGE_BYTES: Final = 1_048_576
"""Size of the records of a page, after which it ends: clients accept messages of 4 MiB by default."""

Filters: TypeAlias = Mapping[str, object]
M = TypeVar("M", bound=Message)
V = TypeVar("V")


def item_filters(ref: ShopRef, which: ItemFilter) -> Filters:
    """Return what the tokens of a list of items are bound to."""
    return {"list": "items", "shop": str(ref), **named_conditions(which)}


def product_filters(ref: ShopRef, which: ProductFilter) -> Filters:
    """Return what the tokens of a list of products are bound to."""
    return {"list": "products", "shop": str(ref), **named_conditions(which)}


def item_cursor(tokens: PageTokens, token: str, filters: Filters) -> ItemCursor | None:
    """Return where the page before ended; None for the first page. Raises InvalidRequest."""
    fields = tokens.decode(
        token, filters=filters, kind=tuple[UUID, PositionNumber, PositionNumber, PositionText, PositionText]
    )
    if fields is None:
        return None
    incarnation, start_position, feed_position, product_id, item_id = fields
    return ItemCursor(
        incarnation=incarnation,
        start_position=start_position,
        feed_position=feed_position,
        product_id=product_id,
        item_id=item_id,
    )


def product_cursor(tokens: PageTokens, token: str, filters: Filters) -> ProductCursor | None:
    """Return where the page before ended; None for the first page. Raises InvalidRequest."""
    fields = tokens.decode(token, filters=filters, kind=tuple[UUID, PositionText])
    return ProductCursor(incarnation=fields[0], product_id=fields[1]) if fields else None


def item_page(tokens: PageTokens, page: ItemPage, filters: Filters) -> pb.ListItemsResponse:
    """Convert a page of items."""
    return pb.ListItemsResponse(
        items=[convert_catalog.item(found) for found in page.items],
        next_page_token=_item_token(tokens, page.next, filters) if page.next else "",
        position=page.position or 0,
        incarnation=str(page.incarnation),
    )


def product_page(tokens: PageTokens, page: ProductPage, filters: Filters) -> pb.ListProductsResponse:
    """Convert a page of products, as many as fit into a message, and at least one."""
    messages = list(fitting(map(convert_catalog.product, page.products)))
    token = ""
    if page.more or len(messages) < len(page.products):
        token = tokens.encode((page.incarnation, messages[-1].product_id), filters=filters)
    return pb.ListProductsResponse(products=messages, next_page_token=token)


def _item_token(tokens: PageTokens, cursor: ItemCursor, filters: Filters) -> str:
    fields = (
        cursor.incarnation,
        cursor.start_position,
        cursor.feed_position,
        cursor.product_id,
        cursor.item_id,
    )
    return tokens.encode(fields, filters=filters)


def chunks(values: Sequence[V], convert: Callable[[V], M]) -> Iterator[tuple[int, list[M]]]:
    """Yield lists of converted values that fit together into a message, each with its first index; at least one.

    What is not asked for is not converted: a client that does not read costs one message.
    """
    start = 0
    while True:
        chunk = list(fitting(map(convert, values[start:])))
        yield start, chunk
        start += len(chunk)
        if start >= len(values):
            return


def fitting(messages: Iterable[M]) -> Iterator[M]:
    """Yield the first of these messages that fit into a page, and at least one."""
    total_bytes = 0
    for message in messages:
        size_bytes = message.ByteSize()
        if total_bytes and total_bytes + size_bytes > _MAX_PAGE_BYTES:
            return
        total_bytes += size_bytes
        yield message
