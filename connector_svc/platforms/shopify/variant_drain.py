"""Completes a product of which a page delivered only a part: reads it alone, with all variants and images."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import msgspec

from connector_svc.domain.errors import SourceResponseInvalid
from connector_svc.platforms.shopify.client import ShopifyClient
from connector_svc.platforms.shopify.error_mapping import InvalidCursor, MaxCostExceeded, ShopifyInternalError
from connector_svc.platforms.shopify.graphql_response import GraphqlResponse
from connector_svc.platforms.shopify.node_decoding import DecodedNode, decode_product
from connector_svc.platforms.shopify.page_size import PageSize
from connector_svc.platforms.shopify.parse import Record, to_record, unreadable_record
from connector_svc.platforms.shopify.queries import SINGLE_VARIANTS, single_product
from connector_svc.platforms.shopify.wire import Connection, product_gid


class VariantDrain:
    """Reads single products with all their images and all their variants, 2,048 per call."""

    def __init__(self, client: ShopifyClient, *, inventory: bool, retry_delay: timedelta) -> None:
        self._client = client
        self._query = single_product(inventory=inventory)
        self._page_size = PageSize(SINGLE_VARIANTS, retry_delay=retry_delay)

    async def complete(self, record: Record) -> Record | None:
        """Return the complete record; None when its product has been deleted meanwhile.

        A product with more variants than the page holds is read with all of them. One whose variant count differs
        from Shopify's is read once more, since it may have changed between two replies; if it still differs, the
        record is marked as incomplete.
        """
        attempts = 2 if record.has_more_variants else 1
        while record.needs_reread and attempts:
            attempts -= 1
            reread = await self.read_product(record.product_id)
            if reread is None:
                return None
            if reread.product is None and record.product is not None:
                break
            record = reread
        return record.as_incomplete() if record.has_more_variants or record.is_miscounted else record

    async def read_product(self, product_id: str) -> Record | None:
        """Read one product; None when it does not exist, which is asked twice.

        The record is rejected when Shopify cannot deliver the product.
        """
        try:
            return await self._read(product_id) or await self._read(product_id)
        except InvalidCursor:
            # Variants have no search filter by which to continue, so the product is read from the beginning.
            return await self._read(product_id)

    async def _read(self, product_id: str) -> Record | None:
        node: DecodedNode | None = None
        after: str | None = None
        while True:
            try:
                response = await self._page_size.call(partial(self._call, product_id, after))
            except (MaxCostExceeded, ShopifyInternalError):
                return unreadable_record(product_id)
            part = self._decode(response)
            if part is None:
                return None
            node = part if node is None else _joined(node, part)
            page = part.node.variants.page_info if part.node else None
            if page is None or not page.has_next_page or page.end_cursor in {None, after}:
                return to_record(node)
            after = page.end_cursor

    async def _call(self, product_id: str, after: str | None, first: int) -> GraphqlResponse:
        variables = {"id": product_gid(product_id), "first": first, "after": after}
        return await self._client.call(self._query, variables)

    def _decode(self, response: GraphqlResponse) -> DecodedNode | None:
        try:
            return decode_product(response.data or msgspec.Raw(b"null"), response.errors)
        except (msgspec.DecodeError, RecursionError) as error:
            raise SourceResponseInvalid(self._client.shop, "a product that does not follow the schema") from error


def _joined(head: DecodedNode, tail: DecodedNode) -> DecodedNode:
    """Return the product of `head` with the variants of both."""
    if head.node is None or tail.node is None:
        return tail
    nodes = head.node.variants.nodes + tail.node.variants.nodes
    variants = Connection(nodes=nodes, page_info=tail.node.variants.page_info)
    return msgspec.structs.replace(
        head,
        node=msgspec.structs.replace(head.node, variants=variants),
        issues=head.issues + tail.issues,
        dropped_variants=head.dropped_variants + tail.dropped_variants,
        has_error=head.has_error or tail.has_error,
    )
