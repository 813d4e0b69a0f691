"""Makes products whole whose variants were cut off where they were included.

How many variants an included list may hold is written nowhere, so nothing relies on it: the store is asked by one
call how many variants the products of a page have, and only if that is more than came, whose they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from connector_svc.domain.errors import SourceNotFound, SourceQueryRefused
from connector_svc.platforms.bigcommerce.client import PRODUCTS, VARIANTS, StoreClient
from connector_svc.platforms.bigcommerce.record_salvage import Broken, Listed, VariantPage, read_variants
from connector_svc.platforms.bigcommerce.shop_info import count_variants
from connector_svc.platforms.bigcommerce.wire import OwnerList, VariantRow

_PER_PAGE: Final = 250
_OWNERS: Final = msgspec.json.Decoder(OwnerList)
_TRIES: Final = 2
"""Of one product, since it may change between two pages of its variants."""


class Completion:
    """Compares what came with what the store counts."""

    def __init__(self, client: StoreClient) -> None:
        self._client = client

    async def finish(self, products: Sequence[Listed]) -> None:
        """Gives each of `products` all its variants, or the number that it should have. Raises SourceFailure."""
        # A product without options has its base variant and can have no other.
        several = [one for one in products if one.row.base_variant_id is None or len(one.variants) != 1]
        if not several:
            return
        asked = ",".join(str(one.row.id) for one in several)
        counted = (await count_variants(self._client, of_products=asked)).total
        if counted <= sum(len(one.variants) for one in several):
            return
        counts = await self._counts(asked, {one.row.id for one in several})
        for product in several:
            if counts[product.row.id] > len(product.variants):
                await self._drain(product, counts[product.row.id])

    async def _counts(self, asked: str, wanted: set[int]) -> Counter[int]:
        """Distinct variants by product."""
        owners: dict[int, int] = {}
        page, total = 1, 1
        while (page - 1) * _PER_PAGE < total:
            params = (
                ("product_id:in", asked),
                ("include_fields", "product_id"),
                ("limit", str(_PER_PAGE)),
                ("page", str(page)),
            )
            answer = (await self._client.get(VARIANTS, params, _OWNERS.decode)).value
            owners |= {row.id: row.product_id for row in answer.data}
            page, total = page + 1, answer.meta.pagination.total
            if not wanted.issuperset(owners.values()):
                raise SourceQueryRefused(self._client.shop, "variants of other products than those asked for")
        return Counter(owners.values())

    async def _drain(self, product: Listed, counted: int) -> None:
        """All variants of one product, in place of those that came."""
        for _ in range(_TRIES):
            try:
                pages = await self._pages_of(product.row.id)
            except SourceNotFound:
                # Deleted meanwhile: what came is not all that it had.
                product.counted = counted
                return
            variants = _distinct([item for page in pages for item in page.items])
            counted = pages[-1].total
            if len(variants) >= len(product.variants):
                product.variants = variants
                product.variant_faults = {
                    number: faults for page in pages for number, faults in page.faults.items()
                }
            if len(variants) >= counted:
                return
        product.counted = counted

    async def _pages_of(self, product_id: int) -> list[VariantPage]:
        pages: list[VariantPage] = []
        while not pages or (len(pages) * _PER_PAGE < pages[-1].total and pages[-1].items):
            params = (("limit", str(_PER_PAGE)), ("page", str(len(pages) + 1)))
            path = f"{PRODUCTS}/{product_id}/variants"
            pages.append((await self._client.get(path, params, read_variants)).value)
        return pages


def _distinct(variants: Sequence[VariantRow | Broken]) -> list[VariantRow | Broken]:
    """Without those that moved to a later page and came again."""
    seen: set[int] = set()
    kept: list[VariantRow | Broken] = []
    for variant in variants:
        if variant.id is None or variant.id not in seen:
            kept.append(variant)
        if variant.id is not None:
            seen.add(variant.id)
    return kept
