"""Products with their variations, read ahead: the next are asked for while the last are consumed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Final, TypeAlias

from connector_svc.platforms.woocommerce.prefetch import Ahead, in_order
from connector_svc.platforms.woocommerce.batch_loader import chunks, variable
from connector_svc.platforms.woocommerce.variation_group import Family
from connector_svc.platforms.woocommerce.product_pager import Listed, ProductPager
from connector_svc.platforms.woocommerce.variations import VariationLists

Loaded: TypeAlias = tuple[Sequence[Listed], Mapping[int, Family]]
"""Products in the order of the pages, and the families of the variable ones by product id."""
_MOST_CHUNKS: Final = 2
"""Ready or in the making: variations of the second are asked for before those of the first have all come, so that
no place at the store stays free between them."""


async def load(pager: ProductPager, lists: VariationLists, *, most_products: int) -> AsyncGenerator[Loaded, None]:
    """Everything that `pager` has. Raises SourceFailure."""
    async with aclosing(Ahead(pager.pages())) as pages, aclosing(loaded(pages, lists, most_products)) as entries:
        async for entry in entries:
            yield entry


async def loaded(
    pages: AsyncIterator[tuple[Listed, ...]], lists: VariationLists, most_products: int
) -> AsyncGenerator[Loaded, None]:
    """Everything that is on `pages`. Raises SourceFailure."""

    async def families(chunk: Sequence[Listed]) -> Mapping[int, Family]:
        return await lists.families(variable(chunk))

    async with (
        aclosing(chunks(pages, most_products=most_products)) as gathered,
        aclosing(in_order(gathered, families, most=_MOST_CHUNKS)) as entries,
    ):
        async for entry in entries:
            yield entry
