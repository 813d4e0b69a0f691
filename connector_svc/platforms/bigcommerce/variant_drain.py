"""Variant drain: reads all variants of products whose included variant list was cut off.

BigCommerce documents no limit for included variants, so none is assumed. One request counts the variants of a
page's products; only if that is more than the page contained, further requests find the products that lack some.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from connector_svc.domain.errors import SourceNotFound, SourceQueryRefused
from connector_svc.platforms.bigcommerce.client import PRODUCTS_PATH, VARIANTS_PATH, StoreClient
from connector_svc.platforms.bigcommerce.record_salvage import (
    ListedProduct,
    RejectedRecord,
    VariantListing,
    decode_variants,
)
from connector_svc.platforms.bigcommerce.shop_info import count_variants
from connector_svc.platforms.bigcommerce.wire import OwnerList, VariantRow

_PAGE_SIZE: Final = 250
_MAX_ATTEMPTS: Final = 2
"""For one product, since it may change between two pages of its variants."""
_OWNER_LIST_DECODER: Final = msgspec.json.Decoder(OwnerList)


class VariantDrain:
    """Completes products that have fewer variants than the store counts."""

    def __init__(self, client: StoreClient) -> None:
        self._client = client

    async def complete(self, products: Sequence[ListedProduct]) -> None:
        """Give each of `products` all its variants, or set its `variant_count`. Raises SourceFailure."""
        # A product without options has its base variant and can have no other.
        candidates = [one for one in products if one.row.base_variant_id is None or len(one.variants) != 1]
        if not candidates:
            return
        product_ids = ",".join(str(one.row.id) for one in candidates)
        counted = (await count_variants(self._client, product_ids=product_ids)).total
        if counted <= sum(len(one.variants) for one in candidates):
            return
        counts = await self._count_by_product(product_ids, {one.row.id for one in candidates})
        for product in candidates:
            if counts[product.row.id] > len(product.variants):
                await self._drain(product, counts[product.row.id])

    async def _count_by_product(self, product_ids: str, expected: set[int]) -> Counter[int]:
        """Return the number of distinct variants by product id."""
        owners: dict[int, int] = {}
        page, total = 1, 1
        while (page - 1) * _PAGE_SIZE < total:
            params = (
                ("product_id:in", product_ids),
                ("include_fields", "product_id"),
                ("limit", str(_PAGE_SIZE)),
                ("page", str(page)),
            )
            listing = (await self._client.get(VARIANTS_PATH, params, _OWNER_LIST_DECODER.decode)).value
            owners |= {row.id: row.product_id for row in listing.data}
            page, total = page + 1, listing.meta.pagination.total
            if not expected.issuperset(owners.values()):
                raise SourceQueryRefused(self._client.shop, "variants of other products were returned")
        return Counter(owners.values())

    async def _drain(self, product: ListedProduct, counted: int) -> None:
        """Replace the variants of `product` by those of its own variant list."""
        for _ in range(_MAX_ATTEMPTS):
            try:
                pages = await self._read_pages(product.row.id)
            except SourceNotFound:
                # The product was deleted during the pass: its included variants may not be all.
                product.variant_count = counted
                return
            variants = _without_duplicates([item for page in pages for item in page.items])
            counted = pages[-1].total
            if len(variants) >= len(product.variants):
                product.variants = variants
                product.variant_faults = {
                    number: faults for page in pages for number, faults in page.faults.items()
                }
            if len(variants) >= counted:
                return
        product.variant_count = counted

    async def _read_pages(self, product_id: int) -> list[VariantListing]:
        pages: list[VariantListing] = []
        while not pages or (len(pages) * _PAGE_SIZE < pages[-1].total and pages[-1].items):
            params = (("limit", str(_PAGE_SIZE)), ("page", str(len(pages) + 1)))
            path = f"{PRODUCTS_PATH}/{product_id}/variants"
            pages.append((await self._client.get(path, params, decode_variants)).value)
        return pages


def _without_duplicates(variants: Sequence[VariantRow | RejectedRecord]) -> list[VariantRow | RejectedRecord]:
    """Drop variants that moved to a later page and were returned twice."""
    seen: set[int] = set()
    kept: list[VariantRow | RejectedRecord] = []
    for variant in variants:
        if variant.id is None or variant.id not in seen:
            kept.append(variant)
        if variant.id is not None:
            seen.add(variant.id)
    return kept
