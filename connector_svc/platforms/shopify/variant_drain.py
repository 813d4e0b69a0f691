"""Makes a product whole that did not come whole on its page."""

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
    """Reads single products: all variants, 2,048 per call, and all images."""

    def __init__(self, client: ShopifyClient, *, inventory: bool, pause: timedelta) -> None:
        self._client = client
        self._query = single_product(inventory=inventory)
        self._size = PageSize(SINGLE_VARIANTS, pause=pause)

    async def finish(self, record: Record) -> Record | None:
        """`record`, made whole if it can be; None when its product is gone meanwhile.

        A long product is drained. One whose variants are not as many as it counts is read once more, since it
        may have changed between two replies; then it is told to be incomplete.
        """
        tries = 2 if record.has_more_variants else 1
        while record.needs_second_look and tries:
            tries -= 1
            again = await self.read(record.product_id)
            if again is None:
                return None
            if again.product is None and record.product is not None:
                break
            record = again
        return record.as_incomplete() if record.has_more_variants or record.is_miscounted else record

    async def read(self, product_id: str) -> Record | None:
        """The product alone; None when there is none, which was asked twice; set aside when the platform cannot
        deliver it."""
        try:
            return await self._read(product_id) or await self._read(product_id)
        except InvalidCursor:
            # Variants have no search by which to go on, so the product is read anew.
            return await self._read(product_id)

    async def _read(self, product_id: str) -> Record | None:
        found: DecodedNode | None = None
        after: str | None = None
        while True:
            try:
                answer = await self._size.ask(partial(self._ask, product_id, after))
            except (MaxCostExceeded, ShopifyInternalError):
                return unreadable_record(product_id)
            chunk = self._chunk(answer)
            if chunk is None:
                return None
            found = chunk if found is None else _joined(found, chunk)
            page = chunk.node.variants.page_info if chunk.node else None
            if page is None or not page.has_next_page or page.end_cursor in {None, after}:
                return to_record(found)
            after = page.end_cursor

    async def _ask(self, product_id: str, after: str | None, first: int) -> GraphqlResponse:
        variables = {"id": product_gid(product_id), "first": first, "after": after}
        return await self._client.call(self._query, variables)

    def _chunk(self, answer: GraphqlResponse) -> DecodedNode | None:
        try:
            return decode_product(answer.data or msgspec.Raw(b"null"), answer.errors)
        except (msgspec.DecodeError, RecursionError) as error:
            raise SourceResponseInvalid(self._client.shop, "a product that does not follow the schema") from error


def _joined(head: DecodedNode, tail: DecodedNode) -> DecodedNode:
    """The product of `head` with the variants of both."""
    if head.node is None or tail.node is None:
        return tail
    nodes = head.node.variants.nodes + tail.node.variants.nodes
    variants = Connection(nodes=nodes, page_info=tail.node.variants.page_info)
    return msgspec.structs.replace(
        head,
        node=msgspec.structs.replace(head.node, variants=variants),
        issues=head.issues + tail.issues,
        dropped=head.dropped + tail.dropped,
        blamed=head.blamed or tail.blamed,
    )
